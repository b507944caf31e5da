import copy
import importlib

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spikegraph.coding import PhaseCode
from spikegraph.kernels import Filters, convolve, convolve_decode, encode_decode, info
from spikegraph.kernels.cpu import images as kernels
from spikegraph.nn import SpikingConv

LAST = torch.channels_last
# Images (N, C, H, W), outputs, kernel, stride, padding, dilation.
CASES = {
    'one place': ((2, 3, 1, 1), 4, (1, 1), (1, 1), (0, 0), (1, 1)),
    'places of all images': ((5, 17, 3, 5), 33, (1, 1), (1, 1), (0, 0), (1, 1)),
    'one channel': ((3, 1, 9, 10), 7, (3, 3), (1, 1), (1, 1), (1, 1)),
    'to the border': ((2, 5, 11, 13), 16, (3, 3), (1, 1), (0, 0), (1, 1)),
    'strides': ((2, 16, 12, 9), 32, (3, 3), (2, 1), (1, 1), (1, 1)),
    'oblong': ((1, 4, 7, 12), 17, (2, 5), (1, 2), (0, 2), (1, 1)),
    'dilated': ((2, 6, 13, 14), 20, (3, 3), (1, 2), (2, 3), (2, 3)),
    'apart below each other': ((2, 6, 13, 14), 20, (3, 2), (1, 1), (0, 1), (2, 1)),
    'far outside': ((1, 2, 2, 3), 3, (3, 3), (1, 1), (4, 5), (1, 1)),
    'wide': ((1, 3, 3, 400), 130, (3, 3), (1, 1), (1, 1), (1, 1)),
    'deep': ((2, 64, 8, 8), 64, (3, 3), (1, 1), (1, 1), (1, 1)),
    'no bias': ((2, 8, 6, 6), 8, (3, 3), (1, 1), (1, 1), (1, 1)),
}
CODES = {
    'of 4': PhaseCode(4, 1.5),
    'of 16': PhaseCode(16, 1.3),
    'of 31': PhaseCode(31, 1.1),
    'of 40': PhaseCode(40, 1.1),
    'signed': PhaseCode(15, 1.3, signed=True),
}


@pytest.fixture(params=[1, 2])
def threads(request, num_threads):
    num_threads(request.param)


def make(name, dtype=torch.float32):
    shape, num_outputs, kernel, *how = CASES[name]
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=dtype).to(memory_format=LAST)
    weight = torch.randn(num_outputs, shape[1], *kernel, dtype=dtype)
    bias = None if name == 'no bias' else torch.randn(num_outputs, dtype=dtype)
    return x, Filters(weight, bias, *how)


def exact(x, filters):
    bias = None if filters.bias is None else filters.bias.double()
    how = filters.stride, filters.padding, filters.dilation
    return F.conv2d(x.double(), filters.weight.double(), bias, *how)


def asked(name, monkeypatch):
    """How often a kernel is asked, and whether it answers."""
    found, function = [], getattr(kernels, name)

    def ask(*args):
        value = function(*args)
        found.append(value is not NotImplemented)
        return value

    operations = importlib.import_module('spikegraph.kernels.cpu.operations')
    monkeypatch.setattr(operations, name, ask)
    return found


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('name', CASES)
def test_convolutions_are_exact_up_to_rounding(name, dtype, threads, monkeypatch):
    (x, filters), answers = make(name, dtype), asked('convolve', monkeypatch)
    before, expected = x.clone(), exact(x, filters)
    found = convolve(x, filters)
    assert answers == [True] or info()['path'] == 'torch'
    assert found.shape == expected.shape and found.dtype == dtype
    assert found.shape[2:] == filters.out_size(x.shape[2:])
    assert found.is_contiguous(memory_format=LAST) and torch.equal(x, before)
    terms = exact(x.abs(), Filters(filters.weight.abs(), None, *_how(filters)))
    bound = 1e-7 if dtype == torch.float32 else 1e-15
    num_terms = filters.weight[0].numel() + 1
    assert bool(((found - expected).abs() <= bound * num_terms * (1 + terms)).all())


def _how(filters):
    return filters.stride, filters.padding, filters.dilation


@pytest.mark.parametrize('name', CASES)
def test_images_give_the_same_bits_with_others_and_alone(name, num_threads):
    x, filters = make(name)
    num_threads(1)
    expected = convolve(x, filters)
    num_threads(2)
    large = x.repeat(9, 1, 1, 1).to(memory_format=LAST)
    assert torch.equal(convolve(large, filters), expected.repeat(9, 1, 1, 1))
    for i in range(len(x)):
        assert torch.equal(convolve(x[i : i + 1], filters), expected[i : i + 1])


@pytest.mark.parametrize('code', CODES)
@pytest.mark.parametrize('name', CASES)
def test_what_fires_where_it_is_made_is_what_would_fire(
    name, code, threads, monkeypatch
):
    (x, filters), code = make(name), CODES[code]
    potential = convolve(x, filters)
    other = torch.randn_like(potential)
    per_channel = torch.rand(potential.size(1), 1, 1) + 0.5
    answers = asked('convolve_decode', monkeypatch)
    for scale in (1.5, torch.tensor(0.7), per_channel, per_channel[None]):
        for added in (None, other):
            before = None if added is None else added.clone()
            expected = encode_decode(potential, code, scale, added)
            found = convolve_decode(x, filters, code, scale, added)
            assert torch.equal(found, expected)
            assert found.is_contiguous(memory_format=LAST)
            assert added is None or torch.equal(added, before)
    if info()['path'] == 'numba' and info()['levels'] != 'memory':
        assert len(answers) == 8 and all(answers) == (code.num_times <= 32)


