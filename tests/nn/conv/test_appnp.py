"""The spiking twin of ``APPNP``."""

from torch_geometric.nn import APPNP

from tests.nn.conv.twin_tests import SparseTests, TwinTests


class TestAPPNP(TwinTests, SparseTests):
    layer = APPNP
    shown = [
        ('xe', 'K=3, alpha=0.1'),
        ('xew', 'K=3, alpha=0.1, normalize=False'),
    ]
    others = [
        ('xe+', '3, 0.2'),
        ('xew', 'K=1, alpha=0.0'),
        ('xe', '2, 0.1, cached=True'),
        ('xe', '2, 0.1, add_self_loops=False'),
        ('xew', '2, 0.1, normalize=False'),
    ]
    sparse = [
        '3, 0.2',
    ]
