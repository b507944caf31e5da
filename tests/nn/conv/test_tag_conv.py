"""The spiking twin of ``TAGConv``."""

from torch_geometric.nn import TAGConv

from tests.nn.conv.twin_tests import SparseTests, TwinTests


class TestTAGConv(TwinTests, SparseTests):
    layer = TAGConv
    shown = [
        ('xe+', '6, 5'),
        ('xew', '6, 5, K=2, normalize=False'),
    ]
    others = [
        ('xew', '6, 5, K=1, bias=False'),
        ('xe+', '6, 5, K=0'),
    ]
    sparse = [
        '6, 5',
    ]
