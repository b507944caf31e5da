import itertools

import pytest
import torch
from torch import nn

from spikegraph import PhaseCode, Spikes
from spikegraph.nn import SpikingConv

CODE = PhaseCode(8, 1.5)
CONVS = {
    '1d': (lambda: nn.Conv1d(4, 6, 3, padding=1), (5, 4, 9)),
    '2d': (lambda: nn.Conv2d(4, 6, 3), (2, 4, 7, 6)),
    '3d': (lambda: nn.Conv3d(2, 3, (1, 2, 3), padding=(0, 1, 0)), (2, 2, 4, 5, 6)),
    'strided': (lambda: nn.Conv2d(4, 6, (3, 2), (2, 3), (1, 0)), (2, 4, 8, 7)),
    'dilated': (lambda: nn.Conv2d(4, 6, 3, dilation=2, padding=2), (2, 4, 8, 7)),
    'grouped': (lambda: nn.Conv2d(4, 6, 3, groups=2), (2, 4, 5, 5)),
    'depthwise': (lambda: nn.Conv2d(4, 8, 3, groups=4, bias=False), (2, 4, 5, 5)),
    'same': (lambda: nn.Conv2d(4, 6, 3, padding='same'), (2, 4, 7, 6)),
    'circular': (
        lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode='circular'),
        (2, 4, 7, 6),
    ),
    'reflect': (
        lambda: nn.Conv1d(4, 6, 5, 2, padding=2, padding_mode='reflect'),
        (2, 4, 9),
    ),
    'unbatched': (lambda: nn.Conv2d(4, 6, 3), (4, 7, 6)),
    'no samples': (lambda: nn.Conv2d(4, 6, 3), (0, 4, 7, 6)),
    'transposed': (lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, 1), (2, 4, 5, 4)),
    'transposed, grouped': (lambda: nn.ConvTranspose1d(4, 6, 3, groups=2), (2, 4, 5)),
}
PLAIN = [name for name in CONVS if 'transposed' not in name]


@pytest.fixture(params=CONVS)
def case(request):
    return make(request.param)


def make(name):
    torch.manual_seed(0)
    make_conv, shape = CONVS[name]
    conv = make_conv().double()
    scale = torch.rand(shape[-len(conv.kernel_size) - 1], dtype=torch.float64) + 0.5
    scale = scale.view(-1, *[1] * len(conv.kernel_size))
    x = 2 * torch.rand(shape, dtype=torch.float64) - 0.5
    return conv, Spikes.from_values(x, CODE, scale)


def test_equals_the_convolution_of_decoded_values(case):
    conv, x = case
    layer = SpikingConv.from_ann(conv)
    assert torch.equal(layer(x), conv(x.decode()))
    assert torch.equal(layer(x.decode()), conv(x.decode()))
    assert layer(x).shape[layer.channel_dim] == layer.num_channels == conv.out_channels


@pytest.mark.parametrize('name', PLAIN)
def test_features_are_what_the_weights_see(name):
    conv, x = make(name)
    layer, groups = SpikingConv(conv), conv.groups
    features = layer.features(x)
    expected = conv(x.decode())
    bias = 0 if conv.bias is None else conv.bias
    if groups > 1:
        weight = layer.matrix().unflatten(0, (groups, -1))
        out = torch.einsum('...gf,gof->...go', features, weight).flatten(-2) + bias
    else:
        out = features @ layer.matrix().t() + bias
    out = out.movedim(-1, layer.channel_dim)
    assert torch.allclose(out.reshape(expected.shape), expected, rtol=0, atol=1e-12)
    num_rows = expected.numel() // conv.out_channels
    index = torch.randperm(num_rows)[:7]
    rows = features.flatten(0, -2 if groups == 1 else -3)
    assert torch.equal(layer.feature_rows(index, x), rows[index])


def test_fold_scales_and_shifts_the_output(case):
    conv, x = case
    gain = torch.rand(conv.out_channels).double() - 0.5
    offset = torch.rand(conv.out_channels).double()
    shape = (-1, *[1] * len(conv.kernel_size))
    expected = conv(x.decode()) * gain.view(shape) + offset.view(shape)
    layer = SpikingConv(conv)
    layer.fold(gain, offset)
    assert torch.allclose(layer(x), expected, rtol=0, atol=1e-12)


def test_fan_out_is_the_number_of_weights_that_a_spike_meets(case):
    """By brute force: one spike at a time, and weights of one."""
    conv, x = case
    (operation,) = SpikingConv(conv).operations(x)
    conv.bias = None
    nn.init.ones_(conv.weight)
    num_dims = len(conv.kernel_size)
    shape = x.shape[-num_dims - 1 :]
    fan_out = operation.fan_out
    assert fan_out.shape == shape
    for place in itertools.islice(itertools.product(*map(range, shape)), 0, None, 7):
        one = torch.zeros(1, *shape, dtype=torch.float64)
        one[(0, *place)] = 1.0
        assert int(conv(one).sum()) == int(fan_out[place]), place
    assert operation.num_weights == conv.weight.numel()


@pytest.mark.parametrize('name', CONVS)
def test_multiply_accumulates_are_those_of_loops(name):
    conv, x = make(name)
    (operation,) = SpikingConv(conv).operations(x)
    kernel = conv.weight[0, 0].numel()
    if 'transposed' in name:  # Each input value meets the kernels of its group.
        expected = x.shape.numel() * conv.out_channels // conv.groups * kernel
    else:  # Each output value sums over the kernel and the channels of its group.
        num = conv(x.decode()).numel()
        expected = num * conv.in_channels // conv.groups * kernel
    assert operation.num == expected


def test_errors():
    layer = SpikingConv(nn.Conv2d(4, 6, 3))
    match = r'\[N, 4, H, W\] for Conv2d \(got \[2, 3, 5, 5\]\)'
    with pytest.raises(ValueError, match=match):
        layer(torch.zeros(2, 3, 5, 5))
    with pytest.raises(ValueError, match=r'\(got \[2, 4\]\)'):
        layer(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r'torch.float32 \(got torch.float64\)'):
        layer(torch.zeros(2, 4, 5, 5).double())
    with pytest.raises(NotImplementedError, match='transposed'):
        SpikingConv(nn.ConvTranspose1d(1, 1, 1)).features(torch.zeros(1, 1, 1))
