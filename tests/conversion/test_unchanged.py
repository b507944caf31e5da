"""Whatever is given to a function is as it was when that returns."""

import copy

import pytest
import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv

from spikegraph import ConversionConfig, convert, load, measure, save
from spikegraph.running.loaders import predict

CONFIG = ConversionConfig(allow_analog=True)
OUTSIDE = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout())


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = GCNConv(6, 8, cached=True), nn.BatchNorm1d(8)
        self.act, self.drop = nn.ReLU(inplace=True), nn.Dropout(0.5)
        self.last = nn.Linear(8, 3)

    def first(self, x):
        return x

    def forward(self, x, edge_index):
        h = self.conv(self.first(x), edge_index)
        return self.last(self.drop(self.act(self.norm(h))))


class Computed(Net):
    """Tensors with a gradient function, as attributes, in containers, as buffers."""

    def __init__(self):
        super().__init__()
        self.base = nn.Parameter(torch.rand(6, 6))
        self.weight = self.base @ self.base
        self.parts, self.table = [self.base * 2], {'a': (self.base.sum(0),)}
        self.register_buffer('gain', self.base.mean(0))
        self.view = self.base[1:]

    def first(self, x):
        return x @ self.weight * self.gain + self.table['a'][0]


class Stateful(Net):
    """Gradients, and what a call leaves behind."""

    def __init__(self):
        super().__init__()
        self.calls, self.seen, self.last_seen = 0, [], None
        self.register_buffer('mask', torch.eye(6).to_sparse())
        self.last.weight.grad = torch.ones(3, 8)
        self.last.bias.requires_grad = False

    def first(self, x):
        self.calls += 1
        self.last_seen = x * 2
        self.seen.append(self.last_seen)
        return x


class Closed(Net):
    """Layers that belong to nobody, in training."""

    def __init__(self):
        super().__init__()
        norm, act = nn.BatchNorm1d(6), nn.ReLU(inplace=True)
        self.compute = lambda x: act(norm(x + 0))
        self.parts = (norm, act)
        self.layers = [nn.Linear(6, 6), nn.Dropout()]

    def first(self, x):
        return self.layers[1](self.layers[0](OUTSIDE(self.compute(x))))


class Hooked(Net):
    def __init__(self):
        super().__init__()
        self.norm.register_forward_hook(lambda module, args, out: out)
        self.last.register_full_backward_hook(lambda *_: None)
        torch.nn.utils.parametrizations.weight_norm(self.last)
        self.train().norm.eval()


NETS = (Computed, Stateful, Closed, Hooked)


def modules_of(value, seen=None):
    """All modules, those in lists and tuples, too."""
    seen = {} if seen is None else seen
    if isinstance(value, nn.Module) and id(value) not in seen:
        seen[id(value)] = value
        for part in [*value._modules.values(), *vars(value).values()]:
            modules_of(part, seen)
    elif isinstance(value, (list, tuple)):
        for part in value:
            modules_of(part, seen)
    return list(seen.values())


def tensor_state(value):
    grad = value.grad if value.is_leaf else None
    dense = value.detach().to_dense().clone()
    flags = (value.requires_grad, value.grad_fn, grad, value._version)
    return flags, dense


def state_of(value):
    """Everything there is to know of a value, with the identity of its parts."""
    if isinstance(value, torch.Tensor):
        return (id(value), *tensor_state(value))
    if isinstance(value, dict):
        return id(value), [(k, state_of(v)) for k, v in value.items()]
    if isinstance(value, (list, tuple)):
        return id(value), [state_of(v) for v in value]
    if isinstance(value, (int, float, str, type(None))):
        return value
    return id(value)


def snapshot(model):
    found = []
    for module in [*modules_of(model), *modules_of(OUTSIDE)]:
        names = [type(module), *sorted(vars(module))]
        parts = (module._parameters, module._buffers, module._modules)
        own = [state_of(v) for k, v in sorted(vars(module).items())]
        found.append((id(module), names, own, [state_of(p) for p in parts]))
    return found


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a is b or a == b


def graph():
    x = torch.randn(20, 6)
    return Data(x=x, edge_index=torch.randint(20, (2, 60)))


@pytest.mark.parametrize('kind', NETS, ids=lambda kind: kind.__name__)
def test_nothing_changes_the_model_or_the_data(kind, tmp_path):
    model, data = kind(), graph()
    if kind is not Hooked:
        model.train()
    kept, given = snapshot(model), copy.deepcopy(data)
    snn = convert(model, data, CONFIG)
    assert same(snapshot(model), kept), 'convert'
    save(snn, tmp_path / 'snn')
    before = {k: v.clone() for k, v in snn.state_dict().items()}
    found = load(tmp_path / 'snn', model)
    assert same(snapshot(model), kept), 'load'
    measure(snn, data, model)
    assert same(snapshot(model), kept), 'measure'
    out = predict(model, [data, data], progress=False)
    assert same(snapshot(model), kept), 'predict'
    assert torch.equal(out[:20], out[20:])  # Without dropout.
    spiking = predict(snn, [data], progress=False)
    assert torch.equal(spiking, found(data))
    exactly = {'rtol': 0, 'atol': 0, 'equal_nan': True}
    torch.testing.assert_close(dict(snn.state_dict()), before, **exactly)
    now, then = data.to_dict(), given.to_dict()
    assert now.keys() == then.keys()
    assert all(torch.equal(now[key], then[key]) for key in now)


def test_a_layer_outside_counts_as_in_the_model():
    """A layer in a list is run in evaluation mode, with the weights it has."""

    class Listed(nn.Module):
        def __init__(self, holder):
            super().__init__()
            self.layers = holder([nn.Linear(6, 8), nn.ReLU(), nn.Dropout()])
            self.last = nn.Linear(8, 3)

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return self.last(x)

    x, outs = torch.randn(30, 6), []
    for holder in (list, nn.ModuleList):
        torch.manual_seed(0)
        outs.append(convert(Listed(holder), (x,))(x))
    assert torch.equal(*outs)


def test_a_part_that_no_copy_is_made_of():
    class Kept(nn.Linear):
        def __deepcopy__(self, memo):
            return self

    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), Kept(8, 2))
    with pytest.raises(ValueError, match=r"copy '2' of it \(got the same Kept\)"):
        convert(model, torch.randn(9, 6))
    assert model.training and type(model[0]) is nn.Linear
