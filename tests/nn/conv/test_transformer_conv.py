"""The spiking twin of ``TransformerConv``."""

from torch_geometric.nn import TransformerConv

from tests.nn.conv.twin_tests import BipartiteTests, TwinTests


class TestTransformerConv(TwinTests, BipartiteTests):
    layer = TransformerConv
    shown = [
        ('xe', '6, 5, heads=2'),
        ('xea', '6, 5, edge_dim=4, root_weight=False'),
        ('xe-', '6, 5, beta=True'),
    ]
    others = [
        ('xe', '6, 5'),
        ('xea', '6, 5, heads=3, edge_dim=4'),
        ('xe', '6, 5, heads=2, concat=False, root_weight=False'),
    ]
    bipartite = [
        ('xe', '(6, 3), 5, 2'),
    ]
