"""The spiking twin of ``GINConv``."""

from torch_geometric.nn import GINConv

from tests.nn.conv.twin_tests import BipartiteTests, SparseTests, TwinTests


class TestGINConv(TwinTests, BipartiteTests, SparseTests):
    layer = GINConv
    shown = [
        ('xe', 'mlp(6, 5)'),
        ('xe', 'mlp(6, 5), eps=0.3, train_eps=True'),
        ('xe', "mlp(6, 5), aggr='max'"),
    ]
    others = [
        ('xe', 'mlp(6, 5), eps=0.3'),
        ('xe', "mlp(6, 5), train_eps=True, aggr='mean'"),
        ('xe', "mlp(6, 5), eps=-0.4, aggr='max'"),
        ('xe+', "nn.Linear(6, 5), eps=0.5, flow='target_to_source'"),
    ]
    width = 6
    bipartite = [
        ('xe', 'mlp(6, 5), eps=0.3'),
    ]
    sparse = [
        'mlp(6, 5)',
    ]
