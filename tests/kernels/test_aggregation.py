import math
import warnings

import pytest
import torch
import torch.nn.functional as F

from spikegraph.coding import PhaseCode, Spikes, encode
from spikegraph.kernels import (
    Adjacency,
    Weights,
    aggregate,
    earliest,
    info,
    neighbor_adjacency,
    propagate,
    reference,
    send,
    sent_size,
)
from spikegraph.kernels.cpu import sums as sums_module
from spikegraph.kernels.cpu.compiled.operands import ONE, PACKED, TABLE, way_of

STEPS = [(1, 2.0), (15, 1.5), (16, 1.4), (31, 1.3), (32, 1.3), (126, 1.05)]
CODES = [PhaseCode(num_steps, base) for num_steps, base in STEPS]
CODES += [PhaseCode(T, 1.5, signed=True) for T in (1, 7, 15, 16, 126)]
WIDTHS = [1, 15, 16, 17, 40, 128, 300, 1000]
N, M = 23, 31  # Destinations and sources.


@pytest.fixture(autouse=True)
def pack(monkeypatch):
    """Packs small rows, too, wherever that is possible; or none."""

    def set_to(is_packed):
        monkeypatch.setattr(sums_module, '_saves_time', lambda *_: is_packed)

    set_to(True)
    return set_to


def adjacency_of(weighted, factors, dtype=torch.float32, num_edges=120, index=None):
    """A bipartite graph with duplicate edges and two isolated destinations."""
    edges = torch.stack(
        [torch.randint(M, (num_edges,)), torch.randint(N - 2, (num_edges,))]
    )
    edges[:, 1:4] = edges[:, :1]
    weight = torch.randn(num_edges, dtype=dtype) if weighted else None
    source, target = edges if index is None else edges.to(index)
    factor = [torch.rand(n, 1, dtype=dtype) + 0.5 if factors else None for n in (M, N)]
    return Adjacency.from_edges(source, target, weight, M, N, *factor)


def spikes_of(code, width, scale, num_rows=M):
    spike_time = torch.randint(len(code.table()), (num_rows, width), dtype=torch.uint8)
    return Spikes(spike_time, code, scale)


def scales_of(width, dtype=torch.float32):
    """One number, one for each node and one for each channel."""
    scales = [torch.tensor(0.7), torch.rand(M, 1) + 0.5, torch.rand(width) + 0.5]
    return [scale.to(dtype) for scale in scales]


def expected_sums(adjacency, x):
    """The loops of the reference: what sources are multiplied by comes first."""
    csr = adjacency.csr
    weight, factor = csr.weight, csr.source_factor
    if not isinstance(x, Spikes):
        return reference.aggregate(x, csr)
    table, scale = x.code.table().to(x.dtype), x.scale
    if scale.numel() == 1:
        table = table * scale
    elif scale.dim() == 2:
        if weight is not None:
            weight = weight if factor is None else weight * factor[adjacency.col, 0]
            weight, factor = weight * scale[adjacency.col, 0], None
        else:
            factor = scale if factor is None else factor * scale
    csr = csr._replace(weight=weight, source_factor=factor)
    if x.shape[1] <= 40:
        out = reference.aggregate_spikes(x.spike_time, csr, table)
    else:  # The same, sooner.
        out = reference.aggregate(table[x.spike_time.long()], csr)
    return out * scale if scale.dim() == 1 and scale.numel() > 1 else out


def matrix_of(adjacency):
    own = torch.eye(adjacency.num_sources, dtype=torch.float64)
    return reference.aggregate(own, adjacency.csr)


@pytest.mark.parametrize('code', CODES, ids=str)
@pytest.mark.parametrize('width', WIDTHS)
def test_sums_of_spikes_equal_reference(code, width, pack):
    for dtype in (torch.float32, torch.float64):
        for weighted, factors in ((0, 0), (0, 1), (1, 0), (1, 1)):
            pack(weighted == factors)
            adjacency = adjacency_of(weighted, factors, dtype)
            for scale in scales_of(width, dtype):
                spikes = spikes_of(code, width, scale)
                found = propagate(adjacency, spikes)
                assert found.dtype == dtype
                assert torch.equal(found, expected_sums(adjacency, spikes))


