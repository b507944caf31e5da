import pytest
import torch
from torch import nn

from spikegraph import ConversionConfig, convert
from spikegraph.zoo.models import MobileNet
from spikegraph.zoo.models.mobilenet import InvertedResidual, SqueezeExcitation


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MobileNet((1, 12, 12), 5, hidden_channels=4)


def test_sizes(model):
    assert model.eval()(torch.rand(3, 1, 12, 12)).shape == (3, 5)
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    depthwise = [m for m in convs if m.groups > 1]
    assert [m.kernel_size[0] for m in depthwise] == [3, 3, 3, 5, 5]
    assert [m.stride[0] for m in depthwise] == [1, 2, 1, 2, 1]
    assert [block.residual for block in model.blocks] == [
        True,
        False,
        True,
        False,
        True,
    ]
    gates = [m for m in model.modules() if isinstance(m, SqueezeExcitation)]
    assert [gate.squeeze.out_channels for gate in gates] == [8, 8, 8]


def test_gates_multiply_channels():
    gate, x = SqueezeExcitation(40), torch.rand(3, 40, 5, 4)
    assert gate.squeeze.out_channels == 10
    mean = x.mean((2, 3))
    hidden = (mean @ gate.squeeze.weight.flatten(1).t() + gate.squeeze.bias).relu()
    score = hidden @ gate.excite.weight.flatten(1).t() + gate.excite.bias
    factor = ((score + 3) / 6).clamp(0, 1).view(3, 40, 1, 1)
    torch.testing.assert_close(gate(x), factor * x)


def test_input_is_added_where_the_size_stays():
    x, options = torch.rand(2, 4, 6, 6), (3, 1, False, nn.ReLU)
    for out_channels, is_added in ((4, True), (5, False)):
        block = InvertedResidual(4, 6, out_channels, *options).eval()
        nn.init.zeros_(block.layers[-1].weight)
        assert torch.equal(block(x), x if is_added else torch.zeros(2, 5, 6, 6))


def test_parameters_are_drawn_anew(model):
    model(torch.rand(4, 1, 12, 12))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(1)
    model.reset_parameters()
    after = model.state_dict()
    for name in before:
        is_new = 'running' in name or before[name].dim() > 1
        assert not is_new or not torch.equal(before[name], after[name]), name
    torch.manual_seed(1)
    model.reset_parameters()
    assert all(torch.equal(v, after[k]) for k, v in model.state_dict().items())


def test_gates_become_spikes(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            nn.init.uniform_(module.bias, -0.5, 1.0)
    x = torch.rand(40, 1, 12, 12)
    model(x)
    snn = convert(model.eval(), x, ConversionConfig(num_steps=24, per_channel=True))
    assert snn.report.analog == {}
    assert len(snn.report.products) == 3  # Of what is coded for the gates anyway.
    assert snn.report.logit_relative_error < 0.15


@pytest.mark.parametrize(
    'size, channels, match',
    [
        ((1, 12, 12), 5, r"'hidden_channels' to be an even number .*\(got 5\)"),
        ((1, 12, 12), 2, r"'hidden_channels' to be .* at least 4 \(got 2\)"),
        ((0, 12, 12), 4, r"'in_channels' to be at least 1 \(got 0\)"),
    ],
)
def test_errors(size, channels, match):
    with pytest.raises(ValueError, match=match):
        MobileNet(size, 5, channels)
