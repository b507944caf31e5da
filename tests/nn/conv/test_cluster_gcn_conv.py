"""The spiking twin of ``ClusterGCNConv``."""

from torch_geometric.nn import ClusterGCNConv

from tests.nn.conv.twin_tests import TwinTests


class TestClusterGCNConv(TwinTests):
    layer = ClusterGCNConv
    shown = [
        ('xe+', '6, 5'),
        ('xe', '6, 5, diag_lambda=0.5'),
    ]
    others = [
        ('xe', '6, 5, bias=False'),
    ]
