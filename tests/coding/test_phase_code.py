import math

import pytest
import torch

from spikegraph.coding import (
    PhaseCode,
    decode,
    dynamic_range,
    encode,
    max_absolute_error,
    max_relative_error,
)


@pytest.mark.parametrize('base', [2, math.sqrt(2), 1.1])
def test_levels_and_thresholds_follow_the_definition(base):
    code = PhaseCode(num_steps=6, base=base)
    expected = torch.tensor([base**-t for t in range(6)], dtype=torch.float64)
    assert torch.equal(code.levels, expected)
    assert torch.allclose(code.thresholds, (1 + 1 / base) / 2 * expected, rtol=1e-15)
    midpoints = (code.levels[:-1] + code.levels[1:]) / 2
    assert torch.allclose(code.thresholds[:-1], midpoints, rtol=1e-14)
    assert torch.allclose(code.gains[1:], torch.full((5,), float(base)).double())


def test_unshifted_code_has_its_levels_as_thresholds():
    code = PhaseCode(num_steps=8, base=2, threshold_shift=1)
    assert torch.equal(code.levels, code.thresholds)


def test_codes_are_values():
    assert PhaseCode(4, 2) == PhaseCode(4, 2.0)
    assert hash(PhaseCode(4, 2)) == hash(PhaseCode(4, 2.0))
    assert PhaseCode(4, 2) != PhaseCode(4, 2, signed=True)
    levels = PhaseCode(4, 2).levels
    same = PhaseCode.from_levels(levels, PhaseCode(4, 2).thresholds)
    assert torch.equal(same.levels, levels)
    assert str(PhaseCode(4, 2, signed=True)) == 'PhaseCode(T=4, base=2, signed)'


def test_nearest_counts_silence_as_a_level():
    code = PhaseCode.nearest(3, 2)
    assert code.levels.tolist() == [1.0, 0.5, 0.25]
    assert code.thresholds.tolist() == [0.75, 0.375, 0.125]
    assert code == PhaseCode.nearest(3, 2.0) != PhaseCode(3, 2)
    x = torch.linspace(0, 1, 10001, dtype=torch.float64)
    table = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64)
    nearest = (x.view(-1, 1) - table).abs().amin(dim=1)
    error = (decode(encode(x, code), code, dtype=torch.float64) - x).abs()
    assert torch.equal(error, nearest)


def test_level_table():
    code = PhaseCode.from_levels([3.0, 2.0, 0.5])
    assert code.thresholds.tolist() == [2.5, 1.25, 0.25]
    assert code.table().tolist() == [3.0, 2.0, 0.5, 0.0]
    signed = PhaseCode.from_levels([3.0, 2.0], signed=True)
    assert signed.table().tolist() == [3.0, 2.0, 0.0, -3.0, -2.0]


@pytest.mark.parametrize(
    'kwargs, match',
    [
        (dict(num_steps=0), r"'num_steps' to be at least 1 \(got 0\)"),
        (dict(num_steps=127), r"'num_steps' to be at most 126.*\(got 127\)"),
        (dict(num_steps=2.5), r"'num_steps' to be an integer \(got 2.5\)"),
        (dict(num_steps=True), r"'num_steps' to be an integer \(got True\)"),
        (dict(base=1.0), r"'base' to be greater than 1 \(got 1.0\)"),
        (dict(base=10**400), r"'base' to be greater than 1 \(got 10000000"),
        (dict(base=10**400, _levels=(1.0,), _thresholds=(0.8,)), 'greater than 1'),
        (dict(base=-2), r"'base' to be greater than 1 \(got -2\)"),
        (dict(base=float('nan')), r"'base' to be greater than 1 \(got nan\)"),
        (dict(base=None), r"'base' to be a number greater than 1 \(got None\)"),
        (dict(num_steps=126, base=4), r'at least 1e-30 \(got 4.0 \*\* -125 = 1e-75\)'),
        (dict(threshold_shift=0.4), r'1/base = 0.5 and 1 \(got 0.4\)'),
        (dict(threshold_shift=1.1), r'1/base = 0.5 and 1 \(got 1.1\)'),
        (dict(signed=1), r"'signed' to be a bool \(got 1\)"),
    ],
)
def test_phase_code_errors(kwargs, match):
    with pytest.raises(ValueError, match=match):
        PhaseCode(**{'num_steps': 4, 'base': 2, **kwargs})


@pytest.mark.parametrize(
    'levels, thresholds, match',
    [
        ([], None, r"'levels' to hold 1 to 126 values, one per time step \(got 0\)"),
        (None, None, r"'levels' to be numbers, the largest first \(got None\)"),
        (['a'], None, r"'levels' to be numbers, .*\(got \['a'\]\)"),
        ([1.0, float('nan')], None, r"'levels' to be finite.*\(got 1, nan\)"),
        ([1.0, 1.0], None, r"'levels' to be strictly decreasing \(got 1.0 after 1.0\)"),
        ([1.0, -1.0], None, r"'levels' to be finite.*\(got 1, -1\)"),
        ([float('inf'), 1.0], None, r"'levels' to be finite.*\(got inf, 1\)"),
        ([2.0, 1.0], [1.0], r"'thresholds' to hold 2 values, one per level \(got 1\)"),
    ],
)
def test_level_table_errors(levels, thresholds, match):
    with pytest.raises(ValueError, match=match):
        PhaseCode.from_levels(levels, thresholds)


@pytest.mark.parametrize(
    'code, bound',
    [
        (PhaseCode(8, 2), 1 / 3),
        (PhaseCode(8, 1.5), 0.2),
        (PhaseCode(8, 2, threshold_shift=1), 0.5),
        (PhaseCode(1, 3), 0.5),
    ],
    ids=str,
)
def test_relative_error_bound_is_proven_and_tight(code, bound):
    assert math.isclose(max_relative_error(code), bound)
    low, high = dynamic_range(code)
    x = torch.logspace(math.log10(low), math.log10(high), 20001, dtype=torch.float64)
    x = x[(x >= low) & (x <= high)]
    coded = decode(encode(x, code), code, dtype=torch.float64)
    errors = ((coded - x) / x).abs()
    assert errors.max() <= bound + 1e-12
    assert errors.max() >= 0.99 * bound


@pytest.mark.parametrize(
    'code', [PhaseCode(5, 2), PhaseCode.from_levels([1.0, 0.7, 0.2])], ids=str
)
def test_absolute_error_bound(code):
    x = torch.linspace(0, float(code.levels[0]), 50001, dtype=torch.float64)
    errors = (decode(encode(x, code), code, dtype=torch.float64) - x).abs()
    bound = max_absolute_error(code)
    assert bound * 0.99 <= errors.max() <= bound + 1e-12


def test_error_shrinks_with_the_number_of_steps_at_the_proven_rate():
    # Over a fixed range R, Q = R^(1/(T-1)) and the bound is ~ ln(R) / 2(T-1).
    steps = [16, 32, 64, 126]
    errors = [max_relative_error(PhaseCode(t, 100 ** (1 / (t - 1)))) for t in steps]
    x = torch.tensor([t - 1 for t in steps]).double().log()
    y = torch.tensor(errors).double().log()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    assert -1.01 < slope < -0.99
    assert math.isclose(errors[-1], math.log(100) / (2 * 125), rel_tol=1e-3)
