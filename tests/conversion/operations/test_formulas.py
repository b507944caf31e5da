"""Activations that are written out, and functions without a rule."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spikegraph import ConversionConfig, convert, load, save, simulate
from spikegraph.nn.activation import Formula
from tests.conversion.cnns import images

RELUS = {
    'where': lambda s, x: torch.where(x > 0, x, 0.0),
    'where zeros': lambda s, x: torch.where(x <= 0, torch.zeros_like(x), x),
    'mask': lambda s, x: x * (x > 0),
    'float mask': lambda s, x: (x > 0).float() * x,
    'maximum': lambda s, x: torch.maximum(x, x.new_zeros(())),
    'threshold': lambda s, x: F.threshold(x, 0, 0),
    'items': lambda s, x: _without_negatives(x),
    'maximum, cast': lambda s, x: torch.maximum(torch.zeros(()).to(x), x),
    'type as': lambda s, x: torch.zeros(1).type_as(x).maximum(x),
    'masked fill': lambda s, x: x.masked_fill(x < 0, 0),
}
FORMULAS = {
    'x sigmoid(x)': lambda s, x: x * torch.sigmoid(x),
    'module': lambda s, x: x * s.sigmoid(x),
    'mish': lambda s, x: x * torch.tanh(F.softplus(x)),
    'hard swish': lambda s, x: x.mul(s.relu6(x + 3) / 6),
    'quick GELU': lambda s, x: x * torch.sigmoid(1.702 * x),
    'GELU by the error function': lambda s, x: 0.5 * x * (1 + torch.erf(x / 2**0.5)),
    'other beta': lambda s, x: x * torch.tanh(F.softplus(x, beta=2)),
    'other shift': lambda s, x: x * F.relu6(x + 2) / 6,
    'half of the magnitude': lambda s, x: (x + x.abs()) / 2,
    'leaky': lambda s, x: torch.where(x > 0, x, 0.1 * x),
    'softsign': lambda s, x: x / (1 + x.abs()),
    'softplus': lambda s, x: torch.log1p(torch.exp(x.clamp(max=30))),
    'exponential': lambda s, x: x.clamp(max=1).exp(),
    'square of ReLU': lambda s, x: x.relu().square(),
    'learned bound': lambda s, x: x.clamp(max=s.bound),
    'rounded': lambda s, x: torch.round(x * 50),
}
OTHERS = {
    'sine': lambda s, x: torch.sin(x),
    'step': lambda s, x: (x > 0).to(x.dtype),
    'places': lambda s, x: x.sort(-1)[0],
    'mask': lambda s, x: x * (x.flip(-1) > 0),
    'shares': lambda s, x: x / (1 + x.sum(1, keepdim=True)),
    'sine of a square': lambda s, x: torch.sin(x * x),
}
MEETINGS = {
    'square': lambda s, x: x * x,
    'magnitude': lambda s, x: x.abs(),
    'places': lambda s, x: x * torch.sigmoid(x.flip(-1)),
    'shares': lambda s, x: x / (1 + x.abs().sum(1, keepdim=True)),
    'falling': lambda s, x: torch.exp(-x),
    'two signals': lambda s, x: x * s.last(x).mean(1, keepdim=True).sigmoid(),
}


def _without_negatives(x):
    x = x.clone()
    x[x < 0] = 0
    return x


class Net(nn.Module):
    def __init__(self, act):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)
        self.sigmoid, self.relu6 = nn.Sigmoid(), nn.ReLU6(inplace=True)
        self.bound = nn.Parameter(torch.tensor(0.3))
        self.act = act

    def forward(self, x):
        return self.last(self.act(self, self.conv(x)))


CONFIG = ConversionConfig(100, base=1.06, compensate=None)


@pytest.mark.parametrize('name', RELUS)
def test_every_relu_is_the_same_population(name):
    model, x = Net(RELUS[name]).double(), images(12)
    snn = convert(model, x, CONFIG)
    expected = convert(Net(lambda s, x: x.relu()).double(), x, CONFIG)
    (neuron,) = list(snn.neurons.values())[1:]
    assert neuron.activation == 'relu' and not snn.report.analog
    found = list(snn.spikes(x).values())
    for each, other in zip(found, expected.spikes(x).values(), strict=True):
        assert torch.equal(each.spike_time, other.spike_time)
    assert torch.allclose(snn(x), expected(x))


@pytest.mark.parametrize('name', FORMULAS)
def test_formulas_are_found(name, tmp_path):
    model, x = Net(FORMULAS[name]).double(), images(12)
    snn = convert(model, x, CONFIG)
    assert not snn.report.analog and not snn.report.currents
    neuron = list(snn.neurons.values())[-1]
    assert isinstance(neuron.activation, Formula)
    with torch.no_grad():
        expected = model(x)
    assert (snn(x) - expected).norm() < 0.07 * expected.norm()
    assert torch.allclose(simulate(snn, x).output, snn(x))
    save(snn, tmp_path / 'snn.safetensors')
    assert torch.equal(load(tmp_path / 'snn.safetensors', model)(x), snn(x))


@pytest.mark.parametrize('name', OTHERS)
def test_others_are_refused_with_their_line(name):
    with pytest.raises(NotImplementedError, match=r'test_formulas.py, line \d+'):
        convert(Net(OTHERS[name]).double(), images(12))


@pytest.mark.parametrize('name', MEETINGS)
def test_others_spike_where_signals_meet(name):
    model, x = Net(MEETINGS[name]).double(), images(12)
    config = ConversionConfig(60, base=1.1, compensate=None)
    snn = convert(model, x, config)
    assert not snn.report.analog and not snn.report.currents
    with torch.no_grad():
        expected = model(x)
    assert (snn(x) - expected).norm() < 0.07 * expected.norm()
    simulation = simulate(snn, x)
    assert torch.allclose(simulation.output, snn(x))
    for population, spikes in snn.spikes(x).items():
        assert torch.equal(simulation.spike_time[population], spikes.spike_time)
    with pytest.raises(NotImplementedError, match=r'test_formulas.py, line \d+'):
        convert(model, x, replace(config, products='analog'))


class Masked(nn.Module):
    """Functions without a rule that are affine in the signal."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x, mask):
        return self.b(self.function(self.a(x).relu(), mask))


