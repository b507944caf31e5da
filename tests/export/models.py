"""Networks of all kinds, small, and examples of what they are given."""

import torch
from torch import nn
from torch_geometric.nn import (
    APPNP,
    ChebConv,
    GATConv,
    GATv2Conv,
    GCN2Conv,
    GCNConv,
    GINConv,
    GINEConv,
    GraphConv,
    PNAConv,
    RGCNConv,
    SAGEConv,
    TransformerConv,
    global_add_pool,
    global_max_pool,
    global_mean_pool,
)

from tests.conversion.zoo import randomize


class Layers(nn.Module):
    """Two layers with an activation between."""

    def __init__(self, first, second, act=torch.relu):
        super().__init__()
        self.first, self.second, self.act = first, second, act

    def forward(self, x, edge_index):
        return self.second(self.act(self.first(x, edge_index)), edge_index)


class Weighted(nn.Module):
    def __init__(self, improved=False):
        super().__init__()
        self.first = GCNConv(5, 8, improved=improved)
        self.second = GCNConv(8, 3, improved=improved)

    def forward(self, x, edge_index, edge_weight):
        x = self.first(x, edge_index, edge_weight).relu()
        return self.second(x, edge_index, edge_weight)


class GCNII(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin, self.out = nn.Linear(5, 8), nn.Linear(8, 3)
        self.convs = nn.ModuleList(GCN2Conv(8, 0.1, 0.5, i + 1) for i in range(3))

    def forward(self, x, edge_index):
        x = first = self.lin(x).relu()
        for conv in self.convs:
            x = conv(x, first, edge_index).relu()
        return self.out(x)


class Relations(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = RGCNConv(5, 8, 3), RGCNConv(8, 3, 3, aggr='sum')

    def forward(self, x, edge_index, edge_type):
        return self.second(
            self.first(x, edge_index, edge_type).relu(), edge_index, edge_type
        )


class Molecules(nn.Module):
    """Edge features, a virtual node, three ways to read a graph."""

    def __init__(self):
        super().__init__()
        self.embed, self.bonds = nn.Embedding(6, 8), nn.Linear(2, 8)
        self.conv = GINEConv(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)))
        self.virtual = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.out = nn.Linear(24, 2)

    def forward(self, x, edge_index, edge_attr, batch):
        x = self.embed(x)
        virtual = self.virtual(global_add_pool(x, batch))
        x = self.conv(x + virtual[batch], edge_index, self.bonds(edge_attr)).relu()
        pools = (global_add_pool, global_mean_pool, global_max_pool)
        return self.out(torch.cat([pool(x, batch) for pool in pools], dim=-1))


class SizedPool(nn.Module):
    """Is told how many graphs there are."""

    def __init__(self):
        super().__init__()
        self.conv, self.out = GCNConv(5, 8), nn.Linear(8, 2)

    def forward(self, x, edge_index, batch, batch_size):
        x = self.conv(x, edge_index).relu()
        return self.out(global_max_pool(x, batch, batch_size))


class Residual(nn.Module):
    """A residual add, batch norm, max pooling, average pooling."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.pool, self.out = nn.MaxPool2d(2), nn.Linear(4, 3)

    def forward(self, x):
        x = self.first(x).relu()
        x = (self.norm(self.second(x)) + x).relu()
        return self.out(self.pool(x).mean(dim=(2, 3)))


def _mlp(width):
    return nn.Sequential(nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, 8))


def _pna(width, out):
    deg = torch.tensor([2, 5, 9, 4])
    how = ['mean', 'max', 'min'], ['identity', 'amplification', 'attenuation']
    return PNAConv(width, out, *how, deg, towers=1, divide_input=False)


NODE_MODELS = {
    'gcn': lambda: Layers(GCNConv(5, 8), GCNConv(8, 3)),
    'gcn, tanh': lambda: Layers(GCNConv(5, 8), GCNConv(8, 3), torch.tanh),
    'gin': lambda: Layers(GINConv(_mlp(5)), GINConv(_mlp(8))),
    'sage': lambda: Layers(SAGEConv(5, 8), SAGEConv(8, 3)),
    'sage, max': lambda: Layers(SAGEConv(5, 8, 'max'), SAGEConv(8, 3, 'max')),
    'graph conv, min': lambda: Layers(GraphConv(5, 8, 'min'), GraphConv(8, 3)),
    'gat': lambda: Layers(GATConv(5, 4, 2), GATConv(8, 3), torch.nn.functional.elu),
    'gatv2': lambda: Layers(GATv2Conv(5, 4, 2), GATv2Conv(8, 3)),
    'transformer': lambda: Layers(TransformerConv(5, 8), TransformerConv(8, 3)),
    'cheb': lambda: Layers(ChebConv(5, 8, 3), ChebConv(8, 3, 2)),
    'appnp': lambda: Layers(GCNConv(5, 3), APPNP(4, 0.1)),
    'pna': lambda: Layers(_pna(5, 8), _pna(8, 3)),
    'gcnii': GCNII,
}


def made(name):
    """A node network with random parameters in float64."""
    torch.manual_seed(0)
    return randomize(NODE_MODELS[name]()).eval()


def molecules(num_graphs, seed=0):
    """A batch of small graphs, some of a single node."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 7, (num_graphs,), generator=generator)
    batch = torch.arange(num_graphs).repeat_interleave(sizes)
    pairs = (batch.view(-1, 1) == batch).nonzero().t()
    keep = torch.rand(pairs.size(1), generator=generator) < 0.5
    edge_index = pairs[:, keep]
    x = torch.randint(0, 6, (len(batch),), generator=generator)
    edge_attr = torch.rand(edge_index.size(1), 2, generator=generator).double()
    return x, edge_index, edge_attr, batch
