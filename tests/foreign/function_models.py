"""Functions with gradients of their own, compiled parts, and norms that track."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg_nn
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch_geometric.data import Data
from torch_geometric.nn.models.rev_gnn import GroupAddRev

from tests.foreign.call_form_models import TwoLayers
from tests.foreign.registry import (
    NUM_CLASSES,
    NUM_FEATURES,
    WIDTH,
    Refusal,
    define,
    features,
    with_edges,
    with_weights,
)


class _CutOff(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (ctx.saved_tensors[0] > 0)


class _SparseTimes(torch.autograd.Function):
    @staticmethod
    def forward(ctx, index, values, shape, x):
        a = torch.sparse_coo_tensor(index, values, shape)
        ctx.save_for_backward(a)
        return a @ x

    @staticmethod
    def backward(ctx, gradient):
        return None, None, None, ctx.saved_tensors[0].t() @ gradient


cut_off, sparse_times = _CutOff.apply, _SparseTimes.apply


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, x):
        return self.fc2(self.activate(self.fc1(x)))


@define('a ReLU with a gradient of its own, applied under another name', features)
class OwnGradient(Dense):
    def activate(self, h):
        return cut_off(h)


@define('a product with a sparse matrix that has a gradient of its own', with_weights)
class OwnProduct(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(NUM_FEATURES, WIDTH)
        self.fc2 = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x, edge_index, edge_weight):
        size = torch.Size([x.size(0), x.size(0)])
        h = F.relu(sparse_times(edge_index, edge_weight, size, self.fc1(x)))
        return self.fc2(sparse_times(edge_index, edge_weight, size, h))


@define('activations computed again in the backward pass', features)
class Checkpointed(Dense):
    def activate(self, h):
        return checkpoint(F.relu, h, use_reentrant=False)


@torch.jit.script
def swish(x):
    return x * torch.sigmoid(x)


@define('an activation compiled by torch.jit', features)
class ScriptedActivation(Dense):
    def activate(self, h):
        return swish(h)


class _Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = pyg_nn.SAGEConv(WIDTH // 2, WIDTH // 2)

    def forward(self, x, edge_index):
        return self.conv(F.relu(x), edge_index)


@define('reversible blocks of groups of channels', with_edges, activations=3)
class Reversible(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(NUM_FEATURES, WIDTH)
        self.fc2 = nn.Linear(WIDTH, NUM_CLASSES)
        self.block = GroupAddRev(_Block(), num_groups=2)

    def forward(self, x, edge_index):
        return self.fc2(F.relu(self.block(self.fc1(x), edge_index)))


class _Scripted(nn.Module):
    def __init__(self, compiled=True):
        super().__init__()
        first = nn.Sequential(nn.Linear(NUM_FEATURES, WIDTH), nn.ReLU())
        self.encoder = nn.Module()
        self.encoder.first = torch.jit.script(first) if compiled else first
        self.fc2 = nn.Linear(WIDTH, 4)

    def forward(self, x):
        h = self.encoder.first(x)
        return self.fc2(h)


def _not_scripted(model, call):
    again = _Scripted(compiled=False).eval()
    again.load_state_dict(model.state_dict())
    return again, call, {}


@define(
    'a part compiled by torch.jit',
    features,
    expects='refused',
    refusal=Refusal(
        'encoder.first',
        'h = self.encoder.first(x)',
        r'torch.jit hides its operations.*load its state_dict\(\)',
        _not_scripted,
        activations=1,
    ),
)
def scripted_part():
    return _Scripted()


@define('half precision as a decorator of forward', features, bound=0.2)
class AutocastDecorated(Dense):
    @torch.autocast('cpu', dtype=torch.bfloat16, enabled=False)
    def forward(self, x):
        with torch.autocast('cpu', dtype=torch.float16, enabled=False):
            h = F.relu(self.fc1(x))
        return self.fc2(h)


class ModelAnswer(OrderedDict):
    """Items that are attributes, too."""

    def __getattr__(self, name):
        if name in self:
            return self[name]
        raise AttributeError(name)


@define('an ordered dictionary with attributes, nested, with numbers', with_edges)
class AnswersAttributes(TwoLayers):
    def forward(self, x, edge_index):
        h = F.relu(self.conv1(x, edge_index))
        out = self.conv2(h, edge_index)
        return ModelAnswer(logits=out, states=(h, [None, h]), factors=(2, 3), name='a')


@define('PyG data made of outputs', with_edges)
class AnswersData(TwoLayers):
    def forward(self, x, edge_index):
        h = F.relu(self.conv1(x, edge_index))
        return Data(x=self.conv2(h, edge_index), edge_index=edge_index, hidden=h)


class Normed(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.conv1 = pyg_nn.GCNConv(NUM_FEATURES, WIDTH)
        self.conv2 = pyg_nn.GCNConv(WIDTH, NUM_CLASSES)
        self.norm = norm

    def forward(self, x, edge_index):
        return self.conv2(F.relu(self.norm(self.conv1(x, edge_index))), edge_index)


@define('an instance norm of a graph that tracks its statistics', with_edges)
def tracked_instance_norm():
    return Normed(pyg_nn.InstanceNorm(WIDTH, affine=True, track_running_stats=True))


@define(
    'a batch norm without statistics',
    with_edges,
    expects='analog',
    macs=False,
)
def untracked_batch_norm():
    return Normed(pyg_nn.BatchNorm(WIDTH, track_running_stats=False))
