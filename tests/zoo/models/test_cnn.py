import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spikegraph.zoo.models import CNN


@pytest.mark.parametrize('size', [(4, 4), (8, 8), (28, 28), (9, 13)])
@pytest.mark.parametrize('width', [1, 6])
def test_output_is_that_of_the_equation(size, width):
    model = CNN((2, *size), 5, width).eval()
    for norm in model.norms:
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    x = torch.randn(3, 2, *size)
    out = x
    for i in range(3):
        norm = model.norms[i]
        assert norm.num_features == width * 2**i
        out = F.conv2d(out, model.convs[i].weight, padding=1)
        mean, scale = norm.running_mean, (norm.running_var + norm.eps).rsqrt()
        out = F.relu((out - mean[:, None, None]) * scale[:, None, None])
        out = F.max_pool2d(out, 2) if i < 2 else out
    expected = F.linear(out.reshape(3, -1), model.linear.weight, model.linear.bias)
    assert model(x).shape == (3, 5)
    assert torch.allclose(model(x), expected, atol=1e-5)


def test_reset_parameters():
    model = CNN((1, 8, 8), 10)
    torch.manual_seed(1)
    model.reset_parameters()
    first = {name: value.clone() for name, value in model.state_dict().items()}
    for value in model.state_dict().values():
        value.fill_(3)
    torch.manual_seed(1)
    model.reset_parameters()
    for name, value in model.state_dict().items():
        assert torch.equal(value, first[name]), name


@pytest.mark.parametrize(
    'sizes, match',
    [
        (((0, 8, 8), 2, 3), r"'in_channels' to be at least 1 \(got 0\)"),
        (((1, 8, 8), 0, 3), r"'out_channels' to be at least 1 \(got 0\)"),
        (((1, 8, 8), 2, -1), r"'hidden_channels' to be at least 1 \(got -1\)"),
        (((1, 8, 3), 2, 3), r'4 by 4 pixels \(got 8 by 3\)'),
    ],
)
def test_errors(sizes, match):
    with pytest.raises(ValueError, match=match):
        CNN(*sizes)


def test_every_parameter_has_a_gradient():
    model = CNN((1, 8, 8), 3, 4)
    model(torch.rand(8, 1, 8, 8)).square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in model.parameters())
    assert sum(isinstance(m, nn.Conv2d) for m in model.modules()) == 3
