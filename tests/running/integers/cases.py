"""Networks and inputs that integers are tried on."""

import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric import nn as pyg

NUM_NODES = 30


class TwoLayers(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.first, self.second = make(12, 16), make(16, 4)

    def forward(self, x, edge_index):
        return self.second(self.first(x, edge_index).relu(), edge_index)


class Weighted(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = pyg.GCNConv(12, 16), pyg.GCNConv(16, 4)

    def forward(self, x, edge_index, edge_weight):
        x = self.first(x, edge_index, edge_weight).relu()
        return self.second(x, edge_index, edge_weight)


class Pools(nn.Module):
    def __init__(self):
        super().__init__()
        layers = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 16))
        self.conv, self.last = pyg.GINConv(layers), nn.Linear(48, 3)

    def forward(self, x, edge_index, batch):
        x = self.conv(x, edge_index).relu()
        pools = pyg.global_mean_pool, pyg.global_max_pool, pyg.global_add_pool
        return self.last(torch.cat([pool(x, batch) for pool in pools], dim=1))


class Images(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.third = nn.Conv2d(8, 6, 3, stride=2, padding=2, dilation=2)
        self.last = nn.Linear(6 * 4, 5)

    def forward(self, x):
        x = F.max_pool2d(self.norm(self.first(x)).relu(), 3, 2, 1)
        x = (x + self.second(x)).relu()
        x = F.leaky_relu(self.third(x))
        return self.last(F.adaptive_avg_pool2d(x, 2).flatten(1))


class Propagation(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(12, 16), nn.Linear(16, 4)
        self.propagate = pyg.APPNP(3, 0.1)

    def forward(self, x, edge_index):
        return self.propagate(self.second(self.first(x).relu()), edge_index)


def _mlp():
    layers = [nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 16), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(16, 3))


CONVS = {
    'gcn': pyg.GCNConv,
    'sage': pyg.SAGEConv,
    'sage max': lambda i, o: pyg.SAGEConv(i, o, aggr='max'),
    'gat': lambda i, o: pyg.GATConv(i, o, heads=2, concat=False),
    'gatv2': lambda i, o: pyg.GATv2Conv(i, o, heads=2, concat=False),
    'transformer': lambda i, o: pyg.TransformerConv(i, o, heads=2, concat=False),
    'chebyshev': lambda i, o: pyg.ChebConv(i, o, 3),
    'tag': pyg.TAGConv,
    'gated': pyg.ResGatedGraphConv,
    'film': pyg.FiLMConv,
    'fingerprints': pyg.MFConv,
}
NAMES = [*CONVS, 'weighted', 'pools', 'images', 'appnp', 'mlp']


def case(name):
    """A network in evaluation mode, and inputs."""
    torch.manual_seed(0)
    x, edge_index = torch.rand(NUM_NODES, 12), torch.randint(NUM_NODES, (2, 120))
    if name in CONVS:
        found = TwoLayers(CONVS[name]), (x, edge_index)
    elif name == 'weighted':
        found = Weighted(), (x, edge_index, torch.rand(120))
    elif name == 'pools':
        found = Pools(), (x, edge_index, torch.arange(NUM_NODES) // 10)
    elif name == 'images':
        found = Images(), (torch.rand(4, 3, 12, 12),)
    elif name == 'appnp':
        found = Propagation(), (x, edge_index)
    else:
        found = _mlp(), (torch.randn(20, 12),)
    return found[0].eval(), found[1]
