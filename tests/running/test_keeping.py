"""Values that graphs alone determine are kept, and never once a graph has changed."""

import gc
import weakref

import pytest
import torch
from torch import nn
from torch_geometric.utils import add_self_loops, degree

from spikegraph import ConversionConfig, convert
from spikegraph.calls.outputs import Form
from spikegraph.network.graph import Record, Ref
from spikegraph.network.network import Network
from spikegraph.network.roles import Role
from spikegraph.running import keeping
from tests.conversion.zoo import randomize
from tests.measurement.spellings import TutorialGCN

CONFIG = ConversionConfig(num_steps=8, compensate=None)


def graph(seed=0, num_nodes=20):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(num_nodes, 6, generator=generator, dtype=torch.float64)
    return x, torch.randint(num_nodes, (2, 60), generator=generator)


def converted(model):
    return convert(randomize(model), graph(), CONFIG)


@pytest.fixture
def made(monkeypatch):
    """The names of what is computed of graphs, call by call."""
    names, run = [], keeping.run_node

    def note(network, node, env):
        names.append(node.name)
        return run(network, node, env)

    monkeypatch.setattr(keeping, 'run_node', note)
    return names


@torch.no_grad()
def is_right(out, snn, *args):
    """Whether it is what a network returns that has kept nothing."""
    expected = snn.network(**snn.bind(*args))
    return torch.allclose(out, expected, rtol=1e-12, atol=1e-12)


def test_once_for_each_graph(made):
    snn = converted(TutorialGCN())
    first, second = graph(1), graph(2)
    made.clear()
    for x, edge_index in (first, second, first, second):
        assert is_right(snn(x, edge_index), snn, x, edge_index)
    assert len(made) == 2 * len(set(made)) > 0
    x = torch.rand(20, 6, dtype=torch.float64)  # Other features, the same graph.
    made.clear()
    assert is_right(snn(x, first[1]), snn, x, first[1])
    assert made == []


@pytest.mark.parametrize('how', ['in place', 'numpy', 'data', 'more nodes'])
def test_again_when_it_changes(how, made):
    snn = converted(TutorialGCN())
    x, edge_index = graph(1)
    before = snn(x, edge_index)
    made.clear()
    if how == 'in place':
        edge_index[1, :20] = 3
    elif how == 'numpy':
        edge_index.numpy()[1, :20] = 3
    elif how == 'data':
        edge_index.data[1, :20] = 3
    else:
        x = torch.cat([x, x[:5]])
    out = snn(x, edge_index)
    assert made
    assert is_right(out, snn, x, edge_index)
    assert out.shape != before.shape or not torch.equal(out, before)


def test_what_is_returned_is_not_kept(made):
    class Returns(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x, edge_index):
            deg = degree(edge_index[1], x.size(0), dtype=x.dtype)
            x = self.a(x).relu() / (1 + deg).view(-1, 1)
            return self.b(x), deg

    snn = converted(Returns())
    x, edge_index = graph(1)
    out, deg = snn(x, edge_index)
    deg.zero_()
    again, deg = snn(x, edge_index)
    assert torch.equal(out, again)
    assert torch.equal(deg, degree(edge_index[1], 20, dtype=x.dtype))


def test_random_numbers_are_drawn_each_time():
    def noise(edge_index):
        return torch.nn.functional.dropout(edge_index[0].double(), 0.5)

    network = Network(
        [
            Record('edge_index', Role.INPUT, 'placeholder', 'edge_index'),
            Record('noise', Role.STRUCTURE, 'call_function', noise, (Ref(0),)),
            Record('layer', Role.LAYER, 'call_module', 'layer', (Ref(1),)),
            Record('output', Role.OUTPUT, 'output', 'output', (Ref(2),)),
        ],
        Form('value'),
    )
    network.layer = nn.Identity()
    noise.__module__ = 'torch'
    values, drawn = keeping.GraphValues(network), []
    node = next(iter(values.kept))
    env = {node.all_input_nodes[0]: torch.arange(100).view(2, 50)}
    for _ in range(3):
        drawn.append(values.run(node, env))
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[1], drawn[2])


def test_graphs_are_let_go():
    snn = converted(TutorialGCN())
    x, edge_index = graph(1)
    snn(x, edge_index)
    kept = snn._known_flow().graphs._values
    assert edge_index in kept
    alive = weakref.ref(edge_index)
    del edge_index
    gc.collect()
    assert alive() is None and len(kept) == 0


def test_companions_are_told_apart_and_few_are_kept():
    class Weighted(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x, edge_index, edge_weight):
            edges, weight = add_self_loops(edge_index, edge_weight, num_nodes=x.size(0))
            x = self.a(x).relu()
            sums = torch.zeros(x.size(0), 8, dtype=x.dtype)
            messages = weight.view(-1, 1) * x[edges[0]]
            return self.b(sums.index_add(0, edges[1], messages))

    x, edge_index = graph()
    model = randomize(Weighted())
    snn = convert(model, (x, edge_index, torch.rand(60).double()), CONFIG)
    for _ in range(20):
        weight = torch.rand(60).double()
        out = snn(x, edge_index, weight)
        assert is_right(out, snn, x, edge_index, weight)
    graphs = snn._known_flow().graphs
    kept = sum(len(values) for values in graphs._values.values())
    assert 0 < kept <= 4 * len(graphs.kept)
