"""The spiking twin of ``ChebConv``."""

from torch_geometric.nn import ChebConv

from tests.nn.conv.twin_tests import TwinTests


class TestChebConv(TwinTests):
    layer = ChebConv
    shown = [
        ('xe', '6, 5, K=3'),
        ('xew', "6, 5, K=2, normalization='rw'"),
    ]
    others = [
        ('xe+', '6, 5, K=1'),
        ('xe+', '6, 5, K=4'),
        ('xew', "6, 5, K=2, normalization='rw', bias=False"),
        ('xew!', '6, 5, K=3, normalization=None'),
    ]
