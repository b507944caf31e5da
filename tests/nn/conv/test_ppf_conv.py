"""The spiking twin of ``PPFConv``."""

from torch_geometric.nn import PPFConv

from tests.nn.conv.twin_tests import TwinTests


class TestPPFConv(TwinTests):
    layer = PPFConv
    shown = [
        ('xpne', 'mlp(10, 8), mlp(8, 5)'),
    ]
