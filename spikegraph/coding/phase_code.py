from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

MAX_NUM_STEPS = 126  # Signed codes need 2 * num_steps + 1 <= 255 byte values.
MIN_LEVEL = 1e-30  # Smaller levels would vanish in float32.


@dataclass(frozen=True)
class PhaseCode:
    r"""The phase code of the `"One-Spike SNN"
    <https://arxiv.org/abs/2403.08786>`_ paper: a table of levels and firing
    thresholds, one of each per time step.

    .. math::
        \ell_t = Q^{-t}, \qquad \theta_t = \delta \, \ell_t, \qquad
        t = 0, \ldots, T - 1

    A value is sent as one spike at the first step whose threshold it reaches.
    The *threshold shift* :math:`\delta = (1 + 1/Q) / 2` puts every threshold
    midway between neighbouring levels, so that encoding rounds to the nearest
    level; :math:`\delta = 1` truncates. Tables that are not geometric come
    from :meth:`from_levels`.

    Args:
        num_steps (int): The number of time steps :math:`T`, 1 to 126.
        base (float): The ratio :math:`Q > 1` of neighbouring levels.
        threshold_shift (float, optional): The threshold shift
            :math:`\delta`, from :math:`1/Q` to 1.
            (default: :math:`(1 + 1/Q) / 2`)
        signed (bool, optional): If set to :obj:`True`, negative values are
            sent by an OFF spike. (default: :obj:`False`)

    Raises:
        ValueError: If an argument is out of range, or if the smallest level
            could not be told from zero in float32.

    Example:
        >>> code = PhaseCode(num_steps=4, base=2)
        >>> code.levels.tolist()
        [1.0, 0.5, 0.25, 0.125]
        >>> code.thresholds.tolist()
        [0.75, 0.375, 0.1875, 0.09375]
        >>> code.table().tolist()
        [1.0, 0.5, 0.25, 0.125, 0.0]
    """

    num_steps: int
    base: float | None
    threshold_shift: float | None = None
    signed: bool = False
    _levels: tuple[float, ...] = field(default=(), repr=False, kw_only=True)
    _thresholds: tuple[float, ...] = field(default=(), repr=False, kw_only=True)

    def __post_init__(self) -> None:
        check_num_steps(self.num_steps)
        check_bools(signed=self.signed)
        if self._levels:
            if self.base is not None:
                object.__setattr__(self, 'base', check_base(self.base))
            return
        base = check_base(self.base)
        shift = self.threshold_shift
        if shift is None:
            shift = (1 + 1 / base) / 2
        elif not 1 / base <= shift <= 1:
            raise ValueError(
                f"Expected 'threshold_shift' to lie between 1/base = {1 / base:g} "
                f'and 1 (got {shift}); 1 is the unshifted code'
            )
        smallest = -(self.num_steps - 1) * math.log10(base)
        if smallest < math.log10(MIN_LEVEL):
            raise ValueError(
                f"Expected 'base' ** -(num_steps - 1) to be at least {MIN_LEVEL:g} "
                f'(got {base} ** -{self.num_steps - 1} = 1e{smallest:.0f}); lower '
                "'base' or 'num_steps'"
            )
        levels = tuple(base**-t for t in range(self.num_steps))
        object.__setattr__(self, 'base', base)
        object.__setattr__(self, 'threshold_shift', float(shift))
        object.__setattr__(self, '_levels', levels)
        object.__setattr__(self, '_thresholds', tuple(shift * v for v in levels))

    @classmethod
    def from_levels(
        cls,
        levels: Iterable[float] | Tensor,
        thresholds: Iterable[float] | Tensor | None = None,
        signed: bool = False,
    ) -> PhaseCode:
        r"""Builds a code from any strictly decreasing table of levels (a base
        *schedule*: the membrane is multiplied by
        :math:`\ell_t / \ell_{t+1}` at step :math:`t`).

        Args:
            levels (Iterable[float] or torch.Tensor): The levels
                :math:`\ell_0 > \ell_1 > \ldots > 0`.
            thresholds (Iterable[float] or torch.Tensor, optional): The firing
                thresholds. (default: midway to the next lower level, and
                midway to zero for the last)
            signed (bool, optional): As in :class:`PhaseCode`.

        Raises:
            ValueError: If a table is empty, not positive, not strictly
                decreasing, or if the tables differ in length.

        Example:
            >>> code = PhaseCode.from_levels([1.0, 0.6, 0.5])
            >>> code.thresholds.tolist()
            [0.8, 0.55, 0.25]
        """
        values = _check_table('levels', levels)
        if thresholds is None:
            below = [*values[1:], 0.0]
            cuts = tuple((a + b) / 2 for a, b in zip(values, below, strict=True))
        else:
            cuts = _check_table('thresholds', thresholds)
        if len(cuts) != len(values):
            raise ValueError(
                f"Expected 'thresholds' to hold {len(values)} values, one per level "
                f'(got {len(cuts)})'
            )
        return cls(len(values), None, None, signed, _levels=values, _thresholds=cuts)

    @classmethod
    def nearest(cls, num_steps: int, base: float, signed: bool = False) -> PhaseCode:
        r"""Builds the geometric code that rounds to the nearest level with
        silence as the level zero: the last threshold is
        :math:`\ell_{T-1} / 2`, not :math:`\delta \, \ell_{T-1}`.

        Args:
            num_steps (int): The number of time steps :math:`T`, 1 to 126.
            base (float): The ratio :math:`Q > 1` of neighbouring levels.
            signed (bool, optional): As in :class:`PhaseCode`.

        Raises:
            ValueError: As in :class:`PhaseCode`.

        Example:
            >>> PhaseCode.nearest(num_steps=3, base=2).thresholds.tolist()
            [0.75, 0.375, 0.125]
        """
        shifted = cls(num_steps, base, None, signed)
        return replace(
            shifted,
            threshold_shift=None,
            _thresholds=(*shifted._thresholds[:-1], shifted._levels[-1] / 2),
        )

    @property
    def levels(self) -> Tensor:
        """The level of a spike at each step, float64 ``[num_steps]``."""
        return torch.tensor(self._levels, dtype=torch.float64)

    @property
    def thresholds(self) -> Tensor:
        """The firing threshold at each step, float64 ``[num_steps]``."""
        return torch.tensor(self._thresholds, dtype=torch.float64)

    @property
    def gains(self) -> Tensor:
        r"""The factor :math:`\ell_{t-1} / \ell_t` (for a geometric code
        :math:`Q`) by which the membrane grows on entering each step, float64
        ``[num_steps]``; 1 at the first step.
        """
        levels = self.levels
        return torch.cat([levels.new_ones(1), levels[:-1] / levels[1:]])

    @property
    def num_times(self) -> int:
        """How many spike times there are, silence and those of OFF spikes included:
        the length of :meth:`table`.
        """
        return (2 if self.signed else 1) * self.num_steps + 1

    def table(self) -> Tensor:
        r"""The decoding table, float64: entry :math:`t` holds
        :math:`\ell_t`, entry :math:`T` zero (silent) and, in a signed code,
        entry :math:`T + 1 + t` holds :math:`-\ell_t`.
        """
        silent = torch.zeros(1, dtype=torch.float64)
        parts = [self.levels, silent]
        return torch.cat([*parts, -self.levels] if self.signed else parts)

    def __str__(self) -> str:
        kind = 'fitted levels' if self.base is None else f'base={self.base:.4g}'
        return f'PhaseCode(T={self.num_steps}, {kind}{", signed" * self.signed})'


