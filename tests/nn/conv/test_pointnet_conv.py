"""The spiking twin of ``PointNetConv``."""

from torch_geometric.nn import PointNetConv

from tests.nn.conv.twin_tests import TwinTests


class TestPointNetConv(TwinTests):
    layer = PointNetConv
    shown = [
        ('xpe', 'mlp(9, 8), mlp(8, 5)'),
        ('xpe', ''),
        ('xpe', "mlp(9, 8), aggr='mean'"),
    ]
    others = [
        ('xpe', 'mlp(9, 8), add_self_loops=False'),
    ]
