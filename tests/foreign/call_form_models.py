"""Ways of being called, and of answering."""

import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg_nn
from torch import nn
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


def keywords(num_nodes):
    data = graph(num_nodes)
    return {'x': data.x, 'edge_index': data.edge_index}


@define('arguments by keyword only', keywords)
class KeywordsOnly(TwoLayers):
    def forward(self, *, x, edge_index, return_hidden=False):
        h = F.relu(self.conv1(x, edge_index))
        out = self.conv2(h, edge_index)
        return (out, h) if return_hidden else out


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


def typed(num_nodes):
    data = graph(num_nodes)
    x = {'a': data.x, 'b': data.x.flip(0)}
    edges = {('a', 'to', 'b'): data.edge_index, ('b', 'to', 'a'): data.edge_index}
    return x, edges


@define('dictionaries of several types of nodes', typed, activations=2, inputs=2)
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
