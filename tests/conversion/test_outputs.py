import types
from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch_geometric.data import Data

from spikegraph import ConversionConfig, convert, load, measure, save, simulate
from spikegraph.conversion.outputs import take_apart
from spikegraph.inference import predict

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
        for result in results:
            assert same_form(expected, result)
            pairs = zip(tensors_of(expected), tensors_of(result), strict=True)
            for a, b in pairs:
                assert a.shape == b.shape
                assert (a - b).norm() < 0.2 * a.norm()
        for a, b in zip(tensors_of(found), tensors_of(results[2]), strict=True):
            assert torch.equal(a, b)
    total = measure(model, snn, x)
    assert total.uncounted == [] and total.num_nodes == 30


@pytest.mark.parametrize('answer', ANSWERS)
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
