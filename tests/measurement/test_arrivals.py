"""Spikes that reach weights through linear operations, against their Jacobian matrix."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.functional import jacobian
from torch_geometric.utils import scatter

from spikegraph import ConversionConfig, convert, measure
from tests.conversion.zoo import randomize
from tests.measurement.spellings import Stack
from tests.measurement.test_spellings import account, edge_index, fired, weights_met, x

__all__ = ['edge_index', 'x']  # Fixtures.
NUM_NODES = 30
GROUP = torch.arange(NUM_NODES) * 10 // NUM_NODES
BAGS = torch.arange(NUM_NODES * 3).view(NUM_NODES, 3) * 7 % NUM_NODES
FACTORS = torch.linspace(0.5, 1.5, NUM_NODES, dtype=torch.float64).view(-1, 1)
FACTORS[3] = 0
LENGTHS = torch.tensor([10, 5, 15])

#: Operations between a population and a layer; functions of values.
COUNTED = {
    'lerp': lambda x: torch.lerp(x, x.flip(0), 0.3),
    'lerp to the end': lambda x: x.lerp(x.roll(1, 0), 1.0),
    'addcmul': lambda x: torch.addcmul(x, x.roll(1, 0), FACTORS, value=0.5),
    'addcdiv': lambda x: torch.addcdiv(x, x.roll(1, 0), FACTORS + 1),
    'mean of branches': lambda x: torch.stack([x, x.flip(0)]).mean(0),
    'differences': lambda x: torch.diff(x, dim=0),
    'running sum of channels': lambda x: x.cumsum(1),
    'segments': lambda x: torch.segment_reduce(x, 'sum', lengths=LENGTHS),
    'mean of segments': lambda x: torch.segment_reduce(x, 'mean', lengths=LENGTHS),
    'bags': lambda x: F.embedding_bag(BAGS, x, mode='sum'),
    'means of bags': lambda x: F.embedding_bag(BAGS, x, mode='mean'),
    'index_fill': lambda x: x.index_fill(0, torch.tensor([1, 2]), 0.0),
    'sum but NaN': lambda x: x.nansum(0, keepdim=True),
    'windows': lambda x: x.unfold(0, 3, 1).sum(-1),
    'mean with the zeros': lambda x: torch.zeros(10, x.size(1)).scatter_reduce(
        0, GROUP.view(-1, 1).expand_as(x), x, 'mean'
    ),
}

#: Those that weights pass by: each spike meets them once.
PASSED = {
    'running sum': lambda x: x.cumsum(0),
    'sum by scatter_reduce': lambda x: torch.zeros(10, x.size(1)).scatter_reduce(
        0, GROUP.view(-1, 1).expand_as(x), x, 'sum'
    ),
    'mean by scatter_reduce': lambda x: torch.zeros(10, x.size(1)).scatter_reduce(
        0, GROUP.view(-1, 1).expand_as(x), x, 'mean', include_self=False
    ),
    'factors of channels': lambda x: x @ torch.diag(torch.linspace(1, 2, x.size(1))),
}


class Once(nn.Module):
    """A population, an operation and a layer."""

    def __init__(self, operation):
        super().__init__()
        self.operation = operation
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.last(self.operation(self.first(x).relu()))


@pytest.fixture(autouse=True)
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize('name', COUNTED)
def test_spikes_are_counted_where_they_arrive(name, x):
    operation = COUNTED[name]
    _, total, spikes, _ = account(Once(operation), (x,))
    hidden = fired(spikes[1])
    meets = jacobian(operation, torch.rand_like(hidden)).flatten(-2) != 0
    arrivals = meets.double() @ hidden.flatten()
    assert total.synops == weights_met(spikes[0], 8) + 3 * int(arrivals.sum()) > 0
    assert total.snn_macs == 0
    outputs = operation(hidden).size(0)
    assert total.ann_macs == NUM_NODES * 6 * 8 + outputs * 8 * 3


@pytest.mark.parametrize(
    'widen',
    [
        lambda h: F.pad(h, (0, 2), value=1.0),
        lambda h: torch.cat([h, h.new_ones(h.size(0), 2)], dim=1),
        lambda h: torch.cat([torch.linspace(-1, 1, 2).expand(h.size(0), 2), h], dim=1),
    ],
)
def test_constants_beside_spikes_are_part_of_the_bias(widen, x):
    class Widened(Once):
        def __init__(self):
            super().__init__(widen)
            self.last = nn.Linear(10, 3)

    _, total, spikes, _ = account(Widened(), (x,))
    assert total.synops == weights_met(spikes[0], 8) + 3 * int(fired(spikes[1]).sum())
    assert total.snn_macs == 0
    assert total.ann_macs == NUM_NODES * (6 * 8 + 10 * 3)


@pytest.mark.parametrize('name', PASSED)
def test_weights_are_met_before_sums(name, x):
    model = Once(PASSED[name])
    snn, total, spikes, _ = account(model, (x,))
    assert total.synops == weights_met(spikes[0], 8) + weights_met(spikes[1], 3) > 0
    assert total.snn_macs == 0
    hidden = spikes[1].decode()
    expected = model.last(PASSED[name](hidden))
    assert torch.allclose(snn(x), expected, rtol=1e-12, atol=1e-12)


def test_centring_reads_few_means(x):
    def centred(h):
        return h - h.mean(0)

    model = Once(centred)
    snn, total, spikes, _ = account(model, (x,))
    assert total.synops == weights_met(spikes[0], 8) + weights_met(spikes[1], 3)
    assert total.snn_macs == 8 * 3  # One row of means, as real values.
    expected = model.last(centred(spikes[1].decode()))
    assert torch.allclose(snn(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('spelling', ['outer', 'einsum', 'summed products'])
def test_parameters_that_are_broadcast(spelling, x):
    def layer(s, x):
        if spelling == 'summed products':
            return (x.unsqueeze(-1) * s.weight).sum(1) + s.bias
        rows = x.sum(1)
        if spelling == 'outer':
            return torch.outer(rows, s.bias)
        return torch.einsum('n,o->no', rows, s.bias)

    _, total, spikes, _ = account(Stack(layer), (x,))
    widths = (6, 8) if spelling == 'summed products' else (1, 1)
    assert total.ann_macs == NUM_NODES * (widths[0] * 8 + widths[1] * 3)
    assert total.synops == weights_met(spikes[0], 8) + weights_met(spikes[1], 3)
    assert total.snn_macs == total.ann_multiplications == 0


def test_own_values_beside_sums_over_edges(x, edge_index):
    class Isomorphism(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)
            self.eps = nn.Parameter(torch.tensor(0.2))

        def forward(self, x, edge_index):
            x = self.a(self.pool(x, edge_index)).relu()
            return self.b(self.pool(x, edge_index))

        def pool(self, x, edge_index):
            rows = x[edge_index[0]]
            summed = scatter(rows, edge_index[1], dim=0, dim_size=x.size(0))
            return (1 + self.eps) * x + summed

    _, total, spikes, _ = account(Isomorphism(), (x, edge_index))
    assert total.synops == weights_met(spikes[0], 8) + weights_met(spikes[1], 3)
    assert total.accumulates == edge_index.size(1) * (8 + 3)
    assert total.snn_macs == 0


def test_layers_in_a_row_are_one(x):
    class Deep(Stack):
        def forward(self, x):
            return super().forward(x) @ torch.eye(3)

    model = Deep(lambda s, x: s.lin(x))
    snn, total, spikes, _ = account(model, (x,))
    assert total.synops == weights_met(spikes[0], 8) + weights_met(spikes[1], 3)
    assert total.snn_macs == 0


def test_bottlenecks_stay(x):
    class Adapter(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.up = nn.Linear(6, 1, bias=False), nn.Linear(1, 8)
            self.out = nn.Linear(8, 3)

        def forward(self, x):
            return self.out(self.up(self.down(x)).relu())

    _, total, spikes, _ = account(Adapter(), (x,))
    assert total.synops == weights_met(spikes[0], 1) + weights_met(spikes[1], 3)
    assert total.snn_macs == NUM_NODES * 8


def test_bilinear_forms_meet_all_pairs(x):
    class Form(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.out = nn.Parameter(torch.rand(8, 6, 2)), nn.Linear(8, 3)

        def forward(self, x):
            return self.out(F.bilinear(x, torch.ones(30, 2), self.weight).relu())

    _, total, spikes, _ = account(Form(), (x,))
    assert total.ann_macs == NUM_NODES * (6 * 2 * 8 + 8 * 3)
    assert total.synops == weights_met(spikes[0], 16) + weights_met(spikes[1], 3)


def test_distances_are_multiply_accumulates(x):
    class Distances(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.centres = nn.Linear(6, 8), nn.Parameter(torch.rand(5, 8))

        def forward(self, x):
            return torch.cdist(self.a(x).relu(), self.centres)

    model = Distances()
    randomize(model)
    options = {'allow_analog': True, 'products': 'analog'}
    config = ConversionConfig(num_steps=8, compensate=None, **options)
    snn = convert(model, (x,), config)
    measurement = measure(snn, (x,), model)
    assert measurement.total.ann_macs == NUM_NODES * (6 * 8 + 8 * 5)
    assert measurement.total.snn_macs == NUM_NODES * 8 * 5
    assert measurement.uncounted == [] and measurement.energy_ratios()


def test_sampling_at_places_is_probed(x):
    grid = torch.linspace(-1, 1, 20).view(1, 10, 1, 2)

    def sample(h):
        image = h.t().reshape(1, -1, 6, 5)
        return F.grid_sample(image, grid, align_corners=True)[0, :, :, 0].t()

    _, total, spikes, _ = account(Once(sample), (x,))
    hidden = fired(spikes[1])
    meets = jacobian(sample, torch.rand_like(hidden)).flatten(0, 1) != 0
    taps = int((meets.sum(0) * hidden).sum())
    assert total.synops == weights_met(spikes[0], 8) + taps > 0


def test_zeros_of_constant_matrices_are_no_weights():
    class Causal(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv1d(6, 8, 1), nn.Conv1d(8, 3, 1)

        def forward(self, x):
            h = self.first(x).relu()
            means = torch.tril(torch.ones(10, 10)) / 10
            return self.last((h @ means.t()).relu())

    _, total, spikes, _ = account(Causal(), (torch.rand(4, 6, 10),))
    assert total.ann_macs == 4 * 10 * (6 * 8 + 8 * 3) + 4 * 8 * 55
    assert total.synops >= weights_met(spikes[0], 8) + weights_met(spikes[2], 3)
    assert total.snn_macs == 0


def test_degrees_beside_spikes_are_multiplied(x, edge_index):
    class WithDegrees(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(6, 8), nn.Linear(9, 3)

        def forward(self, x, edge_index):
            h = self.first(x).relu()
            degree = torch.bincount(edge_index[1], minlength=x.size(0)).to(h.dtype)
            return self.last(torch.cat([h, degree.view(-1, 1)], dim=1))

    _, total, _, _ = account(WithDegrees(), (x, edge_index))
    assert total.ann_macs == NUM_NODES * (6 * 8 + 9 * 3)
    assert total.snn_macs >= NUM_NODES * 3
