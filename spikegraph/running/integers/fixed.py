"""Real constants as integers times powers of two."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

WHOLE_BITS = 26  # Of the largest integer, where others are far smaller.
_LARGEST = 2**62


class Fixed(NamedTuple):
    r"""Numbers :math:`m \, 2^{-e}` with integers :math:`m`.

    Args:
        value (numpy.ndarray): The integers, int64.
        exponent (int): The exponent :math:`e` that all of them have.
    """

    value: np.ndarray
    exponent: int

    def real(self) -> np.ndarray:
        """The numbers."""
        return np.ldexp(self.value.astype(np.float64), -self.exponent)


def fixed(
    values: np.ndarray,
    bits: int,
    span: int | None = None,
    places: int | None = None,
) -> Fixed:
    """Numbers rounded to mantissas of some bits, in the largest unit that fits, but none
    finer than a number of bits below the mantissa of the largest one (if not given, such
    that :obj:`WHOLE_BITS` are enough), or than some binary places.
    """
    fraction, exponents = np.frexp(np.asarray(values, dtype=np.float64))
    mantissa = np.rint(np.ldexp(fraction, bits)).astype(np.int64)
    used = mantissa != 0
    if not used.any():
        return Fixed(np.zeros(np.shape(values), dtype=np.int64), 0)
    # Trailing zeros of mantissas are part of the exponent.
    low = mantissa[used] & -mantissa[used]
    zeros = np.rint(np.log2(low.astype(np.float64))).astype(np.int64)
    unit = int((exponents[used] - bits + zeros).min())
    if places is None:
        span = WHOLE_BITS - bits if span is None else span
        places = bits + span - int(exponents[used].max())
    unit = max(unit, -places)
    whole = np.ldexp(mantissa.astype(np.float64), exponents - bits - unit)
    return Fixed(_whole(np.rint(whole)), -unit)


def magnitude(values: np.ndarray) -> int:
    """The exponent of the least power of two above all sizes; 0 if all are zero."""
    return int(np.frexp(np.abs(values).max(initial=0.0))[1])


def on_grid(values: np.ndarray, exponent: np.ndarray | int) -> np.ndarray:
    """Real numbers as the nearest multiples of powers of two, as far as int64 goes."""
    scaled = np.rint(np.ldexp(np.asarray(values, dtype=np.float64), exponent))
    return _whole(scaled)


def above(values: np.ndarray, exponent: np.ndarray | int) -> np.ndarray:
    """The least multiples that are not below real numbers: an integer reaches a number
    if it reaches that.
    """
    return _whole(np.ceil(np.ldexp(np.asarray(values, dtype=np.float64), exponent)))


def below(values: np.ndarray, exponent: np.ndarray | int) -> np.ndarray:
    """The largest multiples that are not above real numbers."""
    return _whole(np.floor(np.ldexp(np.asarray(values, dtype=np.float64), exponent)))


def _whole(scaled: np.ndarray) -> np.ndarray:
    return np.clip(scaled, -float(_LARGEST), float(_LARGEST)).astype(np.int64)
