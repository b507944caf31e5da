"""The counts of a run in time steps, against loops over its spikes."""

import copy
from dataclasses import asdict

import pytest
import torch
from torch import nn
from torch_geometric.nn import ChebConv, GATConv, SAGEConv, TransformerConv

from spikegraph import ConversionConfig, convert, measure, simulate
from spikegraph.export.stepped_counts import count_steps
from tests.conversion.zoo import MODELS, make, randomize


def counted(snn, *args):
    return count_steps(snn, snn.bind(*args), simulate(snn, *args))


@pytest.mark.parametrize('name', MODELS)
@pytest.mark.parametrize('num_steps', [1, 9])
def test_counts_are_those_of_measure(name, num_steps, graph):
    snn = convert(make(name), graph, ConversionConfig(num_steps=num_steps))
    found, expected = counted(snn, graph), measure(snn, graph)
    spiking = {
        row.name: row.counts for row in expected.layers if row.name in found.rows
    }
    for row, counts in found.rows.items():
        for field in (
            'synops',
            'accumulates',
            'snn_macs',
            'membrane_updates',
            'spikes',
        ):
            assert getattr(counts.counts, field) == getattr(spiking[row], field), row
    total = expected.total
    assert found.dense == total.ann_macs + total.ann_aggregation_macs > 0
    assert found.dense <= found.dense_steps
    assert found.total.synops + found.total.accumulates <= found.dense_steps
    assert found.uncounted == expected.uncounted


def two(first, second):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = first, second

        def forward(self, x, edge_index):
            return self.second(self.first(x, edge_index).relu(), edge_index)

    return randomize(Two())


#: What only the machine that waits for events does.
EVENT_DRIVEN = (
    'moved',
    'touches',
    'receivers',
    'openings',
    'searches',
    'decays',
    'encoded',
)
KINDS = {
    'attention': lambda: two(GATConv(5, 4, heads=2), GATConv(8, 3)),
    'products': lambda: two(TransformerConv(5, 8), TransformerConv(8, 3)),
    'maximum': lambda: two(SAGEConv(5, 8, aggr='max'), SAGEConv(8, 3)),
    'hops': lambda: two(ChebConv(5, 8, K=3), ChebConv(8, 3, K=2)),
}


@pytest.mark.parametrize('name', KINDS)
@pytest.mark.parametrize('encode_input', [True, False])
def test_counts_of_other_kinds(name, encode_input, graph):
    config = ConversionConfig(num_steps=8, encode_input=encode_input)
    snn = convert(KINDS[name](), graph, config)
    found, expected = counted(snn, graph), measure(snn, graph)
    total = {
        field: value
        for field, value in asdict(expected.total).items()
        if not field.startswith('ann_') and field not in EVENT_DRIVEN
    }
    assert {field: getattr(found.total, field) for field in total} == total
    assert (total['delays'] > 0) == (name in ('attention', 'products'))
    dense = expected.total.ann_macs + expected.total.ann_aggregation_macs
    assert found.dense == dense <= found.dense_steps


def chain(*layers):
    torch.manual_seed(1)
    return nn.Sequential(*layers).double()


DENSE = {
    'linear': (lambda: chain(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 4)), (7, 6)),
    'convolution': (
        lambda: chain(
            nn.Conv2d(2, 5, 3, padding=1, stride=2),
            nn.ReLU(),
            nn.Conv2d(5, 3, 2, bias=False),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(27, 4),
        ),
        (3, 2, 8, 7),
    ),
}


def ones_like(layer):
    """The layer with every weight 1 and no bias: it counts what arrives."""
    layer = copy.deepcopy(layer)
    nn.init.ones_(layer.weight)
    layer.bias = None
    return layer


@pytest.mark.parametrize('name', DENSE)
def test_every_step_by_itself(name):
    """Each step's spikes are sent through layers whose weights are 1."""
    make_model, shape = DENSE[name]
    model, x = make_model(), torch.randn(shape, dtype=torch.float64)
    snn = convert(model, x, ConversionConfig(num_steps=7))
    simulation, counts = simulate(snn, x), counted(snn, x)
    arrive = dense = updates = 0
    populations = list(simulation.spikes.values())
    layers = [m for m in model if isinstance(m, (nn.Linear, nn.Conv2d))]
    assert len(populations) == len(layers)
    for layer, spikes in zip(layers, populations, strict=True):
        count = ones_like(layer)
        for raster in spikes.raster().double():
            raster = raster.flatten(1) if isinstance(layer, nn.Linear) else raster
            out = count(raster)
            arrive += int(out.sum())
            dense += int(count(torch.ones_like(raster)).sum())
            updates += out.numel()  # While charging.
        for time in spikes.phase().flatten().tolist():
            updates += min(time, 6) + 1  # While waiting.
    assert counts.total.synops == arrive > 0
    assert counts.total.accumulates == counts.total.snn_macs == 0
    assert counts.dense_steps == dense
    assert counts.dense == measure(snn, x).total.ann_macs
    assert (dense < 7 * counts.dense) == (name == 'convolution')
    assert counts.total.membrane_updates == updates


def test_edges_and_spikes_one_by_one(graph):
    snn = convert(make('F.relu'), graph, ConversionConfig(num_steps=8))
    simulation, counts = simulate(snn, graph), counted(snn, graph)
    num_nodes = graph.num_nodes
    loops = set(range(num_nodes)) - {
        a for a, b in graph.edge_index.t().tolist() if a == b
    }
    num_edges = graph.edge_index.size(1) + len(loops)
    synops = 0
    for spikes, width in zip(simulation.spikes.values(), (8, 3), strict=True):
        for time in spikes.spike_time.flatten().tolist():
            synops += width * (time != spikes.code.num_steps)
    assert counts.total.synops == synops
    assert counts.total.accumulates == num_edges * (8 + 3)
    dense = num_nodes * (5 * 8 + 8 * 3) + num_edges * (8 + 3)
    assert counts.dense == dense and counts.dense_steps == 8 * dense


def test_bytes_of_state():
    """A membrane for each source of a sum, and a byte for each neuron."""

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (nn.Linear(4, 4) for _ in range(3))

        def forward(self, x):
            a = self.a(x).relu()
            return self.c((self.b(a) + a).relu() + a)

    x = torch.rand(5, 4)
    snn = convert(randomize(Branches()).float(), x)
    neurons = len(snn.neurons)
    counts = counted(snn, x)
    spike_times = 5 * 4 * neurons
    sources = [1, 1, 1, 2]  # Input, a, their sum, what is returned.
    assert neurons == 3 and counts.state_bytes == spike_times + 4 * 5 * 4 * sum(sources)
