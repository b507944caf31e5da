"""Every remedy that a refusal names works when it is followed."""

import re

import pytest
import torch
from torch import nn
from torch_geometric import nn as pyg_nn
from torch_geometric.nn import GCNConv, RGCNConv, SAGEConv

from spikegraph import ConversionConfig, convert, register_rule
from spikegraph.conversion.operations import refusals
from spikegraph.conversion.operations.rules import RULES, rule_for
from spikegraph.network.ops import all_ops
from spikegraph.nn import SpikingGCNConv, SpikingLinear

X = torch.rand(40, 8, generator=torch.Generator().manual_seed(0))
EDGES = torch.randint(40, (2, 120), generator=torch.Generator().manual_seed(1))
TYPES = torch.randint(3, (120,), generator=torch.Generator().manual_seed(2))
BY_TARGET = EDGES[:, EDGES[1].argsort()]
ANALOG = ConversionConfig(allow_analog=True)


class Net(nn.Module):
    """A layer between two others, which other arguments reach, too."""

    def __init__(self, layer):
        super().__init__()
        self.first, self.layer, self.last = nn.Linear(8, 8), layer, nn.Linear(8, 3)

    def forward(self, x, edge_index=None, edge_type=None):
        graph = [value for value in (edge_index, edge_type) if value is not None]
        return self.last(self.layer(self.first(x).relu(), *graph).relu())


def refusal_of(layer, *graph):
    with pytest.raises(NotImplementedError) as error:
        convert(Net(layer).eval(), (X, *graph))
    return str(error.value)


def converts(layer, *graph, config=None):
    model = Net(layer).eval()
    snn = convert(model, (X, *graph), config)
    assert snn.report.logit_relative_error < 0.5
    return snn


def sum_of(layer):
    """A twin of a layer whose nodes have one neighbour each: the largest is the sum."""
    other = GCNConv(8, 8, add_self_loops=False)
    other.load_state_dict(layer.state_dict())
    return SpikingGCNConv.from_ann(other)


def identity(layer):
    """A twin of a layer that returns what it is given."""
    twin = SpikingLinear(8, 8)
    twin.set_parameters(torch.eye(8), torch.zeros(8))
    return twin


def alone():
    """Norms of windows of one value, none of which is negative."""
    return 2, 1


OPTIONS = {
    'aggr': (lambda: GCNConv(8, 8, aggr='max'), lambda: GCNConv(8, 8), (EDGES,)),
    'relations': (
        lambda: RGCNConv(8, 8, 3, aggr='max'),
        lambda: RGCNConv(8, 8, 3, aggr='mean'),
        (EDGES, TYPES),
    ),
}


@pytest.mark.parametrize('name', OPTIONS)
def test_an_option_is_named_and_another_one_converts(name):
    refused, allowed, graph = OPTIONS[name]
    message = refusal_of(refused(), *graph)
    assert re.search(r"Expected 'aggr' to be '.*' \(got 'max'\)", message)
    assert converts(allowed(), *graph).report.analog == {}
    assert converts(refused(), *graph, config=ANALOG).report.analog
    kind = type(refused()).__name__
    assert f'@register_rule({kind})' not in message
    assert f'give a subclass of {kind} with it a rule of its own' in message


def test_a_subclass_with_an_option_takes_a_rule():
    class MaxConv(GCNConv):
        pass

    layer = MaxConv(8, 8, aggr='max', add_self_loops=False)
    ring = torch.stack([torch.arange(40), torch.arange(40).roll(1)])
    assert 'give a subclass of MaxConv' in refusal_of(layer, ring)
    register_rule(MaxConv)(sum_of)
    try:
        model = Net(layer).eval()
        assert convert(model, (X, ring)).report.layers['layer'] == 'SpikingGCNConv'
    finally:
        del RULES[MaxConv]


class Bent(nn.Module):
    """Refused by a rule."""

    def forward(self, x):
        return x + 0 * torch.sin(x)


class Curve(Bent):
    """Refused as its base is, and nothing of its own."""


@pytest.fixture
def bent_is_refused():
    register_rule(Bent, kind='refused', reason='it bends')(lambda layer: layer)
    yield
    del RULES[Bent]


def test_adding_a_rule_to_a_layer_without_one(bent_is_refused):
    for layer in (nn.LPPool1d(*alone()), Curve()):
        kind = type(layer)
        message = refusal_of(layer)
        assert f"Add a rule with '@register_rule({kind.__name__})' or" in message
        register_rule(kind)(identity)
        try:
            assert convert(Net(layer).eval(), X).report.analog == {}
        finally:
            del RULES[kind]
        refusal_of(layer)


def test_a_method_that_is_put_on_a_module():
    layer = nn.LPPool1d(*alone())
    layer.forward = lambda x: 0 * x.sort(-1)[0] + x
    message = refusal_of(layer)
    assert "Make it a subclass of LPPool1d that overrides 'forward', and" in message

    class Sorted(nn.LPPool1d):
        def forward(self, x):
            return 0 * x.sort(-1)[0] + x

    register_rule(Sorted)(identity)
    try:
        assert convert(Net(Sorted(*alone())).eval(), X).report.analog == {}
    finally:
        del RULES[Sorted]


@pytest.mark.parametrize(
    'layer, graph',
    [
        (nn.LPPool1d(2, 1), ()),
        (nn.BatchNorm1d(8, track_running_stats=False), ()),
        (nn.MaxPool1d(2, return_indices=True), ()),
        (GCNConv(8, 8, aggr='max'), (EDGES,)),
        (SAGEConv(8, 8, aggr=pyg_nn.aggr.SortAggregation(1)), (BY_TARGET,)),
        (nn.RReLU(), ()),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else '',
)
def test_no_one_is_told_to_add_a_rule_that_exists(layer, graph):
    message = refusal_of(layer, *graph)
    for name in re.findall(r'@register_rule\((\w+)\)', message):
        kinds = [m for m in layer.modules() if type(m).__name__ == name]
        rule = rule_for(kinds[0])
        assert rule is None or rule.kind == 'refused'


def test_every_reason_in_the_table_is_a_sentence():
    keys = {op.why for op in all_ops()} - {''}
    assert keys == set(refusals.REASONS)


def test_a_kind_that_is_none():
    with pytest.raises(ValueError, match=r"'kind' to be one of .* \(got 'linear'\)"):
        register_rule(nn.Module, kind='linear')
