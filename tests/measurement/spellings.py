"""Linear layers as people write them: one class for each way."""

import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.nn import GCNConv, MessagePassing, SAGEConv
from torch_geometric.utils import add_self_loops, degree, scatter


class Layer(nn.Module):
    """A layer with bare parameters."""

    def __init__(self, num_inputs, num_outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_inputs, num_outputs))
        self.bias = nn.Parameter(0.1 * torch.randn(num_outputs))
        self.eps = nn.Parameter(torch.tensor([0.3]))
        self.gain = nn.Parameter(torch.rand(num_inputs) + 0.5)
        self.lin = nn.Linear(num_inputs, num_outputs)
        self.second = nn.Parameter(torch.randn(num_outputs, num_outputs))
        self.register_buffer('mask', (torch.rand(num_inputs, num_outputs) > 0.3) * 1.0)


#: Transforms: a row of weights for each feature. A function of layer and features.
TRANSFORMS = {
    '@': lambda s, x: x @ s.weight,
    'matmul': lambda s, x: torch.matmul(x, s.weight) + s.bias,
    'Tensor.matmul': lambda s, x: s.bias + x.matmul(s.weight),
    'mm': lambda s, x: torch.mm(x, s.weight),
    'Tensor.mm': lambda s, x: x.mm(s.weight) - s.bias,
    'addmm': lambda s, x: torch.addmm(s.bias, x, s.weight),
    'Tensor.addmm': lambda s, x: s.bias.addmm(x, s.weight),
    'addmm with factors': lambda s, x: torch.addmm(
        s.bias, x, s.weight, beta=2, alpha=0.5
    ),
    'F.linear': lambda s, x: F.linear(x, s.weight.t(), s.bias),
    'F.linear without bias': lambda s, x: F.linear(x, s.weight.T),
    'einsum': lambda s, x: torch.einsum('ni,io->no', x, s.weight),
    'einsum, weights first': lambda s, x: torch.einsum('io,ni->no', s.weight, x),
    'tensordot': lambda s, x: torch.tensordot(x, s.weight, dims=1),
    'tensordot over pairs': lambda s, x: torch.tensordot(x, s.weight, ([-1], [-2])),
    'inner': lambda s, x: torch.inner(x, s.weight.t()),
    'weights on the left': lambda s, x: (s.weight.t() @ x.t()).t(),
    'weights on the left, mm': lambda s, x: torch.mm(s.weight.T, x.T).T,
    'weights times weights': lambda s, x: x @ (s.weight @ s.second),
    'multi_dot': lambda s, x: torch.linalg.multi_dot([x, s.weight @ s.second]),
    'masked weights': lambda s, x: x @ (s.weight * s.mask),
    'fixed projection': lambda s, x: x @ s.mask,
    'divided': lambda s, x: s.lin(x / 2),
    'times a number': lambda s, x: 0.5 * s.lin(3 * x),
    'times 1 + eps': lambda s, x: s.lin((1 + s.eps) * x),
    'times a gain per channel': lambda s, x: s.lin(s.gain * x),
    'negative': lambda s, x: s.lin(-x),
    'conv1d of width 1': lambda s, x: (
        F.conv1d(x.t().unsqueeze(0), s.weight.t().unsqueeze(-1), s.bias).squeeze(0).t()
    ),
    'bmm': lambda s, x: torch.bmm(x.unsqueeze(0), s.weight.unsqueeze(0)).squeeze(0),
}

#: The same with a weighted matrix. Functions of layer, features and matrix.
FIRST_TRANSFORMED = {
    'spmm': lambda s, x, adj: torch.spmm(adj, torch.mm(x, s.weight)) + s.bias,
    'sparse.mm': lambda s, x, adj: torch.sparse.mm(adj, x @ s.weight),
    'matrix @': lambda s, x, adj: adj @ s.lin(x),
    'matrix.matmul': lambda s, x, adj: adj.matmul(x @ s.weight),
    'matrix.mm': lambda s, x, adj: adj.mm(x.mm(s.weight)) + s.bias,
}
FIRST_AGGREGATED = {
    'linear of matrix @': lambda s, x, adj: s.lin(adj @ x),
    'spmm, then @': lambda s, x, adj: torch.spmm(adj, x) @ s.weight,
    'halved sums': lambda s, x, adj: s.lin(torch.mm(adj, x) / 2),
}
DENSE_FIRST_TRANSFORMED = {
    'einsum of matrix': lambda s, x, adj: torch.einsum('nm,mf->nf', adj, s.lin(x)),
    'from the right': lambda s, x, adj: ((x @ s.weight).t() @ adj.t()).t(),
    'bmm of matrices': lambda s, x, adj: torch.bmm(adj[None], (x @ s.weight)[None])[0],
}


def scatter_sum(x, edge_index):
    index = edge_index[1].view(-1, 1).expand(-1, x.size(1))
    return torch.zeros_like(x).scatter_add(0, index, x[edge_index[0]])


def index_sum(x, edge_index):
    out = torch.zeros(x.size(0), x.size(1), dtype=x.dtype)
    return out.index_add(0, edge_index[1], x.index_select(0, edge_index[0]))


def pyg_sum(x, edge_index):
    rows = x[edge_index[0]]
    return scatter(rows, edge_index[1], dim=0, dim_size=x.size(0), reduce='sum')


