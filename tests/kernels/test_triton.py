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
from spikegraph.kernels import neurons, reference
from spikegraph.kernels import triton as ops
from tests.kernels.test_cpu import CODES, SHAPES, assert_equals_coding, values

pytest.importorskip('triton', reason='Triton is not installed')
interpreter = pytest.importorskip('triton.runtime.interpreter')

import triton.language as tl  # noqa: E402

from spikegraph.kernels import triton_kernels  # noqa: E402

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
    moved = [x.to(DEVICE) if isinstance(x, torch.Tensor) else x for x in args]
    return op(*moved, **kwargs).cpu()


def assert_same(found, expected):
    assert found.dtype == expected.dtype and found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize('graph, width', CASES, ids=str)
@pytest.mark.parametrize('dtype', FLOATS, ids=str)
def test_aggregate(graph, width, dtype):
    rowptr, col = random_graph(*graph, torch.int32)
    x = torch.randn(graph[1], width, dtype=dtype)
    for w, a, b in factors(*graph, dtype):
        found = call(ops.aggregate, rowptr, col, w, x, a, b)
        assert_same(found, reference.aggregate(rowptr, col, w, x, a, b))


@pytest.mark.parametrize('graph, width', CASES, ids=str)
@pytest.mark.parametrize('dtype', FLOATS, ids=str)
def test_aggregate_spikes(graph, width, dtype):
    rowptr, col = random_graph(*graph)
    table = PhaseCode(15, 1.5, signed=True).table().to(dtype)
    for w, a, b in list(factors(*graph, dtype))[::7]:
        spike_time = torch.randint(31, (graph[1], width), dtype=torch.uint8)
        found = call(ops.aggregate_spikes, rowptr, col, w, spike_time, table, a, b)
        expected = reference.aggregate_spikes(rowptr, col, w, spike_time, table, a, b)
        assert_same(found, expected)


@ignore_infinities
@pytest.mark.parametrize('code, graph, width', SUMS, ids=str)
def test_aggregate_encode(code, graph, width):
    rowptr, col = random_graph(*graph)
    for dtype in FLOATS:
        table, thresholds = code.table().to(dtype), code.thresholds.to(dtype)
        bias = torch.randn(width, dtype=dtype)
        scale = torch.rand(width, dtype=dtype) + 0.5
        spike_time = torch.randint(len(table), (graph[1], width), dtype=torch.uint8)
        w, a, b = next(factors(*graph, dtype))
        potential = reference.aggregate_spikes(rowptr, col, w, spike_time, table, a, b)
        neuron = (a, b, bias, thresholds, scale, code.signed)
        found = call(ops.aggregate_encode, rowptr, col, w, spike_time, table, *neuron)
        assert_same(found, encode(potential + bias, code, scale))
        x = values((graph[1], width), code, 1.0, dtype)
        potential = reference.aggregate(rowptr, col, None, x)
        neuron = (None, None, None, thresholds, torch.tensor([0.7]), code.signed)
        found = call(ops.aggregate_encode, rowptr, col, None, x, None, *neuron)
        assert_same(found, encode(potential, code, 0.7))
        per_channel = thresholds.view(-1, 1) * scale
        neuron = (None, None, torch.tensor(0.3), per_channel, 1.0, code.signed)
        found = call(ops.aggregate_encode, rowptr, col, None, x, None, *neuron)
        assert_same(found, encode(potential + 0.3, code, scale))


@pytest.mark.parametrize('signed', [False, True])
def test_sums_that_tie_with_a_threshold(signed):
    code = PhaseCode(6, 2.0, threshold_shift=1.0, signed=signed)
    rowptr, col = random_graph(20, 20, 20)
    spike_time = torch.randint(len(code.table()), (20, 5), dtype=torch.uint8)
    spikes = (rowptr, col, None, spike_time, code.table())
    potential = reference.aggregate_spikes(*spikes)
    assert torch.isin(potential.abs(), code.thresholds).float().mean() > 0.2
    neuron = (None, None, None, code.thresholds, 1.0, signed)
    found = call(ops.aggregate_encode, *spikes, *neuron)
    assert_same(found, reference.encode(potential, code))


@pytest.mark.parametrize('graph, width', CASES, ids=str)
@pytest.mark.parametrize('latest', [False, True])
def test_earliest(graph, width, latest):
    rowptr, col = random_graph(*graph)
    for silent, dtype in [(0, torch.int32), (31, torch.int64), (255, torch.int64)]:
        rank = torch.randint(256, (graph[1], width), dtype=torch.uint8)
        arguments = (rowptr.to(dtype), col.to(dtype), rank, silent)
        found = call(ops.earliest, *arguments, latest=latest)
        assert_same(found, reference.earliest(*arguments, latest=latest))
    uniform = torch.full_like(rank, 255 if not latest else 0)
    found = call(ops.earliest, rowptr, col, uniform, 7, latest=latest)
    assert_same(found, reference.earliest(rowptr, col, uniform, 7, latest=latest))


