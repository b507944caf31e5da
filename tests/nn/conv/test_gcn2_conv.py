"""The spiking twin of ``GCN2Conv``."""

from torch_geometric.nn import GCN2Conv

from tests.nn.conv.twin_tests import TwinTests


class TestGCN2Conv(TwinTests):
    layer = GCN2Conv
    shown = [
        ('xze', '6, alpha=0.1'),
        ('xze', '6, alpha=0.1, theta=0.5, layer=2, shared_weights=False'),
    ]
    others = [
        ('xze', '6, 0.1'),
        ('xzew', '6, 0.2, theta=0.5, layer=3, shared_weights=False'),
        ('xze', '6, 0.1, 0.5, 2, cached=True'),
        ('xzew', '6, 0.1, normalize=False, add_self_loops=False'),
    ]