@pytest.mark.parametrize('case', ['layout', 'other', 'scale of images', 'large'])
def test_what_kernels_leave_is_the_same(case):
    x, filters = make('strides')
    scale, other = torch.tensor(1.2), torch.randn_like(convolve(x, filters))
    if case == 'layout':
        x = x.contiguous()
    elif case == 'other':
        other = other.contiguous()
    elif case == 'scale of images':
        scale = torch.rand(len(x), 1, 1, 1) + 0.5
    else:
        filters = Filters(torch.randn(4096, 16, 5, 5), None, padding=(2, 2))
        other = None
    code = CODES['of 16']
    potential = exact(x, filters).float()
    found = convolve_decode(x, filters, code, scale, other)
    expected = encode_decode(potential, code, scale, other)
    assert float((found != expected).float().mean()) < 1e-3
    assert torch.allclose(convolve(x, filters), potential, rtol=1e-4, atol=1e-4)


def test_images_that_do_not_fit_raise_as_in_pytorch():
    x, filters = make('strides')
    with pytest.raises(RuntimeError, match='channels'):
        convolve(x[:, :3], filters)
    with pytest.raises(RuntimeError, match='size'):
        convolve(torch.randn(1, 16, 1, 1)[:, :, :0], filters)
    with pytest.raises(ValueError, match='positive'):
        convolve_decode(x, filters, CODES['of 4'], -1.0)
    with pytest.raises(ValueError, match='broadcast'):
        convolve_decode(x, filters, CODES['of 4'], torch.ones(5, 1, 1))


def test_no_images():
    _, filters = make('strides')
    x = torch.randn(0, 16, 12, 9).to(memory_format=LAST)
    assert convolve(x, filters).shape == (0, 32, 6, 9)
    assert convolve_decode(x, filters, CODES['of 4']).shape == (0, 32, 6, 9)


def test_gradients_and_changed_weights_are_seen():
    x, filters = make('strides')
    weight = nn.Parameter(filters.weight.clone())
    own = Filters(weight, filters.bias, *_how(filters))
    out = convolve(x, own)
    out.sum().backward()
    assert weight.grad is not None and out.requires_grad
    with torch.no_grad():
        first = convolve(x, own)
        assert torch.equal(first, convolve(x, filters))
        weight.data *= 2
        again = convolve(x, Filters(weight.detach(), filters.bias, *_how(filters)))
        assert torch.equal(convolve(x, own), again) and not torch.equal(again, first)


@pytest.mark.parametrize(
    'options, is_known',
    [
        ({'padding': 1}, True),
        ({'padding': 'same', 'dilation': 2}, True),
        ({'padding': 'valid', 'stride': 2, 'bias': False}, True),
        ({'padding': 'same', 'kernel_size': 2}, False),  # On one side only.
        ({'padding': 1, 'padding_mode': 'reflect'}, False),
        ({'groups': 2}, False),
    ],
)
@pytest.mark.filterwarnings('ignore:Using padding')
@torch.no_grad()
def test_layers_tell_kernels_what_they_know(options, is_known):
    conv = nn.Conv2d(4, 6, **{'kernel_size': 3, **options})
    layer = SpikingConv.from_ann(conv)
    assert (layer.filters() is not None) == is_known
    x = torch.randn(2, 4, 8, 9).to(memory_format=LAST)
    assert torch.allclose(layer(x), conv(x), atol=1e-5)


@torch.no_grad()
def test_hooks_on_convolutions_are_called():
    layer, seen = SpikingConv.from_ann(nn.Conv2d(4, 6, 3)), []
    x = torch.randn(2, 4, 8, 9).to(memory_format=LAST)
    expected = layer(x)
    layer.conv.register_forward_hook(lambda module, args, out: seen.append(out))
    assert torch.allclose(layer(x), expected, atol=1e-5) and len(seen) == 1
    changed = copy.deepcopy(SpikingConv.from_ann(nn.Conv2d(4, 6, 3)))
    changed.conv.forward = lambda x: seen.append(x)
    changed(x)
    assert len(seen) == 2


@pytest.mark.parametrize('shape', [(3, 1, 5, 6), (3, 4, 1, 1), (3, 1, 1, 1)])
@pytest.mark.parametrize('layout', [torch.contiguous_format, LAST])
def test_images_in_both_layouts_are_convolved_as_in_pytorch(shape, layout):
    """What reads them may call ``view``."""
    x = torch.randn(shape).to(memory_format=layout)
    filters = Filters(torch.randn(8, shape[1], 3, 3), None, padding=(2, 2))
    expected = F.conv2d(x, filters.weight, None, 1, 2)
    found = convolve(x, filters)
    assert found.stride() == expected.stride()
    assert torch.allclose(found, expected, atol=1e-5)
    other = torch.zeros_like(expected)
    fired = convolve_decode(x, filters, CODES['of 16'], 1.0, other)
    assert fired.stride() == expected.stride()
