"""Weights as small integers."""

import itertools

import pytest
import torch
from torch import nn
from torch_geometric.nn.models import GAT, GCN, GIN

from spikegraph import ConversionConfig, convert
from spikegraph.conversion.fitting.rounding import (
    SCALE_BITS,
    mantissa,
    nearest,
    round_nearest,
    round_weights,
    scales_for,
)
from spikegraph.nn.layer import SpikingLayer
from spikegraph.zoo.experiment.evaluation import evaluate
from spikegraph.zoo.models import get_recipe
from spikegraph.zoo.training import train


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def integers_of(matrix):
    """Each row in units of its greatest common divisor, exactly."""
    unit = torch.frexp(matrix.double())[1].double()
    exponent = int(unit[matrix != 0].min()) - 24
    exact = matrix.double() * 2.0**-exponent
    assert torch.equal(exact, exact.round())
    rows = []
    for row in exact.long():
        divisor = torch.tensor(0)
        for value in row:
            divisor = torch.gcd(divisor, value)
        rows.append(row // max(int(divisor), 1))
    return torch.stack(rows)


def cost(weights, bias, parts, given_bias, gram):
    change = torch.cat(
        [
            *(w - p for w, p in zip(weights, parts, strict=True)),
            (bias - given_bias).view(-1, 1),
        ],
        dim=1,
    ).double()
    rows = change.unflatten(0, (len(gram), -1))
    return sum(float((c @ g @ c.mT).trace()) for c, g in zip(rows, gram, strict=True))


def correlated(num_rows, num_columns, groups=1):
    mix = torch.randn(groups, num_columns, num_columns)
    x = (torch.randn(groups, num_rows, num_columns).relu() @ mix).double()
    x = torch.cat([x, torch.ones(groups, num_rows, 1)], dim=-1)
    return x.mT @ x


@pytest.mark.parametrize('bits', [1, 4, 8, 23])
def test_mantissas(bits):
    x = torch.cat([torch.randn(1000) * 10.0 ** torch.randint(-9, 9, (1000,)), -x0()])
    found = mantissa(x, bits)
    assert torch.equal(mantissa(found, bits), found)
    assert bool(((found - x).abs() <= x.abs() * 2.0**-bits).all())
    scaled = torch.ldexp(found.double(), bits - torch.frexp(found.double())[1])
    assert torch.equal(scaled, scaled.round()) and float(scaled.abs().max()) <= 2**bits


def x0():
    return torch.tensor([0.0, 1.0, -2.0, 1e-30])


@pytest.mark.parametrize('bits', [2, 3, 4, 6, 8, 12, 16])
def test_nearest_integers(bits):
    weight = torch.randn(5, 63)
    weight[2] = 0
    scale = scales_for(weight.double(), bits)
    rounded = round_nearest(weight, bits)
    whole = rounded.double() / scale
    assert torch.equal(whole, whole.round())
    assert float(whole.abs().max()) <= 2 ** (bits - 1) - 1
    assert torch.equal(rounded[2], weight[2])
    # No share of the largest weight is better.
    best = (rounded - weight).double().square().sum(1)
    for share in torch.linspace(0.4, 1.0, 25):
        full = weight.abs().amax(1, keepdim=True).double().clamp(min=1e-9)
        other = mantissa(share * full / (2 ** (bits - 1) - 1), SCALE_BITS)
        error = (nearest(weight.double(), other, bits) - weight).square().sum(1)
        assert bool((best <= error + 1e-6).all())


@pytest.mark.parametrize(
    'sizes, groups', [([7], 1), ([150], 1), ([6, 5], 1), ([9], 4), ([1], 1)]
)
@pytest.mark.parametrize('bits', [2, 4, 8])
def test_errors_are_made_up_for(sizes, groups, bits):
    parts = [torch.randn(8, size) for size in sizes]
    bias, gram = torch.randn(8), correlated(400, sum(sizes), groups)
    weights, shifted = round_weights(parts, bias, gram, bits)
    plain = [round_nearest(part, bits) for part in parts]
    assert cost(weights, shifted, parts, bias, gram) < cost(
        plain, bias, parts, bias, gram
    )
    for weight, part in zip(weights, parts, strict=True):
        assert weight.shape == part.shape and weight.dtype == part.dtype
        whole = integers_of(weight)
        assert int(whole.abs().max()) <= 2 ** (bits - 1) - 1


@pytest.mark.parametrize('bits', [3, 4, 6, 8])
def test_a_large_weight_that_hardly_counts_takes_no_bits(bits):
    """As one that mends a single row, where a channel is all but silent."""
    part, bias, gram = 0.3 * torch.randn(8, 20), torch.zeros(8), correlated(400, 20)
    gram[:, 3] *= 1e-4
    gram[:, :, 3] *= 1e-4
    large = part.clone()
    large[:, 3] = 170
    losses, energy = [], cost([0 * part], bias, [part], bias, gram)
    for weight in (part, large):
        found = round_weights([weight], bias, gram, bits)
        losses.append(cost(*found, [weight], bias, gram))
    assert losses[0] < energy / 4**bits
    # What is clipped counts, too.
    assert losses[1] < 5 * energy / 4**bits + 8 * 170**2 * float(gram[0, 3, 3])
    assert 8 * 170**2 * float(gram[0, 3, 3]) < 0.01 * energy


@pytest.mark.parametrize('size', [1.0, 3.0, 1e3, 1e7])
def test_no_scale_is_better_however_small(size):
    weight, counts = torch.randn(6, 40).double(), torch.ones(40).double()
    weight[:3, 7], counts[7] = size, 1e-3 / size**2
    found = scales_for(weight, 4, counts)
    errors = (nearest(weight, found, 4) - weight).square() @ counts
    full = weight.abs().amax(1, keepdim=True) / 7
    for share in torch.logspace(0, -8, 400).double():
        other = nearest(weight, mantissa(share * full, SCALE_BITS), 4) - weight
        # Small shares are a tenth apart.
        assert bool((errors <= 1.3 * other.square() @ counts).all())


def test_rounding_is_the_best_of_two_neighbours():
    """Of three weights and without a bias, next to all ways to round them."""
    losses, chances = [], []
    for seed in range(20):
        torch.manual_seed(seed)
        part, gram = torch.randn(1, 3), correlated(50, 3)
        gram[:, -1] = gram[:, :, -1] = 0
        bias = torch.zeros(1)
        (weight,), shifted = round_weights([part], bias, gram, 4)
        assert torch.equal(shifted, bias)
        scale = scales_for(part.double(), 4, gram[0].diagonal()[:3])
        down = (part / scale).floor()
        all_ways = [
            cost([(down + torch.tensor(up)) * scale], bias, [part], bias, gram)
            for up in itertools.product([0.0, 1.0], repeat=3)
        ]
        losses.append(cost([weight], bias, [part], bias, gram))
        chances.append(all_ways)
    best = sum(min(ways) for ways in chances)
    worst_of_mean = sum(sum(ways) / len(ways) for ways in chances)
    assert best * 0.999 <= sum(losses) < best + 0.25 * (worst_of_mean - best)


def test_features_that_nothing_is_seen_of():
    gram = correlated(100, 5)
    gram[:, 2] = gram[:, :, 2] = 0
    weights, bias = round_weights([torch.randn(4, 5)], torch.zeros(4), gram, 4)
    assert bool(weights[0].isfinite().all()) and bool(bias.isfinite().all())
    nothing = torch.zeros_like(gram)
    weights, bias = round_weights([torch.randn(4, 5)], torch.zeros(4), nothing, 4)
    assert bool(weights[0].isfinite().all()) and not bias.any()


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3)
        self.grouped = nn.Conv2d(8, 8, 3, groups=4)
        self.up = nn.ConvTranspose2d(8, 4, 2)
        self.skip, self.last = nn.Conv2d(8, 8, 3), nn.Linear(4 * 49, 5)

    def forward(self, x):
        x = self.first(x).relu()
        x = (self.second(x) + self.skip(x)).relu()
        x = self.grouped(x).relu()
        return self.last(self.up(x).relu().flatten(1))


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.twice = nn.Embedding(7, 6), nn.Linear(6, 6)
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        x = self.twice(self.table(x).relu()).relu()
        return self.last(self.twice(x).relu())


