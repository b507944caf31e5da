"""Thresholds that are found by the bits of values."""

import math

import numpy as np
import pytest
import torch

from spikegraph.coding import PhaseCode, decode, encode
from spikegraph.kernels import encode_decode, encode_spikes
from spikegraph.kernels.cpu import placing
from spikegraph.kernels.cpu.compiled.buckets import FIRST, MOST, NUM, SHIFT
from spikegraph.kernels.cpu.compiled.operands import ONE, TWO
from spikegraph.kernels.cpu.neurons import limits_of

INF, NAN = math.inf, math.nan
SCALES = (1.0, 0.37, 1e-30, 1e30, 1e-36, 1e-40, 1e-45, 3e38, 2.0**125, 2.0**-125)


def fitted(num_steps, octaves, signed=False):
    """A code whose thresholds have neighbours that are as near as in fitted ones."""
    step = torch.rand(num_steps).pow(2)
    step = math.log2(1.12) + step * octaves / num_steps
    return PhaseCode.from_levels(2 ** -step.cumsum(0), signed=signed)


def make_codes():
    codes = [
        PhaseCode(num_steps, base, signed=signed)
        for num_steps in (1, 2, 7, 15, 16, 24, 31)
        for base in (1.1, 1.4, 2.5)
        for signed in (False, True)
    ]
    codes += [PhaseCode(15, 1.4, threshold_shift=shift) for shift in (1 / 1.4, 1.0)]
    codes += [fitted(t, 7, s) for t in (12, 15, 16, 31) for s in (False, True)]
    near = [1.0, 0.999999, 0.99999, 0.5, 0.25 + 1e-6, 0.25, 0.25 - 1e-6]
    return [*codes, PhaseCode.from_levels(near, near), PhaseCode.from_levels([1e-30])]


def around(number):
    """Numbers up to three steps away, either sign, of all in a tensor."""
    bits = number.view(torch.int32)[:, None] + torch.arange(-3, 4, dtype=torch.int32)
    found = bits.clamp(0, 0x7F800001).view(torch.float32).flatten()
    return torch.cat([found, -found])


def make_values(code, scale):
    thresholds = code.thresholds.float() * scale
    tiny = torch.finfo(torch.float32).tiny
    special = [0.0, -0.0, INF, -INF, NAN, -NAN, 1e-45, -1e-45, 1e-40, tiny, 3e38]
    borders = scale * 2.0 ** torch.arange(-20, 3, 0.25)
    random = 1.5 * scale * torch.randn(500)
    random = torch.cat([random, scale * torch.exp(-8 * torch.rand(500))])
    return torch.cat(
        [around(thresholds), around(borders), torch.tensor(special), random]
    )


def check(x, code, scale):
    times = encode(x, code, scale)
    assert torch.equal(encode_spikes(x, code, scale), times)
    levels = decode(times, code, scale)
    found = encode_decode(x, code, scale)
    assert torch.equal(found.view(torch.int32), levels.view(torch.int32))
    zero = torch.zeros_like(x)
    found = encode_decode(x, code, scale, zero)
    levels = decode(encode(x + zero, code, scale), code, scale)
    assert torch.equal(found.view(torch.int32), levels.view(torch.int32))


@pytest.mark.parametrize('scale', SCALES)
def test_one_scale(scale):
    scale = torch.tensor(scale)
    for code in make_codes():
        check(make_values(code, scale), code, scale)


@pytest.mark.parametrize('scales', [(0.37, 1e-30, 1.7, 1e30), SCALES], ids=len)
def test_scale_of_each_channel(scales):
    scales = torch.tensor(scales)
    for code in make_codes():
        columns = torch.stack([make_values(code, scale) for scale in scales], dim=1)
        check(columns, code, scales)
        check(columns.t().contiguous(), code, scales[:, None])


def test_no_channels():
    check(torch.empty(3, 0), PhaseCode(15, 1.4), torch.empty(0))


@pytest.mark.parametrize('num_steps', [15, 16])
def test_thresholds_have_buckets(num_steps):
    for base in (1.1, 2**0.5, 2.0):
        limits = limits_of(PhaseCode(num_steps, base), torch.float32)
        assert placing.place(limits.thresholds[0, :num_steps]).most is ONE
    for _ in range(50):
        thresholds = fitted(num_steps, 6).thresholds.float().numpy()
        assert placing.place(thresholds) is not None


def test_thresholds_are_far_from_borders():
    for code in make_codes():
        thresholds = code.thresholds.float().numpy()
        found = placing.place(thresholds)
        if found is None:
            continue
        first, size = int(found.table[FIRST]), 1 << found.table[SHIFT]
        borders = (first + np.arange(1, NUM) * size).astype(np.int32).view(np.float32)
        distance = abs(thresholds[:, None] / borders.astype(float) - 1)
        assert distance.min() > 1e-4
        cuts = found.table[: MOST * NUM].view(np.float32).reshape(MOST, NUM)
        assert sorted(cuts[~np.isnan(cuts)]) == sorted(thresholds)
        assert np.isnan(cuts[1]).all() == (found.most is ONE)


@pytest.mark.parametrize(
    'thresholds, most',
    [
        ([1.0, 0.999999], TWO),
        ([1.0, 0.999999, 0.999998], None),
        ([1.0, 1.0], None),
        ([1.0, 1e-31], None),
        ([1e31, 1.0], None),
    ],
)
def test_thresholds_that_do_not_fit(thresholds, most):
    found = placing.place(np.array(thresholds, np.float32))
    assert (found is None) if most is None else (found.most is most)


@pytest.mark.parametrize(
    'scales, fits',
    [
        ([1.0], True),
        ([0.1, 1e30], True),
        ([2.0**-122], False),
        ([2.0**-121], True),
        ([1.0, 2.0**125], True),
        ([1.0, 2.0**126], False),
        ([1e-45, 1.0], False),
    ],
)
def test_scales_fit(scales, fits):
    least = placing.least_scale(np.array([0.5, 0.0625], np.float32))
    assert placing.scales_fit(torch.tensor(scales), least) == fits
