"""The spiking twin of ``LEConv``."""

from torch_geometric.nn import LEConv

from tests.nn.conv.twin_tests import BipartiteTests, TwinTests


class TestLEConv(TwinTests, BipartiteTests):
    layer = LEConv
    shown = [
        ('xe+', '6, 5'),
        ('xew', '6, 5, bias=False'),
    ]
    others = [
        ('xew', "6, 5, flow='target_to_source'"),
    ]
    bipartite = [
        ('xew', '(6, 3), 5'),
    ]
