"""The spiking twin of ``HypergraphConv``."""

from torch_geometric.nn import HypergraphConv

from tests.nn.conv.twin_tests import TwinTests


class TestHypergraphConv(TwinTests):
    layer = HypergraphConv
    shown = [
        ('xh!', '6, 5'),
        ('xhv!', '6, 5, bias=False'),
        ('xhvb-', '6, 5, use_attention=True'),
    ]
