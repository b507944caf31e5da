"""Read-outs of whole graphs, by PyG and by hand, and pooling of nodes."""

import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg_nn
from torch import nn
from torch_geometric.nn import GCNConv
from torch_geometric.utils import to_dense_adj, to_dense_batch

from tests.foreign.registry import (
    NUM_CLASSES,
    NUM_FEATURES,
    WIDTH,
    define,
    with_batch,
)


class Pooled(nn.Module):
    """A layer, a read-out, an output; the read-out is what differs."""

    def __init__(self, width=WIDTH):
        super().__init__()
        self.conv = GCNConv(NUM_FEATURES, WIDTH)
        self.lin = nn.Linear(width, NUM_CLASSES)

    def forward(self, x, edge_index, batch):
        return self.lin(self.pool(F.relu(self.conv(x, edge_index)), batch))


@define('largest and mean value of each graph, side by side', with_batch)
class MaximumAndMean(Pooled):
    def __init__(self):
        super().__init__(2 * WIDTH)

    def pool(self, h, batch):
        pools = [pyg_nn.global_max_pool(h, batch), pyg_nn.global_mean_pool(h, batch)]
        return torch.cat(pools, dim=1)


@define('a pool chosen by a name, kept as an attribute', with_batch)
class ChosenPool(Pooled):
    def __init__(self, name='sum'):
        super().__init__()
        pools = {'sum': pyg_nn.global_add_pool, 'mean': pyg_nn.global_mean_pool}
        self.readout = pools[name]

    def pool(self, h, batch):
        return self.readout(h, batch)


@define('one-hot membership times features', with_batch)
class OneHotPool(Pooled):
    def pool(self, h, batch):
        member = F.one_hot(batch, int(batch.max()) + 1).to(h.dtype)
        return member.t() @ h


@define('sums by index_add_, divided by counts', with_batch)
class CountedPool(Pooled):
    def pool(self, h, batch):
        size = int(batch.max()) + 1
        count = torch.bincount(batch, minlength=size).clamp(min=1).unsqueeze(-1)
        total = torch.zeros(size, h.size(1), device=h.device).index_add_(0, batch, h)
        return total / count


@define('dense batches, their mask, a masked mean', with_batch)
class DensePool(Pooled):
    def pool(self, h, batch):
        dense, mask = to_dense_batch(h, batch)
        return dense.sum(dim=1) / mask.sum(dim=1, keepdim=True)


@define('dense batches, masked with a very negative number, a maximum', with_batch)
class DenseMaximum(Pooled):
    def pool(self, h, batch):
        dense, mask = to_dense_batch(h, batch)
        return dense.masked_fill(~mask.unsqueeze(-1), -1e9).max(dim=1).values


@define('one row for the whole graph', with_batch)
class WholeGraph(Pooled):
    def pool(self, h, batch):
        return torch.mean(h, dim=0, keepdim=True)


@define('an aggregation module', with_batch)
class AggregationModule(Pooled):
    def __init__(self):
        super().__init__()
        self.readout = pyg_nn.aggr.MeanAggregation()

    def pool(self, h, batch):
        return self.readout(h, batch)


@define('a softmax over the nodes of each graph', with_batch, activations=3)
class SoftmaxReadout(Pooled):
    def __init__(self):
        super().__init__()
        gate = nn.Sequential(nn.Linear(WIDTH, 8), nn.ReLU(), nn.Linear(8, 1))
        self.readout = pyg_nn.GlobalAttention(gate)

    def pool(self, h, batch):
        return self.readout(h, batch)


@define('an LSTM over the nodes of each graph', with_batch, activations=8)
class SetToSet(Pooled):
    def __init__(self):
        super().__init__(2 * WIDTH)
        self.readout = pyg_nn.Set2Set(WIDTH, processing_steps=2)

    def pool(self, h, batch):
        return self.readout(h, batch)


class Hierarchical(nn.Module):
    def __init__(self, pool):
        super().__init__()
        self.conv1, self.conv2 = GCNConv(NUM_FEATURES, WIDTH), GCNConv(WIDTH, WIDTH)
        self.pool, self.lin = pool, nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x, edge_index, batch):
        x = F.relu(self.conv1(x, edge_index))
        x, edge_index, _, batch, *_ = self.pool(x, edge_index, None, batch)
        x = F.relu(self.conv2(x, edge_index))
        return self.lin(pyg_nn.global_mean_pool(x, batch))


@define(
    'the best nodes by a learned score',
    with_batch,
    expects='analog',
    activations=2,
    macs=False,
    bound=0.5,
)
def best_nodes():
    return Hierarchical(pyg_nn.TopKPooling(WIDTH, ratio=0.8))


@define(
    'the best nodes by attention',
    with_batch,
    expects='analog',
    activations=2,
    macs=False,
    bound=0.5,
)
def attended_nodes():
    return Hierarchical(pyg_nn.SAGPooling(WIDTH, ratio=0.8))


@define('soft assignment to clusters', with_batch, activations=2)
class SoftClusters(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.assign = (
            nn.Linear(NUM_FEATURES, 16),
            nn.Linear(NUM_FEATURES, 3),
        )
        self.lin = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x, edge_index, batch):
        x, mask = to_dense_batch(x, batch)
        adj = to_dense_adj(edge_index, batch)
        z, s = self.embed(x).relu(), self.assign(x)
        out, _, _, _ = pyg_nn.dense_diff_pool(z, adj, s, mask)
        return self.lin(out.mean(dim=1))


@define(
    'down and up again between graphs',
    with_batch,
    expects='analog',
    activations=3,
    macs=False,
    bound=0.5,
)
class DownAndUp(nn.Module):
    def __init__(self):
        super().__init__()
        self.unet = pyg_nn.GraphUNet(NUM_FEATURES, WIDTH, NUM_CLASSES, depth=1)

    def forward(self, x, edge_index, batch):
        return self.unet(x, edge_index, batch)
