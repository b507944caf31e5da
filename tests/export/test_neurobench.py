"""NeuroBench's harness on converted networks, and the adapter without it."""

import sys
import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader as GraphDataLoader
from torch_geometric.nn import GCNConv, global_add_pool

from spikegraph import ConversionConfig, convert, measure, simulate
from spikegraph.export import neurobench
from spikegraph.export.neurobench import (
    GraphInput,
    GraphLoader,
    SpikeGraphModel,
    metrics,
)
from spikegraph.export.neurobench_metrics import STATIC, WORKLOAD
from tests.conversion.zoo import make, randomize


@pytest.fixture
def harness():
    """NeuroBench's own harness; what it needs warns when it is imported."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return pytest.importorskip('neurobench.benchmarks').Benchmark


def by_hand(model, loader, post=lambda out: out.argmax(-1)):
    """What the harness does, without it."""
    found = {each.__name__: each()(model) for each in STATIC}
    model.register_hooks()
    running = [each() for each in WORKLOAD]
    for data in loader:
        preds = post(model(data[0]))
        for metric in running:
            found[type(metric).__name__] = metric(model, preds, data)
        model.reset_hooks()
    model.cleanup_hooks()
    return found


def labelled(graph, num_classes=3):
    generator = torch.Generator().manual_seed(0)
    graph = graph.clone()
    graph.y = torch.randint(num_classes, (graph.num_nodes,), generator=generator)
    graph.test_mask = torch.rand(graph.num_nodes, generator=generator) < 0.4
    return graph


def check(found, snn, calls, num_samples):
    """The figures of a run against those of measure, and against tensors."""
    total = measure(snn, calls).total
    synapses = found['SynapticOperations']
    per = 1 / num_samples
    assert synapses['Effective_ACs'] == pytest.approx(
        (total.synops + total.accumulates) * per, rel=1e-12
    )
    assert synapses['Effective_MACs'] == pytest.approx(total.snn_macs * per)
    dense = total.ann_macs + total.ann_aggregation_macs
    assert synapses['Dense_once'] == pytest.approx(dense * per)
    assert synapses['Delays'] == pytest.approx(total.delays * per)
    assert found['MembraneUpdates'] == pytest.approx(total.membrane_updates * per)
    spikes = places = 0
    for call in calls:
        args = call if isinstance(call, tuple) else (call,)
        for name, each in simulate(snn, *args).spikes.items():
            if name in snn.neurons:
                raster = each.raster()
                spikes, places = spikes + int(raster.sum()), places + raster.numel()
    assert found['ActivationSparsity'] == pytest.approx(1 - spikes / places)
    assert spikes > 0
    weights = sum(p.nbytes for p in snn.parameters())
    buffers = sum(b.nbytes for b in snn.buffers())
    assert found['Footprint'] > weights + buffers
    assert found['ParameterCount'] == sum(p.numel() for p in snn.parameters())


def test_one_graph_by_hand(graph):
    graph = labelled(graph)
    snn = convert(make('F.relu'), graph, ConversionConfig(num_steps=8))
    found = by_hand(SpikeGraphModel(snn), GraphLoader(graph, mask='test_mask'))
    check(found, snn, [graph], graph.num_nodes)
    mask = graph.test_mask
    right = (snn(graph).argmax(-1) == graph.y)[mask].double().mean()
    assert found['ClassificationAccuracy'] == pytest.approx(float(right))
    by_layer = found['ActivationSparsityByLayer']
    assert list(by_layer) == list(snn.neurons)


def test_tensors_with_a_graph_as_context(graph):
    graph = labelled(graph)
    snn = convert(make('F.relu'), graph, ConversionConfig(num_steps=8))
    data = TensorDataset(graph.x, graph.y)
    loader = DataLoader(data, batch_size=graph.num_nodes)
    found = by_hand(SpikeGraphModel(snn, graph.edge_index), loader)
    expected = by_hand(SpikeGraphModel(snn), GraphLoader(graph))
    assert found == expected


class Molecules(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.lin = GCNConv(5, 8), nn.Linear(8, 2)

    def forward(self, x, edge_index, batch):
        return self.lin(global_add_pool(self.conv(x, edge_index).relu(), batch))


def graphs(number):
    generator = torch.Generator().manual_seed(0)
    made = []
    for i in range(number):
        size = 2 + i % 4
        x = torch.randn(size, 5, generator=generator, dtype=torch.float64)
        edge_index = torch.stack([torch.arange(size - 1), torch.arange(1, size)])
        made.append(Data(x=x, edge_index=edge_index, y=torch.tensor([i % 2])))
    return made


def test_batches_of_graphs_of_other_sizes():
    """Figures are those of all graphs, not means of batches."""
    every = graphs(11)
    loader = GraphDataLoader(every, batch_size=4)
    calls = list(loader)
    snn = convert(randomize(Molecules()), calls, ConversionConfig(num_steps=8))
    pairs = GraphLoader(loader)
    assert len(pairs) == 3 and len(pairs.dataset) == 11
    found = by_hand(SpikeGraphModel(snn), pairs)
    check(found, snn, calls, 11)
    together = snn(Batch.from_data_list(every)).argmax(-1)
    right = float((together == torch.arange(11) % 2).double().mean())
    assert found['ClassificationAccuracy'] == pytest.approx(right)


def test_only_the_seeds_of_a_neighbourhood_are_samples(graph):
    graph = labelled(graph)
    snn = convert(make('F.relu'), graph, ConversionConfig(num_steps=8))
    batch = graph.clone()  # As a loader of neighbours makes it.
    batch.input_id, batch.batch_size = torch.arange(4), 4
    [(x, y)] = GraphLoader([batch], mask='test_mask')
    assert x.size(0) == 4 and torch.equal(y, graph.y[:4][graph.test_mask[:4]])
    out = SpikeGraphModel(snn)(x)
    expected = snn(graph)[:4][graph.test_mask[:4]]
    assert torch.allclose(out, expected) and graph.num_nodes > 4


@pytest.mark.parametrize('kind', ['graph', 'graphs', 'images'])
def test_in_the_harness(kind, graph, harness):
    if kind == 'graph':
        graph = labelled(graph)
        calls, num = [graph], graph.num_nodes
        model, loader = make('F.relu'), GraphLoader(graph, mask='test_mask')
    elif kind == 'graphs':
        calls, num = list(GraphDataLoader(graphs(11), batch_size=4)), 11
        model, loader = randomize(Molecules()), GraphLoader(calls)
    else:
        x, num = torch.rand(10, 1, 6, 6, dtype=torch.float64), 10
        layers = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten()
        model = randomize(nn.Sequential(*layers, nn.Linear(144, 3)))
        loader = DataLoader(TensorDataset(x, torch.arange(10) % 3), batch_size=4)
        calls = [(part,) for part in x.split(4)]
    snn = convert(model, calls, ConversionConfig(num_steps=8))
    adapted = SpikeGraphModel(snn)
    bench = harness(adapted, loader, [], [lambda out: out.argmax(-1)], metrics())
    found = bench.run(quiet=True)
    check(found, snn, calls, num)
    assert found == by_hand(SpikeGraphModel(snn), loader)
    assert bench.run(quiet=True) == found  # Once more; nothing is left over.


def test_its_own_metrics_that_are_right_and_those_that_are_not(graph, harness, capsys):
    """Rasters are what its sparsity reads; counts of its own are refused, not 0."""
    from neurobench.metrics import static, workload

    graph = labelled(graph)
    snn = convert(make('F.relu'), graph, ConversionConfig(num_steps=8))
    loader, post = GraphLoader(graph), [lambda out: out.argmax(-1)]
    theirs = [
        [static.ParameterCount],
        [workload.ActivationSparsity, workload.ClassificationAccuracy],
    ]
    found = harness(SpikeGraphModel(snn), loader, [], post, theirs).run(quiet=True)
    ours = by_hand(SpikeGraphModel(snn), loader)
    for name, value in found.items():
        assert value == pytest.approx(ours[name]), name
    theirs = [[], [workload.SynapticOperations, workload.MembraneUpdates]]
    harness(SpikeGraphModel(snn), loader, [], post, theirs).run(quiet=False)
    assert capsys.readouterr().out.count("register spikegraph's metrics") == 2


@pytest.mark.parametrize('kind', ['linear', 'convolution'])
def test_its_own_count_of_the_same_spikes(kind, harness):
    """NeuroBench's rule for one layer, on every step's spikes."""
    from neurobench.metrics.utils.layers import single_layer_MACs

    linear = nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 4)
    images = nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 2, stride=2)
    model = randomize(nn.Sequential(*(linear if kind == 'linear' else images)))
    shape = (7, 6) if kind == 'linear' else (3, 2, 8, 7)
    x = torch.rand(shape, dtype=torch.float64)
    snn = convert(model, x, ConversionConfig(num_steps=7))
    found = by_hand(
        SpikeGraphModel(snn), [(x, torch.zeros(()))], lambda _: torch.zeros(())
    )
    effective = dense = 0
    for layer, spikes in zip(model[::2], simulate(snn, x).spikes.values(), strict=True):
        for raster in spikes.raster().double():
            number, spiking = single_layer_MACs(raster, layer)
            assert spiking
            effective += number
            dense += single_layer_MACs(raster, layer, total=True)[0]
    synapses = found['SynapticOperations']
    assert synapses['Effective_ACs'] == pytest.approx(effective / len(x))
    assert synapses['Dense'] == pytest.approx(dense / len(x))


def test_zeros_among_weights(graph):
    snn = convert(make('F.relu'), graph, ConversionConfig(num_steps=8))
    found = by_hand(SpikeGraphModel(snn), GraphLoader(labelled(graph)))
    assert found['ConnectionSparsity'] == 0
    weight = next(p for p in snn.parameters() if p.dim() == 2)
    weight.data[:, 0] = 0
    found = by_hand(SpikeGraphModel(snn), GraphLoader(labelled(graph)))
    assert found['ConnectionSparsity'] == pytest.approx(len(weight) / (5 * 8 + 8 * 3))


def test_errors(graph, monkeypatch):
    with pytest.raises(ValueError, match=r'to be a SpikingModel \(got Linear\)'):
        SpikeGraphModel(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"to be PyG data with 'y' \(got Data"):
        list(GraphLoader(Data(x=graph.x, edge_index=graph.edge_index)))
    with pytest.raises(ValueError, match=r"data with 'val_mask' \(got"):
        list(GraphLoader(labelled(graph), mask='val_mask'))
    snn = convert(make('F.relu'), graph, ConversionConfig(num_steps=8))
    model, loader = SpikeGraphModel(snn), GraphLoader(labelled(graph))
    with pytest.raises(ValueError, match=r"'preds' of shape \[\d+\].*argmax"):
        by_hand(model, loader, lambda out: out)
    monkeypatch.setitem(sys.modules, 'neurobench', None)
    monkeypatch.setitem(sys.modules, 'neurobench.metrics', None)
    with pytest.raises(ImportError, match=r'pip install spikegraph\[neurobench\]'):
        neurobench.metrics()


def test_hooks_are_closed(graph):
    snn = convert(make('F.relu'), graph, ConversionConfig(num_steps=8))
    model = SpikeGraphModel(snn)
    [(x, _)] = GraphLoader(labelled(graph))
    assert isinstance(x.to('cpu'), GraphInput)
    model(x)
    assert model.connection_hooks == []
    model.register_hooks()
    model(x)
    model(x)
    assert len(model.connection_hooks[0].counts) == 2
    assert len(model.activation_hooks[0].activation_outputs) == 2 * 8
    model.reset_hooks()
    assert not model.activation_hooks[0].activation_outputs
