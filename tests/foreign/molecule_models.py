"""Networks for molecules, with embedded atoms and bonds."""

import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import degree

from tests.foreign.registry import (
    NUM_CLASSES,
    WIDTH,
    define,
    graph,
)


def molecules(num_nodes):
    data = graph(num_nodes)
    return data.atoms, data.edge_index, data.bonds


class AtomSum(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(5, width) for _ in range(2)])

    def forward(self, atoms):
        out = 0
        for i in range(atoms.shape[1]):
            out += self.tables[i](atoms[:, i])
        return out


class BondGIN(MessagePassing):
    def __init__(self, width):
        super().__init__(aggr='add')
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.BatchNorm1d(2 * width),
            nn.ReLU(),
            nn.Linear(2 * width, width),
        )
        self.eps = nn.Parameter(torch.Tensor([0.1]))
        self.bonds = nn.Embedding(3, width)

    def forward(self, x, edge_index, edge_attr):
        edge_attr = self.bonds(edge_attr)
        agg = self.propagate(edge_index, x=x, edge_attr=edge_attr)
        return self.mlp((1 + self.eps) * x + agg)

    def message(self, x_j, edge_attr):
        return F.relu(x_j + edge_attr)

    def update(self, aggr_out):
        return aggr_out


@define(
    'embedded atoms and bonds, a learned eps, states kept in a list, += residuals',
    molecules,
    activations=5,
    inputs=None,
    bound=0.25,
)
class MoleculeGIN(nn.Module):
    def __init__(self):
        super().__init__()
        self.atoms = AtomSum(WIDTH)
        self.convs = nn.ModuleList([BondGIN(WIDTH) for _ in range(2)])
        self.norms = nn.ModuleList([nn.BatchNorm1d(WIDTH) for _ in range(2)])
        self.lin = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x, edge_index, edge_attr):
        h_list = [self.atoms(x)]
        for layer in range(2):
            h = self.convs[layer](h_list[layer], edge_index, edge_attr)
            h = self.norms[layer](h)
            if layer < 1:
                h = F.dropout(F.relu(h), 0.3, training=self.training)
            h += h_list[layer]
            h_list.append(h)
        out = 0
        for h in h_list:
            out += h
        return self.lin(out)


class RootedGCN(MessagePassing):
    def __init__(self, width):
        super().__init__(aggr='add')
        self.linear = nn.Linear(width, width)
        self.root_emb = nn.Embedding(1, width)
        self.bonds = nn.Embedding(3, width)

    def forward(self, x, edge_index, edge_attr):
        x = self.linear(x)
        row, col = edge_index
        deg = degree(row, x.size(0), dtype=x.dtype) + 1
        deg_inv_sqrt = deg.pow(-0.5)
        deg_inv_sqrt[deg_inv_sqrt == float('inf')] = 0
        norm = deg_inv_sqrt[row] * deg_inv_sqrt[col]
        out = self.propagate(
            edge_index, x=x, edge_attr=self.bonds(edge_attr), norm=norm
        )
        return out + F.relu(x + self.root_emb.weight) * 1.0 / deg.view(-1, 1)

    def message(self, x_j, edge_attr, norm):
        return norm.view(-1, 1) * F.relu(x_j + edge_attr)


@define(
    'degrees to a power, infinities set to zero by item assignment; the root has '
    'an activation of its own',
    molecules,
    activations=5,
    inputs=None,
    bound=0.25,
)
class MoleculeGCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.atoms = AtomSum(WIDTH)
        self.conv1, self.conv2 = RootedGCN(WIDTH), RootedGCN(WIDTH)
        self.lin = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x, edge_index, edge_attr):
        h = F.relu(self.conv1(self.atoms(x), edge_index, edge_attr))
        return self.lin(self.conv2(h, edge_index, edge_attr))
