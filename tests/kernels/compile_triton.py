"""Compiles the Triton kernels, as the operations launch them, for a GPU that
need not be there, and prints their names: python tests/kernels/compile_triton.py
"""

import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from spikegraph.coding import PhaseCode
from spikegraph.kernels import triton as ops
from spikegraph.kernels import triton_kernels

TARGET = GPUTarget('cuda', 75, 32)
TYPES = {
    torch.uint8: '*u8',
    torch.int32: '*i32',
    torch.int64: '*i64',
    torch.float32: '*fp32',
    torch.float64: '*fp64',
}


def compile_only(kernel, grid, out, *args, **options):
    """Stands for the launch of a kernel."""
    given = dict(zip(kernel.arg_names, (out, *args), strict=False))
    given.update((k, options.pop(k)) for k in kernel.arg_names if k in options)
    signature, constants = {}, {}
    for param in kernel.params:
        value = given[param.name]
        if isinstance(value, torch.Tensor):
            signature[param.name] = TYPES[value.dtype]
        elif value is None or value == 1 or param.is_constexpr:  # As Triton does.
            signature[param.name] = 'constexpr'
            constants[param.name] = value
        else:
            signature[param.name] = 'i32' if value < 1 << 31 else 'i64'
    source = ASTSource(kernel, signature, constants)
    compiled = compile(source, TARGET, {**options, **triton_kernels.OPTIONS})
    assert compiled.asm['cubin'] and 'fma' not in compiled.asm['ptx']
    print(kernel.__name__)


def launch_all(dtype, index_dtype, code, width):
    rowptr, col = torch.zeros(10, dtype=index_dtype), torch.zeros(7, dtype=index_dtype)
    x, weight = torch.rand(6, width, dtype=dtype), torch.rand(7, dtype=dtype)
    signed = code.signed
    table, spike_time = code.table().to(dtype), torch.zeros(6, width, dtype=torch.uint8)
    factors, bias = (weight[:6], torch.rand(9, dtype=dtype)), x[0]
    ops.aggregate(rowptr, col, weight, x, *factors)
    ops.aggregate_spikes(rowptr, col, None, spike_time, table)
    neuron = (bias, code.thresholds, bias, signed)
    ops.aggregate_encode(rowptr, col, weight, spike_time, table, None, None, *neuron)
    per_channel = code.thresholds.view(-1, 1).expand(-1, width)
    neuron = (None, per_channel, 1.0, signed)
    ops.aggregate_encode(rowptr, col, None, x, None, *factors, *neuron)
    ops.earliest(rowptr, col, spike_time, code.num_steps, latest=signed)
    ops.transform(spike_time, table, torch.rand(width, width, dtype=dtype), x[0])
    ops.first_spike(x, bias, code.thresholds, bias, signed)
    ops.first_spike(x, None, per_channel, 1.0, signed)
    ops.look_up(spike_time, table, bias)
    ops.look_up(spike_time, table)


if __name__ == '__main__':
    triton_kernels._launch = compile_only
    for case in [
        (torch.float32, torch.int64, PhaseCode(15, 1.5), 300),
        (torch.float64, torch.int32, PhaseCode(15, 1.5, signed=True), 17),
        (torch.float32, torch.int32, PhaseCode(1, 1.5), 1),
    ]:
        launch_all(*case)
    large = dict(size=1 << 31, LARGE=True, BLOCK=1024)
    x, spike_time, table = (
        torch.rand(1),
        torch.zeros(1, dtype=torch.uint8),
        torch.rand(9),
    )
    neuron = (None, table, x, 7, 3, 9)
    options = dict(PER_CHANNEL=False, SIGNED=True, **large)
    compile_only(triton_kernels.first_spike, None, spike_time, x, *neuron, **options)
    compile_only(
        triton_kernels.look_up, None, x, spike_time, table, x, 7, 3, 9, **large
    )
