"""What is sent as spikes: features that are learned, computed, or of edges."""

import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg_nn
from torch import nn
from torch_geometric.nn import GCNConv, GINEConv
from torch_geometric.utils import degree, scatter

from tests.foreign.call_form_models import TwoLayers, edges_only
from tests.foreign.registry import (
    NUM_CLASSES,
    NUM_FEATURES,
    WIDTH,
    define,
    dense,
    features,
    graph,
    with_batch,
    with_edges,
)


class Prepared(nn.Module):
    """Prepares its inputs, before two layers."""

    num_features = NUM_FEATURES

    def __init__(self):
        super().__init__()
        self.lin1 = nn.Linear(self.num_features, WIDTH)
        self.lin2 = nn.Linear(WIDTH, NUM_CLASSES)
        self.norm = self.make_norm()

    def make_norm(self):
        return None

    def forward(self, x):
        return self.lin2(self.lin1(self.prepare(x)).relu())


@define('a layer norm without weights on raw features', features)
class NormalisedRows(Prepared):
    def make_norm(self):
        return nn.LayerNorm(NUM_FEATURES, elementwise_affine=False)

    def prepare(self, x):
        return self.norm(x)


@define('a layer norm with weights on raw features', features, activations=2)
class NormalisedWithGain(NormalisedRows):
    def make_norm(self):
        norm = nn.LayerNorm(NUM_FEATURES)
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.uniform_(norm.bias, -1, 1)
        return norm


@define('an instance norm of the nodes of each graph', with_batch, activations=2)
class NormalisedGraphs(NormalisedRows):
    def make_norm(self):
        return pyg_nn.InstanceNorm(NUM_FEATURES)

    def forward(self, x, edge_index, batch):
        return self.lin2(self.lin1(self.norm(x, batch)).relu())


@define('features between two bounds, as zeros and ones', features)
class Binarised(Prepared):
    def prepare(self, x):
        return ((x > 0.3) & ~(x > 0.9)).to(x.dtype)


@define('rows divided by their sums, and logarithms', features, inputs=2)
class SharesAndLogarithms(Prepared):
    num_features = 2 * NUM_FEATURES

    def prepare(self, x):
        shares = x / x.sum(-1, keepdim=True).clamp(min=1e-6)
        return torch.cat([shares, torch.log1p(x)], dim=-1)


@define('sorted features', features)
class Sorted(Prepared):
    def prepare(self, x):
        values, _ = x.sort(dim=-1)
        return values


def atoms(num_nodes):
    return graph(num_nodes).atoms


@define('a one-hot code of a table of integers, and nothing else', atoms, macs=False)
class OneHotCode(Prepared):
    num_features = 10

    def prepare(self, x):
        return F.one_hot(x, 5).flatten(1).to(self.lin1.weight.dtype)


def columns(num_nodes):
    data = graph(num_nodes)
    return torch.cat([data.atoms.to(data.x.dtype), data.x], dim=1)


@define('a column of features as a one-hot code', columns, inputs=2, macs=False)
class OneHotColumn(Prepared):
    num_features = 5 + NUM_FEATURES

    def prepare(self, x):
        kind = F.one_hot(x[:, 0].long(), 5).type_as(x)
        return torch.cat([kind, x[:, 2:]], dim=-1)


def without_features(num_nodes):
    data = graph(num_nodes)
    del data.x
    data.num_nodes = num_nodes
    return data


@define('degrees are all that a node has', without_features, macs=False)
class DegreesOnly(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.lin = GCNConv(1, WIDTH), nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, batch):
        x = degree(batch.edge_index[1], batch.num_nodes).view(-1, 1)
        return self.lin(self.conv(x, batch.edge_index).relu())


def two_tables(num_nodes):
    return features(num_nodes), features(num_nodes + 100)[:num_nodes]


@define('pairs: two inputs, their product and their difference', two_tables, inputs=4)
class Pairs(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin1 = nn.Linear(4 * NUM_FEATURES, WIDTH)
        self.lin2 = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, a, b):
        x = torch.cat([a, b, a * b, (a - b).abs()], dim=-1)
        return self.lin2(self.lin1(x).relu())


def one_channel(num_nodes):
    a, b = two_tables(num_nodes)
    return a[:, :1], b[:, :1]


@define('two inputs of one channel, multiplied', one_channel, macs=False)
class OneChannel(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(1, WIDTH), nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, a, b):
        return self.lin2(self.lin1(a * b).relu())


def embedded(num_nodes):
    data = graph(num_nodes)
    norm = torch.rand(num_nodes, 1, generator=torch.Generator().manual_seed(0))
    return data.atoms[:, 0], data.edge_index, norm.to(data.x.dtype) + 0.5


@define('embeddings, times a factor of each node', embedded, inputs=0, macs=False)
class GraphSizeFactors(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.conv = nn.Embedding(5, WIDTH), GCNConv(WIDTH, WIDTH)
        self.lin = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, h, edge_index, snorm_n):
        h = self.embedding(h) * snorm_n
        return self.lin((self.conv(h, edge_index) * snorm_n).relu())


