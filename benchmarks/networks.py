"""Networks of the benchmarks, in every form that users run, each as fast as it can be."""

import copy

import torch
from competitors import Graph, adjacency_matrix, embedding_bag
from torch import nn
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
