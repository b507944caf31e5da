"""What a network becomes depends on what it computes, not on what it is called."""

import random

import pytest
import torch
from torch import nn
from torch_geometric.nn import GATConv, GCNConv, GINConv, SAGEConv

from spikegraph import ConversionConfig, convert, load, measure, save, simulate

#: Names of folders, of nodes, of methods, and parts of these.
OURS = [
    *('neurons', 'gates', 'pools', 'products', 'factors', 'relays', 'layer'),
    *('input_x', 'input_edge_attr', 'charge', 'charge_lin', 'sum_1', 'add', 'max'),
    *('relu', 'relu_1', 'size', 'view', 'mul', 'where', 'values_w', 'lin_part_0'),
    *('mm', 'cat', 'neurons_relu', 'relay_x', 'unregistered_9', 'pos', 'edge_attr'),
    *('adj', 'double_', 'x', 'stack', 'amax', 'minimum', 'squeeze', 'linear'),
    *('scatter_reduce', 'index_add', 'expand_as', 'transpose', 'permute', 'clamp'),
]
N, F, H = 12, 6, 8


class Named(nn.Module):
    """Parts under any names, which a function computes with."""

    def __init__(self, names, parts, compute):
        super().__init__()
        self.__dict__['keys'] = dict(zip(parts, names, strict=False))
        for key, part in parts.items():
            if isinstance(part, nn.Parameter):
                self.register_parameter(self.keys[key], part)
            else:
                self.add_module(self.keys[key], part)
        self.__dict__['compute'] = compute

    def __getitem__(self, key):
        return getattr(self, self.keys[key])

    def forward(self, x, edge_index):
        return self.compute(self, x, edge_index)


def linears(*sizes):
    return [nn.Linear(*size) for size in sizes]


def degree_read_twice():
    """A degree that a layer beside the convolution reads, too, is not folded."""
    a, b = GCNConv(F, H), GCNConv(H, H)
    parts = {'a': a, 'b': b, 'act': nn.ReLU()}
    parts['side'] = nn.Sequential(nn.Linear(H, 3))
    parts['last'] = nn.Linear(H, 3)

    def compute(m, x, edge_index):
        h = m['b'](m['act'](m['a'](x, edge_index)), edge_index)
        return m['side'](h) + m['last'](h.relu())

    return parts, compute


def residual():
    parts = dict(zip('abc', linears((F, H), (H, H), (H, 3)), strict=True))
    parts.update(act=nn.ReLU(), act2=nn.ReLU())

    def compute(m, x, edge_index):
        h = m['act'](m['a'](x))
        return m['c'](m['act2'](m['b'](h) + h))

    return parts, compute


def maxima():
    parts = dict(zip('abc', linears((F, H), (F, H), (H, 3)), strict=True))
    parts['act'] = nn.ReLU()

    def compute(m, x, edge_index):
        return m['c'](torch.maximum(m['a'](x), m['act'](m['b'](x))))

    return parts, compute


def joined():
    parts = {'conv': SAGEConv(F, H), 'lin': nn.Linear(F, H), 'last': nn.Linear(16, 3)}
    parts.update(act=nn.ReLU())

    def compute(m, x, edge_index):
        h = torch.cat([m['conv'](x, edge_index), m['lin'](x)], dim=-1)
        return m['last'](m['act'](h))

    return parts, compute


def split():
    """A layer on a sum over neighbours and the node itself is taken apart."""
    parts = {'a': nn.Linear(F, H), 'act': nn.ReLU(), 'last': nn.Linear(2 * H, 3)}

    def compute(m, x, edge_index):
        h = m['act'](m['a'](x))
        out = torch.zeros(x.size(0), H).index_add(0, edge_index[1], h[edge_index[0]])
        return m['last'](torch.cat([h, out], dim=-1))

    return parts, compute


def parameters():
    parts = {'w': nn.Parameter(torch.randn(F, H)), 'b': nn.Parameter(torch.randn(H))}
    parts.update(act=nn.ReLU(), last=nn.Linear(H, 3))

    def compute(m, x, edge_index):
        return m['last'](m['act'](x @ m['w'] + m['b']))

    return parts, compute


def positions():
    """A table of numbers for each node, learned, beside features."""
    parts = {'table': nn.Parameter(torch.randn(N, F)), 'a': nn.Linear(F, H)}
    parts.update(act=nn.ReLU(), last=nn.Linear(H, 3), b=nn.Linear(F, H))

    def compute(m, x, edge_index):
        return m['last'](m['act'](m['a'](x) + m['b'](m['table'])))

    return parts, compute


def folders():
    layers = nn.ModuleList([GCNConv(F, H), GCNConv(H, 3)])
    table = nn.ModuleDict({'input_x': nn.ReLU(), 'relu': nn.Linear(H, H)})

    def compute(m, x, edge_index):
        h = m['table']['input_x'](m['layers'][0](x, edge_index))
        h = m['table']['input_x'](m['table']['relu'](h))
        return m['layers'][1](h, edge_index)

    return {'layers': layers, 'table': table}, compute


