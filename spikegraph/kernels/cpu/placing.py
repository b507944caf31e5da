"""Where thresholds lie among the bits of numbers."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from spikegraph.kernels.cpu.compiled.buckets import FIRST, MOST, NUM, SHIFT
from spikegraph.kernels.cpu.compiled.operands import ONE, TWO, Buckets
from spikegraph.kernels.tape import current_tape

_SHIFTS = range(23, 18, -1)  # From one bucket to sixteen for each power of two.
_STEPS = 64  # Tries for each bucket.
_MARGIN = 1 << 11  # Of the last bits: at least 2 ** -13 of a number.
_RANGE = 2.0**-100, 2.0**100  # Of thresholds.
_LEAST, _MOST = 2.0**-125, 2.0**125  # Numbers that are as precise as their inverses.


def place(thresholds: np.ndarray) -> Buckets | None:
    """Puts decreasing thresholds (float32) into buckets, one or two in each; None if
    they do not fit.

    Borders are so far from all thresholds that it does not matter on which side of
    them a value lies that is divided by its scale with less precision.
    """
    least, most = _RANGE
    is_inside = (thresholds >= least) & (thresholds <= most)
    if not is_inside.all() or (thresholds[1:] >= thresholds[:-1]).any():
        return None
    bits = thresholds.view(np.int32).astype(np.int64)
    for num, way in ((1, ONE), (2, TWO)):
        for shift in _SHIFTS:
            found = _first(bits, shift, num)
            if found is not None:
                return Buckets(_table(thresholds, *found, shift), way)
    return None


def least_scale(thresholds: np.ndarray) -> float:
    """The least scale times which all thresholds are precise, and that is itself."""
    return max(_LEAST, _LEAST / float(thresholds.min()))


def scales_fit(scale: Tensor, least: float) -> bool:
    """Whether scales are at least some number, and so small that inverses are precise."""
    if current_tape() is not None:  # It repeats questions; numbers it cannot.
        return bool(((scale >= least) & (scale <= _MOST)).all())
    if scale.numel() == 1:
        return least <= scale.item() <= _MOST
    if scale.numel() == 0:
        return True
    low, high = scale.detach().aminmax()
    return least <= low.item() and high.item() <= _MOST


def _first(bits: np.ndarray, shift: int, num: int) -> tuple[int, np.ndarray] | None:
    """The bits of the least number in the first bucket such that no bucket holds more
    than ``num`` thresholds, which are as far from borders as can be, and their buckets.
    """
    size = 1 << shift
    stop = max(bits[0] - (NUM - 1) * size, bits[-1]) + 1
    firsts = np.arange(bits[-1] - size, stop, size // _STEPS)
    offset = bits - firsts[:, None]
    places = np.clip(offset >> shift, 0, NUM - 1)
    below = np.where(places > 0, offset - (places << shift), size)
    above = np.where(places < NUM - 1, ((places + 1) << shift) - offset, size)
    distance = np.minimum(below, above).min(axis=1)
    distance[(places[:, :-num] == places[:, num:]).any(axis=1)] = 0
    best = int(distance.argmax())
    if distance[best] < _MARGIN:
        return None
    return int(firsts[best]), places[best]


def _table(
    thresholds: np.ndarray, first: int, places: np.ndarray, shift: int
) -> np.ndarray:
    table = np.zeros(SHIFT + 1, np.int32)
    cuts = table[: MOST * NUM].view(np.float32).reshape(MOST, NUM)
    cuts[:] = math.nan
    times = table[MOST * NUM : FIRST]
    for bucket in range(NUM):
        held = thresholds[places == bucket]
        cuts[: len(held), bucket] = held
        times[bucket] = (places >= bucket).sum()
    table[FIRST], table[SHIFT] = first, shift
    return table
