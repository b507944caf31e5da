"""Softmax written by hand is a ramp with a window, as PyTorch's own."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch_geometric.utils import scatter

from spikegraph import ConversionConfig, convert
from spikegraph.nn import PhaseNeuron
from spikegraph.nn.activation import Exponential, Ramp
from tests.conversion.convolutions import TOLERANCE, deviation
from tests.nn.exactness import assert_exact, real

# All nodes of the second one have neighbours.
EDGES = torch.tensor([[0, 1, 2, 3, 4, 5, 0, 3], [1, 1, 2, 2, 5, 4, 4, 0]])
RING = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 0, 3], [1, 2, 3, 4, 5, 6, 0, 4, 1]])


def summed(x, index, num):
    return scatter(x, index, dim=0, dim_size=num)


def added(x, index, num):
    return torch.zeros(num, *x.shape[1:], dtype=x.dtype).index_add(0, index, x)


ROWS = {
    'plain': lambda z: z.exp() / z.exp().sum(-1, keepdim=True),
    'once': lambda z: (e := z.exp()) / e.sum(-1, keepdim=True),
    'without the largest': lambda z: (
        (e := torch.exp(z - z.max(-1, keepdim=True).values))
        / e.sum(dim=-1, keepdim=True)
    ),
    'least outside': lambda z: (e := z.exp()) / (e.sum(1) + 1e-16).unsqueeze(1),
    'put in': lambda z: (e := z.exp()) / e.sum(dim=-1)[:, None],
    'columns': lambda z: (e := z.exp()) / e.sum(0, keepdim=True),
    'clamped': lambda z: (e := z.exp()) / e.sum(1, keepdim=True).clamp(min=1e-12),
}
GROUPS = {
    'gathered': lambda e, z, i, n: e / (summed(e, i, n)[i] + 1e-16),
    'least before': lambda e, z, i, n: e / (added(e, i, n) + 1e-16)[i],
    'selected': lambda e, z, i, n: e / torch.index_select(added(e, i, n), 0, i),
    'without the largest': lambda e, z, i, n: (
        (e := (z - scatter(z, i, 0, dim_size=n, reduce='max')[i]).exp())
        / summed(e, i, n)[i]
    ),
}
# Not the softmax of what is weighed, or not to the last digits.
OTHER_ROWS = {
    'other dimension': lambda z: (e := z.exp()) / e.sum(0).unsqueeze(1),
    'transposed': lambda z: (e := z.exp()) / e.sum(0, keepdim=True).t(),
    'little is added': lambda z: (
        (e := (z - z.mean(-1, keepdim=True)).exp()) / (e.sum(-1, keepdim=True) + 1e-6)
    ),
    'clamped above little': lambda z: (
        (e := z.exp()) / e.sum(-1, keepdim=True).clamp(min=1e-6)
    ),
    'other scale': lambda z: (
        (z / (s := 1 + z.square().sum(-1, keepdim=True))).exp()
        / (z / (s + 1)).exp().sum(-1, keepdim=True)
    ),
    'much is added': lambda z: (e := z.exp()) / (e.sum(-1, keepdim=True) + 1),
    'other sum': lambda z: z.exp() / (z - 1).exp().sum(-1, keepdim=True),
}
OTHER_GROUPS = {
    'others summed': lambda e, z, i, n: e / (summed(e, RING[0], n)[i] + 1e-16),
    'others sent': lambda e, z, i, n: e / (summed(e, i, n)[RING[0]] + 1e-16),
}


class Rows(nn.Module):
    def __init__(self, weigh):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(5, 6) for _ in range(3))
        self.last, self.weigh = nn.Linear(6, 3), weigh

    def forward(self, x):
        z = self.q(x) @ self.k(x).t()
        return self.last((self.weigh(z) @ self.v(x)).relu())


class Groups(nn.Module):
    def __init__(self, weigh, heads=2):
        super().__init__()
        self.a, self.b, self.v = (nn.Linear(5, k) for k in (heads, heads, 4 * heads))
        self.last, self.weigh, self.heads = nn.Linear(4 * heads, 3), weigh, heads

    def forward(self, x, edge_index):
        source, target = edge_index
        z = F.leaky_relu(self.a(x)[source] + self.b(x)[target], 0.2)
        weight = self.weigh(torch.exp(z), z, target, len(x))
        h = self.v(x).view(-1, self.heads, 4)[source] * weight.unsqueeze(-1)
        return self.last(summed(h, target, len(x)).flatten(1).relu())


def exact(model, *inputs, **options):
    """Also on data of another size, and larger values."""
    snn = assert_exact(model, *inputs, **options)
    x, *graph = inputs
    others = (3 * torch.cat([x, x.flip(1), -x]), *graph)
    assert deviation(snn, model, others) < TOLERANCE
    return snn


def kinds(snn):
    found = [m.activation for m in snn.network.modules() if isinstance(m, PhaseNeuron)]
    return [kind for kind in (Ramp, Exponential) for a in found if isinstance(a, kind)]


@pytest.mark.parametrize('weigh', ROWS)
def test_rows(weigh):
    assert kinds(exact(Rows(ROWS[weigh]), real(7, 5))) == [Ramp]


@pytest.mark.parametrize('heads', [1, 2])
@pytest.mark.parametrize('weigh', GROUPS)
def test_groups(weigh, heads):
    snn = exact(Groups(GROUPS[weigh], heads), real(7, 5), EDGES)
    assert kinds(snn) == [Ramp]
    assert snn.report.relays == ['relay_v']  # No product is coded once more.


@pytest.mark.parametrize('weigh', OTHER_ROWS)
def test_rows_that_are_something_else(weigh):
    snn = exact(Rows(OTHER_ROWS[weigh]), real(7, 5), most=0.5)
    assert Ramp not in kinds(snn)


@pytest.mark.parametrize('weigh', OTHER_GROUPS)
def test_groups_that_are_something_else(weigh):
    snn = assert_exact(Groups(OTHER_GROUPS[weigh]), real(7, 5), RING, most=0.5)
    assert Ramp not in kinds(snn)


class Afterwards(nn.Module):
    """What is weighed by exponentials is divided by their sum in the end."""

    def __init__(self, divide, reads=None, end=1):
        super().__init__()
        self.scores, self.v, self.last = (
            nn.Linear(5, 2),
            nn.Linear(5, 8),
            nn.Linear(8, 3),
        )
        self.divide, self.reads, self.end = divide, reads, end

    def forward(self, x, edge_index):
        source, target = edge_index
        e = torch.exp(2 * self.scores(x)[source] - self.scores(x)[target])
        gate = self.v(x).view(-1, 2, 4)[source] * e.unsqueeze(-1)
        h = summed(gate, target, len(x))
        total = summed(e, edge_index[self.end], len(x))
        out = self.last(self.divide(h, total).flatten(1).relu())
        if self.reads is None:
            return out
        return out, {'e': e, 'gate': gate, 'h': h, 'total': total}[self.reads]


AFTER = {
    'added': lambda h, z: h / (z.unsqueeze(-1) + 1e-16),
    'clamped': lambda h, z: h / z.clamp(min=1e-12)[:, :, None],
}


@pytest.mark.parametrize('divide', AFTER)
def test_sums_divided_afterwards(divide):
    assert kinds(exact(Afterwards(AFTER[divide]), real(7, 5), EDGES)) == [Ramp]


def test_sums_of_others_that_divide_afterwards():
    snn = exact(Afterwards(AFTER['added'], end=0), real(7, 5), RING, most=1.0)
    assert Ramp not in kinds(snn)


@pytest.mark.parametrize('reads', ['e', 'gate', 'h', 'total'])
def test_others_that_read_a_part_are_sent_it(reads):
    model = Afterwards(AFTER['added'], reads)
    assert Ramp not in kinds(exact(model, real(7, 5), EDGES, most=0.5))


def test_products_of_matrices_divided_afterwards():
    class Model(Rows):
        def forward(self, x):
            e = torch.exp(self.q(x) @ self.k(x).t())
            out = (e @ self.v(x)) / e.sum(-1, keepdim=True)
            return self.last(out.relu())

    assert kinds(exact(Model(None), real(7, 5))) == [Ramp]


@pytest.mark.parametrize(
    'divide',
    [
        lambda e, v: (e @ v) / e.sum(-1),  # As many rows as columns: other sums.
        lambda e, v: (e @ e @ v) / e.sum(-1, keepdim=True),
        lambda e, v: (e @ v) / e.sum(0).unsqueeze(-1),
        lambda e, v: (e @ v) / (e.sum(-1, keepdim=True) + 1),
        lambda e, v: (s := (e @ v)) / e.sum(-1, keepdim=True) + s,
    ],
)
def test_other_quotients_of_what_is_weighed(divide):
    class Model(Rows):
        def forward(self, x):
            e = torch.exp(0.3 * self.q(x) @ self.k(x).t())
            return self.last(divide(e, self.v(x)).relu())

    snn = assert_exact(Model(None), real(6, 5), most=0.5)
    assert Ramp not in kinds(snn)


def test_exponentials_of_quotients():
    class Cosines(Rows):
        def forward(self, x):
            q, k = F.normalize(self.q(x), dim=-1), F.normalize(self.k(x), dim=-1)
            e = torch.exp(q @ k.t())
            return self.last((e / e.sum(-1, keepdim=True) @ self.v(x)).relu())

    exact(Cosines(None), real(7, 5))


def test_what_is_added_to_relative_exponentials_stays():
    def weigh(z):
        e = (z - z.amax(-1, keepdim=True)).exp()
        return e / (e.sum(-1, keepdim=True) + 1e-3)

    assert kinds(exact(Rows(weigh), real(7, 5))) == [Ramp]


@pytest.mark.parametrize(
    'kind, divide', [(Groups, GROUPS['gathered']), (Afterwards, AFTER['added'])]
)
def test_scores_of_any_range(kind, divide):
    """Where exponentials of one range for all groups would be silent in most."""
    torch.manual_seed(0)
    model, x = kind(divide).eval(), 4 * torch.randn(60, 5)
    inputs = x, torch.randint(0, 60, (2, 400))
    snn = convert(model, inputs, ConversionConfig(compensate=None))
    assert snn.report.logit_relative_error < 0.2


def test_lengths_that_are_clamped_move_thresholds():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(5, 6), nn.Linear(6, 3)

        def forward(self, x):
            h = self.first(x).relu()
            return self.last((h / h.sum(-1, keepdim=True).clamp(min=1e-12)).relu())

    snn = assert_exact(Scaled(), real(7, 5))
    assert list(snn.neurons) == ['input_x', 'relu', 'relu_1']
