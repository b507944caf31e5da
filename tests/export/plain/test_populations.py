import math

import pytest
import torch
from torch import nn

from spikegraph import PhaseCode
from spikegraph.export.plain.populations import PlainPopulation, decoded, first_reached
from spikegraph.nn import PhaseNeuron
from spikegraph.nn.activation import Ramp

CODES = [
    PhaseCode(6, 1.6),
    PhaseCode(5, 2.0, signed=True),
    PhaseCode.from_levels([1.0, 0.7, 0.2], signed=True),
    PhaseCode(1, 1.5),
]
ACTIVATIONS = ['relu', 'identity', nn.Tanh(), nn.GELU(), nn.ELU(), nn.LeakyReLU(0.2)]
KINDS = pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)


def potentials(code, dtype, scale=1.0):
    """Numbers of all sizes, and every threshold and level, from both sides."""
    ties = torch.cat([code.thresholds, code.levels]).to(dtype) * scale
    near = torch.cat([ties, ties.nextafter(ties + 1), ties.nextafter(ties - 1)])
    x = torch.cat([torch.linspace(-3, 3, 200, dtype=dtype), near, -near])
    x = torch.cat([x, x.new_tensor([0.0, -0.0, math.inf, -math.inf, 1e30])])
    return x[: len(x) // 4 * 4].view(-1, 4)


def check(neuron, x, **kwargs):
    plain = PlainPopulation(neuron, x)
    found, expected = plain(x, **kwargs), neuron(x, **kwargs)
    assert torch.equal(found.spike_time, expected.spike_time.int())
    assert found.spike_time.dtype == torch.int32 and found.code == expected.code
    assert torch.equal(found.scale.expand(x.shape), expected.scale.expand(x.shape))
    assert torch.equal(decoded(found), expected.decode())


@KINDS
@pytest.mark.parametrize('activation', ACTIVATIONS, ids=str)
@pytest.mark.parametrize('code', CODES, ids=str)
def test_fires_as_the_population(code, activation, dtype):
    x = potentials(code, dtype, 1.3)
    check(PhaseNeuron(code, torch.tensor(1.3, dtype=dtype), activation=activation), x)
    scales = torch.tensor([0.5, 1.0, 1.3, 3.0], dtype=dtype)
    check(PhaseNeuron(code, scales, activation=activation), x)


@KINDS
@pytest.mark.parametrize('activation', ACTIVATIONS, ids=str)
@pytest.mark.parametrize('code', CODES, ids=str)
def test_a_second_potential_moves_thresholds(code, activation, dtype):
    x = potentials(code, dtype)
    x = x.clamp(-1e3, 1e3)
    divisor = torch.rand(len(x), 1, dtype=dtype) + 0.1
    check(PhaseNeuron(code, 0.8, activation=activation).to(dtype), x, divisor=divisor)


@KINDS
@pytest.mark.parametrize('code', CODES, ids=str)
def test_scales_of_nodes_and_factors(code, dtype):
    x = potentials(code, dtype).clamp(-1e3, 1e3)
    x = torch.cat([x, torch.zeros_like(x[:1])])
    one = dict(scale=1.1, activation='identity')
    check(PhaseNeuron(code, node_scale=True, **one).to(dtype), x)
    factor = torch.rand(len(x), 1, dtype=dtype) + 0.5
    check(PhaseNeuron(code, **one).to(dtype), x, factor=factor)
    images = x[:8].reshape(2, 4, 2, 2)
    check(PhaseNeuron(code, node_scale=True, channel_dim=-3, **one).to(dtype), images)


@KINDS
def test_ramps_that_start_at_a_second_potential(dtype):
    code, x = PhaseCode(9, 1.4), torch.randn(30, 4, dtype=dtype)
    start = x.amax(0, keepdim=True)
    for inner in (None, nn.LeakyReLU(0.2)):
        ramp = Ramp(inner, starts=True)
        check(PhaseNeuron(code, 1.0, activation=ramp).to(dtype), x, start=start)


def test_prelu_has_thresholds_of_channels():
    code, x = PhaseCode(5, 1.5, signed=True), torch.randn(20, 4)
    prelu = nn.PReLU(4)
    nn.init.uniform_(prelu.weight, 0, 1)
    check(PhaseNeuron(code, 1.0, activation=prelu), x)


def test_first_reached_by_brute_force():
    x, thresholds = torch.randn(50), torch.tensor([1.5, 0.5, 0.1, -0.7])
    for value, time in zip(x, first_reached(x, thresholds), strict=True):
        reached = [t for t, limit in enumerate(thresholds) if value >= limit]
        assert int(time) == min(reached, default=4)
