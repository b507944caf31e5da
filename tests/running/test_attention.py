import pytest
import torch
from torch import nn
from torch.nn.modules import module as hooks
from torch_geometric.data import Data
from torch_geometric.nn import GATConv

from spikegraph import ConversionConfig, convert
from spikegraph.coding import Spikes
from spikegraph.nn import PhaseNeuron, potentials
from spikegraph.running import closed, delayed


class Attention(nn.Module):
    """Two layers of heads side by side, and one head behind."""

    def __init__(self, heads=3, width=5, bias=True):
        super().__init__()
        self.conv1 = GATConv(6, width, heads, bias=bias)
        self.conv2 = GATConv(heads * width, width, heads, bias=bias)
        self.conv3 = GATConv(heads * width, 4)

    def forward(self, x, edge_index):
        x = self.conv1(x, edge_index).relu()
        x = nn.functional.elu(self.conv2(x, edge_index))
        return self.conv3(x, edge_index)


@pytest.fixture
def graph():
    edge_index = torch.randint(40, (2, 150))
    return Data(torch.rand(42, 6), edge_index)  # Two nodes have only themselves.


def converted(graph, dtype=torch.float64, num_steps=16, **kwargs):
    model = Attention(**kwargs)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    graph = Data(graph.x.to(dtype), graph.edge_index)
    config = ConversionConfig(num_steps=num_steps, compensate=None)
    return convert(model.to(dtype), graph, config), graph


@torch.no_grad()
def node_by_node(snn, graph):
    return snn.network(x=graph.x, edge_index=graph.edge_index)


@torch.no_grad()
def closed_form(snn, graph, flow=None):
    """A pass that is not replayed."""
    flow = closed.Flow(snn.network) if flow is None else flow
    return closed.ClosedForm(flow).run({'x': graph.x, 'edge_index': graph.edge_index})


@pytest.mark.parametrize('num_steps', [7, 16, 40])
@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('heads, width', [(1, 5), (3, 5), (2, 16)])
def test_equals_node_by_node(heads, width, bias, num_steps, graph, monkeypatch):
    made = []
    known = delayed.Moved.spikes
    monkeypatch.setattr(
        *(delayed.Moved, 'spikes'),
        lambda *args: made.append(known(*args)) or made[-1],
    )
    snn, graph = converted(
        graph, num_steps=num_steps, heads=heads, width=width, bias=bias
    )
    expected, flow = node_by_node(snn, graph), closed.Flow(snn.network)
    assert len(flow.moved) == len(flow.fired) == 2 and len(flow.scored) >= 2
    for size in (1 << 20, 100, 1):
        monkeypatch.setattr(potentials, 'BLOCK_SIZE', size)
        made.clear()
        assert torch.allclose(closed_form(snn, graph), expected, rtol=1e-9, atol=1e-9)
        assert len(made) == 2 and all(isinstance(each, Spikes) for each in made)


def test_sums_of_heads_are_not_written_down(graph, monkeypatch):
    snn, graph = converted(graph)
    expected = closed_form(snn, graph)
    monkeypatch.setattr(closed.ClosedForm, '_after', None)  # Nobody asks for it.
    assert torch.equal(closed_form(snn, graph), expected)


@pytest.mark.parametrize('where', ['relay', 'layer', 'sums', 'population', 'all'])
def test_hooks_see_what_they_saw(where, graph, monkeypatch):
    monkeypatch.setattr(potentials, 'BLOCK_SIZE', 100)
    snn, graph = converted(graph)
    expected, seen = closed_form(snn, graph), []
    chosen = closed.Flow(snn.network)
    population, moved = next(iter(chosen.moved.items()))
    layer, scored = next(iter(chosen.scored.items()))
    nodes = {
        'relay': scored.population,
        'layer': layer,
        'sums': moved.sums,
        'population': population,
    }
    if where == 'all':
        handle = hooks.register_module_forward_hook(lambda *args: seen.append(args))
    else:
        module = snn.network.operation(nodes[where])
        handle = module.register_forward_hook(lambda *args: seen.append(args))
    assert torch.allclose(closed_form(snn, graph), expected, rtol=1e-9, atol=1e-9)
    assert seen
    if where != 'all':  # All rows at once; one module adds up both sums.
        assert len(seen) == (2 if where == 'sums' else 1)
    seen.clear()
    handle.remove()
    assert torch.equal(closed_form(snn, graph), expected) and not seen


@pytest.mark.parametrize('where', ['relay', 'population'])
def test_populations_of_the_users(where, graph):
    snn, graph = converted(graph)
    flow = closed.Flow(snn.network)
    before, node = closed_form(snn, graph, flow), next(iter(flow.moved))
    if where == 'relay':
        node = next(iter(flow.scored.values())).population

    class Silent(PhaseNeuron):
        def forward(self, *args, **kwargs):
            spikes = super().forward(*args, **kwargs)
            times = torch.full_like(spikes.spike_time, spikes.code.num_steps)
            return Spikes(times, spikes.code, spikes.scale)

    snn.network.operation(node).__class__ = Silent  # After all has been looked at.
    found = closed_form(snn, graph, flow)
    assert torch.allclose(found, node_by_node(snn, graph), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(found, before)


def test_potentials_are_written_down_without_a_kernel(graph, monkeypatch):
    snn, graph = converted(graph)
    expected = closed_form(snn, graph)
    monkeypatch.setattr(delayed, 'relative_spikes', lambda *_: None)
    assert torch.equal(closed_form(snn, graph), expected)


def test_passes_are_recorded(graph):
    snn, graph = converted(graph, torch.float32)
    expected = [snn(graph) for _ in range(4)]
    assert snn.plan.way == 'recorded'
    assert all(torch.equal(each, expected[0]) for each in expected)
    other = Data(graph.x.flip(0), graph.edge_index)
    found = snn(other)
    assert snn.plan.way == 'recorded'
    assert torch.allclose(found, node_by_node(snn, other), rtol=1e-4, atol=1e-4)
