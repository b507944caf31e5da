import numpy as np
import pytest

from spikegraph.running.integers.fixed import above, below, fixed, on_grid


@pytest.mark.parametrize('bits', [4, 8, 16])
def test_mantissas(bits):
    values = np.random.default_rng(0).normal(size=200) * 3.0 ** np.arange(-2, 2).repeat(
        50
    )
    found = fixed(values, bits, span=60)
    assert found.value.dtype == np.int64
    assert (np.abs(found.real() - values) <= np.abs(values) * 2.0**-bits).all()
    assert (found.value % 2).any()  # The unit is as large as can be.
    for whole, real in zip(found.value.tolist(), values.tolist(), strict=True):
        while whole and whole % 2 == 0:
            whole //= 2
        assert abs(whole) <= 2**bits and (whole > 0) == (real > 0)


def test_what_is_exact_stays():
    values = np.array([0.0, 3.0, -0.625, 96.0])
    found = fixed(values, 8)
    assert (found.real() == values).all() and found.exponent == 3
    assert fixed(np.zeros((2, 3)), 8).value.shape == (2, 3)


def test_none_is_finer_than_what_counts():
    found = fixed(np.array([1.0, 1e-30]), 8, span=12)
    assert found.value.tolist()[1] == 0 and found.exponent <= 8 + 12


def test_thresholds():
    values = np.array([0.1, -0.1, 0.25, np.inf, -np.inf])
    whole = np.arange(-40, 40)
    up, down = above(values, 4), below(values, 4)
    for real, high, low in zip(values, up, down, strict=True):
        assert ((whole / 16 >= real) == (whole >= high)).all()
        assert ((whole / 16 <= real) == (whole <= low)).all()
    assert on_grid(np.array([0.1, -0.1]), np.array([4, 8])).tolist() == [2, -26]
