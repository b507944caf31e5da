"""On a GPU if there is one, else by Triton's interpreter (see conftest.py)."""

import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spikegraph.coding import PhaseCode, decode, encode
from spikegraph.kernels import CSR, dispatch, neurons, reference
from tests.kernels.test_cpu import CODES, SHAPES, assert_equals_coding, values

pytest.importorskip('triton', reason='Triton is not installed')
interpreter = pytest.importorskip('triton.runtime.interpreter')

import triton.language as tl  # noqa: E402

from spikegraph.kernels.triton import kernels  # noqa: E402
from spikegraph.kernels.triton import operations as ops  # noqa: E402

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
if DEVICE == 'cpu' and not isinstance(tl.max, interpreter.InterpretedFunction):
    reason = 'there is no GPU, and Triton was imported before conftest.py'
    pytest.skip(reason, allow_module_level=True)

CASES = [  # Numbers of targets, sources and edges, and columns.
    ((1, 1, 0), 1),
    ((7, 5, 0), 17),
    ((0, 4, 0), 15),
    ((3, 4, 8), 0),
    ((9, 6, 40), 1),
    ((9, 6, 40), 15),
    ((2, 20, 67), 17),
    ((3, 4, 8), 1000),
]
FLOATS = [torch.float32, torch.float64]
ignore_infinities = pytest.mark.filterwarnings(  # Of NumPy, which interprets.
    'ignore:invalid value encountered:RuntimeWarning'
)
SUMS = [(CODES[3], *case) for case in CASES]  # 15 steps, signed; and all others.
SUMS += [(code, (2, 3, 4), 17) for code in CODES if code is not CODES[3]]


