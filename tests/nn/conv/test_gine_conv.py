"""The spiking twin of ``GINEConv``."""

from torch_geometric.nn import GINEConv

from tests.nn.conv.twin_tests import BipartiteTests, TwinTests


class TestGINEConv(TwinTests, BipartiteTests):
    layer = GINEConv
    shown = [
        ('xea', 'mlp(6, 5), edge_dim=4'),
    ]
    others = [
        ('xea', 'mlp(6, 5), eps=0.3, edge_dim=4'),
        ('xea', "mlp(6, 5), edge_dim=4, aggr='mean'"),
        ('xea', "mlp(6, 5), train_eps=True, edge_dim=4, flow='target_to_source'"),
    ]
    width = 6
    bipartite = [
        ('xea', 'mlp(6, 5), eps=0.3, edge_dim=4'),
    ]
