"""Aggregations of PyG that multiply, compare or remember."""

import pytest
import torch
from torch import nn
from torch_geometric.nn import aggr

from spikegraph.nn.aggr import SpikingQuantileAggregation, SpikingSet2Set
from tests.conversion.zoo import randomize
from tests.nn.exactness import assert_exact, real

INDEX = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])


class Reading(nn.Module):
    """A layer in front, and one behind."""

    def __init__(self, aggregation, width):
        super().__init__()
        self.first, self.last = nn.Linear(6, 6), nn.Linear(width, 3)
        self.aggregation = aggregation

    def forward(self, x, index):
        x = torch.relu(self.first(x)) + 0.1
        return self.last(self.aggregation(x, index))


AGGREGATIONS = {
    'product': (aggr.MulAggregation(), 6),
    'median': (aggr.MedianAggregation(), 6),
    'between two': (aggr.QuantileAggregation(0.3), 6),
    'in the middle': (aggr.QuantileAggregation([0.2, 0.7], 'midpoint'), 12),
    'nearest': (aggr.QuantileAggregation([0.0, 0.6], 'nearest'), 12),
    'LSTM': (aggr.LSTMAggregation(6, 4), 4),
    'GRU': (aggr.GRUAggregation(6, 4), 4),
    'Set2Set': (aggr.Set2Set(6, 2), 12),
    'deep Set2Set': (aggr.Set2Set(6, 2, num_layers=2), 12),
}


@pytest.mark.parametrize('aggregation, width', AGGREGATIONS.values(), ids=AGGREGATIONS)
def test_aggregations(aggregation, width):
    def prepare(model):
        buffers = {k: v.clone() for k, v in model.named_buffers()}
        model = randomize(model)
        for name, value in buffers.items():  # Quantiles are no statistics.
            model.get_buffer(name).copy_(value)
        return model

    model = Reading(aggregation, width)
    assert_exact(model, real(9, 6), INDEX, prepare=prepare)


@pytest.mark.parametrize('how', ['linear', 'midpoint', 'lower', 'higher', 'nearest'])
@pytest.mark.parametrize('q', [0.4, [0.0, 0.25, 1.0]])
def test_quantiles_are_those_of_pyg(how, q):
    pyg = aggr.QuantileAggregation(q, how).double()
    found = SpikingQuantileAggregation.from_ann(pyg)(real(9, 6), INDEX, None, 4)
    expected = pyg(real(9, 6), INDEX, None, 4)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)


def test_quantiles_with_another_filling_are_refused():
    with pytest.raises(NotImplementedError, match=r"'fill_value' to be 0 \(got 1"):
        SpikingQuantileAggregation.from_ann(aggr.MedianAggregation(1.0))


def test_set2set_is_that_of_pyg():
    pyg = randomize(aggr.Set2Set(6, 3))
    found = SpikingSet2Set.from_ann(pyg)(real(9, 6), INDEX, None, 4)
    assert torch.allclose(found, pyg(real(9, 6), INDEX, None, 4), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match=r"'index'.*got None"):
        SpikingSet2Set.from_ann(pyg)(real(9, 6))
