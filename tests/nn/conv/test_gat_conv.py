"""The spiking twin of ``GATConv``."""

from torch_geometric.nn import GATConv

from tests.nn.conv.twin_tests import BipartiteTests, TwinTests


class TestGATConv(TwinTests, BipartiteTests):
    layer = GATConv
    shown = [
        ('xe', '6, 5, heads=2'),
        ('xea', '6, 5, edge_dim=4, concat=False'),
    ]
    others = [
        ('xe', '6, 5'),
        ('xea', '6, 5, heads=3, edge_dim=4'),
        ('xe', '6, 5, heads=2, concat=False, bias=False'),
        ('xe', '6, 5, heads=2, residual=True, add_self_loops=False'),
        ('xew', '6, 5, edge_dim=1, negative_slope=0.1, fill_value=2.0'),
    ]
    bipartite = [
        ('xe', '(6, 3), 5, 2'),
        ('xea', '(6, 3), 5, edge_dim=4'),
    ]
