"""The spiking twin of ``MixHopConv``."""

from torch_geometric.nn import MixHopConv

from tests.nn.conv.twin_tests import SparseTests, TwinTests


class TestMixHopConv(TwinTests, SparseTests):
    layer = MixHopConv
    shown = [
        ('xe+', '6, 5'),
        ('xew', '6, 5, powers=[0, 3, 1]'),
    ]
    others = [
        ('xew', '6, 5, powers=[0, 3, 1], bias=False'),
    ]
    sparse = [
        '6, 5',
    ]
