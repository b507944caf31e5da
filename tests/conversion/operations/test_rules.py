"""Rules decide, for each call, whether it goes by them."""

import operator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn.aggr import SortAggregation

from spikegraph import ConversionConfig, convert
from spikegraph.conversion.operations import kinds
from spikegraph.conversion.operations.rules import rule_for
from spikegraph.network.ops import all_ops

X = torch.rand(40, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    'target, kind',
    [
        (torch.maximum, kinds.Maximum),
        (operator.mul, kinds.Product),
        (Tensor.div_, kinds.Quotient),
        ('index_select', kinds.Pick),
        (F.batch_norm, kinds.GivenNorm),
        ('size', kinds.Metadata),
        (torch.full_like, kinds.Fill),
        (nn.ReLU(), kinds.ActivationRule),
        (nn.BatchNorm2d(3), kinds.Norm),
        (nn.Embedding(3, 3), kinds.Source),
        (SortAggregation(3), kinds.Refused),
        (torch.sort, type(None)),
    ],
    ids=lambda value: getattr(value, '__name__', type(value).__name__),
)
def test_rule_for(target, kind):
    assert type(rule_for(target)) is kind


def test_a_rule_for_each_meaning_that_is_not_open():
    without = {op.meaning for op in all_ops()} - set(kinds.RULES_OF)
    assert {meaning.name for meaning in without} == {'OPEN', 'POOL', 'FACTORY'}


class Between(nn.Module):
    def __init__(self, between):
        super().__init__()
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 3)
        self.between = between

    def forward(self, x):
        return self.last(self.between(self.first(x)).relu())


CONVERT = {
    'indices of its length': lambda h: h.index_select(
        0, torch.ones_like(h[:, 0], dtype=torch.long)
    ),
    'another name': lambda h: torch.true_divide(torch.multiply(h, 2), 3),
    'maximum of signals': lambda h: torch.maximum(h, h.roll(1, 0)),
    'maximum of a number': lambda h: torch.maximum(h, torch.zeros_like(h)),
    'product of signals': lambda h: h.relu() * h.roll(1, 0),
    'quotient of signals': lambda h: h / (2 + h.roll(1, 0).relu()),
}
REFUSED = {
    'it divides by a signal': lambda h: 1 / (2 + h),
    'it fills a tensor with a signal': lambda h: torch.full_like(h, h.sum()),
    'it rounds': lambda h: h + h.sum(0, True, dtype=torch.int64),
    'by the statistics of the batch': lambda h: F.batch_norm(
        h, None, None, training=True
    ),
}


@pytest.mark.parametrize('name', CONVERT)
def test_calls_that_go_by_their_rule(name):
    torch.manual_seed(0)
    snn = convert(Between(CONVERT[name]).eval(), X)
    assert snn.report.analog == {} and snn.report.logit_relative_error < 0.3


@pytest.mark.parametrize('why', REFUSED)
def test_calls_that_do_not(why):
    with pytest.raises(NotImplementedError, match=why):
        convert(Between(REFUSED[why]).eval(), X)


def test_products_that_are_to_be_analog():
    model = Between(CONVERT['product of signals']).eval()
    with pytest.raises(NotImplementedError, match='it multiplies two signals'):
        convert(model, X, ConversionConfig(products='analog'))
