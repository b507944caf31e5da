"""How converted networks run: what is charged in rows gives what the same network
gives node by node, hooks run all the same, and nothing outlives its use.
"""

import copy
import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.nn import GCNConv, SAGEConv, TAGConv

import spikegraph
from spikegraph import ConversionConfig, convert
from spikegraph.coding import Spikes
from spikegraph.network.interpreter import Interpreter
from spikegraph.nn import PhaseNeuron, SpikingGCNConv, SpikingLinear, potentials
from spikegraph.nn.encoding import Encoding
from spikegraph.running import closed
from tests.conversion.zoo import make, randomize


class Block(nn.Module):
    """Sums of layers, of sums, of a layer and its own input."""

    def __init__(self):
        super().__init__()
        self.first, self.second = GCNConv(5, 8), nn.Linear(5, 8)
        self.third, self.fourth = GCNConv(8, 8), nn.Linear(8, 8)
        self.tag, self.last = TAGConv(8, 8, K=2), SAGEConv(8, 3)

    def forward(self, x, edge_index):
        x = (self.first(x, edge_index) + self.second(x)).relu()
        h = self.third(x, edge_index) + (self.fourth(x) + self.tag(x, edge_index))
        x = (h + x).relu()
        x = torch.add(x, self.fourth(x)).relu()
        return self.last(x, edge_index)


