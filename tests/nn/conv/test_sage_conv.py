"""The spiking twin of ``SAGEConv``."""

from torch_geometric.nn import SAGEConv

from tests.nn.conv.twin_tests import BipartiteTests, SparseTests, TwinTests


class TestSAGEConv(TwinTests, BipartiteTests, SparseTests):
    layer = SAGEConv
    shown = [
        ('xe+', '6, 5'),
        ('xe', "6, 5, aggr='max'"),
        ('xe', "6, 5, aggr='min', root_weight=False"),
        ('xe', '6, 5, project=True'),
        ('xe', '6, 5, normalize=True'),
        ('xe', "6, 5, aggr=['mean', 'max']"),
        ('xs!', "6, 5, aggr='lstm'"),
        ('xe', "6, 5, aggr='std'"),
        ('xe!', "6, 5, aggr='median'"),
    ]
    others = [
        ('xe+', "6, 5, aggr='sum', root_weight=False, bias=False"),
        ('xe+', "6, 5, flow='target_to_source'"),
        ('xe', "6, 5, root_weight=False, aggr='min'"),
        ('xe', "6, 5, aggr='max', flow='target_to_source'"),
        ('xe', "6, 5, project=True, aggr='max'"),
    ]
    bipartite = [
        ('xe', '(6, 3), 5'),
        ('xe', "(6, 3), 5, aggr='max'"),
    ]
    sparse = [
        '6, 5',
        "6, 5, aggr='sum'",
        "6, 5, aggr='max'",
    ]
