"""Spellings: activations without their name, items that are assigned, masks, what
is done to the inputs first.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.nn import GCNConv

from tests.foreign.registry import (
    NUM_CLASSES,
    NUM_FEATURES,
    WIDTH,
    define,
    fan_outs,
    features,
    sequences,
    with_edges,
)

READ = fan_outs(WIDTH, NUM_CLASSES)


class Activated(nn.Module):
    """Two linear layers; what stands between is what differs."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(NUM_FEATURES, WIDTH)
        self.fc2 = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


@define('ReLU as where', features, synops=READ)
class WhereReLU(Activated):
    def act(self, x):
        return torch.where(x > 0, x, torch.zeros_like(x))


@define('ReLU as a maximum with zeros', features, synops=READ)
class MaximumReLU(Activated):
    def act(self, x):
        return torch.maximum(x, torch.zeros_like(x))


@define('ReLU as a maximum with a tensor of one zero', features, synops=READ)
class ScalarMaximumReLU(Activated):
    def act(self, x):
        return torch.max(x, torch.tensor(0.0, dtype=x.dtype))


@define('ReLU as a threshold', features, synops=READ)
class ThresholdReLU(Activated):
    def act(self, x):
        return F.threshold(x, 0.0, 0.0)


@define('ReLU as a product with a mask', features, synops=READ)
class MaskReLU(Activated):
    def act(self, x):
        return x * (x > 0).to(x.dtype)


@define('ReLU by item assignment', features, synops=READ)
class AssignedReLU(Activated):
    def act(self, x):
        x = x.clone()
        x[x < 0] = 0
        return x


@define('ReLU as masked_fill', features, synops=READ)
class FilledReLU(Activated):
    def act(self, x):
        return x.masked_fill(x < 0, 0.0)


@define('ReLU as half the sum of value and magnitude', features, synops=READ)
class HalfMagnitudeReLU(Activated):
    def act(self, x):
        return (x + x.abs()) / 2


@define('leaky ReLU as the larger of two multiples', features, activations=None)
class LargerMultiple(Activated):
    def act(self, x):
        return torch.max(x, 0.2 * x)


@define('leaky ReLU as where', features)
class WhereLeaky(Activated):
    def act(self, x):
        return torch.where(x >= 0, x, 0.1 * x)


@define('sigmoid and SiLU by formula', features, activations=1)
class FormulaSiLU(Activated):
    def act(self, x):
        return x / (1 + torch.exp(-x))


@define('an activation from a table by name', features, synops=READ)
class ByName(Activated):
    def __init__(self, name='relu'):
        super().__init__()
        self.act = {'relu': F.relu, 'none': lambda x: x}[name]


@define('an activation as a class attribute', features, synops=READ)
class ByGetattr(Activated):
    def act(self, x):
        return getattr(torch, 'relu')(x)  # noqa: B009


@define('a norm without affine parameters', features, synops=READ)
class PlainNorm(Activated):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(WIDTH, affine=False)

    def act(self, x):
        return F.relu(self.norm(x))


@define('a norm by hand from buffers', features, synops=READ)
class NormByHand(Activated):
    def __init__(self):
        super().__init__()
        self.register_buffer('mean', torch.full((WIDTH,), 0.1))
        self.register_buffer('var', torch.full((WIDTH,), 0.5))
        self.gamma = nn.Parameter(torch.ones(WIDTH))
        self.beta = nn.Parameter(torch.zeros(WIDTH))

    def act(self, x):
        x = (x - self.mean) / torch.sqrt(self.var + 1e-5)
        return torch.relu(self.gamma * x + self.beta)


@define('F.batch_norm with running statistics', features, synops=READ)
class FunctionalNorm(Activated):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm1d(WIDTH)

    def act(self, x):
        bn = self.bn
        x = F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias, False)
        return F.relu(x)


@define('a norm over the rows of [B, N, C], through a view', sequences, sizes=(8, 5))
class NormThroughView(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, 4)
        self.norm = nn.BatchNorm1d(WIDTH)

    def forward(self, x):
        h = self.fc1(x)
        size = h.size()
        h = self.norm(h.view(-1, size[-1])).view(*size)
        return self.fc2(F.relu(h)).sum(dim=1)


@define('a norm over [B, C, L], channels in the middle', sequences, sizes=(8, 5))
class NormAcross(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, 4)
        self.norm = nn.BatchNorm1d(WIDTH)

    def forward(self, x):
        h = self.norm(self.fc1(x).transpose(1, 2)).relu()
        return self.fc2(h.transpose(1, 2).mean(1))


@define('a channel set to zero', features)
class ChannelToZero(Activated):
    def act(self, x):
        h = F.dropout(F.relu(x), training=self.training)
        h[:, 0] = 0
        return h


@define('some rows overwritten by others', with_edges)
class RowsOverwritten(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = GCNConv(NUM_FEATURES, WIDTH), GCNConv(WIDTH, 4)

    def forward(self, x, edge_index):
        h = self.conv1(x, edge_index).relu()
        out = h.clone()
        out[:5] = h[5:10]
        return self.conv2(out, edge_index)


def with_mask(number):
    x = features(number)
    return x, torch.arange(number) % 3 == 0


@define('nodes hidden by a mask: masked_fill', with_mask)
class HiddenByFill(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, x, mask):
        h = self.fc1(x).relu().masked_fill(mask.unsqueeze(-1), 0.0)
        return self.fc2(h)


@define('nodes hidden by a mask: where', with_mask)
class HiddenByWhere(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, x, mask):
        h = self.fc1(x).relu()
        h = torch.where(mask[:, None], torch.zeros_like(h), h)
        return self.fc2(h)


@define('nodes hidden by a mask: a product', with_mask)
class HiddenByProduct(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, x, mask):
        h = F.relu(self.fc1(x)) * (~mask).float().unsqueeze(1).to(x.dtype)
        return self.fc2(h)


@define('the nodes of a mask only, by a boolean index', with_mask)
class RowsOfMask(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, x, mask):
        return self.fc2(self.fc1(x).relu()[mask])


@define('rows of unit length first', with_edges)
class UnitInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = GCNConv(NUM_FEATURES, WIDTH), GCNConv(WIDTH, 4)

    def forward(self, x, edge_index):
        x = F.normalize(x, dim=1)
        return self.conv2(F.relu(self.conv1(x, edge_index)), edge_index)


@define('logarithms first', features, synops=READ)
class LogInputs(Activated):
    def forward(self, x):
        return super().forward(torch.log1p(x))

    def act(self, x):
        return F.relu(x)


@define('shares of each row first', features, synops=READ)
class RowShares(Activated):
    def forward(self, x):
        return super().forward(x / x.sum(-1, keepdim=True).clamp(min=1e-9))

    def act(self, x):
        return F.relu(x)


@define('standardised by buffers first', features, synops=READ)
class Standardised(Activated):
    def __init__(self):
        super().__init__()
        self.register_buffer('mu', torch.rand(NUM_FEATURES))
        self.register_buffer('sd', torch.rand(NUM_FEATURES) + 0.5)

    def forward(self, x):
        return super().forward((x - self.mu) / self.sd)

    def act(self, x):
        return F.relu(x)


@define('LayerNorm between layers', features, activations=2)
class RowNorm(Activated):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)

    def act(self, x):
        return F.relu(self.norm(x))


@define('a gate: one branch times the sigmoid of another', features)
class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.value, self.gate = nn.Linear(NUM_FEATURES, 16), nn.Linear(NUM_FEATURES, 16)
        self.out = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x):
        return self.out(self.value(x) * torch.sigmoid(self.gate(x)))
