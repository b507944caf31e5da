import pytest
import torch
import torch.nn.functional as F
from torch import fx

from spikegraph.coding import PhaseCode, Spikes
from spikegraph.kernels import (
    Weights,
    earliest,
    encode_spikes,
    encode_transform,
    first_spike,
    gcn_adjacency,
    late,
    multiply_rows,
    neighbor_adjacency,
    own_adjacency,
    row_peaks,
    send,
    transform_spikes,
)
from spikegraph.kernels.attention import send_delayed
from tests.parts import parts_of, sub_adjacency

NUM_ROWS = 203  # No multiple of what is computed at once.
WIDTHS = [
    (1, 1),
    (3, 7),
    (17, 33),
    (64, 1),
    (100, 10),
    (128, 64),
    (257, 130),
    (500, 16),
]
DTYPES = [torch.float32, torch.float64]
CODE, SIGNED = PhaseCode(12, 1.5), PhaseCode(20, 1.3, signed=True)


@pytest.fixture(params=['kernels', 'torch'])
def backend(request):
    """What multiplies and adds up: the kernels, or PyTorch where there are none."""
    if request.param == 'torch':
        request.getfixturevalue('without_numba')
        with pytest.warns(RuntimeWarning, match='Numba cannot be used'):
            encode_spikes(torch.ones(1), CODE)
    return request.param


@pytest.fixture(params=[1, 2])
def threads(request, num_threads):
    num_threads(request.param)


def make_weights(depth, num_outputs, dtype=torch.float32, bias=True):
    weight = torch.randn(num_outputs, depth, dtype=dtype)
    return Weights(weight, torch.randn(num_outputs, dtype=dtype) if bias else None)


def product(x, weights):
    return multiply_rows(x, Weights(weights.weight, weights.bias))


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('depth, num_outputs', WIDTHS)
@pytest.mark.parametrize('bias', [False, True])
def test_parts_of_the_rows_are_alike(
    backend, num_threads, depth, num_outputs, bias, dtype
):
    x = torch.randn(NUM_ROWS, depth, dtype=dtype)
    weights = make_weights(depth, num_outputs, dtype, bias)
    num_threads(1)
    whole = product(x, weights)
    assert whole.shape == (NUM_ROWS, num_outputs) and whole.is_contiguous()
    tolerance = 1e-4 if dtype == torch.float32 else 1e-11
    expected = F.linear(x, weights.weight, weights.bias)
    assert torch.allclose(whole, expected, rtol=tolerance, atol=tolerance)
    for num in (1, 2):
        num_threads(num)
        for rows in parts_of(NUM_ROWS):
            assert torch.equal(product(x[rows], weights), whole[rows])
            start, stop = int(rows[0]), min(NUM_ROWS, int(rows[0]) + len(rows))
            assert torch.equal(product(x[start:stop], weights), whole[start:stop])


@pytest.mark.parametrize('dtype', DTYPES)
def test_many_rows_are_alike(backend, threads, dtype):
    x, weights = torch.randn(4099, 33, dtype=dtype), make_weights(33, 40, dtype)
    whole = product(x, weights)
    for rows in parts_of(len(x)):
        assert torch.equal(product(x[rows], weights), whole[rows])


@pytest.mark.parametrize('dtype', DTYPES)
def test_wherever_rows_lie_in_memory(backend, threads, dtype):
    x, weights = torch.randn(50, 19, dtype=dtype), make_weights(19, 21, dtype)
    whole = product(x, weights)
    odd = torch.empty(50 * 19 + 1, dtype=dtype)[1:].view(50, 19).copy_(x)
    wide = torch.cat([x + 1, x, x - 1], dim=1)[:, 19:38]
    across, thrice = x.t().contiguous().t(), x.repeat_interleave(3, 0)[1::3]
    for same in (odd, wide, across, thrice, x.view(5, 10, 19), x.view(2, 5, 5, 19)):
        found = product(same, weights)
        assert found.shape == (*same.shape[:-1], 21)
        assert torch.equal(found.view(50, 21), whole)
    assert torch.equal(product(x[7], weights), whole[7])
    one = x[:1].expand(4, 19)
    assert torch.equal(product(one, weights), whole[:1].expand(4, 21))
    turned = Weights(weights.weight.t().contiguous().t(), weights.bias)
    assert torch.equal(product(x, turned), whole)