def check_bools(**options: Any) -> None:
    """Raises ``ValueError`` if an option is neither ``True`` nor ``False``."""
    for name, value in options.items():
        if not isinstance(value, bool):
            raise ValueError(f"Expected '{name}' to be a bool (got {value!r})")


def check_num_steps(num_steps: int, name: str = 'num_steps') -> int:
    """Returns ``num_steps`` if a byte can hold its spike times."""
    if not isinstance(num_steps, int) or isinstance(num_steps, bool):
        raise ValueError(f"Expected '{name}' to be an integer (got {num_steps!r})")
    if num_steps < 1:
        raise ValueError(f"Expected '{name}' to be at least 1 (got {num_steps})")
    if num_steps > MAX_NUM_STEPS:
        raise ValueError(
            f"Expected '{name}' to be at most {MAX_NUM_STEPS}, so that a spike "
            f'time fits one byte (got {num_steps})'
        )
    return num_steps


def check_base(base: float | None) -> float:
    """Returns ``base`` as a float if it is finite and greater than 1."""
    if isinstance(base, (bool, str)) or base is None:
        raise ValueError(
            f"Expected 'base' to be a number greater than 1 (got {base!r})"
        )
    try:
        number = float(base)
    except OverflowError:  # An integer with too many digits.
        number = math.inf
    if not (math.isfinite(number) and number > 1):
        raise ValueError(f"Expected 'base' to be greater than 1 (got {base!s:.60})")
    return number


def _check_table(name: str, values: Iterable[float] | Tensor) -> tuple[float, ...]:
    try:
        table = tuple(float(v) for v in values)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected '{name}' to be numbers, the largest first (got {values!r})"
        ) from error
    if not 1 <= len(table) <= MAX_NUM_STEPS:
        raise ValueError(
            f"Expected '{name}' to hold 1 to {MAX_NUM_STEPS} values, one per time step "
            f'(got {len(table)})'
        )
    if not all(MIN_LEVEL <= value < math.inf for value in table):
        raise ValueError(
            f"Expected '{name}' to be finite and at least {MIN_LEVEL:g} (got "
            f'{", ".join(f"{value:g}" for value in table)})'
        )
    for high, low in zip(table, table[1:], strict=False):
        if not high > low:
            raise ValueError(
                f"Expected '{name}' to be strictly decreasing (got {low} after {high})"
            )
    return table
