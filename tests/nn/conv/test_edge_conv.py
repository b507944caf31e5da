"""The spiking twin of ``EdgeConv``."""

from torch_geometric.nn import EdgeConv

from tests.nn.conv.twin_tests import BipartiteTests, TwinTests


class TestEdgeConv(TwinTests, BipartiteTests):
    layer = EdgeConv
    shown = [
        ('xe', 'mlp(12, 5)'),
        ('xe', "mlp(12, 5), aggr='mean'"),
    ]
    others = [
        ('xe', "mlp(12, 5), 'sum', flow='target_to_source'"),
    ]
    width = 6
    bipartite = [
        ('xe', 'mlp(12, 5)'),
    ]
