"""Modules and weights that are used, registered or read more than once."""

import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.nn import GCNConv

from tests.foreign.brute_force import reached
from tests.foreign.registry import (
    NUM_CLASSES,
    NUM_FEATURES,
    WIDTH,
    define,
    fan_outs,
    features,
    images,
    with_edges,
)


@define(
    'one pool twice in a Sequential',
    images,
    sizes=(4, 7),
    activations=2,
    synops=lambda model, s: (
        reached(s[0], model[0])
        + reached(model[2](s[1]), model[3])
        + reached(model[5](s[2]).flatten(1), model[7])
    ),
)
def pool_twice():
    pool = nn.MaxPool2d(2)
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), pool),
        *(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), pool),
        *(nn.Flatten(), nn.Linear(72, NUM_CLASSES)),
    )


@define(
    'one activation twice in a Sequential',
    features,
    activations=2,
    synops=fan_outs(16, 16, 4),
)
def activation_twice():
    act = nn.ReLU()
    return nn.Sequential(
        nn.Linear(NUM_FEATURES, 16), act, nn.Linear(16, 16), act, nn.Linear(16, 4)
    )


@define('the same layer three times in a list', with_edges, activations=4, bound=0.25)
class LayerThreeTimes(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, 4)
        self.convs = nn.ModuleList([GCNConv(WIDTH, WIDTH)] * 3)

    def forward(self, x, edge_index):
        x = self.first(x).relu()
        for conv in self.convs:
            x = F.relu(conv(x, edge_index))
        return self.last(x)


@define('one layer under two names', with_edges, activations=2)
class TwoNames(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(NUM_FEATURES, WIDTH)
        self.conv1 = self.conv2 = GCNConv(WIDTH, WIDTH)
        self.out = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x, edge_index):
        x = F.relu(self.conv1(self.lin(x), edge_index))
        return self.out(F.relu(self.conv2(x, edge_index)))


@define('one layer applied over and over', features, activations=3, bound=0.25)
class Unrolled(nn.Module):
    def __init__(self, num_steps=2):
        super().__init__()
        self.num_steps = num_steps
        self.inp, self.rec = nn.Linear(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.out = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x):
        h = torch.relu(self.inp(x))
        for _ in range(self.num_steps):
            h = torch.relu(self.rec(h) + self.inp(x))
        return self.out(h)


@define('an encoder whose weight the decoder reads, transposed', features)
class TiedDecoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(NUM_FEATURES, WIDTH)
        self.bias = nn.Parameter(torch.zeros(NUM_FEATURES))

    def forward(self, x):
        h = F.relu(self.encoder(x))
        return F.linear(h, self.encoder.weight.t(), self.bias)


@define('a layer whose weight is read once more', features, activations=2, macs=False)
class WeightReadTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.o = nn.Linear(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x):
        h = self.a(x).relu()
        return self.o((h @ (self.o.weight.t() @ self.o.weight)).relu())


@define('two layers of one weight', features, activations=2)
class OneWeight(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(NUM_FEATURES, 16), nn.Linear(16, 16)
        self.fc3, self.out = nn.Linear(16, 16), nn.Linear(16, NUM_CLASSES)
        self.fc3.weight = self.fc2.weight

    def forward(self, x):
        x = F.relu(self.fc2(F.relu(self.fc1(x))))
        return self.out(self.fc3(x))


def two_sides(number):
    x = features(2 * number)
    return x[:number], x[number:]


@define('one encoder for two inputs', two_sides, activations=2, inputs=2)
class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(NUM_FEATURES, WIDTH), nn.ReLU())
        self.out = nn.Linear(2 * WIDTH, NUM_CLASSES)

    def forward(self, left, right):
        both = [self.encoder(left), self.encoder(right)]
        return self.out(torch.cat(both, dim=1))


@define('one norm behind two layers', features, activations=2)
class SharedNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norm, self.out = nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, x):
        x = F.relu(self.norm(self.fc1(x)))
        return self.out(F.relu(self.norm(self.fc2(x))))


@define('a block kept as an attribute and in a list', features, activations=2)
class AttributeAndList(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(NUM_FEATURES, WIDTH)
        self.blocks = nn.ModuleList()
        for i in range(2):
            block = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU())
            self.add_module(f'block{i}', block)
            self.blocks.append(block)
        self.out = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x):
        x = self.fc(x)
        x = self.block0(x)
        return self.out(self.blocks[1](x))


@define('a hidden state read by two heads', features, activations=1)
class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(NUM_FEATURES, WIDTH)
        self.mean, self.log_std = nn.Linear(WIDTH, 4), nn.Linear(WIDTH, 4)

    def forward(self, x):
        h = F.relu(self.fc(x))
        return self.mean(h), self.log_std(h)
