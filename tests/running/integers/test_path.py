"""Integers keep their units, whatever is in a batch and however large numbers are."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric import nn as pyg

from spikegraph import ConversionConfig, convert
from spikegraph.running.integers import replay, to_integer

from .cases import TwoLayers, case


def error(found, expected):
    return float((found - expected).norm() / expected.norm())


def clique(num):
    """A regular graph: all factors of degrees are alike."""
    edge_index = torch.cartesian_prod(torch.arange(num), torch.arange(num)).t()
    return edge_index[:, edge_index[0] != edge_index[1]]


PROPAGATED = {
    'gcn': pyg.GCNConv,
    'powers': lambda i, o: pyg.SGConv(i, o, K=3),
    'means': pyg.SAGEConv,
    'sums so far': lambda i, o: pyg.SSGConv(i, o, 0.1, K=3),
    'degrees': pyg.MFConv,
}


@pytest.mark.parametrize('folds', [False, True])
@pytest.mark.parametrize('kind', PROPAGATED)
@pytest.mark.parametrize('bits', [8, 16])
def test_the_same_bits_beside_other_degrees(kind, bits, folds):
    """Factors that happen to be powers of two change no units."""
    _, (x, edge_index) = case('gcn')
    torch.manual_seed(1)
    model = TwoLayers(PROPAGATED[kind]).eval()
    config = ConversionConfig(weight_bits=8, fold_degree=folds)
    snn = convert(model, (x, edge_index), config)
    few = torch.rand(4, 12)
    regular, nothing = clique(4), edge_index[:, :0]
    for given in ((x, edge_index), (few, regular), (few[:1], nothing)):
        integer = to_integer(snn, *given, width=32, constant_bits=bits)
        for own in (regular, nothing):
            alone = integer.run(few, own)
            joint = integer.run(
                torch.cat([few, x]), torch.cat([own, edge_index + len(few)], dim=1)
            )
            for name, membrane in alone.integers.items():
                assert np.array_equal(joint.integers[name][: len(few)], membrane)
        assert error(integer(x, edge_index), snn(x, edge_index)) < 0.02


def test_rounding_by_far_more_than_there_is():
    x = np.array([-(2**60), -1, 0, 1, 2**60])
    for shift in (62, 63, 64, 100, np.array([63, 64, 65, 66, 200])):
        assert replay.rounded(x, shift).tolist() == [0] * 5


def perceptron():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


@pytest.mark.parametrize('size', [1e-14, 1e-6, 1e6, 1e12])
@pytest.mark.parametrize('bits', [8, 16])
def test_potentials_of_any_size(size, bits):
    x, model = torch.randn(20, 6), perceptron()
    with torch.no_grad():
        for layer, factors in ((model[0], (size, size)), (model[2], (1.0, size))):
            layer.weight *= factors[0]
            layer.bias *= factors[1]
    snn = convert(model, x, ConversionConfig(weight_bits=8)).double()
    for width in (16, 24, 32):
        run = to_integer(snn, x, width=width, constant_bits=bits).run(x)
        assert error(run.output, snn(x.double())) < 0.02
        assert sum(run.saturated.values()) == 0


@pytest.mark.parametrize('per_channel', [False, True])
@pytest.mark.parametrize('spread', [1e-4, 1e-5, 1e4, 1e5])
def test_channels_far_apart(spread, per_channel):
    """As a ReLU allows without changing what the network computes."""
    x, model = torch.randn(20, 6), perceptron()
    factors = torch.logspace(0, math.log10(spread), 8)
    with torch.no_grad():
        model[0].weight *= factors[:, None]
        model[0].bias *= factors
        model[2].weight /= factors
    config = ConversionConfig(weight_bits=8, per_channel=per_channel)
    snn = convert(model, x, config).double()
    integer = to_integer(snn, x, width=32)
    assert error(integer(x), snn(x.double())) < 0.02


@pytest.mark.parametrize('size', [1e-8, 1e-15, 1e-30])
@pytest.mark.parametrize('bits', [8, 16])
def test_dead_channels(size, bits):
    x = torch.randn(20, 6)
    model = perceptron()
    with torch.no_grad():
        model[0].weight[:3] *= size
        model[0].bias[:3] *= size
    snn = convert(model, x, ConversionConfig(weight_bits=8))
    integer = to_integer(snn, x, width=32, constant_bits=bits)
    assert error(integer(x), snn(x)) < 0.02


class Beside(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)
        self.beside = nn.Linear(6, 3)

    def forward(self, x):
        return self.second(self.first(x).relu()) + self.beside(x)


def test_full_from_the_start():
    """Currents that are no spikes fill membranes, too, and that is counted."""
    torch.manual_seed(0)
    x, config = torch.randn(20, 6), ConversionConfig(weight_bits=8, encode_input=False)
    integer = to_integer(convert(Beside().eval(), x, config), x, width=16)
    run = integer.run(1000 * x)
    (membrane,) = run.integers.values()
    assert (np.abs(membrane) > 2**14).sum() > 50
    assert sum(run.saturated.values()) > 50
    assert sum(integer.run(x).saturated.values()) == 0


def test_no_rows():
    model, (x, edge_index) = case('gcn')
    snn = convert(model, (x, edge_index), ConversionConfig(weight_bits=8))
    integer = to_integer(snn, x, edge_index)
    assert integer(x[:0], edge_index[:, :0]).shape == (0, 4)


def test_convolutions_that_are_refused():
    model = nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.Conv1d(4, 2, 3)).eval()
    x = torch.rand(2, 3, 12)
    snn = convert(model, x, ConversionConfig(weight_bits=8))
    with pytest.raises(
        NotImplementedError, match="Cannot write '_0' .SpikingConv.*only"
    ):
        snn.to_integer(x)