def graph_case(kind, **kwargs):
    x, edge_index = torch.rand(60, 12), torch.randint(60, (2, 240))
    return kind(12, 16, 2, 4, **kwargs), (x, edge_index)


CASES = {
    'gcn': lambda: graph_case(GCN),
    'gin': lambda: graph_case(GIN),
    'gat': lambda: graph_case(GAT, heads=2),
    'residual': lambda: (Residual(), (torch.rand(12, 3, 10, 10),)),
    'shared': lambda: (Shared(), (torch.randint(7, (50,)),)),
}


@pytest.mark.parametrize('compensate', [None, 'ridge'])
@pytest.mark.parametrize('name', CASES)
def test_all_weights_of_a_network_are_integers(name, compensate):
    model, inputs = CASES[name]()
    errors = {}
    for bits in (None, 8, 3):
        config = ConversionConfig(weight_bits=bits, compensate=compensate)
        snn = convert(model, inputs, config)
        errors[bits] = snn.report.logit_relative_error
        if bits is None:
            continue
        num = 0
        for module in snn.network.modules():
            if isinstance(module, SpikingLayer) and module.weight is not None:
                matrix = module.matrix()
                if not module.has_rows:
                    matrix = module.weight.reshape(1, -1)
            elif isinstance(module, nn.Embedding):
                matrix = module.weight.mT
            else:
                continue
            num += 1
            assert int(integers_of(matrix).abs().max()) <= 2 ** (bits - 1) - 1
        assert num >= 2
    assert errors[8] < errors[None] + 0.02 < errors[3] + 0.02