def test_writes_to_what_is_given(backend):
    x, weights = torch.randn(20, 9), make_weights(9, 5)
    memory = torch.full((30, 5), float('nan'))
    found = multiply_rows(x, weights, memory[5:25])
    assert found.data_ptr() == memory[5].data_ptr()
    assert torch.equal(found, product(x, weights))
    assert bool(memory[:5].isnan().all()) and bool(memory[25:].isnan().all())
    for other in (memory[:19], memory[:21], memory[:20, :4]):
        before = other.clone()
        assert torch.equal(multiply_rows(x, weights, other), found)
        assert torch.equal(other.nan_to_num(), before.nan_to_num())
    assert multiply_rows(x.view(4, 5, 9), weights, memory[:4]).shape == (4, 5, 5)


def test_a_row_that_is_not_finite_is_alone(backend):
    x, weights = torch.randn(37, 9), make_weights(9, 5)
    whole = product(x, weights)
    x[4], x[36, 2] = float('inf'), float('nan')
    fine = torch.tensor([row for row in range(37) if row not in (4, 36)])
    found = product(x, weights)
    assert torch.equal(found[fine], whole[fine]) and bool(found[36].isnan().all())
    assert not bool(found[4].isfinite().any())


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('code', [CODE, SIGNED], ids=str)
def test_values_are_multiplied_as_their_spikes_are(code, dtype):
    scale = torch.tensor(0.7, dtype=dtype)
    spikes = Spikes.from_values(torch.randn(100, 37, dtype=dtype), code, scale)
    weights, out = make_weights(37, 50, dtype), torch.empty(100, 50, dtype=dtype)
    sent = send(own_adjacency(100, out.device), spikes)
    found = sent.products(Weights(weights.weight, weights.bias), (0, 100), out)
    assert torch.equal(product(spikes.decode(), weights), found)


def test_gradients_are_those_of_pytorch():
    x, weights = torch.randn(6, 5, requires_grad=True), make_weights(5, 3)
    expected = F.linear(x, weights.weight, weights.bias)
    found = multiply_rows(x, weights, torch.empty(6, 3))
    assert torch.equal(found, expected)
    found.sum().backward()
    assert torch.allclose(x.grad, weights.weight.sum(0).expand(6, 5))
    weights.weight.requires_grad_()
    multiply_rows(x.detach(), weights).sum().backward()
    assert torch.allclose(weights.weight.grad, x.detach().sum(0).expand(3, 5))
    with torch.no_grad():
        found = multiply_rows(x, weights)
    assert not found.requires_grad and torch.allclose(found, expected)


def test_what_pytorch_multiplies():
    x, weights = torch.randn(6, 5), make_weights(5, 3)
    expected = F.linear(x, weights.weight, weights.bias)
    half = Weights(weights.weight.bfloat16(), weights.bias.bfloat16())
    found = multiply_rows(x.bfloat16(), half)
    assert torch.equal(found, F.linear(x.bfloat16(), half.weight, half.bias))
    meta = Weights(weights.weight.to('meta'), weights.bias.to('meta'))
    assert multiply_rows(x.to('meta'), meta).shape == (6, 3)
    assert multiply_rows(x[:0], weights).shape == (0, 3)
    assert multiply_rows(x[:, :0], make_weights(0, 3)).shape == (6, 3)
    traced = fx.symbolic_trace(lambda x: multiply_rows(x, weights))
    assert F.linear in [node.target for node in traced.graph.nodes]
    assert torch.equal(traced(x), expected)
    compiled = torch.compile(lambda x: multiply_rows(x, weights), backend='eager')
    assert torch.equal(compiled(x), expected)
    each = torch.vmap(lambda row: multiply_rows(row, weights))(x)
    assert torch.allclose(each, expected)
    _, tangent = torch.func.jvp(lambda x: multiply_rows(x, weights), (x,), (x,))
    assert torch.allclose(tangent, F.linear(x, weights.weight))
    with pytest.raises(RuntimeError, match='same dtype'):
        multiply_rows(x.double(), weights)
    with pytest.raises(RuntimeError, match='cannot be multiplied'):
        multiply_rows(x[:, :4], weights)


