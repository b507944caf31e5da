"""The spiking twin of ``SGConv``."""

from torch_geometric.nn import SGConv

from tests.nn.conv.twin_tests import SparseTests, TwinTests


class TestSGConv(TwinTests, SparseTests):
    layer = SGConv
    shown = [
        ('xe', '6, 5, K=2'),
        ('xew', '6, 5'),
    ]
    others = [
        ('xe+', '6, 5'),
        ('xew', '6, 5, K=3'),
        ('xe', '6, 5, K=2, cached=True, add_self_loops=False'),
    ]
    sparse = [
        '6, 5, K=2',
    ]
