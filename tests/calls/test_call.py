from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GCNConv, SAGEConv, global_add_pool
from torch_geometric.nn.models import GCN
from tqdm import tqdm

from spikegraph import convert, load, measure, save, simulate
from spikegraph.calls.call import call_spec, copy_of
from spikegraph.calls.samples import as_call, as_calls
from tests.conversion.zoo import TakesData, make, randomize


class Pooled(nn.Module):
    """The number of graphs is an argument."""

    def __init__(self):
        super().__init__()
        self.conv, self.lin = SAGEConv(5, 8), nn.Linear(8, 3)

    def forward(self, x, edge_index, batch=None, batch_size=None):
        x = self.conv(x, edge_index).relu()
        return self.lin(global_add_pool(x, batch, batch_size))


class Graph(NamedTuple):
    x: torch.Tensor
    edge_index: torch.Tensor


@dataclass
class Fields:
    x: torch.Tensor
    edge_index: torch.Tensor


class TakesGraph(Pooled):
    def forward(self, graph):
        return super().forward(graph.x, graph.edge_index)


class PositionsOnly(Pooled):
    def forward(self, x, edge_index, /, batch=None):
        return super().forward(x, edge_index, batch)


class PooledData(Pooled):
    def forward(self, data):
        return super().forward(data.x, data.edge_index, data.batch, data.num_graphs)


class Sized(nn.Module):
    """A required size, of the graphs of a batch."""

    def __init__(self):
        super().__init__()
        self.inner = Pooled()

    def forward(self, x, edge_index, batch, num_graphs):
        return self.inner(x, edge_index, batch, num_graphs)


