"""Ramps: where they start, how many steps they take, and where one is not enough."""

from __future__ import annotations

import math
from typing import NamedTuple

from spikegraph.coding import PhaseCode
from spikegraph.coding.phase_code import MAX_NUM_STEPS
from spikegraph.nn import PhaseNeuron
from spikegraph.nn.activation import Height, Ramp

_MARGIN = 0.25  # Of the range of largest scores, above and below.
LARGEST_RATIO = 69.0  # Its logarithm, of levels.


class Span(NamedTuple):
    """What scores of the calibration data reach.

    Args:
        low (float): The lowest of all.
        least (float): The largest of its group in the group where that is lowest.
        high (float): The highest of all.
    """

    low: float
    least: float
    high: float

    def join(self, other: Span) -> Span:
        """What two sets of scores reach."""
        low, least = min(self.low, other.low), min(self.least, other.least)
        return Span(low, least, max(self.high, other.high))

    def margin(self, step: float) -> float:
        """How far others may be beyond."""
        return max(_MARGIN * (self.high - self.least), 4 * step)


def longest(base: float) -> int:
    """How many steps a ramp can take: no more than a byte can count, nor than numbers
    can hold.
    """
    return min(MAX_NUM_STEPS, int(LARGEST_RATIO / math.log(base)))


def is_wide(span: Span, base: float, num_steps: int) -> bool:
    """Whether a ramp that starts above the largest score of all ends before the window
    of some group does.
    """
    step = math.log(base)
    reach = span.high + span.margin(step) - span.least
    return reach > (longest(base) - num_steps) * step


def fit_ramp(neuron: PhaseNeuron, span: Span, base: float, num_steps: int) -> None:
    """Lets a ramp reach from above the largest score to below the smallest, or to where
    no window is open any more.

    Args:
        neuron (PhaseNeuron): Its population, which is set.
        span (Span): What the scores reach.
        base (float): The base of its code.
        num_steps (int): How long windows are.
    """
    activation, step = neuron.activation, math.log(base)
    assert isinstance(activation, Ramp)
    margin = span.margin(step)
    peak = span.high + margin
    end = max(span.low, span.least - num_steps * step) - margin
    _set(neuron, activation, peak, base, (peak - end) / step)


def fit_start(
    height: PhaseNeuron, ramp: PhaseNeuron, span: Span, base: float, num_steps: int
) -> None:
    """Lets one ramp start, in each group, where another, whose steps are larger, has
    found its largest score. The width of its steps makes both together short. Where
    bytes cannot count both, some of what comes late is left out, but no group is.

    Args:
        height (PhaseNeuron): The population that finds the start, which is set.
        ramp (PhaseNeuron): That of the ramp, which is set, too.
        span (Span): What the scores reach.
        base (float): The base of the ramp's code.
        num_steps (int): How long windows are.
    """
    floor, steps = height.activation, ramp.activation
    assert isinstance(floor, Height) and isinstance(steps, Ramp)
    step = math.log(base)
    margin = span.margin(step)
    reach = span.high - span.least + 2 * margin
    width = min(math.sqrt(reach * step), (longest(base) - num_steps - 1) * step)
    width = max(width, (reach - margin) / (MAX_NUM_STEPS - 1))  # No group is left out.
    levels = [
        float(k) for k in range(min(math.ceil(reach / width), MAX_NUM_STEPS), 0, -1)
    ]
    height.code = PhaseCode.from_levels(levels, levels)
    height.scale = height.scale.new_full((), width)
    floor.floor.fill_(span.high + margin - levels[0] * width)
    _set(ramp, steps, float(floor.floor) + width, base, width / step + num_steps)


def _set(
    neuron: PhaseNeuron, ramp: Ramp, peak: float, base: float, num_steps: float
) -> None:
    ramp.peak.fill_(peak)
    neuron.code = PhaseCode(min(math.ceil(num_steps) + 1, longest(base)), base)
    neuron.scale = neuron.scale.new_ones(())
