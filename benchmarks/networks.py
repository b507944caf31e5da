"""Networks of the benchmarks, in every form that users run, each as fast as it can be."""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from competitors import Graph, adjacency_matrix, embedding_bag
from torch import Tensor, nn
from torch.fx import symbolic_trace
from torch.nn.utils.fusion import fuse_conv_bn_eval

from spikegraph.zoo.models import GAT, GCN


def untrained(model, *inputs):
    """A network as training leaves it, but not trained: the weights of batch norms are
    drawn, and their statistics are those of a pass in training."""
    for norm in model.train().modules():
        if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
            norm.momentum = None  # Averages over passes: of one, they are its own.
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.5)
    model(*inputs)
    return model.eval()


def untrained_gcn(sizes, x, edge_index):
    """A GCN with batch norm."""
    model = GCN(sizes[0], sizes[1], sizes[-1], num_layers=len(sizes) - 1, norm=True)
    return untrained(model, x, adjacency_matrix(edge_index, len(x)))


def untrained_gat(sizes, x, edge_index):
    """A graph attention network with four heads, one in the last layer, whose weights
    are drawn."""
    depth, sizes = len(sizes) - 1, (sizes[0], sizes[1], sizes[-1])
    return GAT(*sizes, num_layers=depth, heads=4).eval()


def cached(model):
    """Normalises the adjacency in the first pass only."""
    model = copy.deepcopy(model)
    for conv in model.convs:
        conv.cached = True
    return model


def fold_convolutions(model):
    """A copy whose batch norms are folded into the convolutions before them."""
    traced = symbolic_trace(copy.deepcopy(model))
    modules = dict(traced.named_modules())
    for node in traced.graph.nodes:
        norm = modules.get(node.target)
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        (before,) = node.all_input_nodes
        conv = modules[before.target]
        traced.set_submodule(before.target, fuse_conv_bn_eval(conv, norm))
        node.replace_all_uses_with(before)
        traced.graph.erase_node(node)
    traced.recompile()
    return traced


def folded(weight, bias, norm):
    """The weight and bias of a linear layer and the batch norm behind it."""
    scale = norm.weight.detach() * (norm.running_var + norm.eps).rsqrt()
    bias = scale * (bias.detach() - norm.running_mean) + norm.bias.detach()
    return scale.view(-1, 1) * weight.detach(), bias


class BagGCN(nn.Module):
    """A trained GCN as one would write it for speed: batch norms folded into
    weights, features summed where they are narrower, by an embedding bag."""

    def __init__(self, model, graph, dtype):
        super().__init__()
        self.col, self.rowptr = graph.col.to(dtype), graph.rowptr.to(dtype)
        self.edge_weight = graph.sorted_weight
        self.layers = []
        for i, conv in enumerate(model.convs):
            weight, bias = conv.lin.weight.detach(), conv.bias.detach()
            if i < len(model.norms):
                weight, bias = folded(weight, bias, model.norms[i])
            self.layers.append((weight.t().contiguous(), bias))

    def forward(self, x):
        for i, (weight, bias) in enumerate(self.layers):
            if i > 0:
                x = x.relu_()
            if weight.size(1) < weight.size(0):
                x = self.sum(x @ weight).add_(bias)
            else:
                x = torch.addmm(bias, self.sum(x), weight)
        return x

    def sum(self, x):
        return embedding_bag(x, self.col, self.rowptr, self.edge_weight)


@dataclass
class Molecules:
    """A batch of molecules, sorted by the ends of their bonds."""

    atoms: Tensor
    bonds: Tensor | None
    col: Tensor
    rowptr: Tensor
    weight: Tensor | None
    batch: Tensor
    ptr: Tensor

    @classmethod
    def from_batch(cls, x, edge_index, edge_attr, batch, has_bonds):
        ptr = _starts(batch, int(batch[-1]) + 1)
        if not has_bonds:
            graph = Graph.from_edges(edge_index, len(x))
            rows = graph.col, graph.rowptr, graph.sorted_weight
            return cls(x, None, *rows, batch, ptr)
        target, order = edge_index[1].sort(stable=True)
        rows = edge_index[0][order], _starts(target, len(x)), None
        return cls(x, edge_attr[order], *rows, batch, ptr)


def _starts(index, size):
    count = index.bincount(minlength=size)
    return torch.cat([count.new_zeros(1), count.cumsum(0)])


