"""The spiking twin of ``AGNNConv``."""

from torch_geometric.nn import AGNNConv

from tests.nn.conv.twin_tests import TwinTests


class TestAGNNConv(TwinTests):
    layer = AGNNConv
    shown = [
        ('xe', ''),
    ]
    others = [
        ('xe', 'add_self_loops=False'),
    ]
