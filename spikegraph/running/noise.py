"""What hardware does to spikes: losing, shifting and inventing them, and faults that a
device has for good.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikegraph.coding import Spikes

LEAST_GAIN = 0.05  # Of what a threshold should be, thresholds are at least so much.
_SHARES = ('jitter', 'drop', 'extra', 'stuck_silent', 'stuck_firing')
_DEVIATIONS = ('threshold', 'weight')


@dataclass(frozen=True)
class SpikeNoise:
    r"""How unreliable hardware is. All are zero unless given.

    Faults of a device are drawn once, by :obj:`seed`, and the same in every inference.

    * :obj:`weight`: each synaptic weight is multiplied by :math:`1 + \sigma z`, with
      :math:`z` from the standard normal distribution.
    * :obj:`threshold`: so are the thresholds of each neuron, those of all steps by the
      same number, which is at least 0.05.
    * :obj:`stuck_silent`, :obj:`stuck_firing`: some neurons never fire, others always do,
      at a step of their own, drawn uniformly.

    What happens in each inference is drawn anew, independently for each neuron, in this
    order:

    * :obj:`extra`: a neuron fires by itself, at a step that is drawn uniformly, if it has
      not fired before. So this is the probability that a neuron without a spike has one;
      others may fire too early. Stuck neurons do not.
    * :obj:`jitter`: a spike comes one step early or late, with half of that probability
      each. One of the first step cannot come earlier and stays; one of the last step that
      is late falls out of the window, and is lost.
    * :obj:`drop`: a spike is lost.

    In signed codes spikes keep their sign, and neurons that fire without a reason of
    their own draw one; populations that never fire OFF still do not.

    Args:
        jitter (float, optional): A probability. (default: :obj:`0.0`)
        drop (float, optional): A probability. (default: :obj:`0.0`)
        extra (float, optional): A probability. (default: :obj:`0.0`)
        threshold (float, optional): A relative standard deviation, at most 1.
            (default: :obj:`0.0`)
        stuck_silent (float, optional): A share of the neurons. (default: :obj:`0.0`)
        stuck_firing (float, optional): A share of the neurons. (default: :obj:`0.0`)
        weight (float, optional): A relative standard deviation, at most 1.
            (default: :obj:`0.0`)
        seed (int, optional): Which device it is, and which noise. (default: :obj:`0`)

    Raises:
        ValueError: If an argument is out of range, or if more neurons are stuck than
            there are.

    Example:
        >>> SpikeNoise(drop=0.1).is_quiet, SpikeNoise(weight=0.1).is_quiet
        (False, True)
        >>> SpikeNoise(drop=1.5)
        Traceback (most recent call last):
        ValueError: Expected 'drop' to be a probability from 0 to 1 (got 1.5)
    """

    jitter: float = 0.0
    drop: float = 0.0
    extra: float = 0.0
    threshold: float = 0.0
    stuck_silent: float = 0.0
    stuck_firing: float = 0.0
    weight: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in _SHARES:
            _check_number(name, getattr(self, name), 'a probability from 0 to 1')
        for name in _DEVIATIONS:
            what = 'a relative standard deviation from 0 to 1'
            _check_number(name, getattr(self, name), what)
        stuck = self.stuck_silent + self.stuck_firing
        if stuck > 1:
            raise ValueError(
                "Expected 'stuck_silent' and 'stuck_firing' to be shares of all neurons, "
                f'at most 1 together (got {stuck:g})'
            )
        is_integer = isinstance(self.seed, Integral) and not isinstance(self.seed, bool)
        if not is_integer or self.seed < 0:
            raise ValueError(
                f"Expected 'seed' to be an integer of at least 0 (got {self.seed!r})"
            )

    @property
    def is_quiet(self) -> bool:
        """Whether neurons fire as they should, whatever their weights are."""
        names = [each.name for each in fields(self)]
        return not any(getattr(self, n) for n in names if n not in ('weight', 'seed'))


def _check_number(name: str, value: Any, what: str) -> None:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not (math.isfinite(value) and 0 <= value <= 1):
        raise ValueError(f"Expected '{name}' to be {what} (got {value!r})")


class Disturbance:
    """What noise does to the populations of a network in one inference.

    Args:
        noise (SpikeNoise): The noise.
        inference (int): The number of the inference.
        shares_rows (bool): Whether rows are samples, which have the neurons of a device
            in common, and not nodes, which have neurons of their own.
    """

    def __init__(self, noise: SpikeNoise, inference: int, shares_rows: bool) -> None:
        self.noise, self.inference = noise, inference
        self.shares_rows = shares_rows

    def gain(self, label: str, like: Tensor) -> Tensor | None:
        """What the thresholds of each neuron of a population are multiplied by."""
        if self.noise.threshold == 0:
            return None
        shape = self._of_device(like.shape)
        normal = self._generator(label, 'threshold').standard_normal(shape)
        gain = np.maximum(1 + self.noise.threshold * normal, LEAST_GAIN)
        return torch.as_tensor(gain).to(like)

    def sent(self, label: str, spikes: Spikes, fires_off: bool) -> Spikes:
        """The spikes that others receive.

        Args:
            label (str): The name of the population.
            spikes (Spikes): Those that it would send.
            fires_off (bool): Whether its neurons may fire OFF.
        """
        fires_off = fires_off and spikes.code.signed
        num_steps = spikes.code.num_steps
        phase, is_off = spikes.phase(), spikes.spike_time > num_steps
        phase, is_off = self.started(label, spikes, phase, is_off, fires_off)
        phase, is_off = self.stuck(label, spikes, phase, is_off, fires_off)
        phase = self.arrived(label, spikes, phase)
        if not spikes.code.signed:
            return replace(spikes, spike_time=phase)
        is_off = is_off & (phase < num_steps)
        spike_time = torch.where(is_off, phase + (num_steps + 1), phase)
        return replace(spikes, spike_time=spike_time)

    def started(
        self, label: str, spikes: Spikes, phase: Tensor, is_off: Tensor, fires_off: bool
    ) -> tuple[Tensor, Tensor]:
        """When neurons fire, some of them by themselves, and whether OFF."""
        if self.noise.extra == 0:
            return phase, is_off
        fires = self.uniform(label, 'extra', phase) < self.noise.extra
        step = self._steps(self.uniform(label, 'extra step', phase), spikes)
        fires &= step < phase  # Silence is later than any step.
        if fires_off:
            drawn = self.uniform(label, 'extra sign', phase) < 0.5
            was_silent = phase == spikes.code.num_steps
            is_off = torch.where(fires & was_silent, drawn, is_off)
        return torch.where(fires, step, phase), is_off

    def stuck(
        self, label: str, spikes: Spikes, phase: Tensor, is_off: Tensor, fires_off: bool
    ) -> tuple[Tensor, Tensor]:
        """The same, where some neurons are stuck."""
        silent, firing = self.noise.stuck_silent, self.noise.stuck_firing
        if silent + firing == 0:
            return phase, is_off
        kind = self.uniform(label, 'stuck', phase, of_device=True)
        phase = phase.masked_fill(kind < silent, spikes.code.num_steps)
        fires = (kind >= silent) & (kind < silent + firing)
        drawn = self.uniform(label, 'stuck step', phase, of_device=True)
        phase = torch.where(fires, self._steps(drawn, spikes), phase)
        if fires_off:
            sign = self.uniform(label, 'stuck sign', phase, of_device=True) < 0.5
            is_off = torch.where(fires, sign, is_off)
        else:
            is_off = is_off & ~fires
        return phase, is_off

    def arrived(self, label: str, spikes: Spikes, phase: Tensor) -> Tensor:
        """When spikes arrive, if they do."""
        jitter, num_steps = self.noise.jitter, spikes.code.num_steps
        if jitter > 0:
            drawn = self.uniform(label, 'jitter', phase)
            has_spike = phase < num_steps
            early = has_spike & (drawn < jitter / 2) & (phase > 0)
            late = has_spike & (drawn >= jitter / 2) & (drawn < jitter)
            phase = phase - early.to(torch.uint8) + late.to(torch.uint8)
        if self.noise.drop > 0:
            lost = self.uniform(label, 'drop', phase) < self.noise.drop
            phase = phase.masked_fill(lost, num_steps)
        return phase

    def uniform(
        self, label: str, what: str, like: Tensor, of_device: bool = False
    ) -> Tensor:
        """A number from 0 to 1 for each neuron, the same in every inference if it is of
        the device.
        """
        shape = self._of_device(like.shape) if of_device else tuple(like.shape)
        number = () if of_device else (self.inference,)
        generator = self._generator(label, what, *number)
        drawn = generator.random(shape, dtype=np.float32)
        return torch.as_tensor(drawn).to(like.device)

    def _of_device(self, shape: torch.Size) -> tuple[int, ...]:
        """Of neurons: one for each value, or one for all samples."""
        return tuple(shape)[1:] if self.shares_rows else tuple(shape)

    def _generator(self, *key: str | int) -> np.random.Generator:
        return generator(self.noise.seed, *key)

    @staticmethod
    def _steps(drawn: Tensor, spikes: Spikes) -> Tensor:
        num_steps = spikes.code.num_steps
        steps = (drawn * num_steps).to(torch.uint8)
        return steps.clamp(max=num_steps - 1)  # What rounding makes of 0.99999...


def generator(seed: int, *key: str | int) -> np.random.Generator:
    """One that draws the same for the same key. More numbers begin with the same ones as
    fewer, so that a row of a batch does not depend on those behind it.
    """
    numbers = [zlib.crc32(k.encode()) if isinstance(k, str) else k for k in key]
    return np.random.default_rng([seed, *numbers])