class BagMoleculeGNN(nn.Module):
    """A molecule network of the zoo, with a virtual node and the mean over atoms, as one
    would write it for speed: batch norms folded into weights; embedding bags sum the
    embeddings of atoms and bonds, over neighbours and over the atoms of a molecule."""

    def __init__(self, model):
        super().__init__()
        self.virtual_node, self.readout = model.virtual_node, model.readout
        self.atoms = _table(model.atom_encoder.atom_embedding_list)
        self.bonds = [_table(e.bond_embedding_list) for e in model.bond_encoders]
        self.eps = [1 + float(getattr(conv, 'eps', 0)) for conv in model.convs]
        self.layers = [
            _folded_mlp([*conv.nn, norm])
            if self.bonds
            else [folded(conv.lin.weight, conv.bias, norm)]
            for conv, norm in zip(model.convs, model.norms, strict=True)
        ]
        self.virtual_mlps = [_folded_mlp(mlp) for mlp in model.virtual_mlps]

    def prepare(self, x, edge_index, edge_attr, batch):
        return Molecules.from_batch(x, edge_index, edge_attr, batch, bool(self.bonds))

    def forward(self, graph):
        x, virtual = _look_up(self.atoms, graph.atoms), self.virtual_node
        last = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            x = x + (virtual if i == 0 else virtual[graph.batch])
            out = _mlp(layer, self.sum(i, x, graph))
            if i < last:
                out = out.relu_()
                rows = _sum_rows(x, graph.ptr).add_(virtual)
                virtual = _mlp(self.virtual_mlps[i], rows).relu_()
            x = out
        size = graph.ptr.diff().view(-1, 1)
        return self.readout(_sum_rows(x, graph.ptr).div_(size))

    def sum(self, i, x, graph):
        if not self.bonds:
            return embedding_bag(x, graph.col, graph.rowptr, graph.weight)
        message = _look_up(self.bonds[i], graph.bonds).add_(x[graph.col]).relu_()
        return _sum_rows(message, graph.rowptr).add_(x, alpha=self.eps[i])


def _table(embeddings):
    """One table of several, and where each starts."""
    sizes = torch.tensor([0, *(e.num_embeddings for e in embeddings)])
    weight = torch.cat([e.weight.detach() for e in embeddings])
    return weight, sizes.cumsum(0)[:-1]


def _look_up(table, x):
    weight, starts = table
    return F.embedding_bag(x + starts, weight, mode='sum')


def _sum_rows(x, starts):
    return embedding_bag(x, torch.arange(len(x)), starts)


def _folded_mlp(modules):
    first, norm, _, second, last_norm, *_ = modules
    layers = (first, norm), (second, last_norm)
    return [folded(linear.weight, linear.bias, norm) for linear, norm in layers]


def _mlp(layers, x):
    for i, (weight, bias) in enumerate(layers):
        x = F.linear(x.relu_() if i > 0 else x, weight, bias)
    return x


def _on_edges(network, x, edge_index):
    return lambda: network(x, edge_index)


def _on_matrix(network, x, edge_index):
    adj = adjacency_matrix(edge_index, len(x))
    return lambda: network(x, adj)


def _on_new_edges(network, x, edge_index):
    return lambda: network(x, edge_index.clone())


def _as_bags(model, x, edge_index, dtype):
    network = BagGCN(model, Graph.from_edges(edge_index, len(x)), dtype)
    return lambda: network(x)


# Each takes the ANN, the SNN, features and edge indices, and returns a forward pass.
PASSES = {
    'SNN, edge_index': lambda ann, snn, *graph: _on_edges(snn, *graph),
    'SNN, edge_index, new graph': lambda ann, snn, *graph: _on_new_edges(snn, *graph),
    'SNN, CSR': lambda ann, snn, *graph: _on_matrix(snn, *graph),
    'ANN, edge_index': lambda ann, snn, *graph: _on_edges(ann, *graph),
    'ANN, edge_index, cached': lambda ann, snn, *graph: _on_edges(cached(ann), *graph),
    'ANN, CSR': lambda ann, snn, *graph: _on_matrix(ann, *graph),
    'ANN, CSR, cached': lambda ann, snn, *graph: _on_matrix(cached(ann), *graph),
    'ANN, embedding_bag, int64': lambda ann, snn, *graph: _as_bags(
        ann, *graph, torch.int64
    ),
    'ANN, embedding_bag, int32': lambda ann, snn, *graph: _as_bags(
        ann, *graph, torch.int32
    ),
}
