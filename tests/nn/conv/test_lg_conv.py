"""The spiking twin of ``LGConv``."""

from torch_geometric.nn import LGConv

from tests.nn.conv.twin_tests import SparseTests, TwinTests


class TestLGConv(TwinTests, SparseTests):
    layer = LGConv
    shown = [
        ('xe+', ''),
        ('xew', 'normalize=False'),
    ]
    others = [
        ('xew', ''),
        ('xe', 'normalize=False'),
    ]
    sparse = [
        '',
    ]