def test_it_is_better_than_rounding_afterwards():
    model, inputs = graph_case(GCN)
    config = ConversionConfig(num_steps=16)
    plain = convert(model, inputs, config)
    expected = model.eval()(*inputs).detach()

    def error(snn):
        return float((snn(*inputs) - expected).norm() / expected.norm())

    for module in plain.network.modules():
        if isinstance(module, SpikingLayer) and module.weight is not None:
            module.set_parameters(round_nearest(module.matrix(), 3), module.bias)
    rounded = convert(model, inputs, ConversionConfig(num_steps=16, weight_bits=3))
    assert error(rounded) < 0.8 * error(plain)


def hard_channels():
    """Of the first layer, two that one row of thousands excites, barely; two that are the
    same; and two that are all but multiples.
    """
    model = nn.Sequential(
        nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 5)
    )
    x = torch.rand(3000, 12)
    with torch.no_grad():
        weight, bias = 2 * model[0].weight, model[0].bias
        for k in (0, 1):
            second, first = (x @ weight[k]).sort().values[-2:]
            bias[k] = -(0.02 * second + 0.98 * first)
        weight[3], bias[3] = weight[2], bias[2]
        weight[5], bias[5] = 1.01 * weight[4], 1.01 * bias[4] + 1e-3
        model[0].weight.copy_(weight)
    return model.eval(), x


def test_channels_that_are_silent_or_alike():
    model, x = hard_channels()
    errors = {}
    for bits in (None, 8, 6, 4, 3):
        config = ConversionConfig(num_steps=16, per_channel=True, weight_bits=bits)
        snn = convert(model, x, config)
        errors[bits] = snn.report.logit_relative_error
        largest = max(
            float(module.matrix().detach().abs().max())
            for module in snn.network.modules()
            if isinstance(module, SpikingLayer) and module.weight is not None
        )
        if bits is None:
            assert largest > 10  # Correction mends a row by a weight that is seen once.
        else:
            assert largest < 1
    assert errors[8] < 1.05 * errors[None] and errors[6] < 1.05 * errors[None]
    assert errors[4] < 1.2 * errors[None] and errors[3] < 1.6 * errors[None]


@pytest.mark.data
@pytest.mark.slow
def test_fewer_bits_of_a_gin_are_hardly_worse(load_data):
    """One channel of its second layer is seen by few nodes, barely, and is corrected to
    weights of 178 where others are below one.
    """
    dataset, recipe = load_data('cora'), get_recipe('cora', 'gin')
    model, agreements = train(dataset, recipe, 0, progress=False).model, []
    for bits in (8, 6, 4):
        config = ConversionConfig(num_steps=16, per_channel=True, weight_bits=bits)
        snn = convert(model, dataset.data, config)
        agreements.append(evaluate(snn, dataset.data, model)['agreement'])
    assert agreements[0] > 97
    assert agreements[1] > agreements[0] - 1.5
    assert agreements[2] > agreements[1] - 1.5


@pytest.mark.parametrize('bits', [1, 17, 0, True, 4.0, '8'])
def test_bits(bits):
    with pytest.raises(ValueError, match=f'integer from 2 to 16 .got {bits!r}.'):
        ConversionConfig(weight_bits=bits)


def test_the_same_for_any_number_of_threads():
    model, inputs = graph_case(GCN)
    config, found = ConversionConfig(weight_bits=4), []
    for num in (1, 2):
        threads = torch.get_num_threads()
        torch.set_num_threads(num)
        try:
            found.append(convert(model, inputs, config).state_dict())
        finally:
            torch.set_num_threads(threads)
    for name, value in found[0].items():
        other = found[1][name]
        assert torch.allclose(value, other, rtol=0, atol=0, equal_nan=True), name
