import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

from spikegraph.coding import PhaseCode, Spikes
from spikegraph.nn import GraphFilter, PhaseNeuron, SpikingLinear
from spikegraph.nn import potentials as potentials_module
from spikegraph.nn.encoding import Encoding, encoded
from spikegraph.nn.layer import values_of
from spikegraph.nn.potentials import (
    Decoded,
    Given,
    Total,
    density_of,
    is_sparse,
    spikes_of,
)
from spikegraph.nn.shift import GCNShift, MemberShift, NeighborShift
from tests.parts import parts_of, sub_adjacency

N, E, INPUTS, OUTPUTS = 57, 300, 9, 6
CODE, SIGNED = PhaseCode(15, 1.5), PhaseCode(7, 1.5, signed=True)
EDGES = torch.randint(N - 3, (2, E), generator=torch.Generator().manual_seed(0))
MIXED = [[0.5, 1.0], [1.0], [0.0, -1.0]]


def filter_of(shift, coefficients=((0.0, 1.0),), order='auto', bias=True):
    weight = torch.randn(OUTPUTS, len(coefficients) * INPUTS)
    layer = GraphFilter(shift, coefficients, weight, torch.randn(OUTPUTS) * bias)
    layer.order = order
    return layer


LAYERS = {
    'linear': lambda: SpikingLinear(INPUTS, OUTPUTS),
    'linear without bias': lambda: SpikingLinear(INPUTS, OUTPUTS, bias=False),
    'sums': lambda: filter_of(GCNShift(), order='transform'),
    'product': lambda: filter_of(GCNShift(), order='aggregate'),
    'mixture': lambda: filter_of(GCNShift(), MIXED, order='aggregate'),
    'terms': lambda: filter_of(GCNShift(), MIXED, order='transform'),
    'hops': lambda: filter_of(NeighborShift(), [[1, 0, 0.1]], order='aggregate'),
    'hops of outputs': lambda: filter_of(NeighborShift(), [[1, 0, 0.1]]),
    'own rows': lambda: filter_of(GCNShift(), [[1.0]], order='aggregate'),
    'without weights': lambda: GraphFilter(NeighborShift(mean=True)),
    'groups': lambda: filter_of(MemberShift(), order='aggregate'),
}


