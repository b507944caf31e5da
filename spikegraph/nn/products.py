"""Gates that compute with spike times: a product is a delay, a power is another base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from spikegraph.coding import PhaseCode, Spikes
from spikegraph.coding.phase_code import MAX_NUM_STEPS
from spikegraph.nn.gate import SpikeGate


class Delay(SpikeGate):
    r"""The product of two populations: the spike of one delays that of the other.

    .. math::
        \hat{a} \hat{b} = \pm s_a s_b \, Q^{-(t_a + t_b)}

    Signs are multiplied, and silence of either is silence. There is no rounding: the
    product has :math:`T_a + T_b - 1` phases of its own. Both windows run at once, as
    :math:`t_a + t_b` is never before either spike.

    Raises:
        ValueError: If the codes are not geometric, or differ in their base.

    Shapes:
        - **input:** spikes :math:`(*)` and spikes that broadcast to them
        - **output:** spikes :math:`(*)`

    Example:
        >>> code = PhaseCode(num_steps=3, base=2, signed=True)
        >>> a = Spikes.from_values(torch.tensor([1.0, 0.5, 0.5]), code)
        >>> b = Spikes.from_values(torch.tensor([-0.5, 0.25, 0.0]), code)
        >>> product = Delay()(a, b)
        >>> product.code.num_steps, product.phase().tolist()
        (5, [1, 3, 5])
        >>> product.decode().tolist()
        [-0.5, 0.125, 0.0]
    """

    def forward(self, x: Spikes, other: Spikes) -> Spikes:
        """The product of each pair."""
        code = product_code(x.code, other.code)
        silent = code.num_steps
        total = x.phase().to(torch.int16) + other.phase().to(torch.int16)
        sign = x.polarity() * other.polarity()
        total = torch.where(sign != 0, total, silent)
        if code.signed:
            total = total + (sign < 0) * (silent + 1)
        return Spikes(total.to(torch.uint8), code, x.scale * other.scale)

    def analog(self, x: Tensor, other: Tensor) -> Tensor:
        """The product of real values."""
        return x * other

    def window(self, lengths: Sequence[int]) -> int:
        """The latest of one after the latest of the other."""
        return product_window(lengths)

    def stepped(self, x: Spikes, other: Spikes) -> Spikes:
        """Each pair waits, from its second spike on, for as many steps as had passed
        at its first.
        """
        code = product_code(x.code, other.code)
        shape = torch.broadcast_shapes(x.shape, other.shape)
        phases = [s.phase().expand(shape) for s in (x, other)]
        steps = [s.code.num_steps for s in (x, other)]
        sign = x.polarity() * other.polarity()
        spike_time = torch.full(shape, code.num_steps, dtype=torch.uint8)
        waits = torch.full(shape, -1, dtype=torch.int16)  # Steps left to wait.
        first = torch.full(shape, -1, dtype=torch.int16)  # When the first one came.
        for step in range(code.num_steps):
            waits = torch.where(waits > 0, waits - 1, waits)
            for phase, num in zip(phases, steps, strict=True):
                comes = (phase == step) & (step < num)
                is_second = comes & (first >= 0)
                waits = torch.where(is_second, first, waits)
                first = torch.where(comes & (first < 0), step, first)
            fires = (waits == 0) & (spike_time == code.num_steps)
            spike_time[fires & (sign > 0)] = step
            spike_time[fires & (sign < 0)] = code.num_steps + 1 + step
        return Spikes(spike_time, code, x.scale * other.scale)


def product_window(lengths: Sequence[int]) -> int:
    """How many steps products may take; those of a square have one source."""
    return sum(lengths) - 1 if len(lengths) > 1 else 2 * lengths[0] - 1


@lru_cache(maxsize=256)
def product_code(a: PhaseCode, b: PhaseCode) -> PhaseCode:
    """The code of products.

    Raises:
        ValueError: If times of the two do not add up, or not within a byte.
    """
    if a.base is None or a.base != b.base:
        raise ValueError(
            "Expected 'x' and 'other' to have geometric codes of one base, so that "
            f'their spike times add up (got {a} and {b})'
        )
    num_steps = a.num_steps + b.num_steps - 1
    if num_steps > MAX_NUM_STEPS:
        raise ValueError(
            f"Expected 'num_steps' to be small enough for products, whose spikes come "
            f'within {MAX_NUM_STEPS} steps (got {a.num_steps} and {b.num_steps}, so that '
            f'they take {num_steps}); pass at most {(MAX_NUM_STEPS + 1) // 2}'
        )
    return PhaseCode.nearest(num_steps, a.base, a.signed or b.signed)


class Rebase(SpikeGate):
    r"""A power of a population: its spikes, read with another base.

    .. math::
        |\hat{x}|^p = s^p \, (Q^p)^{-t}

    Args:
        exponent (float): The exponent :math:`p > 0`.
        keeps_sign (bool, optional): Whether OFF spikes stay OFF, as for odd powers; for
            even ones they become ON. (default: :obj:`False`)

    Raises:
        ValueError: If the exponent is not positive, or the code is not geometric.

    Example:
        >>> code = PhaseCode(num_steps=3, base=2, signed=True)
        >>> x = Spikes.from_values(torch.tensor([-2.0, 1.0, 0.0]), code, 2.0)
        >>> Rebase(2)(x).decode().tolist()
        [4.0, 1.0, 0.0]
    """

    def __init__(self, exponent: float, keeps_sign: bool = False) -> None:
        super().__init__()
        self.exponent = exponent
        self.keeps_sign = keeps_sign
        self.check()

    def check(self) -> None:
        """Raises ``ValueError`` if the exponent is not positive."""
        number = self.exponent
        is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
        if not is_number or not 0 < number < float('inf'):
            raise ValueError(
                f"Expected 'exponent' to be a positive number (got {number!r:.60})"
            )
        if type(self.keeps_sign) is not bool:
            raise ValueError(
                f"Expected 'keeps_sign' to be a bool (got {self.keeps_sign!r:.60})"
            )

    def forward(self, x: Spikes) -> Spikes:
        """The power of each value."""
        spike_time = x.spike_time if self.keeps_sign else x.phase()
        return self._read(x, spike_time)

    def analog(self, x: Tensor) -> Tensor:
        """The power of real values."""
        power = x.abs().pow(self.exponent)
        return power * x.sign() if self.keeps_sign else power

    def stepped(self, x: Spikes) -> Spikes:
        """Spikes pass as they come."""
        silent = x.code.num_steps
        spike_time = torch.full(x.shape, silent, dtype=torch.uint8)
        polarity = x.polarity()
        for step, comes in enumerate(x.raster()):
            off = comes & (polarity < 0) if self.keeps_sign else torch.zeros_like(comes)
            spike_time[comes & ~off] = step
            spike_time[off] = silent + 1 + step
        return self._read(x, spike_time)

    def _read(self, x: Spikes, spike_time: Tensor) -> Spikes:
        code = power_code(x.code, self.exponent, self.keeps_sign)
        return replace(
            x, spike_time=spike_time, code=code, scale=x.scale**self.exponent
        )

    def extra_repr(self) -> str:
        return f'{self.exponent:g}, keeps_sign={self.keeps_sign}'


@lru_cache(maxsize=256)
def power_code(code: PhaseCode, exponent: float, keeps_sign: bool) -> PhaseCode:
    """The code of powers.

    Raises:
        ValueError: If the code is not geometric.
    """
    if code.base is None:
        raise ValueError(
            f"Expected 'x' to have a geometric code, whose powers are one (got {code})"
        )
    signed = code.signed and keeps_sign
    return PhaseCode.nearest(code.num_steps, code.base**exponent, signed)


def quotient(x: Tensor, other: Tensor) -> Tensor:
    """A potential relative to a second one, where it is read at the end."""
    return x / other


def relative_exponentials(x: Tensor, dim: int) -> Tensor:
    """The exponentials of scores, relative to the largest along a dimension."""
    return (x - x.amax(dim, keepdim=True)).exp()