AFFINE = {
    'masked fill': lambda h, m: h.masked_fill(m, 0.5),
    'where': lambda h, m: torch.where(m, h, 0),
    'where other': lambda h, m: torch.where(m, 2 * h, h - 1),
    'cumulated': lambda h, m: torch.cumsum(h, 1),
    'triangle': lambda h, m: torch.tril(h),
    'difference': lambda h, m: h - torch.roll(h, 1, 1).diff(dim=1, prepend=h[:, :1]),
    'lerp': lambda h, m: torch.lerp(h, h.flip(0), 0.3),
    'scattered': lambda h, m: torch.zeros_like(h).masked_scatter(m, h),
    'filled': lambda h, m: h.fill_diagonal_(1.0),
}


@pytest.mark.parametrize('name', AFFINE)
def test_affine_functions_are_found(name):
    model = Masked(AFFINE[name]).double()
    x, mask = torch.rand(40, 6, dtype=torch.float64), torch.rand(40, 6) > 0.5
    if name == 'scattered':
        mask[:] = True  # Else what goes where depends on the mask's ones.
    snn = convert(model, (x, mask), CONFIG)
    assert list(snn.neurons) == ['input_x', 'relu'] and not snn.report.analog
    with torch.no_grad():
        expected = model(x, mask)
    assert (snn(x, mask) - expected).norm() < 0.07 * expected.norm()
    assert torch.allclose(simulate(snn, x, mask).output, snn(x, mask))