class Repeated(nn.Module):
    """How often a layer is applied is a fixed argument."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = GCNConv(5, 5), GCNConv(5, 3)

    def forward(self, x, edge_index, num_layers=1):
        for _ in range(num_layers):
            x = self.conv1(x, edge_index).relu()
        return self.conv2(x, edge_index)


class Mapped(nn.Module):
    """A dictionary of features of the same nodes."""

    def __init__(self):
        super().__init__()
        self.lin1, self.lin2, self.out = nn.Linear(5, 8), nn.Linear(2, 8), GCNConv(8, 3)

    def forward(self, features, edge_index):
        x = self.lin1(features['text']) + self.lin2(features['image'])
        return self.out(x.relu(), edge_index)


def batch_of(*sizes):
    generator = torch.Generator().manual_seed(len(sizes))
    graphs = []
    for num_nodes in sizes:
        x = torch.rand(num_nodes, 5, generator=generator, dtype=torch.float64)
        edge_index = torch.randint(num_nodes, (2, 3 * num_nodes), generator=generator)
        graphs.append(Data(x=x, edge_index=edge_index))
    return Batch.from_data_list(graphs)


def test_sizes_are_inputs():
    first, other = batch_of(4, 7, 5), batch_of(3, 9, 2, 6, 1)
    model = randomize(Pooled())
    calls = [(b.x, b.edge_index, b.batch, b.num_graphs) for b in (first, other)]
    snn = convert(model, calls)
    assert snn(*calls[0]).shape == (3, 3) and snn(*calls[1]).shape == (5, 3)
    assert snn(*calls[1][:3], batch_size=8).shape == (8, 3)  # Three are empty.
    assert snn.report.logit_relative_error < 0.1
    assert 'batch_size' in snn.spec.inputs and not snn.spec.constants


def test_required_sizes_come_from_the_batch():
    first, other = batch_of(4, 7, 5), batch_of(3, 9, 2, 6, 1)
    model = randomize(Sized())
    assert as_call(model, first)['num_graphs'] == 3
    snn = convert(model, [first, other])
    explicit = (other.x, other.edge_index, other.batch, 5)
    assert torch.equal(snn(other), snn(*explicit))


def test_data_as_the_argument():
    first, other = batch_of(4, 7, 5), batch_of(3, 9, 2, 6, 1)
    model = randomize(PooledData())
    snn = convert(model, [first, other])
    plain = randomize(Pooled())
    expected = convert(
        plain, [(b.x, b.edge_index, b.batch, b.num_graphs) for b in (first, other)]
    )
    for batch in (first, other):
        out = snn(batch)
        arguments = (batch.x, batch.edge_index, batch.batch, batch.num_graphs)
        assert torch.allclose(out, expected(*arguments), rtol=0, atol=1e-12)
        assert torch.equal(snn(data=batch), out)


def test_data_without_what_the_model_reads(graph):
    snn = convert(randomize(TakesData()), graph)
    del graph.edge_index
    with pytest.raises((AttributeError, ValueError), match='edge_index'):
        snn(graph)


def test_other_arguments_are_fixed(graph):
    model = randomize(Repeated())
    snn = convert(model, (graph.x, graph.edge_index, 2))
    assert snn.spec.constants == {'num_layers': 2}
    out = snn(graph.x, graph.edge_index, 2)
    assert torch.equal(snn(graph.x, graph.edge_index, num_layers=2), out)
    with pytest.raises(ValueError, match=r"'num_layers' to be 2,.*\(got 3\)"):
        snn(graph.x, graph.edge_index, num_layers=3)
    with pytest.raises(ValueError, match=r"'num_layers' to be 2,.*\(got 1\)"):
        snn(graph.x, graph.edge_index)  # The default.
    with pytest.raises(TypeError, match=r"unexpected argument 'layers'"):
        snn(graph.x, graph.edge_index, layers=2)
    with pytest.raises(TypeError, match=r"unexpected argument 'x' twice"):
        snn(graph.x, x=graph.x)
    with pytest.raises(TypeError, match=r'at most 3 arguments \(got 4\)'):
        snn(graph.x, graph.edge_index, 2, 3)


def test_dictionaries_of_features(graph):
    model = randomize(Mapped())
    features = {'text': graph.x, 'image': graph.x[:, :2] * 3}
    arguments = {'features': features, 'edge_index': graph.edge_index}
    snn = convert(model, arguments)
    out = snn(**arguments)
    assert torch.equal(snn(features, graph.edge_index), out)
    reordered = dict(reversed(features.items()))
    assert torch.equal(snn(reordered, graph.edge_index), out)
    assert len(snn.neurons) == 3
    with pytest.raises(ValueError, match=r"'features' .*nothing for 'image'"):
        snn({'text': graph.x}, graph.edge_index)
    with pytest.raises(ValueError, match=r"nothing for 'image'"):
        snn({'text': graph.x, 'image': None}, graph.edge_index)


def test_dictionary_of_arguments_equals_a_tuple(graph):
    model = make('F.relu')
    by_name = convert(model, {'edge_index': graph.edge_index, 'x': graph.x})
    assert torch.equal(by_name(graph), convert(model, graph)(graph))
    with pytest.raises(ValueError, match=r"forward argument 'edge_index' \(got x\)"):
        convert(model, {'x': graph.x})
    with pytest.raises(ValueError, match=r"x, edge_index \(got 'z'\)"):
        convert(model, {'x': graph.x, 'edge_index': graph.edge_index, 'z': 1})
    with pytest.raises(ValueError, match=r'x, edge_index \(got 3\)'):
        convert(model, (graph.x, graph.edge_index, 1))


def test_spec_of_basic_models(graph):
    model = GCN(5, 8, 2, 3)
    spec = call_spec(model, as_call(model, graph))
    assert spec.inputs == ('x', 'edge_index')
    assert set(spec.constants) == set(spec.names) - {'x', 'edge_index'}


class Endless:
    """A loader that must not be listed."""

    def __init__(self, batch):
        self.batch, self.num_taken = batch, 0

    def __iter__(self):
        while True:
            self.num_taken += 1
            yield self.batch


def test_max_batches(graph):
    model = make('F.relu')
    loader = Endless(graph)
    snn = convert(model, loader, max_batches=2)
    assert loader.num_taken == 2
    assert torch.equal(snn(graph), convert(model, [graph, graph])(graph))
    bar = tqdm([graph] * 4, disable=True)
    assert torch.equal(convert(model, bar, max_batches=2)(graph), snn(graph))
    # Fewer batches than that are all taken, and single data is one batch.
    assert len(as_calls(model, [graph], max_batches=5)) == 1
    assert len(as_calls(model, graph, max_batches=1)) == 1
    with pytest.raises(ValueError, match=r"'max_batches' to be at least 1 \(got 0\)"):
        convert(model, [graph], max_batches=0)
    with pytest.raises(ValueError, match=r'at least one sample \(got 0 samples'):
        convert(model, iter([]), max_batches=3)


def graph_of(num_nodes):
    x = torch.rand(num_nodes, 5, dtype=torch.float64)
    return Graph(x, torch.randint(num_nodes, (2, 3 * num_nodes)))


@pytest.mark.parametrize('model_type', [TakesGraph, PositionsOnly])
def test_named_tuples_and_arguments_without_names(model_type, tmp_path):
    model = randomize(model_type().double())
    given, other = graph_of(30), graph_of(17)
    if model_type is TakesGraph:
        given, other = (given,), (other,)
    snn = convert(model, given)
    save(snn, tmp_path / 'network')
    loaded = load(tmp_path / 'network', model_type().double())
    assert torch.equal(loaded(*given), snn(*given))
    for call in (given, other):
        expected = model(*call).detach()
        assert (snn(*call) - expected).norm() < 0.2 * expected.norm()
        assert torch.allclose(simulate(snn, *call).output, snn(*call), rtol=1e-9)
        assert measure(snn, call, model).uncounted == []


def test_other_objects_are_named():
    fields = Fields(*graph_of(30))
    with pytest.raises(ValueError, match=r"'graph' to be a tensor.*\(got Fields\)"):
        convert(TakesGraph().double(), (fields,))
    given = (Graph(fields.x, fields.edge_index),)  # As the message says.
    assert convert(TakesGraph().double(), given).report.analog == {}


def test_named_tuples_are_checked_and_copied():
    model = TakesGraph().double()
    given = graph_of(30)
    snn = convert(model, (given,))
    with pytest.raises(ValueError, match="'graph' to hold 2 items"):
        snn((given.x,))
    (copied,) = copy_of((given,))
    assert type(copied) is Graph and copied.x is not given.x