#: Sums over edges without weights. Functions of layer, features and edges.
EDGES_FIRST_TRANSFORMED = {
    'scatter_add': lambda s, x, edges: scatter_sum(x @ s.weight, edges),
    'index_add': lambda s, x, edges: index_sum(x @ s.weight, edges),
    'PyG scatter': lambda s, x, edges: pyg_sum(x @ s.weight, edges) + s.bias,
}
EDGES_FIRST_AGGREGATED = {
    'linear of scatter_add': lambda s, x, edges: s.lin(scatter_sum(x, edges)),
    'linear of index_add': lambda s, x, edges: s.lin(index_sum(x, edges)),
}


class Stack(nn.Module):
    """Two layers of one spelling."""

    def __init__(self, spelling, sizes=(6, 8, 3)):
        super().__init__()
        self.spelling = spelling
        self.first, self.last = Layer(*sizes[:2]), Layer(*sizes[1:])

    def forward(self, x):
        return self.spelling(self.last, self.spelling(self.first, x).relu())


class GraphStack(Stack):
    """The same on a graph."""

    def forward(self, x, graph):
        x = self.spelling(self.first, x, graph).relu()
        return self.spelling(self.last, x, graph)


class MatrixStack(Stack):
    """The same on a graph that is given as a matrix."""

    def forward(self, x, adj):
        return self.spelling(self.last, self.spelling(self.first, x, adj).relu(), adj)


class GraphConvolution(nn.Module):
    """The layer of pygcn."""

    def __init__(self, num_inputs, num_outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_inputs, num_outputs))
        self.bias = nn.Parameter(0.1 * torch.randn(num_outputs))

    def forward(self, x, adj):
        return torch.spmm(adj, torch.mm(x, self.weight)) + self.bias


class HandwrittenGCN(nn.Module):
    """Two of them."""

    def __init__(self):
        super().__init__()
        self.gc1, self.gc2 = GraphConvolution(6, 8), GraphConvolution(8, 3)

    def forward(self, x, adj):
        x = F.dropout(F.relu(self.gc1(x, adj)), 0.5, training=self.training)
        return F.log_softmax(self.gc2(x, adj), dim=1)


class TutorialConv(MessagePassing):
    """The first layer of a tutorial: linear, normalised messages, bias."""

    def __init__(self, num_inputs, num_outputs):
        super().__init__(aggr='add')
        self.lin = nn.Linear(num_inputs, num_outputs, bias=False)
        self.bias = nn.Parameter(0.1 * torch.randn(num_outputs))

    def forward(self, x, edge_index):
        edge_index, _ = add_self_loops(edge_index, num_nodes=x.size(0))
        x = self.lin(x)
        row, col = edge_index
        deg = degree(col, x.size(0), dtype=x.dtype)
        deg_inv_sqrt = deg.pow(-0.5)
        deg_inv_sqrt[deg_inv_sqrt == float('inf')] = 0
        norm = deg_inv_sqrt[row] * deg_inv_sqrt[col]
        return self.propagate(edge_index, x=x, norm=norm) + self.bias

    def message(self, x_j, norm):
        return norm.view(-1, 1) * x_j


class TutorialGCN(nn.Module):
    """Two of them."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = TutorialConv(6, 8), TutorialConv(8, 3)

    def forward(self, x, edge_index):
        return self.conv2(self.conv1(x, edge_index).relu(), edge_index)


class MoleculeConv(MessagePassing):
    """Isomorphism layer with edge features, as written for molecules."""

    def __init__(self, width):
        super().__init__(aggr='add')
        self.mlp = nn.Sequential(
            *(nn.Linear(width, 2 * width), nn.BatchNorm1d(2 * width), nn.ReLU()),
            nn.Linear(2 * width, width),
        )
        self.eps = nn.Parameter(torch.tensor([0.2]))
        self.encoder = nn.Embedding(4, width)

    def forward(self, x, edge_index, edge_attr):
        edge_embedding = self.encoder(edge_attr)
        messages = self.propagate(edge_index, x=x, edge_attr=edge_embedding)
        return self.mlp((1 + self.eps) * x + messages)

    def message(self, x_j, edge_attr):
        return F.relu(x_j + edge_attr)

    def update(self, aggr_out):
        return aggr_out


class MoleculeGIN(nn.Module):
    """Two of them on spikes, and a mean over each graph."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = MoleculeConv(6), MoleculeConv(6)
        self.out = nn.Linear(6, 3)

    def forward(self, x, edge_index, edge_attr, batch):
        x = F.relu(self.conv1(x, edge_index, edge_attr))
        x = F.relu(self.conv2(x, edge_index, edge_attr))
        return self.out(scatter(x, batch, dim=0, dim_size=4, reduce='mean'))


class TwoSided(nn.Module):
    """A layer from all nodes to some of them."""

    def __init__(self):
        super().__init__()
        self.conv = SAGEConv(6, 8)
        self.out = nn.Linear(8, 3)

    def forward(self, x, edge_index):
        return self.out(self.conv((x, x[:10]), edge_index).relu())


class Plain(nn.Module):
    """A layer that has a rule, and one of a to-be heterogeneous network."""

    def __init__(self, conv=GCNConv):
        super().__init__()
        self.conv1, self.conv2 = conv(6, 8), conv(8, 3)

    def forward(self, x, edge_index):
        return self.conv2(self.conv1(x, edge_index).relu(), edge_index)
