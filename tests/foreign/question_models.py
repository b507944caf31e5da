"""What models ask while they run: about metadata, which has an answer; about sizes,
whose answer is to be guarded; about values, which is refused.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import GCNConv

from tests.foreign.registry import (
    NUM_CLASSES,
    NUM_FEATURES,
    WIDTH,
    Refusal,
    define,
    features,
    graph,
    images,
    sequences,
    with_coo,
    with_edges,
)


class Asking(nn.Module):
    """Two layers; what is asked between is what differs."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = GCNConv(NUM_FEATURES, WIDTH), GCNConv(WIDTH, 4)

    def forward(self, x, edge_index):
        h = self.ask(self.conv1(x, edge_index))
        return self.conv2(F.relu(h), edge_index)


@define('h.dim() after a layer', with_edges)
class AsksForDim(Asking):
    def ask(self, h):
        return h.unsqueeze(-1) if h.dim() == 1 else h


@define('h.size(1) and h.shape[-1] after a layer', with_edges)
class AsksForWidth(Asking):
    def ask(self, h):
        if h.size(1) != WIDTH or h.shape[-1] != self.conv2.in_channels:
            raise ValueError('wrong width')
        return h


@define('isinstance(h, Tensor) after a layer', with_edges)
class AsksForType(Asking):
    def ask(self, h):
        return h if isinstance(h, Tensor) else h[0]


@define('h.dtype, h.device and h.requires_grad after a layer', with_edges)
class AsksForMetadata(Asking):
    def ask(self, h):
        if h.requires_grad and self.training:
            h = h * 1.0
        if h.dtype == torch.float16 or h.device.type == 'cuda':
            h = h.to(torch.float32)
        return h + torch.zeros(h.shape, dtype=h.dtype, device=h.device)


@define('h.is_sparse, h.is_floating_point() and h.ndim after a layer', with_edges)
class AsksForLayout(Asking):
    def ask(self, h):
        if h.is_sparse:
            h = h.to_dense()
        assert h.is_floating_point() and h.ndim == 2
        return h


@define('both kinds of adjacency, told by is_sparse', with_coo)
class EitherAdjacency(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, 4)

    def multiply(self, adj, x):
        return torch.sparse.mm(adj, x) if adj.is_sparse else torch.matmul(adj, x)

    def forward(self, x, adj):
        x = self.multiply(adj, self.lin1(x)).relu()
        return self.multiply(adj, self.lin2(x))


@define('assert on shapes, with a message', with_edges)
class AssertsShapes(Asking):
    def ask(self, h):
        assert h.shape[0] > 0, f'no nodes: {h.shape}'
        return h


@define('rows in chunks, as many as there are', features, guarded=True)
class ChunksOfRows(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, x):
        parts = []
        for i in range((x.size(0) + 49) // 50):
            parts.append(self.fc2(F.relu(self.fc1(x[i * 50 : (i + 1) * 50]))))
        return torch.cat(parts)


@define('another branch for small graphs', features, guarded=True)
class BranchOnRows(nn.Module):
    def __init__(self):
        super().__init__()
        self.small, self.large = (
            nn.Linear(NUM_FEATURES, 16),
            nn.Linear(NUM_FEATURES, 16),
        )
        self.out = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x):
        h = self.large(x) if x.size(0) > 30 else self.small(x)
        return self.out(F.relu(h))


def steps(number):
    return sequences(6, number)


@define(
    'a state carried over as many steps as there are',
    steps,
    sizes=(4, 7),
    activations=4,
    guarded=True,
    bound=0.25,
)
class StepsOfSequence(nn.Module):
    def __init__(self):
        super().__init__()
        self.inp, self.rec = nn.Linear(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.out = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x):
        h = F.relu(self.inp(x[:, 0]))
        for t in range(1, x.size(1)):
            h = F.relu(self.inp(x[:, t]) + self.rec(h))
        return self.out(h)


@define('the steps of a tensor zipped with layers', steps, sizes=(3,))
class ZippedSteps(nn.Module):
    def __init__(self):
        super().__init__()
        self.lins = nn.ModuleList([nn.Linear(NUM_FEATURES, WIDTH) for _ in range(3)])
        self.out = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x):
        h = 0
        for part, lin in zip(x.unbind(1), self.lins, strict=True):
            h = h + lin(part)
        return self.out(F.relu(h))


def squares(size):
    return images(4, size)


@define('a mean by hand: sum over h * w', squares, sizes=(12, 16))
class DividedByArea(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, NUM_CLASSES)

    def forward(self, x):
        a = F.relu(self.conv(x))
        h, w = a.shape[2:]
        return self.fc(a.sum(dim=(2, 3)) / float(h * w))


@define('a pool as large as the image', squares, sizes=(12, 16))
class PoolOfImage(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, NUM_CLASSES)

    def forward(self, x):
        a = F.relu(self.conv(x))
        return self.fc(F.avg_pool2d(a, int(a.size(2))).flatten(1))


@define('large images are pooled once more', squares, sizes=(12, 20), guarded=True)
class PoolIfLarge(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, NUM_CLASSES)

    def forward(self, x):
        h = F.relu(self.conv(x))
        if h.size(2) > 12:
            h = F.max_pool2d(h, 2)
        return self.fc(h.mean(dim=(2, 3)))


def batched(num_nodes):
    data = graph(num_nodes)
    return data.x, data.edge_index, data.batch


@define('batch.max().item() + 1 graphs', batched)
class LargestBatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.out = GCNConv(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, x, edge_index, batch):
        h = self.conv(x, edge_index).relu()
        size = batch.max().item() + 1
        pooled = torch.zeros(size, h.size(1)).to(h).index_add_(0, batch, h)
        return self.out(pooled)


@define(
    'int(batch[-1]) + 1 graphs, each with the same learned vector',
    batched,
)
class LastOfBatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.virtual = nn.Embedding(1, NUM_FEATURES)
        self.conv, self.out = GCNConv(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, x, edge_index, batch):
        size = int(batch[-1]) + 1
        index = torch.zeros(size, dtype=torch.long, device=x.device)
        x = x + self.virtual(index)[batch]
        return self.out(self.conv(x, edge_index).relu())


@define(
    'a check of the values of the input',
    features,
    expects='refused',
    refusal=Refusal(
        '',
        'if (x < 0).any():',
        'value',
        lambda model, call: (model.net, call, {}),
        activations=1,
    ),
)
class ChecksValues(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(NUM_FEATURES, 16), nn.ReLU(), nn.Linear(16, 4)
        )

    def forward(self, x):
        if (x < 0).any():
            raise ValueError('negative counts')
        return self.net(x)


class Halting(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(WIDTH, WIDTH)

    def forward(self, h):
        if h.mean() > 0:
            h = self.lin(h)
        return h.relu()


@define(
    'a branch on the mean of hidden values, in a part of the model',
    features,
    expects='refused',
    refusal=Refusal(
        'halt',
        'if h.mean() > 0:',
        'value',
        lambda model, call: (nn.Sequential(model.fc1, nn.ReLU(), model.fc2), call, {}),
        activations=1,
    ),
)
class BranchOnValues(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, 4)
        self.halt = Halting()

    def forward(self, x):
        return self.fc2(self.halt(self.fc1(x)))