def random_graph(num_targets, num_sources, num_edges, dtype=torch.int64):
    """Edges by destination, some twice; every other destination has none."""
    target = 2 * torch.randint(num_targets // 2 + 1, (num_edges,)) % max(num_targets, 1)
    counts = torch.bincount(target, minlength=num_targets)
    rowptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    col = torch.randint(num_sources, (num_edges,))
    return rowptr.to(dtype), col.to(dtype)


def factors(num_targets, num_sources, num_edges, dtype):
    """Every choice of weights and factors, all of them first, none last."""
    weight = torch.randn(num_edges, dtype=dtype)
    source_factor = torch.rand(num_sources, 1, dtype=dtype)
    target_factor = torch.rand(num_targets, 1, dtype=dtype)
    for kept in itertools.product([True, False], repeat=3):
        given = (weight, source_factor, target_factor)
        yield [x if keep else None for x, keep in zip(given, kept, strict=True)]


def call(op, *args, **kwargs):
    """Runs an operation on the device, and returns its output on the CPU."""
    return op(*map(move, args), **kwargs).cpu()


def move(x):
    if isinstance(x, CSR):
        return CSR(*map(move, x))
    return x.to(DEVICE) if isinstance(x, torch.Tensor) else x


def assert_same(found, expected):
    assert found.dtype == expected.dtype and found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize('graph, width', CASES, ids=str)
@pytest.mark.parametrize('dtype', FLOATS, ids=str)
def test_aggregate(graph, width, dtype):
    rowptr, col = random_graph(*graph, torch.int32)
    x = torch.randn(graph[1], width, dtype=dtype)
    for w, a, b in factors(*graph, dtype):
        csr = CSR(rowptr, col, w, a, b)
        found = call(ops.aggregate, x, csr)
        assert_same(found, reference.aggregate(x, csr))


@pytest.mark.parametrize('graph, width', CASES, ids=str)
@pytest.mark.parametrize('dtype', FLOATS, ids=str)
def test_aggregate_spikes(graph, width, dtype):
    rowptr, col = random_graph(*graph)
    table = PhaseCode(15, 1.5, signed=True).table().to(dtype)
    for w, a, b in list(factors(*graph, dtype))[::7]:
        spike_time = torch.randint(31, (graph[1], width), dtype=torch.uint8)
        csr = CSR(rowptr, col, w, a, b)
        found = call(ops.aggregate, spike_time, csr, table)
        assert_same(found, reference.aggregate_spikes(spike_time, csr, table))


@ignore_infinities
@pytest.mark.parametrize('code, graph, width', SUMS, ids=str)
def test_aggregate_encode(code, graph, width):
    rowptr, col = random_graph(*graph)
    for dtype in FLOATS:
        table, thresholds = code.table().to(dtype), code.thresholds.to(dtype)
        bias = torch.randn(width, dtype=dtype)
        scale = torch.rand(width, dtype=dtype) + 0.5
        spike_time = torch.randint(len(table), (graph[1], width), dtype=torch.uint8)
        csr = CSR(rowptr, col, *next(factors(*graph, dtype)))
        potential = reference.aggregate_spikes(spike_time, csr, table)
        neuron = (table, bias, thresholds, scale, code.signed)
        found = call(ops.aggregate_encode, spike_time, csr, *neuron)
        assert_same(found, encode(potential + bias, code, scale))
        csr, x = CSR(rowptr, col), values((graph[1], width), code, 1.0, dtype)
        potential, one = reference.aggregate(x, csr), torch.tensor([0.7], dtype=dtype)
        neuron = (None, None, thresholds, one, code.signed)
        found = call(ops.aggregate_encode, x, csr, *neuron)
        assert_same(found, encode(potential, code, 0.7))
        per_channel, one = thresholds.view(-1, 1) * scale, torch.ones(1, dtype=dtype)
        neuron = (None, bias, per_channel, one, code.signed)
        found = call(ops.aggregate_encode, x, csr, *neuron)
        assert_same(found, encode(potential + bias, code, scale))


@pytest.mark.parametrize('signed', [False, True])
def test_sums_that_tie_with_a_threshold(signed):
    code = PhaseCode(6, 2.0, threshold_shift=1.0, signed=signed)
    rowptr, col = random_graph(20, 20, 20)
    spike_time = torch.randint(len(code.table()), (20, 5), dtype=torch.uint8)
    csr, table = CSR(rowptr, col), code.table()
    potential = reference.aggregate_spikes(spike_time, csr, table)
    assert torch.isin(potential.abs(), code.thresholds).float().mean() > 0.2
    neuron = (table, None, code.thresholds, torch.ones(()).double(), signed)
    found = call(ops.aggregate_encode, spike_time, csr, *neuron)
    assert_same(found, reference.encode(potential, code))


@pytest.mark.parametrize('graph, width', CASES, ids=str)
@pytest.mark.parametrize('latest', [False, True])
def test_earliest(graph, width, latest):
    rowptr, col = random_graph(*graph)
    for silent, dtype in [(0, torch.int32), (31, torch.int64), (255, torch.int64)]:
        rank = torch.randint(256, (graph[1], width), dtype=torch.uint8)
        arguments = (rank, CSR(rowptr.to(dtype), col.to(dtype)), silent, latest)
        found = call(ops.earliest, *arguments)
        assert_same(found, reference.earliest(*arguments))
    uniform = torch.full_like(rank, 255 if not latest else 0)
    arguments = (uniform, CSR(rowptr, col), 7, latest)
    assert_same(call(ops.earliest, *arguments), reference.earliest(*arguments))


@pytest.mark.parametrize('code', CODES, ids=str)
@pytest.mark.parametrize('dtype', FLOATS, ids=str)
def test_encode_and_decode_equal_reference(code, dtype):
    x, scale = values((9, 17), code, 1.0, dtype), torch.rand(17, dtype=dtype) + 0.5
    for s in (scale, scale[:1]):
        found = call(ops.encode, x, code, s)
        assert_same(found, reference.encode(x, code, s))
        expected = reference.decode(found, code, s, dtype)
        assert_same(call(ops.decode, found, code, s, dtype), expected)


@pytest.fixture
def kernel_calls(monkeypatch):
    """The names of the kernels that neurons launch, for CPU tensors too."""
    if DEVICE == 'cpu':
        found = [each for each in dispatch.backends() if each.name != 'cpu']
        monkeypatch.setattr(dispatch, 'backends', lambda: found)
        monkeypatch.setattr(found[0], 'takes', lambda x: x.numel() > 0)
    called, launch = [], kernels.launch_places

    def record(kernel, *args, **flags):
        called.append(kernel.__name__)
        launch(kernel, *args, **flags)

    monkeypatch.setattr(kernels, 'launch_places', record)
    return called


@pytest.mark.parametrize('code', CODES[2:4] + CODES[-1:], ids=str)
@pytest.mark.parametrize('shape', [s for s in SHAPES if 0 not in s], ids=str)
def test_neurons_call_the_kernels(kernel_calls, code, shape):
    for scale in (0.8, *scales_along_every_dim(shape)):
        x = values(shape, code, scale)
        moved = scale.to(DEVICE) if isinstance(scale, torch.Tensor) else scale
        assert_equals_coding(x.to(DEVICE), code, moved)
        thresholds = code.thresholds.float()
        if isinstance(scale, torch.Tensor):
            thresholds = thresholds.view(-1, *[1] * scale.dim()) * scale
            found = call(neurons.first_spike, x, thresholds, code.signed)
            assert_same(found, encode(x, code, scale))
            assert kernel_calls == ['first_spike', 'look_up', 'first_spike']
        else:
            assert kernel_calls == ['first_spike', 'look_up']
        kernel_calls.clear()


def scales_along_every_dim(shape):
    for dim, size in enumerate(shape):
        if size > 1:
            yield torch.rand(size, *[1] * (len(shape) - dim - 1)) + 0.5


def test_layouts(kernel_calls):
    code, scale = PhaseCode(16, 1.5), torch.rand(7, 1, 1, device=DEVICE) + 0.5
    x = values((13, 7, 3, 9), code, scale.cpu()).to(DEVICE)
    for y in (
        x.contiguous(memory_format=torch.channels_last),
        x.permute(1, 0, 3, 2).contiguous().permute(1, 0, 3, 2),
        x[:, :, 1:],
        x[:1].expand(4, 7, 3, 9),
    ):
        assert_equals_coding(y, code, scale)
    assert kernel_calls == ['first_spike', 'look_up'] * 4


def test_what_neurons_leave_to_pytorch(kernel_calls):
    code = PhaseCode(5, 2.0, signed=True)
    x = values((4, 6), code).to(DEVICE)
    assert_equals_coding(x.half(), code, torch.tensor(0.5).half().to(DEVICE))
    assert_equals_coding(x, code, torch.rand(4, 6, device=DEVICE) + 0.5)
    assert_equals_coding(x[:0], code)
    assert kernel_calls == []
    spike_time = encode(x, code)
    scale = torch.rand(6, device=DEVICE, requires_grad=True)
    neurons.decode_spikes(spike_time, code, scale).sum().backward()
    torch.testing.assert_close(scale.grad, decode(spike_time, code).sum(dim=0))
    spike_time[-1, -1] = 11
    with pytest.raises(ValueError, match=r'at most 10 for .*\(got 11\)'):
        neurons.decode_spikes(spike_time, code)
    assert kernel_calls == []


def test_potentials_that_need_a_gradient(kernel_calls):
    x = torch.randn(5, 3, device=DEVICE, requires_grad=True)
    code = PhaseCode(8, 1.5)
    spike_time = neurons.encode_spikes(x, code)
    assert_same(spike_time.cpu(), encode(x.detach().cpu(), code))
    assert kernel_calls == ['first_spike']


def test_places_of_64_bits(monkeypatch):
    monkeypatch.setattr(kernels, '_LARGE', 0)
    code, scale = PhaseCode(7, 1.5), torch.rand(3) + 0.5
    x = values((1000, 3), code)
    spike_time = call(ops.encode, x, code, scale)
    assert_same(spike_time, encode(x, code, scale))
    found = call(ops.decode, spike_time, code, scale, torch.float32)
    assert_same(found, decode(spike_time, code, scale))


def test_layouts_of_graphs():
    rowptr, col = random_graph(9, 6, 40)
    weight, table = torch.randn(40).double(), PhaseCode(7, 1.5, signed=True).table()
    csr = CSR(rowptr, col, weight)
    wide = torch.randint(15, (12, 50), dtype=torch.uint8)
    for view in (
        lambda x: x[:6, 3:20],
        lambda x: x[::2, ::3],
        lambda x: x[:, :6].t(),
        lambda x: x[:1].expand(6, 50),
    ):
        times, moved, levels = view(wide), view(wide.to(DEVICE)), table.to(DEVICE)
        expected = reference.aggregate_spikes(times, csr, table)
        assert_same(ops.aggregate(moved, move(csr), levels).cpu(), expected)
        assert_same(ops.aggregate(levels[moved.int()], move(csr)).cpu(), expected)
        expected = reference.earliest(times, csr, 7)
        assert_same(ops.earliest(moved, move(csr), 7, False).cpu(), expected)


@ignore_infinities
def test_values_that_are_not_finite():
    rowptr, col = random_graph(9, 6, 40)
    x = torch.randn(6, 30)
    x[0, 0], x[1, 1], x[2, 2] = math.nan, math.inf, -math.inf
    csr, one = CSR(rowptr, col), torch.ones(1)
    expected = reference.aggregate(x, csr)
    assert expected.isnan().any() and expected.isinf().any()
    assert_same(call(ops.aggregate, x, csr), expected)
    for signed in (False, True):
        code = PhaseCode(7, 1.5, signed=signed)
        neuron = (None, None, code.thresholds.float(), one, signed)
        found = call(ops.aggregate_encode, x, csr, *neuron)
        assert_same(found, reference.encode(expected, code))
        assert (found[expected.isnan()] == 7).all()


def test_bytes_that_are_not_in_the_table():
    rowptr, col = torch.tensor([0, 1, 2]), torch.tensor([0, 1])
    table = PhaseCode(3, 2.0).table()
    spike_time = torch.tensor([[0, 3], [255, 4]], dtype=torch.uint8)
    expected = torch.tensor([[1, 0], [math.nan, math.nan]], dtype=torch.float64)
    found = call(ops.aggregate, spike_time, CSR(rowptr, col), table)
    assert_same(found, expected)
    assert ops.look_up(move(spike_time), move(table), 1.0) is NotImplemented


def test_compiles_without_fused_products(tmp_path):
    """As for a GPU: the interpreter lets through what the compiler does not."""
    environment = {**os.environ, 'TRITON_CACHE_DIR': str(tmp_path)}
    environment['TRITON_INTERPRET'] = '0'
    script = Path(__file__).with_name('compile_triton.py')
    done = subprocess.run(
        [sys.executable, str(script)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {
        'aggregate',
        'earliest',
        'first_spike',
        'look_up',
    }
