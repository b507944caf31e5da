import types
from collections import OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch_geometric.data import Data, HeteroData
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GCNConv, SAGEConv

from spikegraph import ConversionConfig, convert, load, measure, save, simulate
from spikegraph.calls.outputs import main_output, take_apart
from spikegraph.running.blocks import layerwise
from spikegraph.running.loaders import predict

CONFIG = ConversionConfig(num_steps=24, base=1.3)
Pair = namedtuple('Pair', ['logits', 'hidden'])


@dataclass
class Answer:
    logits: Tensor
    hidden: Tensor | None = None
    name: str = 'answer'


@dataclass(frozen=True, slots=True)
class Frozen:
    logits: Tensor
    states: list = field(default_factory=list)


@dataclass
class Output(OrderedDict):
    """Items that are attributes, too, and cannot be deleted."""

    logits: Tensor | None = None
    hidden: Tensor | None = None

    def __post_init__(self):
        for name in ('logits', 'hidden'):
            if getattr(self, name) is not None:
                self[name] = getattr(self, name)

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        super().__setattr__(key, value)

    def __delitem__(self, key):
        raise TypeError('no item can be deleted')


class Plain:
    def __init__(self, logits, hidden):
        self.logits, self.hidden, self.kind = logits, hidden, 'plain'


class Slots:
    __slots__ = ('hidden', 'logits')

    def __init__(self, logits, hidden):
        self.logits, self.hidden = logits, hidden


def _hetero(out, h):
    data = HeteroData()
    data['paper'].x, data['paper', 'cites', 'paper'].score = h, out
    data.logits = out
    return data


def _default(out, h):
    found = defaultdict(list)
    found['logits'].append(out)
    found['hidden'].append(h)
    return found


ANSWERS = {
    'tensor': lambda out, h: out,
    'tuple': lambda out, h: (out, h),
    'list': lambda out, h: [out, h],
    'nested': lambda out, h: [out, (h, [None, {'h': h}]), 'text', 3],
    'none': lambda out, h: (out, None, h),
    'dictionary': lambda out, h: {'logits': out, 1: h},
    'ordered': lambda out, h: OrderedDict(logits=out, hidden=h),
    'default': _default,
    'named': Pair,
    'named, of nothing': lambda out, h: Pair(out, None),
    'dataclass': lambda out, h: Answer(out),
    'frozen': lambda out, h: Frozen(out, [h, (h,)]),
    'items and attributes': lambda out, h: Output(logits=out, hidden=h),
    'items that are missing': lambda out, h: Output(logits=out),
    'namespace': lambda out, h: types.SimpleNamespace(logits=out, parts=(h,)),
    'object': Plain,
    'data': lambda out, h: Data(x=h, y=out),
    'hetero data': _hetero,
    'slots': Slots,
    'deque': lambda out, h: deque([out, h], maxlen=2),
    'one': lambda out, h: (out,),
    'numbers beside': lambda out, h: {'out': out, 'factors': (2, 3), 'none': [None]},
    'sizes': lambda out, h: (out, h.size(1), h.shape),
    'pieces': lambda out, h: (out, h.split(4, dim=1)),
    'no signal beside': lambda out, h: (out, torch.ones(3), torch.float32),
}


