"""The spiking twins of ``RGCNConv`` and ``FastRGCNConv``."""

from torch_geometric.nn import FastRGCNConv, RGCNConv

from tests.nn.conv.twin_tests import BipartiteTests, TwinTests


class TestRGCNConv(TwinTests, BipartiteTests):
    layer = RGCNConv
    shown = [
        ('xet', '6, 5, 3'),
        ('xet', '6, 5, 3, num_bases=2'),
        ('xet', '6, 4, 3, num_blocks=2'),
        ('xet-', "6, 5, 3, aggr='max'"),
    ]
    others = [
        ('xet', '6, 5, 3, num_bases=2, root_weight=False'),
        ('xet', '6, 4, 3, num_blocks=2, bias=False'),
        ('xet', "6, 5, 3, aggr='sum'"),
    ]
    bipartite = [
        ('xet', '(6, 3), 5, 3'),
    ]


class TestFastRGCNConv(TwinTests):
    layer = FastRGCNConv
    shown = [
        ('xet', '6, 5, 3'),
    ]
    others = [
        ('xet', '6, 5, 3, num_bases=2'),
    ]
