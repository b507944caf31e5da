"""Ways of being called, and of answering."""

from collections import namedtuple
from dataclasses import dataclass

import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg_nn
from torch import Tensor, nn
from torch_geometric import EdgeIndex
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GCNConv, SAGEConv

from tests.foreign.registry import (
    NUM_CLASSES,
    NUM_FEATURES,
    WIDTH,
    Refusal,
    define,
    dense,
    features,
    graph,
    with_batch,
    with_csr,
    with_edges,
)


class TwoLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = GCNConv(NUM_FEATURES, WIDTH), GCNConv(WIDTH, 4)

    def forward(self, x, edge_index):
        return self.conv2(F.relu(self.conv1(x, edge_index)), edge_index)


def hops(number):
    x, adj = features(number), dense(number)
    return ([x, adj @ x, adj @ adj @ x],)


@define('a list of tensors, one for each hop', hops, activations=3, inputs=3)
class ListOfHops(nn.Module):
    def __init__(self):
        super().__init__()
        self.lins = nn.ModuleList([nn.Linear(NUM_FEATURES, WIDTH) for _ in range(3)])
        self.lin = nn.Linear(3 * WIDTH, NUM_CLASSES)

    def forward(self, xs):
        hs = []
        for x, lin in zip(xs, self.lins, strict=True):
            hs.append(F.dropout(lin(x).relu(), p=0.5, training=self.training))
        return self.lin(torch.cat(hs, dim=-1)).log_softmax(dim=-1)


def pair(num_nodes):
    return (with_edges(num_nodes),)


@define('one argument, a tuple of features and edges', pair)
class TakesTuple(TwoLayers):
    def forward(self, inputs):
        x, edge_index = inputs
        return super().forward(x, edge_index)


def dictionary(num_nodes):
    data = graph(num_nodes)
    return ({'feat': data.x, 'edges': data.edge_index},)


@define('one argument, a dictionary', dictionary)
class TakesDictionary(TwoLayers):
    def forward(self, inputs):
        return super().forward(inputs['feat'], inputs['edges'])


@define('one argument, a data object under a name of its own', graph)
class TakesBatchedData(TwoLayers):
    def forward(self, batched_data):
        x, edge_index = batched_data.x, batched_data.edge_index
        return super().forward(x, edge_index)


@define("data['x'], 'key' in data, data.num_nodes", graph)
class AsksData(TwoLayers):
    def forward(self, data):
        x = data['x']
        if 'edge_attr' in data:
            x = x + data['edge_attr'].mean()
        if getattr(data, 'pos', None) is not None:
            x = torch.cat([x, data.pos], dim=1)
        ones = torch.ones(data.num_nodes, 1, dtype=x.dtype)
        return super().forward(x * ones, data['edge_index'])


def batch_of_graphs(number):
    graphs = []
    for n in range(10, 10 + number):
        data = graph(n)
        graphs.append(Data(x=data.x, edge_index=data.edge_index))
        graphs[-1].y = torch.tensor([[1.0, float('nan')]])
    return Batch.from_data_list(graphs)


