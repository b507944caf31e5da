"""Populations and the matrices between them, against what the network computes."""

import copy
from collections import defaultdict

import pytest
import torch
from torch import nn
from torch_geometric.nn import GATConv, SAGEConv

from spikegraph import ConversionConfig, convert, simulate
from spikegraph.export.segments import OUTPUT, Segments
from tests.conversion.zoo import MODELS, make, randomize


@pytest.fixture
def graph(graph):
    """Fewer nodes, each of which fires by itself."""
    return graph.subgraph(torch.arange(60) % 3 == 0)


def is_expressible(snn, graph):
    try:
        return Segments(snn, graph)
    except NotImplementedError:
        return None


def expected_potentials(segments, simulation):
    """What matrices make of the spikes that were sent, by name."""
    found = defaultdict(lambda: 0)
    for source, target, matrix in segments.matrices():
        values = simulation.spikes[source].decode().double().flatten()
        found[target] = found[target] + matrix @ values
    for name, shape in segments.shapes.items():
        is_last = name == OUTPUT
        bias = segments.output_bias if is_last else segments.populations[name].bias
        found[name] = (found[name] + bias.flatten()).view(shape)
    return found


@pytest.mark.parametrize('name', MODELS)
@pytest.mark.parametrize('fold_degree', [False, True])
def test_matrices_are_the_network(name, fold_degree, graph):
    config = ConversionConfig(num_steps=9, fold_degree=fold_degree)
    snn = convert(make(name), graph, config)
    segments = is_expressible(snn, graph)
    if segments is None:
        assert 'max' in name or 'gate' in name.lower(), name
        return
    simulation = simulate(snn, graph)
    found = expected_potentials(segments, simulation)
    for label, potential in simulation.membrane.items():
        assert torch.allclose(found[label], potential, rtol=1e-9, atol=1e-9), label
    if not segments.read_outs:
        assert torch.allclose(found[OUTPUT], simulation.output, rtol=1e-9, atol=1e-9)
    else:
        assert segments.read_outs == ['log_softmax']
        out = found[OUTPUT].log_softmax(-1)
        assert torch.allclose(out, simulation.output, rtol=1e-9, atol=1e-9)
    for label, population in segments.populations.items():
        assert torch.equal(population.spikes.spike_time, simulation.spike_time[label])
        assert population.start == simulation.start_step[label]
        assert torch.equal(
            fired(population, found[label]), population.spikes.spike_time
        )
    assert segments.start + snn.config.num_steps == simulation.num_steps


def fired(population, potential):
    """Spike times by comparing with one threshold after the other."""
    num_steps = population.num_steps
    time = torch.full(population.shape, num_steps, dtype=torch.uint8)
    tables = [population.of_each(t) for t in (population.on, population.off_high)]
    on, high, low = *tables, population.of_each(population.off_low)
    for step in reversed(range(num_steps)):
        time[potential >= on[step]] = step
    for step in reversed(range(num_steps)):
        is_off = (potential <= high[step]) & (potential >= low[step])
        first = time.clamp(max=num_steps) > step
        time[is_off & (first | (time > num_steps))] = num_steps + 1 + step
    return time


ACTIVATIONS = [nn.ReLU(), nn.GELU(), nn.Tanh(), nn.SiLU(), nn.PReLU(6), nn.ELU()]


@pytest.mark.parametrize('activation', ACTIVATIONS, ids=str)
@pytest.mark.parametrize('per_channel', [False, True])
def test_thresholds_of_activations(activation, per_channel):
    layers = nn.Linear(4, 6), copy.deepcopy(activation), nn.Linear(6, 3)
    x = torch.randn(9, 4, dtype=torch.float64)
    config = ConversionConfig(num_steps=9, per_channel=per_channel)
    model = randomize(nn.Sequential(*layers))
    for parameter in model[1].parameters():
        parameter.data.abs_()
    snn = convert(model, x, config)
    segments, simulation = Segments(snn, x), simulate(snn, x)
    found = expected_potentials(segments, simulation)
    assert torch.allclose(found[OUTPUT], simulation.output, rtol=1e-9, atol=1e-9)
    for label, population in segments.populations.items():
        times = fired(population, simulation.membrane[label])
        assert torch.equal(times, simulation.spike_time[label])
    assert segments.populations['input_input'].encodes


def test_float32_and_images():
    layers = nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()
    x = torch.rand(2, 2, 6, 4)
    snn = convert(nn.Sequential(*layers, nn.Linear(18, 3)).eval(), x)
    segments = Segments(snn, x)
    assert segments.output_bias.dtype == torch.float64
    simulation = simulate(snn, x)
    found = expected_potentials(segments, simulation)
    assert torch.allclose(found[OUTPUT].float(), simulation.output, atol=1e-5)
    assert next(snn.parameters()).dtype == torch.float32  # Not changed.


def test_what_is_no_weight(graph):
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = GATConv(5, 8), GATConv(8, 3)

        def forward(self, x, edge_index):
            return self.b(self.a(x, edge_index).relu(), edge_index)

    class Maximum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = SAGEConv(5, 8), SAGEConv(8, 3, aggr='max')

        def forward(self, x, edge_index):
            return self.b(self.a(x, edge_index).relu(), edge_index)

    snn = convert(randomize(Maximum()), graph)
    with pytest.raises(NotImplementedError, match=r'a gate.*export its events instead'):
        Segments(snn, graph)
    snn = convert(randomize(Attention()), graph)
    with pytest.raises(NotImplementedError, match='export its events instead'):
        Segments(snn, graph)

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(5, 8), nn.Linear(8, 3)

        def forward(self, x):
            h = self.a(x).relu()
            return self.b(h), self.a(x)

    snn = convert(randomize(Two()), graph.x)
    with pytest.raises(NotImplementedError, match=r'one potential \(got 2\)'):
        Segments(snn, graph.x)


class TakesData(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = SAGEConv(5, 8), SAGEConv(8, 3)

    def forward(self, data):
        return self.b(self.a(data.x, data.edge_index).relu(), data.edge_index)


def test_a_model_that_takes_data(graph):
    graph.x = graph.x.float()
    snn = convert(randomize(TakesData()).float(), graph)
    segments, simulation = Segments(snn, graph), simulate(snn, graph)
    found = expected_potentials(segments, simulation)[OUTPUT]
    assert found.dtype == torch.float64 and graph.x.dtype == torch.float32
    assert torch.allclose(found.float(), simulation.output, rtol=1e-4, atol=1e-4)