@pytest.mark.filterwarnings('ignore:.*torch.jit')
def test_a_trace_of_pytorch_reads_its_input():
    x, weights = torch.randn(6, 5), make_weights(5, 3)
    traced = torch.jit.trace(lambda x: multiply_rows(x, weights), (x,))
    other = torch.randn(4, 5)
    expected = F.linear(other, weights.weight, weights.bias)
    assert torch.allclose(traced(other), expected)


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('code', [CODE, SIGNED], ids=str)
@pytest.mark.parametrize('per_channel', [False, True])
def test_neurons_and_events_by_rows(backend, threads, code, per_channel, dtype):
    x, weights = torch.randn(NUM_ROWS, 37, dtype=dtype), make_weights(37, 11, dtype)
    scale = torch.rand(37, dtype=dtype) + 0.5
    scale = scale if per_channel else scale[0]
    thresholds = code.thresholds.to(dtype).view(-1, 1) * torch.ones(37, dtype=dtype)
    factor = torch.rand(NUM_ROWS, 1, dtype=dtype) + 0.5

    def compute(rows):
        values, given = x[rows], (weights.weight, weights.bias)
        times = encode_spikes(values, code, scale)
        spikes = Spikes(times, code, scale)
        yield from (times, spikes.decode(), transform_spikes(spikes, *given))
        yield row_peaks(values)
        yield first_spike(values, thresholds, code.signed)
        yield first_spike(values, thresholds, code.signed, factor[rows])
        if not per_channel:
            for relative in (False, True):
                yield encode_transform(values, code, scale, *given, relative)

    whole = list(compute(slice(None)))
    for rows in parts_of(NUM_ROWS):
        for found, expected in zip(compute(rows), whole, strict=True):
            assert torch.equal(found, expected[rows])


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('kind', ['gcn', 'mean', 'weighted', 'both'])
@pytest.mark.parametrize('sends', ['spikes', 'channels', 'values'])
def test_sums_over_neighbors_by_rows(backend, threads, kind, sends, dtype):
    edges, weight = torch.randint(NUM_ROWS, (2, 1500)), torch.rand(1500, dtype=dtype)
    weight, given = weight if kind in ('weighted', 'both') else None, (NUM_ROWS, dtype)
    if kind in ('gcn', 'both'):
        graph = gcn_adjacency(edges, weight, *given)
    else:
        graph = neighbor_adjacency(edges, weight, NUM_ROWS, *given, mean=kind == 'mean')
    x, scale = torch.randn(NUM_ROWS, 37, dtype=dtype), torch.rand(37, dtype=dtype)
    if sends != 'values':
        scale = scale + 0.5 if sends == 'channels' else scale[0] + 0.5
        x = Spikes.from_values(x, SIGNED, scale)
    weights, fires = make_weights(37, 50, dtype), torch.tensor(1.5, dtype=dtype)
    bias = torch.randn(37, dtype=dtype)

    def compute(adjacency, x):
        messages, num = send(adjacency, x), adjacency.num_targets
        own = Weights(weights.weight, weights.bias)
        yield messages.sums()
        yield messages.products(own, (0, num), torch.empty(num, 50, dtype=dtype))
        yield messages.encode(bias, SIGNED, fires)
        yield messages.encode(None, SIGNED, fires, own)

    whole = list(compute(graph, x))
    for rows in parts_of(NUM_ROWS):
        part, sources = sub_adjacency(graph, rows)
        for found, expected in zip(compute(part, x[sources]), whole, strict=True):
            assert (found is None) == (expected is None)
            assert found is None or torch.equal(found, expected[rows])


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('channels', [8, 16])  # In parts of vectors, and in whole ones.
def test_attention_by_rows(backend, threads, channels, dtype):
    num_edges, heads, one = 1000, 3, torch.tensor(0.9, dtype=dtype)
    target = torch.randint(NUM_ROWS, (num_edges,)).sort().values
    source = torch.randint(NUM_ROWS, (num_edges,))
    values = torch.randn(NUM_ROWS, heads, channels, dtype=dtype)
    x = Spikes.from_values(values, SIGNED, one)
    raw = encode_spikes(torch.rand(num_edges, heads, dtype=dtype), CODE, one)
    divisor = torch.rand(NUM_ROWS, heads, 1, dtype=dtype) + 0.5
    bias = torch.randn(heads * channels, dtype=dtype)
    on = SIGNED.thresholds.to(dtype)

    def compute(edges, rows):
        index = torch.searchsorted(rows, target[edges])
        members = neighbor_adjacency(
            torch.stack([torch.arange(len(edges)), index]),
            *(None, len(edges), len(rows), dtype),
        )
        time = late(members, raw[edges], index, 12, 12)
        yield time, edges
        yield earliest(members, raw[edges], 12), rows
        sources, own = source[edges].unique(return_inverse=True)
        coefficients = Spikes(time, CODE, one)
        messages = send_delayed(x[sources], coefficients, own, index, len(rows))
        yield messages.sums(), rows
        yield messages.encode_moved(on, on, divisor[rows], bias), rows

    every = torch.arange(NUM_ROWS)
    whole = [value for value, _ in compute(torch.arange(num_edges), every)]
    for part in parts_of(NUM_ROWS):
        rows = part.sort().values
        edges = torch.isin(target, rows).nonzero().view(-1)
        for (found, index), expected in zip(compute(edges, rows), whole, strict=True):
            assert (found is None) == (expected is None)
            assert found is None or torch.equal(found, expected[index])
