"""What is wrapped around models and their parts, and what they answer."""

from collections import namedtuple
from dataclasses import dataclass

import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg_nn
from torch import Tensor, nn

from tests.foreign.call_form_models import TwoLayers
from tests.foreign.registry import (
    NUM_FEATURES,
    WIDTH,
    Refusal,
    define,
    features,
    with_edges,
)


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