@define('tables of users and items in one graph', edges_only, sizes=(40,), macs=False)
class UsersAndItems(nn.Module):
    def __init__(self):
        super().__init__()
        self.users, self.items = nn.Embedding(15, NUM_FEATURES), nn.Embedding(25, 12)
        self.conv1, self.conv2 = GCNConv(NUM_FEATURES, WIDTH), GCNConv(WIDTH, 4)

    def forward(self, edge_index):
        x = torch.cat([self.users.weight, self.items.weight])
        x = F.dropout(x, 0.5, self.training)
        return self.conv2(self.conv1(x, edge_index).relu(), edge_index)


def matrix_only(num_nodes):
    return (dense(num_nodes).to_sparse().coalesce(),)


@define('a table times weights, in front of spmm', matrix_only, sizes=(40,), macs=False)
class TableTimesWeights(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(40, NUM_FEATURES))
        self.weight = nn.Parameter(torch.randn(NUM_FEATURES, WIDTH) / 4)
        self.lin = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, adj):
        return self.lin(torch.spmm(adj, self.table @ self.weight).relu())


@define(
    'a mean over layers of products with the graph',
    matrix_only,
    sizes=(40,),
    activations=0,
    macs=False,
)
class MeanOverLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.users, self.items = nn.Embedding(15, 8), nn.Embedding(25, 8)

    def forward(self, graph):
        x = torch.cat([self.users.weight, self.items.weight])
        layers = [x]
        for _ in range(3):
            x = torch.sparse.mm(graph, x)
            layers.append(x)
        users, items = torch.split(torch.stack(layers, 1).mean(1), [15, 25])
        return users, items


def numbered(num_nodes):
    return torch.arange(num_nodes), graph(num_nodes).edge_index


@define('rows of a table by number', numbered, macs=False)
class RowsOfTable(TwoLayers):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(60, NUM_FEATURES)

    def forward(self, n_id, edge_index):
        return super().forward(self.emb.weight[n_id], edge_index)


def with_queries(num_nodes):
    return graph(num_nodes).edge_index, torch.arange(9)


@define('a table that scores, too', with_queries, sizes=(40,), macs=False)
class TiedTable(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb, self.conv = nn.Embedding(40, 8), GCNConv(8, 8)

    def forward(self, edge_index, queries):
        h = self.conv(self.emb.weight, edge_index).relu()
        return h[queries] @ self.emb.weight.t()


@define('a graph of two tables', features, sizes=(40,), activations=1, macs=False)
class AdaptiveGraph(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = (
            nn.Parameter(torch.randn(40, 6)),
            nn.Parameter(torch.randn(6, 40)),
        )
        self.lin1 = nn.Linear(NUM_FEATURES, WIDTH)
        self.lin2 = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x):
        adp = torch.softmax(torch.tanh(self.a @ self.b), dim=1)
        return self.lin2((adp @ self.lin1(x)).relu())


def with_bonds(num_nodes):
    data = graph(num_nodes)
    generator = torch.Generator().manual_seed(num_nodes)
    bonds = torch.rand(data.num_edges, 5, generator=generator, dtype=torch.float64)
    return data.x, data.edge_index, bonds.to(data.x.dtype)


@define(
    'features of edges by another name', with_bonds, activations=3, inputs=2, macs=False
)
class NamedBonds(nn.Module):
    def __init__(self):
        super().__init__()
        mlp = nn.Sequential(
            nn.Linear(NUM_FEATURES, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 4)
        )
        self.conv = GINEConv(mlp, edge_dim=5)

    def forward(self, x, edge_index, bonds):
        return self.conv(x, edge_index, bonds).relu()


@define('messages of both ends and their edge', with_bonds, activations=2, inputs=2)
class MessagesByHand(nn.Module):
    def __init__(self):
        super().__init__()
        self.message = nn.Linear(2 * NUM_FEATURES + 5, WIDTH)
        self.update = nn.Linear(NUM_FEATURES + WIDTH, WIDTH)
        self.lin = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x, edge_index, e):
        src, dst = edge_index
        messages = self.message(torch.cat([x[src], x[dst], e], -1)).relu()
        h = scatter(messages, dst, dim=0, dim_size=x.size(0), reduce='mean')
        return self.lin(self.update(torch.cat([x, h], dim=-1)).relu())


def coded_bonds(num_nodes):
    data = graph(num_nodes)
    return data.x, data.edge_index, torch.stack([data.bonds, data.bonds % 2], dim=1)


@define('a sum of embeddings of the columns of edges', coded_bonds, activations=None)
class CodedBonds(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = (3, 2)
        self.tables = nn.ModuleList([nn.Embedding(n, NUM_FEATURES) for n in sizes])
        self.conv = GINEConv(nn.Linear(NUM_FEATURES, WIDTH))
        self.lin = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x, edge_index, bonds):
        edges = 0
        for i in range(bonds.shape[1]):
            edges += self.tables[i](bonds[:, i])
        return self.lin(self.conv(x, edge_index, edges).relu())


def sparse_rows(num_nodes):
    return features(num_nodes).to_sparse(), graph(num_nodes).edge_index


@define('sparse features in a layer of PyG', sparse_rows, macs=False)
class SparseRows(TwoLayers):
    pass


@define('edge weights by similarity of features', with_edges)
class SimilarityWeights(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.lin = GCNConv(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, x, edge_index):
        distance = (x[edge_index[0]] - x[edge_index[1]]).square().sum(-1)
        return self.lin(self.conv(x, edge_index, torch.exp(-distance)).relu())
