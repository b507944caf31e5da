"""The spiking twin of ``DirGNNConv``."""

from torch_geometric.nn import DirGNNConv

from tests.nn.conv.twin_tests import TwinTests


class TestDirGNNConv(TwinTests):
    layer = DirGNNConv
    shown = [
        ('xe+', 'SAGEConv(6, 5)'),
        ('xe', 'GCNConv(6, 5), root_weight=False'),
        ('xe', 'GATConv(6, 5, add_self_loops=False)'),
    ]
    others = [
        ('xe', "GraphConv(6, 5, aggr='max'), alpha=0.2"),
        ('xe+', 'SAGEConv(6, 5), root_weight=False'),
    ]