def graph_of(name):
    if name.startswith('linear'):
        return ()
    return (torch.arange(N) // 5, 12) if name == 'groups' else (EDGES,)


# Those for which sources other than destinations will do.
BY_NEIGHBORS = 'sums', 'product', 'mixture', 'own rows', 'without weights'
NUM_MANY = 211
INPUT_KINDS = ['spikes', 'sparse spikes', 'channels', 'values', 'encoding', 'relative']


def input_of(kind, dtype=torch.float32, num_rows=N):
    x = torch.randn(num_rows, INPUTS, dtype=dtype)
    if kind == 'values':
        return x
    if kind in ('encoding', 'relative'):
        neuron = PhaseNeuron(SIGNED, 2.0, kind == 'relative', 'identity')
        neuron.density = 0.1 if kind == 'encoding' else None
        return Encoding(neuron.to(dtype), x)
    scale = torch.rand(INPUTS, dtype=dtype) + 1.5 if kind == 'channels' else 2.0
    spikes = Spikes.from_values(x, CODE, scale)
    density = 0.1 if kind == 'sparse spikes' else None
    return Spikes(spikes.spike_time, CODE, spikes.scale, density)


def neurons_of(width):
    return {
        'relu': PhaseNeuron(CODE, 1.3),
        'channels': PhaseNeuron(PhaseCode(31, 1.2), torch.rand(width) + 0.5),
        'identity': PhaseNeuron(SIGNED, 1.3, activation='identity'),
        'signed relu': PhaseNeuron(SIGNED, 1.3),
        'tanh': PhaseNeuron(SIGNED, 1.3, activation=nn.Tanh()),
        'prelu': PhaseNeuron(SIGNED, 1.3, activation=nn.PReLU(width)),
        'relative': PhaseNeuron(SIGNED, 0.8, node_scale=True, activation='identity'),
    }


def assert_same_spikes(found, expected, may_round=False):
    differs = found.spike_time != expected.spike_time
    assert int(differs.sum()) <= (1 if may_round else 0)
    assert found.spike_time.dtype == torch.uint8 and found.shape == expected.shape
    assert found.code == expected.code and found.density == expected.density
    assert found.scale.shape == expected.scale.shape
    assert torch.allclose(found.scale, expected.scale)


@torch.no_grad()
@pytest.mark.parametrize('kind', INPUT_KINDS)
@pytest.mark.parametrize('name', LAYERS)
def test_blocks_are_one(name, kind, monkeypatch):
    layer, x, graph = LAYERS[name](), input_of(kind), graph_of(name)
    expected = layer.potentials(x, *graph).whole()
    spikes = encoded(x)
    assert torch.allclose(layer(spikes, *graph), expected, rtol=1e-5, atol=1e-5)
    given = spikes.decode() if isinstance(spikes, Spikes) else spikes
    assert torch.allclose(layer(given, *graph), expected, rtol=1e-4, atol=1e-4)
    neurons = neurons_of(expected.size(1))
    for neuron in neurons.values():
        neuron.density = 0.3
        potentials = layer.potentials(x, *graph)
        assert_same_spikes(spikes_of(neuron, potentials), neuron(expected))
    for size in (1, 40, 177, N * INPUTS - 1):
        monkeypatch.setattr(potentials_module, 'BLOCK_SIZE', size)
        potentials = layer.potentials(x, *graph)
        blocks = potentials.blocks()
        assert len(blocks) > 1 or size > 40
        assert blocks[0][0] == 0 and blocks[-1][1] == potentials.shape[0]
        assert all(a[1] == b[0] for a, b in itertools.pairwise(blocks))
        rows = [potentials.rows(*block).clone() for block in blocks]
        assert torch.allclose(torch.cat(rows), expected, rtol=1e-5, atol=1e-5)
        assert torch.allclose(potentials.whole(), expected, rtol=1e-5, atol=1e-5)
        for neuron in neurons.values():
            found = spikes_of(neuron, layer.potentials(x, *graph))
            assert_same_spikes(found, neuron(expected), may_round=True)


@torch.no_grad()
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('kind', INPUT_KINDS)
@pytest.mark.parametrize('name', ['linear', 'linear without bias', *BY_NEIGHBORS])
def test_parts_of_the_nodes_are_alike(name, kind, dtype, monkeypatch):
    """Bit by bit, whatever other nodes there are and how they are divided."""
    layer, x = LAYERS[name]().to(dtype), input_of(kind, dtype, NUM_MANY)
    graph = () if name.startswith('linear') else (torch.randint(NUM_MANY, (2, 1200)),)
    whole, fired = layer.potentials(x, *graph).whole(), {}
    neurons = neurons_of(whole.size(1))
    for how in ('relu', 'channels', 'tanh', 'relative'):
        neuron = neurons[how].to(dtype)
        fired[neuron] = spikes_of(neuron, layer.potentials(x, *graph))
    assert torch.equal(layer(encoded(x), *graph), whole)
    adjacency = layer.shift(x, *graph) if graph else None
    monkeypatch.setattr(potentials_module, 'BLOCK_SIZE', 40 * INPUTS)
    for rows in parts_of(NUM_MANY):
        sources = rows
        if adjacency is not None:
            part, sources = sub_adjacency(adjacency, rows, first=True)
            layer.shift = lambda *_, part=part: part
        found = layer.potentials(x[sources], *graph).whole()
        assert torch.equal(found, whole[rows])
        for neuron, spikes in fired.items():
            some = spikes_of(neuron, layer.potentials(x[sources], *graph))
            assert torch.equal(some.spike_time, spikes.spike_time[rows])


@torch.no_grad()
@pytest.mark.parametrize('size', [7, 100, 1 << 20])
def test_totals(size, monkeypatch):
    monkeypatch.setattr(potentials_module, 'BLOCK_SIZE', size)
    x = input_of('spikes')
    first, second = filter_of(GCNShift(), order='transform'), LAYERS['linear']()
    values = Spikes.from_values(torch.rand(N, OUTPUTS), CODE)
    real = torch.randn(N, OUTPUTS)

    def parts():
        return [
            first.potentials(x, EDGES),
            second.potentials(x),
            Decoded(values),
            Given(real),
        ]

    expected = first(x, EDGES) + second(x) + values.decode() + real
    before = real.clone()
    for first_part in range(4):
        chosen = parts()[first_part:] + parts()[:first_part]
        for total in (
            Total(chosen),
            Total([Total(chosen[:2]), Total(chosen[2:])]),
            Total([chosen[0], Total(chosen[1:])]),
        ):
            assert torch.allclose(total.whole(), expected, atol=1e-5)
            for neuron in neurons_of(OUTPUTS).values():
                found = spikes_of(neuron, total)
                assert_same_spikes(found, neuron(expected), may_round=True)
    assert torch.equal(real, before)  # Read, not added to.
    twice = first.potentials(x, EDGES)
    expected = 2 * first(x, EDGES)
    assert torch.allclose(Total([twice, twice]).whole(), expected, atol=1e-5)


@pytest.mark.parametrize('name', LAYERS)
def test_gradients_in_blocks(name, monkeypatch):
    layer, graph = LAYERS[name](), graph_of(name)
    inputs = {'spikes': input_of('spikes'), 'values': input_of('values')}
    inputs['values'].requires_grad_()
    for kind, x in inputs.items():
        given = [p for p in layer.parameters() if p.requires_grad]
        given += [x] if kind == 'values' else []
        if not given:
            continue
        found = []
        for size in (1 << 20, 40):
            monkeypatch.setattr(potentials_module, 'BLOCK_SIZE', size)
            out = layer(x, *graph)
            found.append([out, *torch.autograd.grad(out.square().sum(), given)])
        for one, many in zip(*found, strict=True):
            assert torch.allclose(one, many, rtol=1e-4, atol=1e-3)
    if layer.weight is None:
        return
    monkeypatch.setattr(potentials_module, 'BLOCK_SIZE', 1 << 20)
    expected = layer(inputs['values'], *graph).detach()
    for frozen in ('weight', 'bias', 'values'):  # The others need gradients.
        layer.requires_grad_()
        x = inputs['values'].detach().requires_grad_(frozen != 'values')
        if getattr(layer, frozen, None) is not None:
            getattr(layer, frozen).requires_grad_(False)
        for size in (1 << 20, 40):
            monkeypatch.setattr(potentials_module, 'BLOCK_SIZE', size)
            out = layer(x, *graph)
            assert torch.allclose(out, expected, rtol=1e-4, atol=1e-4)
            out.sum().backward()


@pytest.mark.parametrize('name', LAYERS)
@pytest.mark.parametrize('num_nodes', [0, 1])
def test_no_edges(name, num_nodes):
    layer = LAYERS[name]()
    graph = graph_of(name)
    if graph:
        graph = (graph[0][..., :0], *graph[1:])
    if name == 'groups':
        graph = (torch.zeros(num_nodes, dtype=torch.long), 12)
    neuron = PhaseNeuron(CODE, 1.3)
    for kind in INPUT_KINDS:
        x = input_of(kind)[:num_nodes]
        with torch.no_grad():
            potentials = layer.potentials(x, *graph)
            expected = layer(values_of(encoded(x)), *graph)
            assert potentials.shape == expected.shape
            assert torch.allclose(potentials.whole(), expected, atol=1e-5)
            found = spikes_of(neuron, layer.potentials(x, *graph))
            assert torch.equal(found.spike_time, neuron(expected).spike_time)


def test_densities():
    x = input_of('spikes')
    assert density_of(x) == 1 and not is_sparse(x, 256)
    assert density_of(torch.zeros(3)) == 1 and not is_sparse(torch.zeros(3), 256)
    for density in (0.0, 0.1, 0.9):
        spikes = Spikes(x.spike_time, x.code, x.scale, density)
        assert density_of(spikes) == density
        assert is_sparse(spikes, 256) == (density < 0.5)
        assert is_sparse(spikes, 8) == (density == 0)  # Few outputs are soon added up.
        wide = replace(spikes, spike_time=x.spike_time.new_zeros(2, 500))
        assert is_sparse(wide, 8) == (
            density < 0.5
        )  # But features take time to encode.


def test_encodings():
    neuron = PhaseNeuron(SIGNED, 2.0, activation='identity')
    neuron.density = 0.25
    value = torch.randn(N, INPUTS, dtype=torch.float64)
    encoding = Encoding(neuron.double(), value)
    spikes = encoding.spikes()
    assert encoding.shape == spikes.shape == (N, INPUTS)
    assert encoding.dtype == spikes.dtype == torch.float64
    assert encoding.device == spikes.device and encoding.size(1) == INPUTS
    assert encoding.size() == value.size() and encoding.code == spikes.code
    assert encoding.density == spikes.density == 0.25
    part = encoding[3:9].spikes()
    assert torch.equal(part.spike_time, spikes.spike_time[3:9])
    assert torch.equal(encoded(encoding).spike_time, spikes.spike_time)
    assert encoded(spikes) is spikes and encoded(value) is value
    weight, bias = torch.randn(OUTPUTS, INPUTS).double(), torch.randn(OUTPUTS).double()
    expected = nn.functional.linear(spikes.decode(), weight, bias)
    assert torch.allclose(encoding.transform(weight, bias), expected)
