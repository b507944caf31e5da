"""Tensors that are filled part by part."""

import torch
import torch.nn.functional as F
from torch import nn, where

from tests.foreign.registry import (
    NUM_CLASSES,
    NUM_FEATURES,
    WIDTH,
    define,
    features,
    graph,
)


class Filled(nn.Module):
    """Fills a tensor, of what two layers make."""

    def __init__(self):
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(NUM_FEATURES, WIDTH), nn.Linear(12, WIDTH)
        self.out = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x, *where_to):
        return self.out(self.fill(x, *where_to).relu())


def with_mask(num_nodes):
    return features(num_nodes), torch.arange(num_nodes) % 3 == 0


@define('parts of an empty tensor, by a mask', with_mask)
class EmptyByMask(Filled):
    def forward(self, x, mask):
        out = torch.empty_like(self.lin1(x))
        out[mask] = self.lin1(x[mask])
        out[~mask] = self.lin2(x[~mask])
        return self.out(out.relu())


def with_kinds(num_nodes):
    return features(num_nodes), torch.arange(num_nodes) % 3


@define('rows of each type, by their numbers', with_kinds)
class TypedRows(Filled):
    def forward(self, x, kind):
        out = x.new_zeros(x.size(0), WIDTH)
        for i, lin in enumerate([self.lin1, self.lin2]):
            index = (kind == i).nonzero().view(-1)
            out[index] = lin(x[index])
        return self.out(out.relu())


@define('index_copy_ of the rows of each type', with_kinds)
class CopiedRows(Filled):
    def forward(self, x, kind):
        out = torch.zeros(x.size(0), WIDTH)
        for i, lin in enumerate([self.lin1, self.lin2]):
            index = (kind == i).nonzero(as_tuple=True)[0]
            out.index_copy_(0, index, lin(x[index]))
        return self.out(out.relu())


@define('channels side by side', features, macs=False)
class FilledChannels(Filled):
    def fill(self, x):
        out = torch.empty(x.size(0), WIDTH, dtype=x.dtype)
        out[:, :4] = self.lin1(x)[:, :4]
        out[:, 4:] = self.lin2(x)[:, 4:]
        return out


@define('slices of a stack', features, macs=False)
class FilledStack(Filled):
    def forward(self, x):
        out = torch.zeros(2, x.size(0), WIDTH)
        for i, lin in enumerate([self.lin1, self.lin2]):
            out[i] = lin(x)
        return self.out(out.relu().sum(0))


@define('index_fill and masked_scatter', with_mask)
class FilledIndex(Filled):
    def forward(self, x, mask):
        h = self.lin1(x).index_fill(1, torch.tensor([0, 3]), 0.0)
        h = h.masked_scatter(mask[:, None], self.lin2(x)[mask])
        return self.out(h.relu())


@define('negative values set to zero', features)
class SetToZero(Filled):
    def forward(self, x):
        h = self.lin1(x)
        h[h < 0] = 0
        return self.out(h)


@define('clamp_ in place', features)
class ClampedInPlace(Filled):
    def forward(self, x):
        h = self.lin1(x)
        h.clamp_(min=0)
        return self.out(h)


@define('where, imported by name, with a number', features)
class WhereByName(Filled):
    def forward(self, x):
        h = self.lin1(x)
        return self.out(where(h > 0, h, 0))


@define('small features set to zero, in place', features)
class ZeroedFeatures(Filled):
    def forward(self, x):
        x = x.clone()
        x[x < 0.5] = 0
        return self.out(F.relu(self.lin1(x)))


def typed_graph(num_nodes):
    data = graph(num_nodes)
    kind, number = torch.arange(num_nodes) % 3, torch.arange(num_nodes) // 3
    edges = data.edge_index, data.edge_type
    return {0: data.x}, *edges, kind, number


@define('nodes with features and with tables, in one', typed_graph, macs=False)
class GroupedInput(nn.Module):
    def __init__(self):
        super().__init__()
        self.tables = nn.ParameterDict(
            {str(i): nn.Parameter(torch.randn(30, NUM_FEATURES)) for i in (1, 2)}
        )
        lins = [nn.Linear(NUM_FEATURES, WIDTH, bias=False) for _ in range(6)]
        self.lins, self.out = nn.ModuleList(lins), nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x_dict, edge_index, edge_type, node_type, local_index):
        x = torch.zeros(node_type.size(0), NUM_FEATURES)
        for key, table in [*x_dict.items(), *self.tables.items()]:
            mask = node_type == int(key)
            x[mask] = table[local_index[mask]]
        out = x.new_zeros(x.size(0), WIDTH)
        for i in range(3):
            src, dst = edge_index[:, edge_type == i]
            out.index_add_(0, dst, self.lins[i](x[src]))
            mask = node_type == i
            out[mask] += self.lins[3 + i](x[mask])
        return self.out(out.relu())
