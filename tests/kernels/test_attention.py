import pytest
import torch
from torch import nn

from spikegraph.coding import PhaseCode, Spikes
from spikegraph.kernels import (
    Adjacency,
    aggregation,
    attention,
    late,
    member_adjacency,
)
from spikegraph.kernels.attention import send_delayed
from spikegraph.nn import PhaseNeuron
from spikegraph.nn.potentials import relative_spikes

N, M = 23, 31  # Destinations and sources.
# Odd and even widths, one head, heads in whole vectors, and more than are read at once.
SHAPES = [(1, 1), (1, 17), (3, 5), (8, 8), (2, 16), (5, 48), (4, 64), (3, 130)]
CODES = [PhaseCode(T, 1.2, signed=s) for T in (1, 7, 16, 40) for s in (False, True)]


def edges_of(num_edges, index=torch.int64):
    """Edges with twins; the last two destinations have none."""
    source, target = torch.randint(M, (num_edges,)), torch.randint(N - 2, (num_edges,))
    source[1:4], target[1:4] = source[:1], target[:1]
    return source.to(index), target.to(index)


def drawn(code, shape, scale):
    times = torch.randint(len(code.table()), shape, dtype=torch.uint8)
    return Spikes(times, code, scale)


def case_of(code, heads, width, dtype, per_channel=False, num_edges=120, **kwargs):
    scale = torch.tensor(1.7, dtype=dtype)
    if per_channel:
        scale = torch.rand(heads, width, dtype=dtype) + 0.5
    x = drawn(code, (M, heads, width), scale)
    c = drawn(PhaseCode(9, 1.2), (num_edges, heads), torch.ones((), dtype=dtype))
    return x, c, *edges_of(num_edges, **kwargs)


def expected_sums(x, coefficients, source, target):
    """Edge by edge, in the order given, as one would write it."""
    levels = x.code.table().to(x.dtype)[x.spike_time.long()]
    is_one = x.scale.numel() == 1
    levels = x.scale * levels if is_one else levels
    c = coefficients.decode()
    out = torch.zeros(N, *x.shape[1:], dtype=x.dtype)
    for e in range(len(source)):
        out[target[e]] += levels[source[e]] * c[e].unsqueeze(-1)
    return out if is_one else out * x.scale


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('heads, width', SHAPES)
@pytest.mark.parametrize('code', CODES, ids=str)
def test_sums_equal_a_loop(code, heads, width, dtype):
    for per_channel in (False, True):
        x, *edges = case_of(code, heads, width, dtype, per_channel)
        found = send_delayed(x, *edges, N).sums()
        assert found.dtype == dtype
        assert torch.equal(found, expected_sums(x, *edges))
        assert (found[-2:] == 0).all()


@pytest.mark.parametrize('index', [torch.int32, torch.int64])
@pytest.mark.parametrize('num_edges', [4, 120])
def test_indices_and_rows(index, num_edges):
    x, *edges = case_of(CODES[5], 3, 5, torch.float64, num_edges=num_edges, index=index)
    messages, expected = send_delayed(x, *edges, N), expected_sums(x, *edges)
    assert torch.equal(messages.sums(), expected)
    assert torch.equal(messages.sums((5, 9)), expected[5:9])


def test_no_edges():
    x, c, source, target = case_of(CODES[5], 3, 5, torch.float64, num_edges=4)
    none = Spikes(c.spike_time[:0], c.code, c.scale)
    found = send_delayed(x, none, source[:0], target[:0], N).sums()
    assert torch.equal(found, torch.zeros(N, 3, 5, dtype=torch.float64))


def test_threads_do_not_matter(num_threads):
    torch.manual_seed(1)
    x, *edges = case_of(CODES[5], 4, 64, torch.float32, num_edges=9000)
    found = []
    for num in (1, 2, 5):
        num_threads(num)
        found.append(send_delayed(x, *edges, N).sums())
    assert all(torch.equal(each, found[0]) for each in found)
    assert torch.equal(found[0], expected_sums(x, *edges))


@pytest.mark.parametrize('per_channel', [False, True])
def test_head_by_head_where_there_is_no_kernel(per_channel, monkeypatch):
    x, *edges = case_of(CODES[5], 3, 5, torch.float64, per_channel)
    monkeypatch.setattr(attention, 'call', lambda *_: NotImplemented)
    found = send_delayed(x, *edges, N)
    assert type(found) is attention._ByHead
    assert torch.equal(found.sums(), expected_sums(x, *edges))
    assert torch.equal(found.sums((2, 7)), expected_sums(x, *edges)[2:7])


