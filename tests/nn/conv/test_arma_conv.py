"""The spiking twin of ``ARMAConv``."""

from torch_geometric.nn import ARMAConv

from tests.nn.conv.twin_tests import TwinTests


class TestARMAConv(TwinTests):
    layer = ARMAConv
    shown = [
        ('xe', '6, 5, num_stacks=2, num_layers=2'),
        ('xe', '6, 5, act=None'),
    ]
    others = [
        ('xe', '6, 5'),
        ('xew', '6, 5, num_stacks=2, num_layers=3'),
        ('xe', '6, 5, 2, 2, shared_weights=True, bias=False'),
        ('xe+', '6, 5, num_stacks=3, act=None'),
    ]
