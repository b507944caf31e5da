"""Adjacency and other structure in every form and under every name."""

import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg_nn
from torch import nn
from torch_geometric import EdgeIndex
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv, SAGEConv

from tests.foreign.call_form_models import TwoLayers
from tests.foreign.registry import (
    NUM_CLASSES,
    NUM_FEATURES,
    WIDTH,
    define,
    dense,
    features,
    graph,
    with_batch,
    with_csr,
    with_edges,
)


def adj_t_in_data(num_nodes):
    data = graph(num_nodes)
    adj_t = torch.sparse_coo_tensor(
        data.edge_index.flip(0), torch.ones(4 * num_nodes), (num_nodes, num_nodes)
    )
    return Data(x=data.x, adj_t=adj_t.coalesce().to_sparse_csr())


@define('data.adj_t, a CSR matrix', adj_t_in_data)
class TransposedAdjacency(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = SAGEConv(NUM_FEATURES, WIDTH), SAGEConv(WIDTH, 4)

    def forward(self, data):
        x = self.conv1(data.x, data.adj_t).relu()
        return self.conv2(x, data.adj_t)


def edge_index_object(num_nodes):
    data = graph(num_nodes)
    return data.x, EdgeIndex(data.edge_index, sparse_size=(num_nodes, num_nodes))


class SparseTensor:
    """As that of torch_sparse, as far as layers by hand need it."""

    def __init__(self, row, col, value=None, sparse_sizes=None):
        self.row, self.col, self.value, self.shape = row, col, value, sparse_sizes

    def size(self, dim):
        return self.shape[dim]

    def sizes(self):
        return list(self.shape)

    def sparse_sizes(self):
        return self.shape

    def nnz(self):
        return self.row.numel()

    def coo(self):
        return self.row, self.col, self.value

    def to_torch_sparse_coo_tensor(self):
        value = torch.ones(self.nnz()) if self.value is None else self.value
        index = torch.stack([self.row, self.col])
        return torch.sparse_coo_tensor(index, value, self.shape).coalesce()

    def to_torch_sparse_csr_tensor(self):
        return self.to_torch_sparse_coo_tensor().to_sparse_csr()

    def matmul(self, x, reduce='sum'):
        out = self.to_torch_sparse_coo_tensor() @ x
        if reduce == 'mean':
            count = torch.bincount(self.row, minlength=self.size(0))
            out = out / count.clamp(min=1).unsqueeze(-1)
        return out

    __matmul__ = matmul


def sparse_tensor(num_nodes):
    row, col = graph(num_nodes).edge_index
    return graph(num_nodes).x, SparseTensor(row, col, None, (num_nodes, num_nodes))


@define('a SparseTensor, multiplied by the operator', sparse_tensor)
class SparseTensorOperator(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight1 = nn.Parameter(torch.rand(NUM_FEATURES, WIDTH) - 0.5)
        self.weight2 = nn.Parameter(torch.rand(WIDTH, NUM_CLASSES) - 0.5)

    def forward(self, x, adj_t):
        x = F.relu(adj_t @ x @ self.weight1)
        return adj_t @ x @ self.weight2


@define("a SparseTensor: matmul(x, reduce='mean')", sparse_tensor)
class SparseTensorMean(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin1, self.root1 = nn.Linear(NUM_FEATURES, 16), nn.Linear(NUM_FEATURES, 16)
        self.lin2, self.root2 = nn.Linear(WIDTH, 4), nn.Linear(WIDTH, 4)

    def forward(self, x, adj):
        x = F.relu(self.lin1(adj.matmul(x, reduce='mean')) + self.root1(x))
        return self.lin2(adj.matmul(x, reduce='mean')) + self.root2(x)


@define('an EdgeIndex', edge_index_object, macs=False)
class TakesEdgeIndex(TwoLayers):
    pass


@define('layers that keep the normalised graph', with_edges, sizes=(40,))
class CachedEdges(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = GCNConv(NUM_FEATURES, WIDTH, cached=True)
        self.conv2 = GCNConv(WIDTH, NUM_CLASSES, cached=True)

    def forward(self, x, edge_index):
        return self.conv2(self.conv1(x, edge_index).relu(), edge_index)


@define('layers that keep a normalised CSR graph', with_csr, sizes=(40,))
class CachedMatrix(CachedEdges):
    pass


@define('a graph that is a buffer of the model', features, sizes=(40,))
class GraphAsBuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer('edge_index', graph(40).edge_index)
        self.conv1, self.conv2 = SAGEConv(NUM_FEATURES, WIDTH), SAGEConv(WIDTH, 4)

    def forward(self, x):
        return self.conv2(self.conv1(x, self.edge_index).relu(), self.edge_index)


@define('a dense graph that is a buffer of the model', features, sizes=(40,))
class MatrixAsBuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer('adj', dense(40))
        self.lin1, self.lin2 = nn.Linear(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, x):
        return self.adj @ self.lin2(F.relu(self.adj @ self.lin1(x)))


def named_support(num_nodes):
    return features(num_nodes), dense(num_nodes)


@define('a dense graph called support', named_support)
class NamedSupport(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, h, support):
        return support @ self.lin2(F.relu(support @ self.lin1(h)))


def edge_norm(num_nodes):
    data = graph(num_nodes)
    return data.x, data.edge_index, data.edge_weight


@define('weights of edges called norm', edge_norm)
class NamedNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = pyg_nn.GraphConv(NUM_FEATURES, WIDTH)
        self.conv2 = pyg_nn.GraphConv(WIDTH, NUM_CLASSES)

    def forward(self, feat, edges, norm):
        return self.conv2(self.conv1(feat, edges, norm).relu(), edges, norm)


def graph_sizes(num_nodes):
    x, edge_index, batch = with_batch(num_nodes)
    return x, edge_index, torch.bincount(batch)[batch].view(-1, 1).to(x).rsqrt()


@define('factors of nodes called snorm_n', graph_sizes)
class NamedFactors(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = SAGEConv(NUM_FEATURES, WIDTH), SAGEConv(WIDTH, 4)

    def forward(self, h, g, snorm_n):
        h = self.conv1(h, g) * snorm_n
        return self.conv2(F.relu(h), g)


def sparse_features(num_nodes):
    return features(num_nodes).to_sparse().coalesce(), dense(num_nodes).to_sparse()


@define('sparse features', sparse_features, macs=False)
class SparseFeatures(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight1 = nn.Parameter(torch.rand(NUM_FEATURES, WIDTH) - 0.5)
        self.weight2 = nn.Parameter(torch.rand(WIDTH, NUM_CLASSES) - 0.5)

    def forward(self, x, adj):
        x = F.relu(torch.sparse.mm(adj, torch.mm(x, self.weight1)))
        return torch.sparse.mm(adj, torch.mm(x, self.weight2))