@pytest.mark.parametrize(
    'shape', [(0, 5, 3), (3, 1, 1), (4, 0, 7), (5, 63, 15), (2, 65, 1000), (3, 200, 17)]
)
@pytest.mark.parametrize('dtype', FLOATS, ids=str)
@pytest.mark.parametrize('has_bias', [False, True])
def test_transform(shape, dtype, has_bias):
    num_rows, num_inputs, width = shape
    table = PhaseCode(6, 2.0, signed=True).table().to(dtype)
    spike_time = torch.randint(13, (num_rows, num_inputs), dtype=torch.uint8)
    spike_time[:, 10:190:3] = 6  # Silent, and with it blocks of a hundred inputs:
    spike_time[:, 20:180] = 6
    weight = torch.randint(-8, 9, (num_inputs, width)).to(dtype)
    bias = torch.randint(-8, 9, (width,)).to(dtype) if has_bias else None
    weight[20:180] = math.nan  # not read.
    found = call(ops.transform, spike_time, table, weight, bias)
    expected = reference.transform(spike_time, table, weight, bias)
    assert not expected.isnan().any()
    assert_same(found, expected)  # Sums of such numbers are exact in any order.
    weight = torch.randn(num_inputs, width, dtype=dtype)
    found = call(ops.transform, spike_time, table, weight, bias)
    expected = reference.transform(spike_time, table, weight, bias)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-13
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize('code', CODES, ids=str)
@pytest.mark.parametrize('dtype', FLOATS, ids=str)
def test_fire_and_decode_equal_reference(code, dtype):
    x = values((9, 17), code, 1.0, dtype)
    bias, scale = torch.randn(17, dtype=dtype), torch.rand(17, dtype=dtype) + 0.5
    table = code.table().to(dtype)
    for b, s in [(None, scale), (bias, scale[:1]), (bias[:1], scale), (bias, 0.3)]:
        expected = reference.encode(x if b is None else x + b, code, s)
        found = call(ops.first_spike, x, b, code.thresholds, s, code.signed)
        assert_same(found, expected)
        expected = reference.decode(found, code, s, dtype)
        assert_same(call(ops.look_up, found, table, s), expected)


@pytest.fixture
def kernel_calls(monkeypatch):
    """The names of the operations that neurons call, for CPU tensors too."""
    if DEVICE == 'cpu':
        monkeypatch.setattr(ops, 'is_available', lambda x: x.dtype != torch.float16)
    called = []

    def record(name):
        op = getattr(ops, name)
        monkeypatch.setattr(ops, name, lambda *args: called.append(name) or op(*args))

    record('first_spike')
    record('look_up')
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
    monkeypatch.setattr(triton_kernels, '_LARGE', 0)
    code, scale = PhaseCode(7, 1.5), torch.rand(3) + 0.5
    x = values((1000, 3), code)
    spike_time = call(ops.first_spike, x, None, code.thresholds, scale)
    assert_same(spike_time, encode(x, code, scale))
    found = call(ops.look_up, spike_time, code.table().float(), scale)
    assert_same(found, decode(spike_time, code, scale))


def test_layouts_of_graphs():
    rowptr, col = random_graph(9, 6, 40)
    weight, table = torch.randn(40).double(), PhaseCode(7, 1.5, signed=True).table()
    gaps = [torch.stack([v, v], dim=1).to(DEVICE)[:, 0] for v in (rowptr, col, weight)]
    assert not any(v.is_contiguous() for v in gaps)
    wide = torch.randint(15, (12, 50), dtype=torch.uint8)
    for view in (
        lambda x: x[:6, 3:20],
        lambda x: x[::2, ::3],
        lambda x: x[:, :6].t(),
        lambda x: x[:1].expand(6, 50),
    ):
        times, moved, levels = view(wide), view(wide.to(DEVICE)), table.to(DEVICE)
        expected = reference.aggregate_spikes(rowptr, col, weight, times, table)
        assert_same(ops.aggregate_spikes(*gaps, moved, levels).cpu(), expected)
        assert_same(ops.aggregate(*gaps, levels[moved.int()]).cpu(), expected)
        expected = reference.earliest(rowptr, col, times, 7)
        assert_same(ops.earliest(*gaps[:2], moved, 7).cpu(), expected)
        matrix = torch.randint(9, (4, times.size(1))).double().t()
        found = ops.transform(moved, levels, matrix.to(DEVICE)).cpu()
        expected = reference.transform(times, table, matrix)
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize('dtype', FLOATS, ids=str)
def test_weights_take_the_type_of_the_values(dtype):
    rowptr, col = random_graph(9, 6, 40)
    w, a, b = next(factors(9, 6, 40, torch.float64))
    x = torch.randn(6, 5, dtype=dtype)
    expected = [v.to(dtype) for v in (w, a, b)]
    expected = reference.aggregate(rowptr, col, expected[0], x, *expected[1:])
    assert_same(call(ops.aggregate, rowptr, col, w, x, a, b), expected)


