"""Compiles the Triton kernels, as the operations launch them, for a GPU that
need not be there, and prints their names: python tests/kernels/compile_triton.py
"""

import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from spikegraph.coding import PhaseCode
from spikegraph.kernels import CSR
from spikegraph.kernels.triton import kernels
from spikegraph.kernels.triton import operations as ops

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
    compiled = compile(source, TARGET, {**options, **kernels.OPTIONS})
    assert compiled.asm['cubin'] and 'fma' not in compiled.asm['ptx']
    print(kernel.__name__)


def launch_all(dtype, index_dtype, code, width):
    rowptr, col = torch.zeros(10, dtype=index_dtype), torch.zeros(7, dtype=index_dtype)
    x, weight = torch.rand(6, width, dtype=dtype), torch.rand(7, dtype=dtype)
    signed = code.signed
    table, spike_time = code.table().to(dtype), torch.zeros(6, width, dtype=torch.uint8)
    csr, scale = CSR(rowptr, col, weight, weight[:6], torch.rand(9)), x[0]
    one, thresholds = torch.ones(1, dtype=dtype), code.thresholds.to(dtype)
    ops.aggregate(x, csr)
    ops.aggregate(spike_time, CSR(rowptr, col), table)
    neuron = (x[0], thresholds, scale, signed)
    ops.aggregate_encode(spike_time, CSR(rowptr, col, weight), table, *neuron)
    per_channel = thresholds.view(-1, 1).expand(-1, width)
    ops.aggregate_encode(x, csr, None, None, per_channel, one, signed)
    ops.earliest(spike_time, csr, code.num_steps, signed)
    ops.encode(x, code, scale)
    ops.first_spike(x, per_channel, signed)
    ops.look_up(spike_time, table, scale)
    ops.look_up(spike_time, table, 1.0)


if __name__ == '__main__':
    kernels._launch = compile_only
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
    neuron = (table, x, 7, 3, 9)
    options = dict(PER_CHANNEL=False, SIGNED=True, **large)
    compile_only(kernels.first_spike, None, spike_time, x, *neuron, **options)
    compile_only(kernels.look_up, None, x, spike_time, table, x, 7, 3, 9, **large)
