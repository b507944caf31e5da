"""Layers in front of a quotient are corrected as the quotient that they become."""

import pytest
import torch
from torch import nn
from torch_geometric.nn import GATv2Conv, TransformerConv

from spikegraph import ConversionConfig, convert
from spikegraph.conversion.fitting.compensation import numerators_of
from tests.nn.exactness import real


class Attending(nn.Module):
    def __init__(self, conv, **options):
        super().__init__()
        self.first = conv(8, 8, heads=2, **options)
        self.last = conv(16, 4, **options)

    def forward(self, x, edge_index):
        return self.last(self.first(x, edge_index).relu(), edge_index)


@pytest.mark.parametrize(
    'conv, options',
    [
        (GATv2Conv, dict(add_self_loops=False)),
        (TransformerConv, dict(root_weight=False)),
    ],
)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_nothing_is_added_where_nothing_is_weighed(conv, options, dtype):
    """Nodes without neighbours, whose sums are divided by next to nothing."""
    torch.manual_seed(0)
    x, edge_index = real(100, 8).to(dtype), torch.randint(0, 50, (2, 300))
    model = Attending(conv, **options).to(dtype).eval()
    snn = convert(model, (x, edge_index), ConversionConfig(relay_steps=16))
    error = (snn(x, edge_index) - model(x, edge_index)).abs()
    assert snn.report.compensated
    assert error[:50].max() < 0.1 and error[50:].max() < 1e-6


def test_divisors_are_known_where_sums_alone_come_between():
    torch.manual_seed(0)
    x, edge_index = real(60, 8), torch.randint(0, 60, (2, 300))
    model = Attending(GATv2Conv).double().eval()
    network = convert(model, (x, edge_index)).network
    found = {str(node.target): den for node, den in numerators_of(network).items()}
    assert found['products.last_lin_l_behind'] is not None
    assert 'first.lin_l' not in found  # Spikes are sent in between.


def test_no_divisor_is_known_behind_what_is_more_than_a_sum():
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.query, self.value = nn.Linear(8, 8), nn.Linear(8, 8)
            self.mix, self.norm = nn.Linear(8, 8), nn.BatchNorm1d(8)
            self.last = nn.Linear(8, 3)

        def forward(self, x):
            weight = (self.query(x) @ x.T).softmax(-1)
            out = self.norm(self.mix(weight @ self.value(x)))
            return self.last(out.relu())

    torch.manual_seed(0)
    model, x = Normed().double().eval(), real(60, 8)
    network = convert(model, x).network
    found = {str(node.target): den for node, den in numerators_of(network).items()}
    assert 'mix' in found and found['mix'] is None
    assert 'value' not in found  # Spikes are sent in between.


def test_quotients_are_closer_for_it():
    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))
            self.last = nn.Linear(8, 3)

        def forward(self, x):
            weight = (self.q(x) @ self.k(x).transpose(-2, -1)).softmax(-1)
            return self.last(weight @ self.v(x))

    torch.manual_seed(0)
    model, x = Rows().double().eval(), real(6, 20, 8)
    errors = {
        how: convert(model, x, ConversionConfig(compensate=how))
        for how in ('ridge', None)
    }
    assert errors['ridge'].report.compensated == ['last']
    found, plain = (snn.report.logit_relative_error for snn in errors.values())
    assert found < 0.9 * plain
