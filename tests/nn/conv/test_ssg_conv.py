"""The spiking twin of ``SSGConv``."""

from torch_geometric.nn import SSGConv

from tests.nn.conv.twin_tests import SparseTests, TwinTests


class TestSSGConv(TwinTests, SparseTests):
    layer = SSGConv
    shown = [
        ('xe', '6, 5, alpha=0.2, K=3'),
    ]
    others = [
        ('xe+', '6, 5, alpha=0.2'),
        ('xew', '6, 5, 0.1, K=3'),
    ]
    sparse = [
        '6, 5, alpha=0.2, K=2',
    ]
