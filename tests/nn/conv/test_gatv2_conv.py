"""The spiking twin of ``GATv2Conv``."""

from torch_geometric.nn import GATv2Conv

from tests.nn.conv.twin_tests import BipartiteTests, TwinTests


class TestGATv2Conv(TwinTests, BipartiteTests):
    layer = GATv2Conv
    shown = [
        ('xe', '6, 5, heads=2'),
        ('xea', '6, 5, edge_dim=4'),
    ]
    others = [
        ('xe', '6, 5'),
        ('xea', '6, 5, heads=3, edge_dim=4'),
        ('xe', '6, 5, heads=2, concat=False, share_weights=True'),
        ('xe', '6, 5, heads=2, residual=True, add_self_loops=False'),
    ]
    bipartite = [
        ('xe', '(6, 3), 5, 2'),
    ]
