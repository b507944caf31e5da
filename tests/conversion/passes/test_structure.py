"""Layers of PyG that have a signal beside their features are looked into."""

import pytest
import torch
import torch_geometric.nn as pyg_nn
from torch import nn

from spikegraph import ConversionConfig, convert
from tests.nn.exactness import assert_exact, real

EDGES = torch.tensor([[0, 1, 2, 3, 4, 5, 0, 3], [1, 1, 2, 2, 5, 4, 4, 0]])


class Weighted(nn.Module):
    """Edge weights of features."""

    def __init__(self, conv):
        super().__init__()
        self.score, self.conv, self.last = nn.Linear(5, 1), conv, nn.Linear(4, 3)

    def forward(self, x, edge_index):
        weight = torch.sigmoid(self.score(x).squeeze(-1)[edge_index[0]])
        return self.last(self.conv(x, edge_index, weight).relu())


CONVS = {
    'GCNConv': lambda: pyg_nn.GCNConv(5, 4),
    'plain GCNConv': lambda: pyg_nn.GCNConv(5, 4, normalize=False),
    'GraphConv': lambda: pyg_nn.GraphConv(5, 4),
    'LEConv': lambda: pyg_nn.LEConv(5, 4),
    'TAGConv': lambda: pyg_nn.TAGConv(5, 4, K=2),
    'SGConv': lambda: pyg_nn.SGConv(5, 4, K=2),
}


@pytest.mark.parametrize('name', CONVS)
def test_edge_weights_of_features(name):
    snn = assert_exact(Weighted(CONVS[name]()), real(7, 5), EDGES, most=0.4)
    assert 'sigmoid' in snn.neurons


def test_layers_that_cannot_be_looked_into_are_refused():
    class Conv(pyg_nn.GCNConv):
        def forward(self, x, edge_index, edge_weight=None):
            if x.sum() > 1e9:
                return x
            return super().forward(x, edge_index, edge_weight)

    with pytest.raises(NotImplementedError, match="'conv'"):
        convert(Weighted(Conv(5, 4)).double(), (real(7, 5), EDGES))


def test_they_stay_whole_beside_analog_coefficients():
    model = Weighted(CONVS['GCNConv']()).double()
    config = ConversionConfig(products='analog', allow_analog=True)
    snn = convert(model, (real(7, 5), EDGES), config)
    assert list(snn.report.analog) == ['conv']


@pytest.mark.parametrize('heads, concat', [(1, True), (2, True), (2, False)])
@pytest.mark.parametrize('mode', ['node', 'edge'])
def test_hypergraph_attention(heads, concat, mode):
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            options = {'heads': heads, 'concat': concat, 'attention_mode': mode}
            self.first = nn.Linear(5, 5)
            self.conv = pyg_nn.HypergraphConv(5, 4, use_attention=True, **options)
            self.last = nn.Linear(4 * heads if concat else 4, 3)

        def forward(self, x, hyperedge_index, attr):
            x = self.first(x).relu()
            out = self.conv(x, hyperedge_index, hyperedge_attr=attr)
            return self.last(out.relu())

    assert_exact(Attending(), real(7, 5), EDGES, real(6, 5, seed=1), most=0.4)