ACTIVATIONS = ['relu', 'identity', nn.ELU(), nn.LeakyReLU(0.2), nn.Tanh()]


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('heads, width', SHAPES)
@pytest.mark.parametrize('activation', ACTIVATIONS, ids=str)
def test_what_fires_on_sums(activation, heads, width, dtype):
    for num_steps, signed, has_bias in [
        (16, True, True),
        (7, False, True),
        (40, True, False),
    ]:
        code = PhaseCode(num_steps, 1.2, signed=signed)
        neuron = PhaseNeuron(code, 2.0, activation=activation)
        x, *edges = case_of(CODES[5], heads, width, dtype, per_channel=has_bias)
        divisor = torch.rand(N, heads, 1, dtype=dtype) + 0.5
        bias = torch.randn(heads * width, dtype=dtype) if has_bias else None
        found = relative_spikes(neuron, send_delayed(x, *edges, N), divisor, bias)
        potential = expected_sums(x, *edges).flatten(1)
        moves = divisor.expand(N, heads, width).reshape(N, -1)
        if has_bias:
            potential = potential + moves * bias
        expected = neuron(potential, divisor=moves)
        assert found.code == expected.code and torch.equal(found.scale, expected.scale)
        assert torch.equal(found.spike_time, expected.spike_time)


def test_threads_do_not_matter_to_what_fires(num_threads):
    neuron = PhaseNeuron(PhaseCode(16, 1.2, signed=True), activation=nn.ELU())
    x, *edges = case_of(CODES[5], 4, 64, torch.float32, num_edges=9000)
    found, divisor = [], torch.rand(N, 4, 1) + 0.5
    for num in (1, 2, 5):
        num_threads(num)
        sums = send_delayed(x, *edges, N)
        found.append(relative_spikes(neuron, sums, divisor, None).spike_time)
    assert all(torch.equal(each, found[0]) for each in found)


def test_what_does_not_fire_on_sums():
    x, *edges = case_of(CODES[5], 3, 5, torch.float64)
    code, divisor = PhaseCode(7, 1.2, signed=True), torch.ones(N, 3, 1).double()
    sums = send_delayed(x, *edges, N)
    per_channel = PhaseNeuron(code, torch.rand(15) + 0.5)
    for neuron in (PhaseNeuron(code, activation=nn.GELU()), per_channel):
        assert relative_spikes(neuron, sums, divisor, None) is None
    neuron = PhaseNeuron(code, node_scale=True)
    assert relative_spikes(neuron, sums, divisor, None) is None
    neuron = PhaseNeuron(code, activation='identity')
    for wrong in (divisor[:, :1], divisor.float(), divisor.squeeze(-1)):
        assert relative_spikes(neuron, sums, wrong, None) is None
    assert relative_spikes(neuron, sums, divisor, torch.ones(5).double()) is None
    assert relative_spikes(neuron, sums, divisor, torch.ones(15).double()) is not None


@pytest.mark.parametrize('shape', [(1,), (5,), (3, 7), (17,)])
@pytest.mark.parametrize('index', [torch.int32, torch.int64])
def test_how_late_members_are(shape, index, num_threads, monkeypatch):
    target = edges_of(150, index)[1]
    time = torch.randint(41, (150, *shape), dtype=torch.uint8)
    expected = torch.full_like(time, 9)
    for e in range(150):
        first = time[target == target[e]].amin(0)
        after = (time[e] - first).clamp(max=9)
        expected[e] = torch.where(time[e] < 40, after, 9)
    members = member_adjacency(target, N, torch.float32)
    for num in (1, 2, 5):
        num_threads(num)
        assert torch.equal(late(members, time, target, 40, 9), expected)
    none = members.rowptr.new_zeros(N + 1), members.col[:0]
    empty = late(Adjacency(*none), time[:0], target[:0], 40, 9)
    assert empty.shape == (0, *shape) and empty.dtype == torch.uint8
    known = aggregation.call
    monkeypatch.setattr(  # As backends do that have no kernel for it.
        *(aggregation, 'call'),
        lambda name, *args: NotImplemented if name == 'late' else known(name, *args),
    )
    assert torch.equal(late(members, time, target, 40, 9), expected)
