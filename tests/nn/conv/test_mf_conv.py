"""The spiking twin of ``MFConv``."""

from torch_geometric.nn import MFConv

from tests.nn.conv.twin_tests import BipartiteTests, TwinTests


class TestMFConv(TwinTests, BipartiteTests):
    layer = MFConv
    shown = [
        ('xe', '6, 5, max_degree=4'),
    ]
    others = [
        ('xe', '6, 5'),
        ('xe', '6, 5, max_degree=2, bias=False'),
    ]
    bipartite = [
        ('xe', '(6, 3), 5'),
    ]