class Keywords(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = GCNConv(5, 8), GCNConv(8, 8), GCNConv(8, 3)

    def forward(self, x, edge_index):
        weight = (edge_index[0] + 1).reciprocal().double()
        x = self.conv1(x, edge_index=edge_index).relu()
        x = self.conv2(x, edge_weight=weight, edge_index=edge_index).relu()
        return self.conv3(x=x, edge_index=edge_index)


class NoActivation(nn.Module):
    """Layers right behind each other, with weights of nodes between some."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = GCNConv(5, 8), GCNConv(8, 8), GCNConv(8, 3)
        self.lin = nn.Linear(8, 8)

    def forward(self, x, edge_index):
        x = self.conv2(self.lin(self.conv1(x, edge_index)), edge_index).relu()
        return self.conv3(x, edge_index)


class Outputs(nn.Module):
    """The same populations and layers in containers, read by others as well."""

    def __init__(self, kind):
        super().__init__()
        self.conv1, self.conv2, self.lin = GCNConv(5, 8), GCNConv(8, 3), nn.Linear(8, 2)
        self.kind = kind

    def forward(self, x, edge_index):
        first = self.conv1(x, edge_index)
        x = first.relu()
        out = self.conv2(x, edge_index)
        if self.kind == 'dict':
            return {'out': out, 'all': {'first': first, 'lin': self.lin(x)}}
        if self.kind == 'tuple':
            return out, (first, self.lin(x))
        return [out, [first], self.lin(x)]


class Branches(nn.Module):
    """An input that two layers read, and an activation that three do."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = GCNConv(5, 8), GCNConv(5, 8), GCNConv(8, 3)
        self.lin = nn.Linear(8, 3)

    def forward(self, x, edge_index):
        x = F.relu(self.conv1(x, edge_index)) + F.relu(self.conv2(x, edge_index))
        return self.conv3(x, edge_index) + self.lin(x)


class Tanh(nn.Module):
    """Activations that are held by thresholds."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = GCNConv(5, 8), GCNConv(8, 8), GCNConv(8, 3)
        self.act = nn.LeakyReLU(0.1)

    def forward(self, x, edge_index):
        x = self.act(self.conv1(x, edge_index))
        x = torch.tanh(self.conv2(x, edge_index) + x)
        return self.conv3(x, edge_index)


OWN = {
    'block': Block,
    'keywords': Keywords,
    'no activation': NoActivation,
    'dict': lambda: Outputs('dict'),
    'tuple': lambda: Outputs('tuple'),
    'list': lambda: Outputs('list'),
    'branches': Branches,
    'tanh': Tanh,
}
CONFIGS = {
    'default': {},
    'per channel': dict(per_channel=True, num_steps=7),
    'fitted': dict(levels='fitted', num_steps=31),
    'per node': dict(input_scale='node'),
    'current': dict(encode_input=False),
    'aggregate': dict(order='aggregate'),
    'transform': dict(order='transform'),
}


def converted(name, graph, dtype=torch.float64, **kwargs):
    model = randomize(OWN[name]()) if name in OWN else make(name)
    graph = graph.clone()
    graph.x = graph.x.to(dtype)
    snn = convert(model.to(dtype), graph, ConversionConfig(compensate=None, **kwargs))
    return snn, graph


@torch.no_grad()
def run_node_by_node(snn, *args):
    """Every module is called, and every value made as a whole."""
    return Interpreter(snn.network).run(snn.bind(*args))


def leaves(value):
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


def assert_close(found, expected):
    found, expected = leaves(found), leaves(expected)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('config', CONFIGS)
@pytest.mark.parametrize('name', [*OWN, 'residual', 'JK max', 'deep GCN'])
def test_equals_node_by_node(name, config, graph, monkeypatch):
    snn, graph = converted(name, graph, **CONFIGS[config])
    expected = run_node_by_node(snn, graph)
    assert_close(snn(graph), expected)
    for size in (1, 100):  # A row at a time, and a few.
        monkeypatch.setattr(potentials, 'BLOCK_SIZE', size)
        assert_close(snn(graph), expected)


@pytest.mark.parametrize('name', ['block', 'branches', 'tanh', 'residual', 'JK max'])
def test_single_precision(name, graph):
    snn, graph = converted(name, graph, torch.float32)
    found, expected = leaves(snn(graph)), leaves(run_node_by_node(snn, graph))
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.float32  # A potential may lie on a threshold.
        differs = (a - b).abs() > 1e-4 * b.abs().max()
        assert float(differs.double().mean()) < 0.05


@pytest.mark.parametrize(
    'kind, types', [('dict', dict), ('tuple', tuple), ('list', list)]
)
def test_outputs_are_as_the_users(kind, types, graph):
    snn, graph = converted(kind, graph)
    out = snn(graph)
    assert type(out) is types
    inner = out['all'] if kind == 'dict' else out[1]
    assert type(inner) is types
    if kind == 'dict':
        assert list(out) == ['out', 'all'] and list(inner) == ['first', 'lin']


def test_what_is_in_rows(graph):
    snn, graph = converted('block', graph)
    plan = closed.Flow(snn.network)
    in_rows = {node.name for node in plan.in_rows}
    layers = {'first', 'second', 'third', 'fourth'}
    assert layers <= in_rows and not any('last' in name for name in in_rows)
    assert sum('add' in name for name in in_rows) == 5
    assert not plan.encodings  # Two layers read the input.
    plan = closed.Flow(converted('keywords', graph)[0].network)
    assert [node.name for node in plan.encodings] == ['neurons_input_x']


@pytest.fixture
def seen(monkeypatch):
    """What is called in rows, by name."""
    calls = []
    for owner, name in (
        (closed, 'spikes_of'),
        (closed, 'Encoding'),
        (SpikingGCNConv, 'potentials'),
        (SpikingGCNConv, 'forward'),
        (SpikingLinear, 'potentials'),
    ):
        monkeypatch.setattr(owner, name, noted(calls, name, getattr(owner, name)))
    return calls


def noted(calls, name, function):
    def call(*args, **kwargs):
        calls.append(name)
        return function(*args, **kwargs)

    return call


def test_hidden_layers_are_never_real_values(graph, seen):
    snn, graph = converted('keywords', graph)
    seen.clear()
    snn(graph)
    assert seen.count('spikes_of') == 2 and seen.count('Encoding') == 1
    assert seen.count('forward') == 1  # The last one; it calls the third 'potentials'.
    assert seen.count('potentials') == 3


HOOKED = ['conv1', 'conv2', 'conv3', 'neurons.input_x']


@pytest.mark.parametrize('kind', ['hook', 'pre-hook', 'keyword hook', 'global hook'])
@pytest.mark.parametrize('name', ['keywords', 'no activation'])
def test_hooks_run(kind, name, graph):
    snn, graph = converted(name, graph)
    expected, calls = snn(graph), []
    modules = dict(snn.network.named_modules())
    hooked = [n for n in modules if n.endswith(('conv1', 'conv2', 'conv3'))]
    hooked += [n for n in modules if n.startswith('neurons.')]
    hooked = [n for n in hooked if not any(modules[n].children())]
    names = {modules[n]: n for n in hooked}
    given = {}

    def note(module, args, *rest):
        if module in names:
            calls.append(names[module])
            given[names[module]] = args[0] if args else rest[0]['x']

    if kind == 'hook':
        handles = [modules[n].register_forward_hook(note) for n in hooked]
    elif kind == 'pre-hook':
        handles = [modules[n].register_forward_pre_hook(note) for n in hooked]
    elif kind == 'keyword hook':
        handles = [
            modules[n].register_forward_hook(note, with_kwargs=True) for n in hooked
        ]
    else:
        handles = [torch.nn.modules.module.register_module_forward_hook(note)]
    found = snn(graph)
    for handle in handles:
        handle.remove()
    assert_close(found, expected)
    assert sorted(calls) == sorted(hooked) and len(hooked) > 4
    for n, value in given.items():
        is_real = n.startswith('neurons.')
        assert isinstance(value, torch.Tensor if is_real else (Spikes, torch.Tensor))
    calls.clear()
    snn(graph)
    assert calls == []


@pytest.mark.parametrize('where', ['layer', 'population'])
def test_hooks_change_what_they_return(where, graph):
    snn, graph = converted('keywords', graph)
    before = snn(graph)
    layer = snn.network.get_submodule('conv2')
    population = next(iter(list(snn.neurons.values())[1:2]))
    if where == 'layer':
        handle = layer.register_forward_hook(lambda m, args, out: 0 * out - 1)
    else:

        def silence(module, args, out):
            return Spikes(
                torch.full_like(out.spike_time, out.code.num_steps), out.code, out.scale
            )

        handle = population.register_forward_hook(silence)
    found, expected = snn(graph), run_node_by_node(snn, graph)
    assert_close(found, expected)
    assert not torch.allclose(found, before)
    handle.remove()
    assert_close(snn(graph), before)


@pytest.mark.parametrize('where', ['subclass', 'forward'])
@pytest.mark.parametrize('index', [0, 1])
def test_populations_of_the_users(where, index, graph):
    """Nothing is fused that does something else than a population of the library."""
    snn, graph = converted('keywords', graph)
    before, neuron = snn(graph), list(snn.neurons.values())[index]
    silence = neuron.code.num_steps

    def forward(x):
        spikes = PhaseNeuron.forward(neuron, x)
        times = torch.full_like(spikes.spike_time, silence)
        return Spikes(times, spikes.code, spikes.scale)

    if where == 'forward':
        neuron.forward = forward
    else:
        neuron.__class__ = type(
            'Silent', (PhaseNeuron,), {'forward': lambda s, x: forward(x)}
        )
    found = snn(graph)
    assert_close(found, run_node_by_node(snn, graph))
    assert not torch.allclose(found, before)


def test_hooks_of_the_network(graph):
    snn, graph = converted('keywords', graph)
    expected = snn(graph)
    handle = snn.network.register_forward_hook(lambda module, args, out: 2 * out)
    assert_close(snn(graph), 2 * expected)
    handle.remove()
    assert_close(snn(graph), expected)


def test_values_are_freed(graph):
    snn, graph = converted('deep GCN', graph)
    alive, most = [], []

    def note(module, args, out):
        gc.collect()
        alive[:] = [r for r in alive if r() is not None]
        alive.append(weakref.ref(out.spike_time))
        most.append(len(alive))

    for neuron in snn.neurons.values():
        neuron.register_forward_hook(note)
    snn(graph)
    assert len(most) == 6 and max(most) <= 2  # The one that was read, and this one.
    gc.collect()
    assert all(r() is None for r in alive)


def test_networks_are_freed(graph):
    snn, graph = converted('keywords', graph)
    snn(graph)
    found = weakref.ref(snn.network), weakref.ref(snn.network.conv2)
    del snn
    gc.collect()
    assert all(r() is None for r in found)


@pytest.mark.parametrize('name', ['block', 'tuple', 'tanh', 'JK cat'])
def test_copies_run(name, graph, tmp_path):
    snn, graph = converted(name, graph)
    for has_run in (False, True):
        copies = [copy.deepcopy(snn), pickle.loads(pickle.dumps(snn))]
        torch.save(snn, tmp_path / 'snn.pt')
        copies.append(torch.load(tmp_path / 'snn.pt', weights_only=False))
        expected = snn(graph)
        for other in copies:
            assert_close(other(graph), expected)
        changed = copies[0]
        with torch.no_grad():
            for parameter in changed.parameters():
                parameter.mul_(2)
        assert_close(snn(graph), expected)
        found = leaves(changed(graph))[0]
        assert not torch.allclose(found, leaves(expected)[0]), has_run


def test_saved_networks_run(graph, tmp_path):
    snn, graph = converted('residual', graph)
    expected = snn(graph)
    spikegraph.save(snn, tmp_path / 'snn.safetensors')
    other = spikegraph.load(tmp_path / 'snn.safetensors', make('residual'))
    assert_close(other(graph), expected)
    other.load_state_dict(snn.state_dict())
    assert_close(other(graph), expected)


def test_other_data_types_and_devices(graph):
    snn, graph = converted('block', graph)
    expected = snn(graph)
    single = copy.deepcopy(snn).float()
    graph = graph.clone()
    graph.x = graph.x.float()
    found = single(graph)
    assert found.dtype == torch.float32
    assert float((found - expected).norm() / expected.norm()) < 0.05
    with pytest.raises(ValueError, match='data type of the weights'):
        snn(graph)


def test_another_graph_each_time(graph):
    snn, graph = converted('block', graph)
    for num_nodes, num_edges in ((60, 0), (1, 3), (7, 40), (200, 900), (60, 200)):
        x = torch.rand(num_nodes, 5, dtype=torch.float64)
        edges = torch.randint(num_nodes, (2, num_edges))
        assert_close(snn(x, edges), run_node_by_node(snn, x, edges))
    empty = torch.zeros(0, 5, dtype=torch.float64), torch.zeros(2, 0, dtype=torch.long)
    assert snn(*empty).shape == (0, 3)


def test_calls_from_several_threads(graph):
    snn, graph = converted('block', graph)
    inputs = [torch.rand_like(graph.x) for _ in range(12)]
    expected = [snn(x, graph.edge_index) for x in inputs]
    other = copy.deepcopy(snn)  # Its first calls are made at once.
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda x: other(x, graph.edge_index), inputs))
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


def test_layers_that_replace_others(graph):
    snn, graph = converted('keywords', graph)
    snn(graph)
    layer, neuron = snn.network.get_submodule('conv2'), list(snn.neurons.values())[1]

    class Doubled(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, *args, **kwargs):
            return self.module(*args, **kwargs)

    name = next(n for n, m in snn.network.named_modules() if m is neuron)
    for target, module in (('conv2', layer), (name, neuron)):
        parent, _, child = target.rpartition('.')
        owner = snn.network.get_submodule(parent)
        setattr(owner, child, Doubled(module))
        assert_close(snn(graph), run_node_by_node(snn, graph))


def test_inputs_that_are_no_matrices():
    model = randomize(nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)))
    x = torch.rand(4, 6, 5, dtype=torch.float64)
    snn = convert(model, x, ConversionConfig(compensate=None))
    assert_close(snn(x), run_node_by_node(snn, x))
    assert_close(snn(x[0, 0]), run_node_by_node(snn, x[0, 0]))
    assert_close(snn(x[0]), run_node_by_node(snn, x[0]))


def test_encodings_are_seen_as_spikes(graph):
    snn, graph = converted('keywords', graph)
    kinds = []
    layer = snn.network.get_submodule('conv1')
    layer.register_forward_pre_hook(lambda m, args: kinds.append(type(args[0])))
    snn(graph)
    assert kinds == [Spikes] and Encoding not in kinds
