"""The spiking twin of ``GraphConv``."""

from torch_geometric.nn import GraphConv

from tests.nn.conv.twin_tests import BipartiteTests, SparseTests, TwinTests


class TestGraphConv(TwinTests, BipartiteTests, SparseTests):
    layer = GraphConv
    shown = [
        ('xe+', '6, 5'),
        ('xew', "6, 5, aggr='mean'"),
        ('xe', "6, 5, aggr='max'"),
        ('xew', "6, 5, aggr='max'"),
    ]
    others = [
        ('xew', '6, 5'),
        ('xew', "6, 5, bias=False, aggr='mean'"),
        ('xew', "6, 5, aggr='min', flow='target_to_source'"),
    ]
    bipartite = [
        ('xew', '(6, 3), 5'),
        ('xe', "(6, 3), 5, aggr='min'"),
    ]
    sparse = [
        '6, 5',
        "6, 5, aggr='mean'",
    ]
