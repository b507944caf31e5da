"""Groups that look at their first spike."""

import pytest
import torch

from spikegraph.coding import PhaseCode, Spikes
from spikegraph.nn.relative import Leading, Relative
from tests.nn.timed import BASES, INDEX, assert_close, assert_same, random_spikes


def windowed(x, peak, base, num_steps):
    """Quotients by the largest, zero where it is and below the last level."""
    out = torch.where(peak > 0, x / peak, 0.0)
    return torch.where(out > base ** -(num_steps - 0.5), out, 0.0)


@pytest.mark.parametrize('base', BASES)
@pytest.mark.parametrize('raw, num_steps', [(1, 1), (8, 3), (8, 8), (40, 16), (5, 9)])
@pytest.mark.parametrize('dim', [0, 1, -1])
@pytest.mark.parametrize('shape', [(50, 4), (7, 5, 3), (0, 4), (3, 0, 2), (4, 1)])
def test_windows_that_open_at_the_first_spike(base, raw, num_steps, dim, shape):
    x = random_spikes(PhaseCode(raw, base), *shape, scale=1.7)
    gate = Relative(num_steps, dim)
    out, values = gate(x), x.decode()
    peak = values.amax(dim, keepdim=True) if values.numel() else values
    assert_close(out.decode(), windowed(values, peak, base, num_steps))
    assert_same(gate.stepped(x), out)
    assert (out.code.num_steps, out.code.base) == (num_steps, base)
    assert (out.decode()[values == peak] == (values > 0)[values == peak]).all()
    expected = torch.where(peak > 0, values / peak, 0.0)
    assert_close(gate.analog(values.log()), expected)
    num_groups = values.numel() // max(1, values.shape[dim])
    assert gate.num_compared(x) == values.numel() - num_groups


@pytest.mark.parametrize('base', BASES)
@pytest.mark.parametrize('raw, num_steps', [(1, 1), (8, 3), (40, 16), (5, 9)])
@pytest.mark.parametrize('shape', [(), (4,), (2, 3)], ids=str)
def test_windows_of_groups_of_rows(base, raw, num_steps, shape):
    scale = torch.linspace(0.5, 2, 4).double() if shape == (4,) else 1.7
    x = random_spikes(PhaseCode(raw, base), len(INDEX), *shape, scale=scale)
    x.spike_time[INDEX == 4] = raw  # All of them silent.
    gate, groups = Relative(num_steps), (INDEX, 5)
    out, values = gate(x, *groups), x.decode()
    peak = torch.stack([values[group == INDEX].amax(0) for group in INDEX])
    assert_close(out.decode(), windowed(values, peak, base, num_steps))
    assert_same(gate.stepped(x, *groups), out)
    expected = torch.where(peak > 0, values / peak, 0.0)
    assert_close(gate.analog(values.log(), *groups), expected)
    assert gate.num_compared(x, *groups) == (len(INDEX) - 4) * x.shape[1:].numel()
    none = Spikes(x.spike_time[:0], x.code, x.scale)
    for function in (gate, gate.stepped):
        assert function(none, INDEX[:0], 3).shape == (0, *shape)


@pytest.mark.parametrize(
    'args, match',
    [
        ((0,), r"'num_steps' to be an integer from 1 to 126 \(got 0\)"),
        ((127,), r"'num_steps' to be an integer from 1 to 126 \(got 127\)"),
        ((2.0,), r"'num_steps' to be an integer from 1 to 126 \(got 2.0\)"),
        ((True,), r"'num_steps' to be an integer from 1 to 126 \(got True\)"),
        ((4, 'x'), r"'dim' to be an integer \(got 'x'\)"),
    ],
)
def test_window_errors(args, match):
    with pytest.raises(ValueError, match=match):
        Relative(*args)


@pytest.mark.parametrize(
    'code', [PhaseCode(4, 2, signed=True), PhaseCode.from_levels([1.0, 0.7, 0.1])]
)
def test_windows_need_an_unsigned_base(code):
    x, gate = random_spikes(code, 5, 2), Relative(3, 1)
    for function in (gate, gate.stepped):
        with pytest.raises(ValueError, match=r'unsigned geometric code \(got Phase'):
            function(x)


@pytest.mark.parametrize('num_steps', [1, 8, 126])
@pytest.mark.parametrize('dim', [0, 1, -1])
@pytest.mark.parametrize('shape', [(50, 4), (7, 5, 3), (0, 4), (3, 0, 2), (4, 1)])
def test_first_spikes_along_a_dimension(num_steps, dim, shape):
    x = random_spikes(PhaseCode(num_steps, 1.35), *shape, scale=1.7)
    gate, values = Leading(dim), x.decode()
    out = gate(x)
    peak = values.amax(dim, keepdim=True) if values.numel() else values
    assert_close(out.decode(), peak)
    assert_same(gate.stepped(x), out)
    assert torch.equal(gate.analog(values), peak)
    assert gate.num_compared(x) == values.numel() - peak.numel()


@pytest.mark.parametrize('num_steps', [1, 8, 126])
@pytest.mark.parametrize('shape', [(), (4,), (2, 3)], ids=str)
def test_first_spikes_of_groups_reach_all_members(num_steps, shape):
    x = random_spikes(PhaseCode(num_steps, 1.35), len(INDEX), *shape, scale=1.7)
    x.spike_time[INDEX == 4] = num_steps  # All of them silent.
    gate, values = Leading(), x.decode()
    out = gate(x, INDEX, 5)
    peak = torch.stack([values[group == INDEX].amax(0) for group in INDEX])
    assert_close(out.decode(), peak)
    assert_same(gate.stepped(x, INDEX, 5), out)
    assert torch.equal(gate.analog(values, INDEX, 5), peak)
    hidden = values.masked_fill((INDEX == 3).view(-1, *[1] * len(shape)), -torch.inf)
    assert (gate.analog(hidden, INDEX, 5)[INDEX == 3] == 0).all()  # None is left.


def test_first_spikes_need_an_unsigned_code():
    x, gate = random_spikes(PhaseCode(4, 2, signed=True), 5, 2), Leading(1)
    for function in (gate, gate.stepped):
        with pytest.raises(ValueError, match=r'an unsigned code \(got Phase'):
            function(x)
