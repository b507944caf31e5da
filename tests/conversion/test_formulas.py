import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spikegraph import ConversionConfig, convert
from tests.conversion.cnns import images

FORMULAS = {
    'x sigmoid(x)': (lambda s, x: x * torch.sigmoid(x), nn.SiLU),
    'sigmoid(x) x': (lambda s, x: x.sigmoid() * x, nn.SiLU),
    'module': (lambda s, x: x * s.sigmoid(x), nn.SiLU),
    'mish': (lambda s, x: x * torch.tanh(F.softplus(x)), nn.Mish),
    'sixth of the product': (lambda s, x: x * F.relu6(x + 3) / 6, nn.Hardswish),
    'sixth of the gate': (lambda s, x: x.mul(s.relu6(x + 3) / 6), nn.Hardswish),
    'hardsigmoid': (lambda s, x: F.hardsigmoid(x) * x, nn.Hardswish),
}
OTHERS = {
    'other argument': lambda s, x: x * torch.sigmoid(2 * x),
    'other beta': lambda s, x: x * torch.tanh(F.softplus(x, beta=2)),
    'other shift': lambda s, x: x * F.relu6(x + 2) / 6,
    'other quotient': lambda s, x: x * F.relu6(x + 3) / 5,
}


class Net(nn.Module):
    def __init__(self, act):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)
        self.sigmoid, self.relu6 = nn.Sigmoid(), nn.ReLU6(inplace=True)
        self.act = act

    def forward(self, x):
        return self.last(self.act(self, self.conv(x)))


@pytest.mark.parametrize('name', FORMULAS)
def test_formulas_are_recognised(name):
    formula, kind = FORMULAS[name]
    model, x = Net(formula).double(), images(12)
    snn = convert(model, x, ConversionConfig(100, base=1.06, compensate=None))
    assert snn.report.num_activations == 1 and not snn.report.analog
    (neuron,) = list(snn.neurons.values())[1:]
    assert type(neuron.activation) is kind
    with torch.no_grad():
        assert (snn(x) - model(x)).norm() < 0.06 * model(x).norm()


@pytest.mark.parametrize('name', OTHERS)
def test_others_are_not(name):
    with pytest.raises(NotImplementedError, match='two signals'):
        convert(Net(OTHERS[name]).double(), images(12))
