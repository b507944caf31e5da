"""Objects as JSON and tensors, and back."""

import json
from collections import OrderedDict, deque
from enum import Enum

import pytest
import torch
from torch import nn
from torch_geometric.data import Data

from spikegraph.coding import PhaseCode
from spikegraph.network.graph import Ref
from spikegraph.network.packing import Packer
from spikegraph.network.registry import Registry
from spikegraph.network.unpacking import Unpacker
from spikegraph.nn import PhaseNeuron
from spikegraph.nn.shift import GCNShift


def there_and_back(value, known=()):
    packer = Packer()
    data = json.loads(json.dumps(packer.pack(value)))
    return Unpacker(packer.tensors, Registry(known)).unpack(data)


class Colour(Enum):
    RED = 'red'


@pytest.mark.parametrize(
    'value',
    [
        *(None, True, 3, -0.5, 'text', 2 + 1j, [1, [2]], (1, (2, 'a')), {1: (2,)}),
        *(slice(1, None), slice(None, (2,), -1), ..., torch.float16, torch.sparse_csr),
        *(torch.device('cpu'), torch.Size([2, 3]), {3, 4}, frozenset([1]), Ref(3)),
        *(OrderedDict(b=1, a=(2,)), deque([1, 2]), float, torch.cat, Colour.RED),
        *(PhaseCode(4, 2.0, signed=True), GCNShift(improved=True)),
    ],
)
def test_values(value):
    found = there_and_back(value, known=[Colour])
    assert found == value and type(found) is type(value)


def test_data():
    data = Data(x=torch.rand(3, 2), kind='a')
    found = there_and_back(data)
    assert type(found) is Data and found.kind == 'a' and torch.equal(found.x, data.x)


def test_what_is_shared_stays_shared():
    layer, shift = nn.Linear(2, 2), GCNShift()
    tied = nn.Linear(2, 2, bias=False)
    tied.weight = layer.weight
    parts = there_and_back([layer, nn.Sequential(layer, tied), shift, shift])
    assert parts[1][0] is parts[0] and parts[1][1].weight is parts[0].weight
    assert isinstance(parts[0].weight, nn.Parameter) and parts[2] is parts[3]


def test_what_is_made_anew_is_left_out():
    neuron = PhaseNeuron(PhaseCode(4, 2.0), activation=nn.ELU())
    neuron(torch.rand(2, 3))
    assert neuron._cached is not None
    found = there_and_back(neuron)
    assert found._cached is None and not found.training
    assert torch.equal(
        found(torch.ones(1)).spike_time, neuron(torch.ones(1)).spike_time
    )


def test_hooks_are_left_out():
    layer = nn.Linear(2, 2)
    layer.register_forward_hook(lambda *_: None)
    assert not there_and_back(layer)._forward_hooks


class Slotted:
    __slots__ = ('a',)


@pytest.mark.parametrize(
    'value, match',
    [
        (
            lambda x: x,
            r'Cannot save <lambda>: it has no name .* top of a module',
        ),
        ([1, iter(())], "Cannot save 'it.1': a tuple_iterator is no tensor, module"),
        (type('Local', (), {})(), r'Cannot save Local: it has no name'),
    ],
)
def test_what_cannot_be_saved(value, match):
    with pytest.raises(ValueError, match=match):
        Packer().pack(value, 'it')


BOX = 'torch.nn.modules.container.Sequential'


def box(*parts):
    modules = [[str(i), part] for i, part in enumerate(parts)]
    return {'object': BOX, 'state': {'_modules': modules}}


def test_sharing_that_doubles_again_and_again():
    """Thirty boxes that hold the next one twice are a billion, one after another."""
    for depth, fits in ((10, True), (30, False)):
        value = box()
        for level in reversed(range(depth)):
            value = box(value, box({'same': level + 1}))
        if fits:
            found = Unpacker({}, Registry()).unpack(value)
            assert len(list(found.modules())) == 2 * depth + 1
            continue
        with pytest.raises(ValueError, match='objects that are shared a few times'):
            Unpacker({}, Registry()).unpack(value)


@pytest.mark.parametrize(
    'value, match',
    [
        (box({'same': 0}), r'do not hold themselves \(got 0\)'),
        (box({'same': -1}), r'number of an object \(got -1\)'),
        (box({'same': True}), r'number of an object \(got True\)'),
        (box({'same': 7}), r'number of an object \(got 7\)'),
        (box(3), r'Expected modules \(got 3\)'),
        ({}, r'Expected a description \(got \{\}\)'),
        ({'list': []}, r"known kind of value \(got 'list'\)"),
        ({'__init__': 1}, r"known kind of value \(got '__init__'\)"),
        ({'slice': [1, 2]}, r'Expected a list \(got \[1, 2\]\)'),
        ({'torch': 'load'}, r"Expected a data type \(got 'load'\)"),
        ({'enum': BOX, 'name': 'x'}, r"an enumeration \(got 'Sequential'\)"),
        ({'named': 'builtins.tuple', 'items': []}, r"named tuple \(got 'tuple'\)"),
        ({'made': 'builtins.int', 'of': [3]}, r"Expected a collection \(got 'int'\)"),
        ({'made': 'builtins.set', 'of': 'abc'}, r"Expected a list \(got 'abc'\)"),
        ({'object': BOX, 'state': {'lacks space': 1}}, r"Sequential \(got 'lacks"),
        ({'object': BOX, 'state': {'_forward_hooks': 1}}, "got '_forward_hooks'"),
        ({'object': BOX, 'state': {'append': 1}}, "got 'append'"),
        ({'object': BOX, 'state': {'__class__': 1}}, "got '__class__'"),
        ({'object': BOX, 'state': []}, r'the state of a Sequential \(got \[\]\)'),
        ({'tensor': 'a', 'is': 'tensor'}, r"Expected the tensor 'a' \(got none\)"),
    ],
    ids=str,
)
def test_descriptions_that_are_none(value, match):
    with pytest.raises(ValueError, match=match):
        Unpacker({}, Registry()).unpack(value)