@pytest.mark.parametrize('width', WIDTHS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_sums_of_values_equal_reference(width, dtype):
    for weighted, factors in ((0, 0), (0, 1), (1, 0), (1, 1)):
        adjacency = adjacency_of(weighted, factors, dtype)
        x = torch.randn(M, width, dtype=dtype)
        assert torch.equal(propagate(adjacency, x), expected_sums(adjacency, x))
        x[torch.rand(x.shape) < 0.01] = math.inf
        x[torch.rand(x.shape) < 0.01] = math.nan
        found, expected = propagate(adjacency, x), expected_sums(adjacency, x)
        assert torch.allclose(found, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize('width', [*WIDTHS, 31, 32, 33, 250, 256, 257, 272])
def test_packed_spikes_add_up_to_the_same(width, pack):
    if way_of(16, False) is TABLE:
        pytest.skip('this processor has no registers for levels')
    found = {}
    for code in (CODES[0], CODES[1], PhaseCode(7, 1.5, signed=True)):
        adjacency = adjacency_of(weighted=True, factors=False)
        spikes = spikes_of(code, width, torch.tensor(0.7))
        for packed, way in ((True, PACKED), (False, ONE)):
            pack(packed)
            messages = send(adjacency, spikes)
            assert messages.sent.way is way
            found[packed] = messages.sums()
            assert not found[packed].isnan().any()
        assert torch.equal(found[True], found[False])


@pytest.mark.parametrize(
    'num_sources, degree, width, expected',
    [
        (50_000, 3, 128, True),
        (50_000, 3, 64, False),  # No fewer lines of the cache.
        (50_000, 2, 128, False),
        (5_000, 30, 500, False),  # In the cache.
    ],
)
def test_what_is_packed(num_sources, degree, width, expected, monkeypatch):
    if way_of(16, False) is TABLE:
        pytest.skip('this processor has no registers for levels')
    monkeypatch.undo()
    rowptr = torch.arange(num_sources + 1) * degree
    col = torch.zeros(num_sources * degree, dtype=torch.int32)
    adjacency = Adjacency(rowptr, col, num_sources=num_sources)
    spike_time = torch.zeros(num_sources, width, dtype=torch.uint8)
    size = sent_size(Spikes(spike_time, CODES[1], torch.tensor(1.0)), adjacency)
    assert size == (0.5 if expected else 1)


@pytest.mark.parametrize('index', [torch.int32, torch.int64])
@pytest.mark.parametrize('width', [1, 17, 300])
def test_types_of_indices(index, width):
    adjacency = adjacency_of(weighted=True, factors=True, index=index)
    assert adjacency.col.dtype == torch.int32  # Enough for so few nodes.
    wide = Adjacency(  # As of a graph of more nodes.
        rowptr=adjacency.rowptr,
        col=adjacency.col.long(),
        weight=adjacency.weight,
        source_factor=adjacency.source_factor,
        target_factor=adjacency.target_factor,
        num_sources=M,
    )
    for x in (spikes_of(CODES[1], width, torch.tensor(0.7)), torch.randn(M, width)):
        expected = expected_sums(adjacency, x)
        assert torch.equal(propagate(adjacency, x), expected)
        assert torch.equal(propagate(wide, x), expected)


@pytest.mark.parametrize(
    'num_sources, num_targets', [(31, 23), (31, 0), (0, 23), (0, 0)]
)
@pytest.mark.parametrize('width', [0, 1, 17])
def test_no_edges(num_sources, num_targets, width):
    edges = torch.zeros(2, 0, dtype=torch.long)
    adjacency = neighbor_adjacency(
        edges, None, num_sources, num_targets, torch.float32, mean=True
    )
    expected = torch.zeros(num_targets, width)
    bias = torch.linspace(-1, 1, width)
    for x in (
        spikes_of(CODES[1], width, torch.tensor(0.7), num_sources),
        torch.randn(num_sources, width),
    ):
        assert torch.equal(propagate(adjacency, x), expected)
        spike_time = send(adjacency, x).encode(bias, CODES[2], torch.tensor(0.5))
        if spike_time is None:
            assert 0 in (num_sources, num_targets, width)
        else:
            assert torch.equal(spike_time, encode(expected + bias, CODES[2], 0.5))


def test_no_values():
    adjacency = adjacency_of(weighted=True, factors=True)
    for shape in ((M, 0), (M, 3, 0)):
        assert propagate(adjacency, torch.zeros(shape)).shape == (N, *shape[1:])
    spikes = spikes_of(CODES[1], 0, torch.tensor(0.7))
    assert propagate(adjacency, spikes).shape == (N, 0)


def test_gaps_in_memory():
    edges = torch.randint(20, (90, 2)).t()
    weight = torch.rand(90, 2)[:, 0]
    adjacency = neighbor_adjacency(edges, weight, 20, 20, torch.float32)
    packed = neighbor_adjacency(
        edges.contiguous(), weight.contiguous(), 20, 20, torch.float32
    )
    spikes = spikes_of(CODES[1], 33, torch.tensor(0.7), 40)
    gaps = [
        Spikes(spikes.spike_time[::2], spikes.code, spikes.scale),
        Spikes(spikes.spike_time[:20, 3:20], spikes.code, torch.rand(34)[::2] + 0.5),
        Spikes(
            spikes.spike_time[:33, :20].t(), spikes.code, torch.rand(2, 20).t()[:, :1]
        ),
        torch.randn(40, 17)[::2],
        torch.randn(17, 20).t(),
        torch.randn(20, 17).flip(0)[:, 1:4],
        torch.randn(1, 17).expand(20, 17),
    ]
    for x in gaps:
        expected = expected_sums(packed, x)
        assert torch.equal(propagate(adjacency, x), expected)


def test_other_numbers_of_dimensions():
    adjacency = adjacency_of(weighted=True, factors=True)
    x = torch.randn(M, 3, 5, 2)
    expected = expected_sums(adjacency, x.flatten(1)).view(N, 3, 5, 2)
    assert torch.equal(propagate(adjacency, x), expected)
    assert torch.equal(
        propagate(adjacency, x.transpose(1, 2)), expected.transpose(1, 2)
    )
    expected = expected_sums(adjacency, x[:, :1, 0, 0]).view(N)
    assert torch.equal(propagate(adjacency, x[:, 0, 0, 0]), expected)
    spikes = Spikes.from_values(x, CODES[1], torch.rand(5, 2) + 0.5)
    expected = expected_sums(adjacency, spikes.decode().flatten(1)).view(N, 3, 5, 2)
    assert torch.equal(propagate(adjacency, spikes), expected)
    for scale in (torch.ones(M, 5), torch.rand(1, 5) + 0.5):  # Neither of these.
        spikes = Spikes.from_values(x[:, 0, :, 0], CODES[1], scale)
        expected = expected_sums(adjacency, spikes.decode())
        assert torch.allclose(propagate(adjacency, spikes), expected, atol=1e-5)


def test_factors_are_left_out_of_plain_sums():
    adjacency = adjacency_of(weighted=True, factors=True)
    plain = adjacency_of(weighted=True, factors=False)
    x = spikes_of(CODES[1], 17, torch.tensor(0.7))
    expected = expected_sums(adjacency.without_factors(), x)
    assert torch.equal(aggregate(adjacency, x), expected)
    assert torch.equal(aggregate(plain, x), propagate(plain, x))


@pytest.mark.parametrize('kind', ['spikes', 'channels', 'values', 'half'])
def test_rows(kind):
    adjacency = adjacency_of(weighted=False, factors=True)
    x = spikes_of(CODES[1], 33, scales_of(33)[2 if kind == 'channels' else 0])
    if kind in ('values', 'half'):
        x = x.decode() if kind == 'values' else x.decode().double().half()
    messages = send(adjacency, x)
    expected = messages.sums()
    for start, stop in ((0, N), (0, 1), (3, 9), (N - 1, N), (5, 5), (0, 0), (N, N)):
        found = messages.sums((start, stop))
        assert torch.equal(found, expected[start:stop])
        out = torch.full((stop - start, 33), 9.0, dtype=messages.dtype)
        assert messages.sums((start, stop), out) is out
        assert torch.equal(out, found)
    memory = torch.full((9, 33), 9.0, dtype=messages.dtype)
    messages.sums((3, 9), memory[1:7])
    assert torch.equal(memory[1:7], expected[3:9])
    assert bool((memory[0] == 9).all()) and bool((memory[7:] == 9).all())


def test_gradients():
    adjacency = adjacency_of(weighted=True, factors=True, dtype=torch.float64)
    x = torch.randn(M, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: propagate(adjacency, x), x)
    assert torch.allclose(propagate(adjacency, x), expected_sums(adjacency, x.detach()))
    with torch.no_grad():
        assert torch.equal(propagate(adjacency, x), expected_sums(adjacency, x))
    assert not propagate(adjacency, x.detach()).requires_grad
    for shape in ((), (M, 1), (5,)):
        scale = torch.rand(shape, dtype=torch.float64).add_(0.5).requires_grad_()
        spikes = spikes_of(CODES[1], 5, scale)
        (found,) = torch.autograd.grad(propagate(adjacency, spikes).sum(), scale)
        product = matrix_of(adjacency) @ spikes.decode()
        (expected,) = torch.autograd.grad(product.sum(), scale)
        assert torch.allclose(found, expected)
        with torch.no_grad():
            expected = expected_sums(adjacency, spikes)
            assert torch.equal(propagate(adjacency, spikes), expected)
    weight = torch.rand(adjacency.num_edges, dtype=torch.float64, requires_grad=True)
    learned = Adjacency(adjacency.rowptr, adjacency.col, weight, num_sources=M)
    propagate(learned, x.detach()).sum().backward()
    assert torch.allclose(weight.grad, x.detach().sum(dim=1)[adjacency.col])


def test_what_the_kernels_leave_to_pytorch():
    adjacency = adjacency_of(weighted=True, factors=True)
    double = adjacency_of(weighted=True, factors=True, dtype=torch.float64)
    x = torch.randn(M, 7)
    for like in (x.half(), x.bfloat16(), x.double()):
        found = propagate(adjacency, like)
        assert found.dtype == like.dtype
        expected = expected_sums(adjacency, x)
        assert torch.allclose(found.float(), expected, rtol=0.1, atol=0.2)
    spikes = spikes_of(CODES[1], 7, torch.tensor(0.7))
    expected = expected_sums(
        double, Spikes(spikes.spike_time, CODES[1], spikes.scale.double())
    )
    assert torch.allclose(propagate(double, spikes).double(), expected, atol=1e-5)
    negated = torch.randn(M, 7, dtype=torch.complex64).conj().imag  # Lazily.
    expected = expected_sums(adjacency, negated.clone())
    assert torch.allclose(propagate(adjacency, negated), expected, atol=1e-5)


@pytest.mark.parametrize('code', CODES, ids=str)
@pytest.mark.parametrize('width', [1, 15, 16, 17, 40, 300, 1000])
def test_encode_equals_that_of_sums(code, width):
    fired = CODES[-4], CODES[1], CODES[-1], CODES[4]
    for i, dtype in enumerate((torch.float32, torch.float64)):
        adjacency = adjacency_of(weighted=i, factors=True, dtype=dtype)
        for j, scale in enumerate(scales_of(width, dtype)):
            x = spikes_of(code, width, scale)
            sums, bias = propagate(adjacency, x), torch.randn(width, dtype=dtype)
            one, many = torch.tensor(0.5), torch.rand(width) + 0.3
            for s, b in ((one, bias), (many, bias), (one, None), (many, None)):
                target, s = fired[(i + j) % 4], s.to(dtype)
                found = send(adjacency, x).encode(b, target, s)
                if found is None:  # Scales of channels are multiplied by last.
                    assert scale.shape == (width,)
                    continue
                expected = encode(sums if b is None else sums + b, target, s)
                assert found.dtype == torch.uint8 and torch.equal(found, expected)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('num_targets', [1, 31, 32, 33, 100])
def test_encode_in_blocks_of_rows(dtype, num_targets):
    edges = torch.stack([torch.arange(M), torch.arange(M) % num_targets])
    adjacency = neighbor_adjacency(edges, None, M, num_targets, dtype)
    x = torch.randn(M, 19, dtype=dtype)  # Real values fire, too.
    bias, scale = torch.randn(19, dtype=dtype), torch.rand(19, dtype=dtype) + 0.5
    for code in (PhaseCode(15, 1.5), PhaseCode(16, 1.5, signed=True)):
        for s in (scale, scale[:1], scale[0]):
            found = send(adjacency, x).encode(bias, code, s)
            assert torch.equal(found, encode(propagate(adjacency, x) + bias, code, s))


DEPTHS, OUTPUTS = [1, 15, 17, 40, 130], [1, 15, 16, 17, 33, 64, 65, 130]


@pytest.mark.parametrize('depth', DEPTHS)
@pytest.mark.parametrize('num_outputs', OUTPUTS)
def test_products(depth, num_outputs):
    for i, dtype in enumerate((torch.float32, torch.float64)):
        adjacency = adjacency_of(weighted=i, factors=True, dtype=dtype)
        weight = torch.randn(num_outputs, depth, dtype=dtype)
        bias = torch.randn(num_outputs, dtype=dtype)
        one, many = torch.tensor(0.5), torch.rand(num_outputs) + 0.3
        inputs = [spikes_of(CODES[1], depth, s) for s in scales_of(depth, dtype)]
        inputs += [spikes_of(CODES[-1], depth, scales_of(depth, dtype)[0])]
        inputs += [torch.randn(M, depth, dtype=dtype)]
        for j, x in enumerate(inputs):
            weights = Weights(weight, None if j == 1 else bias)
            messages = send(adjacency, x)
            out = torch.empty(N, num_outputs, dtype=dtype)
            found = messages.products(weights, (0, N), out)
            assert found is out
            offset = None if j == 1 else bias.double()
            expected = F.linear(messages.sums().double(), weight.double(), offset)
            close = 1e-4 if dtype == torch.float32 else 1e-12
            assert torch.allclose(found.double(), expected, rtol=close, atol=close)
            for start, stop in ((0, 1), (3, 9), (5, 5), (N - 1, N)):
                out = torch.empty(stop - start, num_outputs, dtype=dtype)
                part = messages.products(weights, (start, stop), out)
                assert torch.equal(part, found[start:stop])
            code, s = CODES[(0, 1, 3, -1, -3)[j]], (one, many)[j % 2].to(dtype)
            spike_time = messages.encode(None, code, s, weights)
            assert torch.equal(spike_time, encode(found, code, s))


@pytest.mark.parametrize('num_targets', [1, 5, 6, 7, 47, 48, 49, 100])
def test_products_of_any_number_of_rows(num_targets):
    edges = torch.stack([torch.arange(M), torch.arange(M) % num_targets])
    adjacency = neighbor_adjacency(edges, None, M, num_targets, torch.float32)
    weights = Weights(torch.randn(20, 7), torch.randn(20))
    x = spikes_of(CODES[1], 7, torch.tensor(0.7))
    messages, out = send(adjacency, x), torch.empty(num_targets, 20)
    found = messages.products(weights, (0, num_targets), out)
    expected = F.linear(messages.sums(), weights.weight, weights.bias)
    assert torch.allclose(found, expected, atol=1e-5)
    scale = torch.rand(20) + 0.3
    spike_time = messages.encode(None, CODES[1], scale, weights)
    assert torch.equal(spike_time, encode(found, CODES[1], scale))


def test_products_that_kernels_leave_to_pytorch():
    adjacency = adjacency_of(weighted=True, factors=True)
    x = spikes_of(CODES[1], 6, torch.tensor(0.7))
    weight, bias = torch.randn(5, 6), torch.randn(5)
    for w, b, given in (
        (weight.clone().requires_grad_(), bias, x),
        (weight, bias.clone().requires_grad_(), x),
        (weight.double(), bias.double(), x.to(torch.float64)),
        (weight.bfloat16(), bias.bfloat16(), x.to(torch.bfloat16)),
        (weight.t().contiguous().t(), bias.repeat_interleave(2)[::2], x),
    ):
        weights, messages = Weights(w, b), send(adjacency, given)
        out = torch.empty(N, 5, dtype=given.dtype)
        found = messages.products(weights, (0, N), out)
        expected = F.linear(messages.sums(), w, b)
        assert torch.allclose(found, expected, rtol=0.01, atol=1e-4)
        assert found.requires_grad == (w.requires_grad or b.requires_grad)
        with torch.no_grad():
            found = messages.products(weights, (0, N), out)
            assert torch.allclose(found, expected, rtol=0.01, atol=1e-4)
    messages, out, one = send(adjacency, x), torch.empty(N, 5), torch.randn(1)
    found = messages.products(Weights(weight, one), (0, N), out)  # It broadcasts.
    assert torch.allclose(found, F.linear(messages.sums(), weight) + one, atol=1e-4)
    with pytest.raises(RuntimeError, match='dtype'):
        messages.products(Weights(weight.double(), None), (0, N), out)
    with pytest.raises(RuntimeError, match='shapes'):
        messages.products(Weights(weight[:, :5], None), (0, N), out)


def test_ties_fire():
    code = PhaseCode(8, 2.0, signed=True)  # All sums are exact.
    edges = torch.randint(20, (2, 200))
    adjacency = neighbor_adjacency(edges, None, 20, 20, torch.float32)
    x = Spikes(torch.randint(17, (20, 40), dtype=torch.uint8), code, torch.tensor(2.0))
    potential = matrix_of(adjacency).float() @ x.decode()
    bias = torch.full((40,), 0.5)
    thresholds = code.thresholds.float()
    assert bool(torch.isin(potential + bias, thresholds).any())
    found = send(adjacency, x).encode(bias, code, torch.tensor(1.0))
    assert torch.equal(found, reference.encode(potential + bias, code))


def test_what_is_not_encoded_at_once():
    adjacency = adjacency_of(weighted=False, factors=True)
    code, one = CODES[1], torch.tensor(0.5)
    x, bias = torch.randn(M, 6), torch.randn(6)
    messages, potential = send(adjacency, x), propagate(adjacency, x)
    learned = bias.clone().requires_grad_()
    for s, b in ((one, bias), (one.clone().requires_grad_(), learned)):
        found = messages.encode(b, code, s)
        assert torch.equal(found, encode(potential + bias, code, one))
    for s, b in (
        (torch.rand(N, 1) + 0.5, bias),
        (torch.rand(1, 6) + 0.5, bias),
        (one, torch.tensor(0.3)),
        (one, torch.randn(1)),
        (one, torch.randn(N, 1)),
        (one, bias.double()),
    ):
        assert messages.encode(b, code, s) is None
    cube, half = send(adjacency, x.view(M, 2, 3)), send(adjacency, x.half())
    assert cube.encode(bias[:3], code, one) is None
    assert half.encode(bias.half(), code, one) is None
    weight = torch.randn(5, 6)
    for w, b in (
        (weight.clone().requires_grad_(), None),
        (weight, torch.randn(1)),
        (weight[:0], None),
    ):
        weights = Weights(w, b)
        assert messages.encode(None, code, one, weights) is None


@pytest.mark.parametrize(
    'scale, match',
    [
        (torch.tensor(-0.5), r'positive and finite \(got -0.5\)'),
        (torch.zeros(6), r'positive and finite \(got 0\)'),
        (torch.tensor([math.inf]), r'positive and finite \(got inf\)'),
    ],
)
def test_scales_that_do_not_fire(scale, match):
    messages = send(adjacency_of(0, 0), torch.randn(M, 6))
    with pytest.raises(ValueError, match=match):
        messages.encode(None, CODES[1], scale)


@pytest.mark.parametrize('width', [1, 17, 300])
@pytest.mark.parametrize('latest', [False, True])
def test_earliest_equals_reference(width, latest):
    adjacency = adjacency_of(weighted=False, factors=True)
    rank = torch.randint(30, (M, 2 * width), dtype=torch.uint8)[:, ::2]
    expected = reference.earliest(rank, adjacency.csr, 15, latest)
    assert torch.equal(earliest(adjacency, rank, 15, latest), expected)
    assert torch.equal(earliest(adjacency, rank.int(), 15, latest), expected.int())
    cube = rank.reshape(M, 1, width, 1)
    found = earliest(adjacency, cube, 15, latest)
    assert torch.equal(found, expected.view(N, 1, width, 1))
    for like in (rank, rank.int()):
        found = earliest(adjacency, like[:, 0], 15, latest)
        assert torch.equal(found.byte(), expected[:, 0])


@pytest.mark.parametrize('num_sources, num_targets', [(31, 23), (31, 0), (0, 23)])
@pytest.mark.parametrize('width', [0, 1, 17])
def test_earliest_without_edges(num_sources, num_targets, width):
    edges = torch.zeros(2, 0, dtype=torch.long)
    adjacency = neighbor_adjacency(edges, None, num_sources, num_targets, torch.float32)
    rank = torch.ones(num_sources, width, dtype=torch.uint8)
    expected = torch.full((num_targets, width), 15, dtype=torch.uint8)
    assert torch.equal(earliest(adjacency, rank, 15), expected)


def uneven_adjacency(dtype):
    """Almost all edges end in one node, and most other nodes have none."""
    target = torch.randint(500, (3000,)).clamp(min=400)
    edges = torch.stack([torch.randint(200, (3000,)), target])
    weight = torch.rand(3000, dtype=dtype)
    return neighbor_adjacency(edges, weight, 200, 500, dtype, mean=True)


@pytest.mark.parametrize('width', [1, 33, 300])
@pytest.mark.parametrize('uneven', [False, True])
def test_threads_do_not_matter(num_threads, width, uneven):
    found = []
    for dtype in (torch.float32, torch.float64):
        if uneven:
            adjacency = uneven_adjacency(dtype)
        else:
            edges = torch.randint(200, (2, 3000))
            adjacency = neighbor_adjacency(edges, None, 200, 200, dtype)
        bias = torch.randn(width, dtype=dtype)
        weights = Weights(torch.randn(width, width, dtype=dtype), bias)
        for code in (CODES[1], CODES[-1]):
            scale = torch.rand(width, dtype=dtype) + 0.5
            spikes = spikes_of(code, width, scale[0], 200)
            results = []
            for count in (1, 2, 3, 8):
                num_threads(count)
                results.append(
                    [
                        propagate(adjacency, spikes),
                        propagate(adjacency, spikes.decode()),
                        send(adjacency, spikes).sums((3, 117)),
                        send(adjacency, spikes).encode(bias, code, scale),
                        send(adjacency, spikes).encode(None, code, scale, weights),
                        send(adjacency, spikes).products(
                            weights, (3, 117), torch.empty(114, width, dtype=dtype)
                        ),
                        earliest(adjacency, spikes.spike_time, code.num_steps),
                    ]
                )
            found.append(results)
    for first, *others in found:
        for other in others:
            assert all(map(torch.equal, first, other))


def test_wrong_number_of_rows():
    adjacency = adjacency_of(weighted=False, factors=False)
    for x in (torch.ones(30, 3), spikes_of(CODES[1], 3, torch.tensor(0.7), 30)):
        with pytest.raises(ValueError, match=r"'x' to have 31 rows, .* \(got 30\)"):
            propagate(adjacency, x)


def test_without_numba(without_numba):
    spikes = spikes_of(CODES[1], 17, torch.tensor(0.7))
    with pytest.warns(RuntimeWarning, match='Numba cannot be used') as found:
        adjacency = adjacency_of(weighted=True, factors=True)
        sums = propagate(adjacency, spikes)
    assert len(found) == 1
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert torch.allclose(sums, expected_sums(adjacency, spikes), atol=1e-5)
        for scale in scales_of(17):
            for x in (spikes_of(CODES[-1], 17, scale), torch.randn(M, 17)):
                expected = expected_sums(adjacency, x)
                messages = send(adjacency, x)
                assert torch.allclose(messages.sums(), expected, atol=1e-4)
                assert torch.allclose(messages.sums((3, 9)), expected[3:9], atol=1e-4)
                plain = expected_sums(adjacency.without_factors(), x)
                assert torch.allclose(aggregate(adjacency, x), plain, atol=1e-4)
                weights, out = Weights(torch.randn(5, 17), None), torch.empty(6, 5)
                found = messages.products(weights, (3, 9), out)
                product = F.linear(expected[3:9], weights.weight)
                assert torch.allclose(found, product, atol=1e-3)
                assert messages.encode(None, CODES[1], torch.tensor(0.5)) is None
        rank = spikes.spike_time
        expected = reference.earliest(rank, adjacency.csr, 15)
        for like in (rank, rank.view(M, 17, 1)):
            assert torch.equal(earliest(adjacency, like, 15).view(N, 17), expected)
    assert info()['path'] == 'torch'