@ignore_infinities
def test_values_that_are_not_finite():
    rowptr, col = random_graph(9, 6, 40)
    x = torch.randn(6, 30)
    x[0, 0], x[1, 1], x[2, 2] = math.nan, math.inf, -math.inf
    expected = reference.aggregate(rowptr, col, None, x)
    assert expected.isnan().any() and expected.isinf().any()
    assert_same(call(ops.aggregate, rowptr, col, None, x), expected)
    for signed in (False, True):
        code = PhaseCode(7, 1.5, signed=signed)
        neuron = (None, None, None, code.thresholds, 1.0, signed)
        found = call(ops.aggregate_encode, rowptr, col, None, x, None, *neuron)
        assert_same(found, reference.encode(expected, code))
        assert (found[expected.isnan()] == 7).all()


def test_bytes_that_are_not_in_the_table():
    rowptr, col = torch.tensor([0, 1, 2]), torch.tensor([0, 1])
    table = PhaseCode(3, 2.0).table()
    spike_time = torch.tensor([[0, 3], [255, 4]], dtype=torch.uint8)
    expected = torch.tensor([[1, 0], [math.nan, math.nan]], dtype=torch.float64)
    assert_same(call(ops.look_up, spike_time, table), expected)
    graph = (rowptr, col, None)
    assert_same(call(ops.aggregate_spikes, *graph, spike_time, table), expected)
    found = call(ops.transform, spike_time, table, torch.ones(2, 3).double())
    assert_same(found[:, :2], torch.tensor([[1, 1], [math.nan] * 2]).double())


ROWPTR, COL = torch.tensor([0, 2, 3]), torch.tensor([0, 1, 1])
X, TIMES = torch.rand(2, 4), torch.zeros(2, 4, dtype=torch.uint8)
TABLE, THRESHOLDS = torch.rand(5), torch.tensor([1.0, 0.5])


@pytest.mark.parametrize(
    'op, args, match',
    [
        (ops.aggregate, (ROWPTR, COL, None, X.half()), r'float64 \(got torch.float16'),
        (ops.aggregate, (ROWPTR, COL, None, X[0]), r'dimensions \(got shape \[4\]'),
        (ops.aggregate, (ROWPTR, COL.short(), None, X), r'int64 \(got torch.int16'),
        (ops.aggregate, (ROWPTR.view(1, 3), COL, None, X), r'\(got shape \[1, 3\]'),
        (ops.aggregate, (ROWPTR[:0], COL, None, X), r'N \+ 1 entries \(got 0'),
        (ops.aggregate, (ROWPTR, COL, X[0], X), r"'weight' to hold 3 .*shape \[4\]"),
        (ops.aggregate, (ROWPTR, COL, None, X, X[0]), r"'source_factor' .*shape \[4\]"),
        (
            ops.aggregate,
            (ROWPTR, COL, None, X, None, X[0]),
            r"'target_factor' to hold 2 .*\[4\]",
        ),
        (
            ops.aggregate_spikes,
            (ROWPTR, COL, None, X, TABLE),
            r'uint8 \(got torch.float32',
        ),
        (
            ops.aggregate_spikes,
            (ROWPTR, COL, None, TIMES, torch.rand(257)),
            r'256 levels \(got shape \[257\]',
        ),
        (
            ops.aggregate_encode,
            (ROWPTR, COL, None, X, None, None, None, None, torch.rand(127)),
            r'126 steps \(got shape \[127\]',
        ),
        (
            ops.aggregate_encode,
            (ROWPTR, COL, None, X, None, None, None, X[:, :1], THRESHOLDS),
            r'each of 4 channels \(got 2 rows\)',
        ),
        (
            ops.aggregate_encode,
            (ROWPTR, COL, None, X, None, None, None, X[0, :3], THRESHOLDS),
            r'to \[2, 4\] .*\(got bias \[3\]\)',
        ),
        (ops.earliest, (ROWPTR, COL, X, 3), r"'rank' to be uint8 \(got torch.float32"),
        (ops.earliest, (ROWPTR, COL, TIMES, 256), r'byte \(got 256\)'),
        (ops.transform, (TIMES, TABLE, X), r'have 2 columns.*\(got shape \[2, 4\]'),
        (
            ops.transform,
            (TIMES, TABLE, torch.rand(4, 3), X[0]),
            r"'bias' to hold 3 .*\[4\]",
        ),
        (ops.first_spike, (TIMES, None, THRESHOLDS), r'float64 \(got torch.uint8'),
        (
            ops.first_spike,
            (X, X[0], THRESHOLDS, X[:, :1]),
            r'bias \[4\], scale \[2, 1\]\)',
        ),
        (ops.look_up, (X, TABLE), r'uint8 \(got torch.float32'),
        (ops.look_up, (TIMES, TABLE.int()), r'float64 \(got torch.int32'),
        (ops.look_up, (TIMES, TABLE, X), r'scale \[2, 4\]\)'),
    ],
)
def test_errors(op, args, match):
    with pytest.raises(ValueError, match=match):
        call(op, *args)


def test_is_available():
    assert not ops.is_available(torch.rand(3))
    if DEVICE == 'cuda':
        x = torch.rand(3, device=DEVICE)
        assert ops.is_available(x) and ops.is_available(x.byte())
        assert not ops.is_available(x.half())
        assert not ops.is_available(x.requires_grad_())


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
        'transform',
        'first_spike',
        'look_up',
    }