def isomorphism():
    inner = nn.Sequential(nn.Linear(F, H), nn.BatchNorm1d(H), nn.ReLU())
    parts = {'conv': GINConv(inner), 'act': nn.Tanh(), 'last': nn.Linear(H, 3)}

    def compute(m, x, edge_index):
        return m['last'](m['act'](m['conv'](x, edge_index)).amax(0, keepdim=True))

    return parts, compute


def two_arguments():
    """A module that takes two values, as methods of tensors do."""

    class Adds(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = linears((H, H), (H, H))

        def forward(self, x, y):
            return (self.a(x) - self.b(y)).relu()

    parts = {'join': Adds(), 'lin': nn.Linear(F, H), 'last': nn.Linear(H, 3)}

    def compute(m, x, edge_index):
        h = m['lin'](x).relu()
        return m['last'](m['join'](h, h * 2))

    return parts, compute


def attention():
    parts = {'a': GATConv(F, H), 'act': nn.ELU(), 'b': GCNConv(H, 3)}

    def compute(m, x, edge_index):
        return m['b'](m['act'](m['a'](x, edge_index)), edge_index)

    return parts, compute


NETS = {
    make.__name__: make
    for make in (
        *(degree_read_twice, residual, maxima, joined, split, parameters, positions),
        *(folders, isomorphism, two_arguments, attention),
    )
}


def build(name, names=None):
    torch.manual_seed(0)
    parts, compute = NETS[name]()
    names = [f'part{i}' for i in range(len(parts))] if names is None else names
    torch.manual_seed(1)
    edge_index = torch.randint(N, (2, 40))
    return Named(names, parts, compute).eval(), (torch.rand(N, F), edge_index)


@pytest.fixture(scope='module')
def plain():
    """Spikes, steps and counts with names that mean nothing."""
    found = {}

    def of(name):
        if name not in found:
            found[name] = results(*build(name))
        return found[name]

    return of


def results(model, call):
    config = ConversionConfig(num_steps=8, fold_degree=True, allow_analog=True)
    snn = convert(model, call, config)
    steps = [tuple(v.spike_time.shape) for v in simulate(snn, *call).spikes.values()]
    total = measure(snn, call, model).total
    spikes = [v.spike_time for v in snn.spikes(*call).values()]
    kinds = sorted(row.role for row in measure(snn, call, model).layers)
    return snn, snn(*call), spikes, steps, total, kinds


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('name', NETS)
def test_names_of_ours(name, seed, plain, tmp_path):
    draw = random.Random(seed * 100 + list(NETS).index(name))
    model, call = build(name, draw.sample(OURS, len(NETS[name]()[0])))
    snn, out, spikes, steps, total, kinds = results(model, call)
    _, out_, spikes_, steps_, total_, kinds_ = plain(name)
    given = list(model.keys.values())
    assert torch.equal(out, out_), given
    assert len(spikes) == len(spikes_) and all(map(torch.equal, spikes, spikes_)), given
    assert (steps, kinds) == (steps_, kinds_), given
    assert total == total_, given
    save(snn, tmp_path / 'snn')
    assert torch.equal(load(tmp_path / 'snn', model)(*call), out)


@pytest.mark.parametrize('key', ['factors', 'neurons', 'add'])
def test_a_reader_by_any_name_is_a_reader(key, plain):
    model, call = build('degree_read_twice', ['a', 'b', 'act', key, 'last'])
    found = convert(model, call, ConversionConfig(num_steps=8, fold_degree=True))
    expected = plain('degree_read_twice')[0]
    folds = [m.fold_target for m in found.modules() if hasattr(m, 'fold_target')]
    kept = [m.fold_target for m in expected.modules() if hasattr(m, 'fold_target')]
    assert folds == kept == [True, False]


@pytest.mark.parametrize('key', ['pos', 'edge_attr', 'edge_weight__x'])
def test_what_a_parameter_is_called_is_nothing_to_currents(key, plain):
    model, call = build('positions', [key, 'a', 'act', 'last', 'b'])
    found = convert(model, call, ConversionConfig(num_steps=8))
    assert found.report.currents == []


def test_squares_that_meet_others_have_names_of_their_own(tmp_path):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x):
            h = self.first(x).pow(2)  # Delayed by itself, once it is read with others.
            return self.last(h * h.mean(dim=-1, keepdim=True))

    torch.manual_seed(0)
    x = torch.randn(20, 6)
    snn = convert(Model(), x)
    labels = [n.record.label for n in snn.network.nodes if n.role.fires]
    assert len(set(labels)) == len(labels) and len(snn.spikes(x)) == len(labels)
    save(snn, tmp_path / 'network')
    assert torch.equal(load(tmp_path / 'network')(x), snn(x))
