"""Sums over edges in plain PyTorch."""

import torch
from torch import nn
from torch_geometric.utils import scatter

from tests.foreign.handwritten_models import Twice
from tests.foreign.registry import (
    NUM_FEATURES,
    WIDTH,
    define,
    with_edges,
)


class EdgeLayer(nn.Module):
    """Sums over edges; how they are made is what differs."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.lin = nn.Linear(in_channels, out_channels)

    def forward(self, x, edge_index):
        return self.lin(x) + self.gather(self.lin(x), edge_index)


class IndexAdd(EdgeLayer):
    def gather(self, x, edge_index):
        row, col = edge_index
        return torch.zeros_like(x).index_add(0, col, x[row])


@define('index_add into zeros', with_edges)
class IndexAddGCN(Twice):
    layer = IndexAdd


class InPlaceIndexAdd(EdgeLayer):
    def gather(self, x, edge_index):
        out = x.new_zeros(x.size(0), x.size(1))
        out.index_add_(0, edge_index[1], x.index_select(0, edge_index[0]))
        return out


@define('index_add_ in place into new_zeros, rows by index_select', with_edges)
class InPlaceIndexAddGCN(Twice):
    layer = InPlaceIndexAdd


class ScatterAdd(EdgeLayer):
    def gather(self, x, edge_index):
        message = torch.index_select(input=x, dim=0, index=edge_index[0])
        index = edge_index[1].unsqueeze(-1).repeat(1, message.shape[-1])
        out = torch.zeros(x.shape[0], message.shape[-1]).to(message)
        out.scatter_add_(dim=0, index=index, src=message)
        return out


@define('scatter_add_ with a repeated index', with_edges)
class ScatterAddGCN(Twice):
    layer = ScatterAdd


class ScatterSum(EdgeLayer):
    def gather(self, x, edge_index):
        index = edge_index[1].view(-1, 1).expand(-1, x.size(1))
        zeros = torch.zeros_like(x)
        return zeros.scatter_reduce(0, index, x[edge_index[0]], reduce='sum')


@define("scatter_reduce(reduce='sum') with an expanded index", with_edges)
class ScatterSumGCN(Twice):
    layer = ScatterSum


class ScatterMean(EdgeLayer):
    def gather(self, x, edge_index):
        row, col = edge_index
        return scatter(x[row], col, dim=0, dim_size=x.size(0), reduce='mean')


@define("scatter(reduce='mean') of PyG", with_edges)
class ScatterMeanGCN(Twice):
    layer = ScatterMean


class Built(EdgeLayer):
    def gather(self, x, edge_index):
        n = x.size(0)
        values = torch.ones(edge_index.size(1), dtype=x.dtype, device=x.device)
        return torch.sparse_coo_tensor(edge_index, values, (n, n)) @ x


@define('a sparse matrix made of edges inside', with_edges)
class BuiltGCN(Twice):
    layer = Built


class DegreesByBincount(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.lin = nn.Linear(in_channels, out_channels, bias=False)

    def forward(self, x, edge_index):
        row, col = edge_index[0], edge_index[1]
        dis = torch.bincount(row, minlength=x.size(0)).to(x.dtype).pow(-0.5)
        dis[torch.isinf(dis)] = 0.0
        message = dis[row].unsqueeze(1) * self.lin(x)[row] * dis[col].unsqueeze(1)
        return torch.zeros(x.size(0), message.size(1)).index_add_(0, col, message)


@define('degrees by bincount, infinities to zero, weights on edges', with_edges)
class DegreesGCN(Twice):
    layer = DegreesByBincount


@define("scatter_reduce(reduce='amax') over neighbours", with_edges)
class LargestNeighbour(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, x, edge_index):
        x = self.lin1(x).relu()
        index = edge_index[1].unsqueeze(1).expand(-1, x.size(1))
        zeros = torch.zeros_like(x)
        return self.lin2(zeros.scatter_reduce(0, index, x[edge_index[0]], 'amax'))
