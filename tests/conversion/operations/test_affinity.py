"""Layers without a rule, kept as they are only if they are affine."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import MessagePassing

from spikegraph import convert, simulate


class Sum(MessagePassing):
    """Affine."""

    def __init__(self, aggr='add'):
        super().__init__(aggr=aggr)
        self.lin = nn.Linear(6, 6)

    def forward(self, x, edge_index):
        return self.propagate(edge_index, x=self.lin(x))


class Rectified(Sum):
    """Has an activation on its edges."""

    def message(self, x_j):
        return F.relu(x_j)


class Bounded(Sum):
    """Has bounds that no usual value reaches."""

    def message(self, x_j):
        return x_j.clamp(-100, 100)


class Network(nn.Module):
    def __init__(self, conv):
        super().__init__()
        self.conv, self.out = conv, nn.Linear(6, 3)

    def forward(self, x, edge_index):
        return self.out(self.conv(x, edge_index).relu() + x)


class ChangesData(Network):
    """Writes into the data object that it is given."""

    def forward(self, data):
        data.x = self.conv(data.x, data.edge_index)
        return self.out(data.x.relu())


def make_graph(edge_index):
    return Data(x=torch.randn(30, 6), edge_index=edge_index)


NONE = torch.zeros(2, 0, dtype=torch.long)
CHAIN = torch.stack([torch.arange(29), torch.arange(1, 30)])
MANY = torch.randint(30, (2, 90), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    'conv, edges, num_populations',
    [
        (Rectified(), [NONE, MANY], 3),
        (Bounded(), [MANY], 3),
        (Sum('max'), [CHAIN], 2),  # And a gate, behind the activation.
    ],
    ids=['no edges first', 'far bounds', 'one neighbor each'],
)
def test_layers_that_only_seem_affine_are_looked_into(conv, edges, num_populations):
    torch.manual_seed(0)
    data = [make_graph(edge_index) for edge_index in edges]
    snn = convert(Network(conv), data)
    assert snn.report.affine == []
    assert len(snn.neurons) == num_populations
    other = make_graph(MANY)
    out = snn(other.x, other.edge_index)
    assert torch.allclose(simulate(snn, other).output, out, atol=1e-4)


def test_without_edges_no_layer_seems_affine():
    with pytest.raises(ValueError, match="data to hold values for 'relu'.*no.*edges"):
        convert(Network(Rectified()), make_graph(NONE))  # No message arrives.


class Restless(Sum):
    """Asks for values, so that it cannot be traced."""

    def forward(self, x, edge_index):
        assert x.tolist()
        return super().forward(x, edge_index)


def test_affine_layers_are_kept_where_they_cannot_be_traced():
    snn = convert(Network(Sum()), make_graph(CHAIN))
    assert snn.report.affine == []
    snn = convert(Network(Restless()), make_graph(CHAIN))
    assert snn.report.affine == ['conv']


def test_probing_does_not_change_the_data():
    data = make_graph(MANY)
    x = data.x.clone()
    convert(ChangesData(Sum()), data)
    assert torch.equal(data.x, x)