@define(
    'labels with NaN beside, which nothing reads; data.num_graphs',
    batch_of_graphs,
    sizes=(5, 8, 2),
)
class LabelsWithGaps(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.lin = SAGEConv(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, data):
        h = self.conv(data.x, data.edge_index).relu()
        return self.lin(pyg_nn.global_add_pool(h, data.batch, data.num_graphs))


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


def keywords(num_nodes):
    data = graph(num_nodes)
    return {'x': data.x, 'edge_index': data.edge_index}


@define('arguments by keyword only', keywords)
class KeywordsOnly(TwoLayers):
    def forward(self, *, x, edge_index, return_hidden=False):
        h = F.relu(self.conv1(x, edge_index))
        out = self.conv2(h, edge_index)
        return (out, h) if return_hidden else out


@define(
    'an autoencoder that hands all arguments on',
    with_edges,
    expects='refused',
    refusal=Refusal(
        '',
        '',
        "encoder|'\\*args|\\*args",
        lambda model, call: (model.encoder, call, {}),
        activations=1,
    ),
)
def generic_autoencoder():
    return pyg_nn.GAE(TwoLayers())


@define(
    'an average of weights, which hands all arguments on',
    with_edges,
    expects='refused',
    refusal=Refusal(
        '',
        '',
        "module|'\\*args|\\*args",
        lambda model, call: (model.module, call, {}),
        activations=1,
    ),
)
def averaged():
    return torch.optim.swa_utils.AveragedModel(TwoLayers())


def nothing(number):
    return ()


@define(
    'no arguments: all there is are tables of the model',
    nothing,
    sizes=(0,),
    expects='refused',
    refusal=Refusal(
        '',
        '',
        'argument',
        lambda model, call: (TakesItsTable(), (graph(40).edge_index,), {}),
        activations=0,
    ),
)
class NoArguments(nn.Module):
    def __init__(self):
        super().__init__()
        self.users, self.items = nn.Embedding(15, 8), nn.Embedding(25, 8)
        self.register_buffer('graph', dense(40).to_sparse().coalesce())

    def forward(self):
        x = torch.cat([self.users.weight, self.items.weight])
        xs = [x]
        for _ in range(2):
            x = torch.sparse.mm(self.graph, x)
            xs.append(x)
        return torch.split(torch.stack(xs, dim=1).mean(dim=1), [15, 25])


class TakesItsTable(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.conv = nn.Embedding(40, NUM_FEATURES), GCNConv(NUM_FEATURES, 4)

    def forward(self, edge_index):
        return self.conv(self.table.weight, edge_index)


def edges_only(num_nodes):
    return (graph(num_nodes).edge_index,)


@define(
    'features that are a parameter', edges_only, sizes=(40,), inputs=None, macs=False
)
class LearnedFeatures(TwoLayers):
    def __init__(self):
        super().__init__()
        self.emb = nn.Parameter(torch.rand(40, NUM_FEATURES))

    def forward(self, edge_index):
        return super().forward(self.emb, edge_index)


def numbered(num_nodes):
    return torch.arange(num_nodes), graph(num_nodes).edge_index


@define('embeddings of node numbers', numbered, inputs=None)
class NumberedNodes(TwoLayers):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(60, NUM_FEATURES)

    def forward(self, n_id, edge_index):
        return super().forward(self.emb(n_id), edge_index)


def sparse_features(num_nodes):
    return features(num_nodes).to_sparse().coalesce(), dense(num_nodes).to_sparse()


@define(
    'sparse features',
    sparse_features,
    expects='refused',
    refusal=Refusal(
        '',
        '',
        r'to_dense\(\)',
        lambda model, call: (model, (call[0].to_dense(), call[1]), {}),
        activations=1,
    ),
)
class SparseFeatures(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight1 = nn.Parameter(torch.rand(NUM_FEATURES, WIDTH) - 0.5)
        self.weight2 = nn.Parameter(torch.rand(WIDTH, NUM_CLASSES) - 0.5)

    def forward(self, x, adj):
        x = F.relu(torch.sparse.mm(adj, torch.mm(x, self.weight1)))
        return torch.sparse.mm(adj, torch.mm(x, self.weight2))


@define('a tuple of scores and hidden state', with_edges)
class AnswersTuple(TwoLayers):
    def forward(self, x, edge_index):
        h = F.relu(self.conv1(x, edge_index))
        return self.conv2(h, edge_index).log_softmax(dim=1), h


@define('a dictionary of outputs', with_edges)
class AnswersDictionary(TwoLayers):
    def forward(self, x, edge_index):
        h = F.relu(self.conv1(x, edge_index))
        return {'logits': self.conv2(h, edge_index), 'hidden': h}


Output = namedtuple('Output', ['logits', 'hidden'])


@define('a named tuple', with_edges)
class AnswersNamed(TwoLayers):
    def forward(self, x, edge_index):
        h = F.relu(self.conv1(x, edge_index))
        return Output(logits=self.conv2(h, edge_index), hidden=h)


@dataclass
class Answer:
    logits: Tensor
    hidden: Tensor | None = None


@define('a dataclass', with_edges)
class AnswersDataclass(TwoLayers):
    def forward(self, x, edge_index):
        return Answer(super().forward(x, edge_index))


@define('wrapped for several devices', with_edges)
def parallel():
    return nn.DataParallel(TwoLayers())


@define('compiled outside', with_edges)
def compiled():
    return torch.compile(TwoLayers(), backend='eager')


class Parts(nn.Module):
    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x):
        return self.second(F.relu(self.first(x)))


@define('a part wrapped for several devices', features)
def parallel_part():
    return Parts(nn.DataParallel(nn.Linear(NUM_FEATURES, 16)), nn.Linear(16, 4))


@define('a part compiled', features)
def compiled_part():
    first = torch.compile(nn.Linear(NUM_FEATURES, 16), backend='eager')
    return Parts(first, nn.Linear(16, 4))


@define('autocast inside forward', features, bound=0.2)
class AutocastInside(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, x):
        with torch.autocast('cpu', enabled=False):
            x = F.relu(self.fc1(x))
        return self.fc2(x)


@define(
    'compiled by torch.jit',
    features,
    expects='refused',
    refusal=Refusal(
        '',
        '',
        'jit|script',
        lambda model, call: (Parts(nn.Linear(12, 16), nn.Linear(16, 4)), call, {}),
        activations=1,
    ),
)
def scripted():
    parts = Parts(nn.Linear(NUM_FEATURES, 16), nn.Linear(16, 4))
    return torch.jit.trace(parts, torch.rand(3, NUM_FEATURES))


@define(
    'several graphs of several types of nodes',
    lambda n: typed(n),
    activations=2,
    inputs=2,
)
class Heterogeneous(nn.Module):
    def __init__(self):
        super().__init__()
        convs = {
            ('a', 'to', 'b'): SAGEConv((NUM_FEATURES, NUM_FEATURES), WIDTH),
            ('b', 'to', 'a'): SAGEConv((NUM_FEATURES, NUM_FEATURES), WIDTH),
        }
        self.conv = pyg_nn.HeteroConv(convs, aggr='sum')
        self.lin = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x_dict, edge_index_dict):
        x_dict = self.conv(x_dict, edge_index_dict)
        x_dict = {key: x.relu() for key, x in x_dict.items()}
        return self.lin(x_dict['a']), self.lin(x_dict['b'])


def typed(num_nodes):
    data = graph(num_nodes)
    x = {'a': data.x, 'b': data.x.flip(0)}
    edges = {('a', 'to', 'b'): data.edge_index, ('b', 'to', 'a'): data.edge_index}
    return x, edges
