"""One row of the table is all that an operation takes."""

import operator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikegraph import convert, measure
from spikegraph.network.naming import operation_of
from spikegraph.network.ops import (
    ARRANGED,
    Count,
    Meaning,
    add_ops,
    all_ops,
    count_of,
    is_call,
    op_for,
    op_named,
    remove_op,
)
from spikegraph.nn import ACTIVATIONS, PhaseNeuron
from spikegraph.nn.activation import Exponential, Formula, Height, Logarithm, Ramp, Root

SPELLINGS = {
    'add': (torch.add, Tensor.add, operator.add, operator.iadd, 'add', 'add_'),
    'sub': (torch.subtract, operator.isub, 'subtract_', torch.sub),
    'div': (torch.true_divide, operator.truediv, operator.itruediv, 'divide', 'div_'),
    'matmul': (operator.matmul, torch.mm, 'mm', torch.linalg.matmul, '__matmul__'),
    'cat': (torch.cat, torch.concat, torch.concatenate),
    'relu': (F.relu, torch.relu_, 'relu', nn.ReLU, nn.ReLU(), Tensor.relu_),
    'conv2d': (F.conv2d, torch.conv2d, nn.Conv2d),
    'clamp': (torch.clip, 'clamp_', torch.clamp),
    'max_pool2d': (F.max_pool2d, torch.max_pool2d, nn.MaxPool2d),
}


@pytest.mark.parametrize('name', SPELLINGS)
def test_spellings_of_one_operation_are_one_row(name):
    rows = {op_for(target) for target in SPELLINGS[name]}
    assert rows == {op_named(name)}
    assert rows.pop().name == name


def test_names_that_mean_other_things_are_no_spellings():
    for target in (operator.concat, torch.batch_norm, torch.dropout, torch.layer_norm):
        assert op_for(target) is None


# Those that are functions only.
WRITTEN = {
    Exponential: ('exp', torch.exp),
    Root: ('sqrt', F.normalize),
    Logarithm: ('log', lambda x: x * (x.square().mean(1, keepdim=True) + 0.1).log()),
    Ramp: ('softmax', lambda x: x.softmax(dim=-1)),
    Height: ('softmax', lambda x: (1000 * x).softmax(dim=-1)),
}


def test_every_activation_has_a_row():
    kinds = {op.module for op in all_ops() if op.module in ACTIVATIONS}
    assert kinds == set(ACTIVATIONS) - {Formula, *WRITTEN}
    assert all(op_named(name).name == name for name, _ in WRITTEN.values())


class Written(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.last(self.function(self.first(x)))


@pytest.mark.parametrize('kind', WRITTEN)
def test_populations_that_stand_for_functions(kind):
    model, x = Written(WRITTEN[kind][1]), torch.rand(50, 4)
    snn = convert(model.eval(), x)
    kinds = [type(neuron.activation) for neuron in snn.neurons.values()]
    assert kinds.count(kind) == 1 and snn.report.analog == {}
    assert snn.report.logit_relative_error < 0.15


@pytest.mark.parametrize(
    'name, count',
    [
        ('mm', Count.PRODUCT),
        ('div', Count.SCALING),
        ('_to_copy', Count.MOVE),
        ('upsample_bilinear2d', Count.INTERPOLATION),
        ('embedding', Count.LOOKUP),
        ('index_select', Count.GATHER),
        ('values', None),
        ('bucketize', None),
    ],
)
def test_counts(name, count):
    assert count_of(name) is count


def test_a_placeholder_is_no_call_of_its_name():
    graph = torch.fx.Graph()
    assert not is_call(graph.placeholder('add'), 'add')
    assert not is_call('add', 'add') and not is_call(None, 'add')


@torch.library.custom_op('spikegraph_tests::swap', mutates_args=())
def swap(x: Tensor) -> Tensor:
    """Exchanges channels and places, and squares what is negative: an operation that
    no table can know, and no sample shows.
    """
    return torch.where(x < -1e30, x * x, x).transpose(1, 2).contiguous()


@swap.register_fake
def _(x):
    return x.transpose(1, 2).contiguous()


class Swapping(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv1d(3, 4, 1), nn.Linear(4, 2)

    def forward(self, x):
        return self.last(swap(self.first(x)).relu())


def dims_of(snn):
    network = snn.network
    modules = [operation_of(network, node) for node in network.nodes]
    return [m.channel_dim for m in modules if isinstance(m, PhaseNeuron)]


def test_adding_an_operation():
    torch.manual_seed(0)
    model, x = Swapping().eval(), torch.rand(20, 3, 5)
    unknown = convert(model, x)
    before = measure(unknown, x, model)
    assert before.total.snn_macs > 0 and dims_of(unknown) == [-2, -2]
    target = torch.ops.spikegraph_tests.swap.default
    rows = add_ops(
        'swap', Meaning.AFFINE, (target,), channels=ARRANGED, count=Count.MOVE
    )
    try:
        assert op_for(target) is rows[0]
        snn = convert(model, x)
        counted = measure(snn, x, model)
    finally:
        remove_op(rows[0])
    assert op_for(target) is None
    assert snn.report.analog == {} and snn.report.logit_relative_error < 0.2
    assert dims_of(snn) == [-2, -1]  # Of the input, and behind the swap.
    assert counted.total.synops > 0 and counted.total.snn_macs == 0
