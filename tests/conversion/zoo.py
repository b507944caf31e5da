"""Small trained-looking models, written the ways people write them."""

import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.nn import BatchNorm, GCNConv, MessagePassing, Sequential
from torch_geometric.nn.models import GCN


def randomize(model, seed=0):
    """Parameters and statistics as after training, in float64."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator)
            positive = 'running_var' in name
            value.copy_(noise.abs() + 0.5 if positive else 0.5 * noise)
    return model.double()


class Functional(nn.Module):
    def __init__(self, relu):
        super().__init__()
        self.conv1, self.conv2 = GCNConv(5, 8), GCNConv(8, 3)
        self.relu = relu

    def forward(self, x, edge_index):
        x = F.dropout(x, 0.5, training=self.training)
        x = self.relu(self.conv1(x, edge_index))
        x = F.dropout(x, 0.5, training=self.training)
        return F.log_softmax(self.conv2(x, edge_index), dim=-1)


class SharedReLU(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([GCNConv(5, 8), GCNConv(8, 8), GCNConv(8, 3)])
        self.act = nn.ReLU(inplace=True)

    def forward(self, x, edge_index, edge_weight=None):
        for conv in self.convs[:-1]:
            x = self.act(conv(x, edge_index, edge_weight))
        return self.convs[-1](x, edge_index, edge_weight)


class Residual(nn.Module):
    """Batch norm, an in-place ReLU, a residual add, dense layers between."""

    def __init__(self):
        super().__init__()
        self.lin_in, self.lin_out = nn.Linear(5, 8), nn.Linear(16, 3)
        self.conv1, self.conv2 = GCNConv(8, 8, bias=False), GCNConv(8, 8)
        self.norm1, self.norm2 = nn.BatchNorm1d(8), BatchNorm(8)

    def forward(self, x, edge_index):
        x = self.lin_in(x).relu()
        h = F.relu(self.norm1(self.conv1(x, edge_index)), inplace=True)
        h = self.norm2(self.conv2(h, edge_index)) + x
        h.relu_()
        return self.lin_out(torch.cat([h, x], dim=-1)) * 0.5 + 1


class TakesData(nn.Module):
    """As in PyG's own examples, branching on what the data holds."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = GCNConv(5, 8), GCNConv(8, 3)

    def forward(self, data):
        x, edge_index = data.x, data.edge_index
        if data.edge_weight is not None:
            x = x * 2
        x = torch.relu(self.conv1(x, edge_index, data.edge_weight))
        return self.conv2(x, edge_index)


def pyg_sequential():
    return Sequential(
        'x, edge_index',
        [
            (nn.Dropout(0.5), 'x -> x'),
            (GCNConv(5, 8), 'x, edge_index -> x'),
            nn.ReLU(inplace=True),
            (GCNConv(8, 8), 'x, edge_index -> x'),
            nn.ReLU(inplace=True),
            nn.Linear(8, 3),
        ],
    )


class Sine(nn.Module):
    """Not convertible without analog parts."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = GCNConv(5, 8), GCNConv(8, 3)

    def forward(self, x, edge_index):
        return self.conv2(torch.sin(self.conv1(x, edge_index)), edge_index)


class Asserts(MessagePassing):
    """A layer that checks what it is given; pytest leaves this file as it is."""

    def __init__(self):
        super().__init__(aggr='add')
        self.lin = nn.Linear(5, 8)

    def forward(self, x, edge_index):
        assert x.size(-1) == 5
        assert x.dim() == 2, 'a matrix'
        return self.propagate(edge_index, x=self.lin(x))

    def message(self, x_i, x_j):
        assert x_i.size(-1) == x_j.size(-1)
        return (x_i - x_j).relu()


# Name: (model, populations that replace activations).
MODELS = {
    'F.relu': (lambda: Functional(F.relu), 1),
    'torch.relu': (lambda: Functional(torch.relu), 1),
    'x.relu()': (lambda: Functional(lambda x: x.relu()), 1),
    'x.clamp(min=0)': (lambda: Functional(lambda x: x.clamp(min=0)), 1),
    'nn.ReLU': (lambda: Functional(nn.ReLU()), 1),
    'shared nn.ReLU': (SharedReLU, 2),
    'Sequential': (pyg_sequential, 2),
    'residual': (Residual, 3),
    'GCN': (lambda: GCN(5, 8, 2, 3, dropout=0.5), 1),
    'deep GCN': (lambda: GCN(5, 8, 6, 3, norm='batch_norm'), 5),
    'act first': (lambda: GCN(5, 8, 3, 3, norm='batch_norm', act_first=True), 2),
    'JK cat': (lambda: GCN(5, 8, 3, 3, norm='batch_norm', jk='cat'), 3),
    'JK max': (lambda: GCN(5, 8, 3, 3, jk='max', dropout=0.2), 3),
    'JK last': (lambda: GCN(5, 8, 3, 3, jk='last'), 3),
}


def make(name, seed=0):
    return randomize(MODELS[name][0](), seed)
