"""The spiking twin of ``SimpleConv``."""

from torch_geometric.nn import SimpleConv

from tests.nn.conv.twin_tests import BipartiteTests, SparseTests, TwinTests


class TestSimpleConv(TwinTests, BipartiteTests, SparseTests):
    layer = SimpleConv
    shown = [
        ('xe+', ''),
        ('xew', "'mean'"),
        ('xe', "'max', combine_root='cat'"),
        ('xe', "combine_root='self_loop'"),
    ]
    others = [
        ('xew', "aggr='mean'"),
        ('xe', "aggr='max'"),
        ('xe', "'min', combine_root='cat'"),
        ('xe', "combine_root='sum'"),
        ('xe+', "'mean', combine_root='self_loop'"),
    ]
    width = 6
    bipartite = [
        ('xe', ''),
        ('xe', "combine_root='cat', aggr='max'"),
    ]
    sparse = [
        '',
        "aggr='mean'",
    ]