class Model(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
        self.answer = ANSWERS[answer]

    def forward(self, x):
        h = self.first(x).relu()
        return self.answer(self.last(h), h)


def same_form(a, b):
    assert type(a) is type(b)
    if isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        assert all(same_form(*pair) for pair in zip(a, b, strict=True))
    elif isinstance(a, dict):
        assert list(a) == list(b)
        assert all(same_form(a[key], b[key]) for key in a)
    elif isinstance(a, (Data, HeteroData)):
        assert same_form(a.to_dict(), b.to_dict())
    elif isinstance(a, deque):
        assert a.maxlen == b.maxlen and same_form(list(a), list(b))
    elif not isinstance(a, Tensor) and hasattr(a, '__dict__'):
        assert same_form(vars(a), vars(b))
    elif isinstance(a, (str, int)):
        assert a == b
    return True


def tensors_of(value):
    return [
        t for t in pytree.tree_leaves(take_apart(value)[0]) if isinstance(t, Tensor)
    ]


def features(num_rows=30):
    generator = torch.Generator().manual_seed(num_rows)
    return torch.rand(num_rows, 6, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize('answer', ANSWERS)
def test_structure_is_that_of_the_model(answer, tmp_path):
    torch.manual_seed(0)
    model, x = Model(answer).double().eval(), features()
    snn = convert(model, x, CONFIG)
    save(snn, tmp_path / 'snn.safetensors')
    loaded = load(tmp_path / 'snn.safetensors', model)
    for rows in (x, features(7)):
        with torch.no_grad():
            expected = model(rows)
        found = snn(rows)
        results = (found, simulate(snn, rows).output, loaded(rows))
        if answer not in ('sizes', 'pieces'):  # Moves along columns.
            results += (layerwise(snn, rows, block_size=4, progress=False),)
        for result in results:
            assert same_form(expected, result)
            pairs = zip(tensors_of(expected), tensors_of(result), strict=True)
            for a, b in pairs:
                assert a.shape == b.shape
                assert (a - b).norm() < 0.2 * a.norm()
        for a, b in zip(tensors_of(found), tensors_of(results[2]), strict=True):
            assert torch.equal(a, b)
    total = measure(snn, x, model)
    assert total.uncounted == [] and total.num_nodes == 30


@pytest.mark.parametrize('answer', [name for name in ANSWERS if name != 'sizes'])
def test_outputs_of_batches_are_joined(answer):
    torch.manual_seed(0)
    model, x = Model(answer).double().eval(), features()
    snn = convert(model, x, CONFIG)
    for network in (model, snn):
        whole = predict(network, x, progress=False)
        joined = predict(network, list(x.split(10)), progress=False)
        assert same_form(whole, joined)
        a, b = tensors_of(whole)[0], tensors_of(joined)[0]
        assert torch.allclose(a, b, rtol=1e-12)


def test_calls_share_nothing():
    snn = convert(Model('default').double(), features(), CONFIG)
    first, second = snn(features()), snn(features(7))
    first['logits'].append(None)
    assert len(second['logits']) == 1 and len(first['logits'][0]) == 30


@pytest.mark.parametrize('answer', ANSWERS)
def test_take_apart_and_build(answer):
    out, h = torch.rand(5, 3), torch.rand(5, 8)
    value = ANSWERS[answer](out, h)
    values, form = take_apart(value)
    again = form.build(values)
    assert same_form(value, again)
    for a, b in zip(tensors_of(value), tensors_of(again), strict=True):
        assert a is b


class Inside(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = GCNConv(6, 8), GCNConv(8, 3)

    def forward(self, data):
        data.x = self.conv1(data.x, data.edge_index).relu()
        data.logits = self.conv2(data.x, data.edge_index)
        return data, data.logits


class Types(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.last = SAGEConv(6, 8), nn.Linear(8, 3)

    def forward(self, data):
        edge_index = data['a', 'to', 'a'].edge_index
        data['a'].x = self.conv(data['a'].x, edge_index).relu()
        data['a'].logits = self.last(data['a'].x)
        return data


def graph(num_nodes=20):
    generator = torch.Generator().manual_seed(num_nodes)
    edge_index = torch.randint(num_nodes, (2, 60), generator=generator)
    y = torch.full((num_nodes,), float('nan'))  # Read by nobody.
    return Data(x=features(num_nodes), edge_index=edge_index, y=y, name='graph')


def hetero(num_nodes=20):
    data, homogeneous = HeteroData(), graph(num_nodes)
    data['a'].x, data['a'].y = homogeneous.x, homogeneous.y
    data['a', 'to', 'a'].edge_index = homogeneous.edge_index
    return data


@pytest.mark.parametrize('build, make', [(Inside, graph), (Types, hetero)])
def test_data_that_the_model_changes(build, make, tmp_path):
    torch.manual_seed(0)
    model = build().double().eval()
    snn = convert(model, make(), CONFIG)
    save(snn, tmp_path / 'snn')
    for network in (snn, load(tmp_path / 'snn', model)):
        data, own = make(25), make(25)
        with torch.no_grad():
            expected = model(own)
        results = (network(data), simulate(network, data).output)
        for result in (*results, layerwise(network, data, progress=False)):
            assert same_form(expected, result)
            for a, b in zip(tensors_of(expected), tensors_of(result), strict=True):
                a, b = a.double(), b.double()
                assert a.isnan().any() or (a - b).norm() <= 0.2 * a.norm()
        assert same_form(data.to_dict(), make(25).to_dict())  # As it was.
        inside = results[0][0] if build is Inside else results[0]
        assert inside is not data
        original = make(25)['a'] if build is Types else make(25)
        changed = inside['a'] if build is Types else inside
        assert changed.x.shape != original.x.shape and 'logits' in changed


def test_data_of_batches_is_joined():
    model = Model('data').double()
    snn = convert(model, features(), CONFIG)
    found = predict(snn, [features(10), features(7)], progress=False)
    assert type(found) is Data
    expected = torch.cat([snn(features(10)).y, snn(features(7)).y])
    assert torch.equal(found.y, expected) and found.num_nodes == 17
    graphs = DataLoader([graph(10), graph(12), graph(14)], batch_size=2)
    model = Inside().double()
    data, logits = predict(model, graphs, progress=False)
    assert data.num_nodes == len(logits) == 36
    assert int(data.edge_index.max()) >= 22  # It goes on where the last one ends.
    apart = [model(graph(n))[1] for n in (10, 12, 14)]
    assert torch.allclose(logits, torch.cat(apart))


class Loss(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        h = self.first(x).relu()
        out = self.last(h)
        return {'loss': out.mean(), 'mask': torch.ones(5).long(), 'logits': out}


def test_main_output():
    scalar, index, scores = torch.rand(()), torch.arange(5), torch.rand(7, 3)
    assert main_output([None, scalar, index, scores, scores[:2]]) == 3
    assert main_output([scalar, index]) == 1
    assert main_output(['text', scalar]) == 1
    assert main_output([2]) is None
    model = Loss().eval()
    snn = convert(model, torch.rand(20, 6))
    assert measure(snn, torch.rand(9, 6), model).num_nodes == 9


def returning(make):
    class Returning(Model):
        def forward(self, x):
            return make(self.last(self.first(x).relu()))

    return Returning('tensor')


@pytest.mark.parametrize(
    'make, kind',
    [
        (lambda out: (part for part in (out,)), 'generator, which can be read'),
        (lambda out: {out}, 'set, which has no order'),
        (lambda out: map(torch.relu, (out,)), 'map, which can be read'),
    ],
)
def test_what_cannot_be_returned(make, kind):
    x = features().float()
    with pytest.raises(NotImplementedError, match=f"{kind}.*return 'list"):
        convert(returning(make), x, CONFIG)
    followed = convert(returning(lambda out: list(make(out))), x, CONFIG)
    assert followed.report.num_activations >= 1


def test_structure_that_differs_from_call_to_call():
    def make(out):
        return {f'rows_{len(out)}': out}

    x = features().float()
    with pytest.raises(ValueError, match=r'sam|convert again|as in the calibration'):
        snn = convert(returning(make), [x, x[:7]], CONFIG)
        snn(x[:7])
