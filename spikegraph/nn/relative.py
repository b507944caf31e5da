"""Groups that look at their first spike: what it is, and how much later others come."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from spikegraph.coding import PhaseCode, Spikes
from spikegraph.coding.phase_code import MAX_NUM_STEPS
from spikegraph.kernels import earliest, late
from spikegraph.nn.gate import SpikeGate
from spikegraph.nn.shift import MemberShift, groups_of


class Leading(SpikeGate):
    r"""The largest value of the group that each value belongs to: its first spike.

    Args:
        dim (int, optional): The dimension that is a group, which is kept, of size 1;
            without, groups are given by an index of the rows, and each member is sent
            the spike. (default: :obj:`None`)

    Raises:
        ValueError: If the code is signed.

    Example:
        >>> code = PhaseCode(num_steps=8, base=2)
        >>> x = Spikes.from_values(torch.tensor([0.5, 0.25, 0.125]), code)
        >>> Leading()(x, torch.tensor([0, 0, 1]), 2).decode().tolist()
        [0.5, 0.5, 0.125]
    """

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim
        self.check()

    def check(self) -> None:
        """Raises ``ValueError`` if the dimension is none."""
        if self.dim is not None and type(self.dim) is not int:
            raise ValueError(f"Expected 'dim' to be an integer (got {self.dim!r:.60})")

    def forward(
        self, x: Spikes, index: Tensor | None = None, num_groups: Any = None
    ) -> Spikes:
        """The largest values of the groups."""
        _check_unsigned(x.code)
        return Spikes(self._first(x, index, num_groups), x.code, x.scale)

    def _first(self, x: Spikes, index: Tensor | None, num_groups: Any) -> Tensor:
        """The first spike in the group of each value."""
        if self.dim is not None:
            times = x.spike_time  # No group has a first spike where none has members.
            return times.amin(self.dim, keepdim=True) if times.numel() else times
        index, num_groups = groups_of(x, index, num_groups)
        rows = MemberShift()(x, index, num_groups)
        flat = x.spike_time.reshape(x.shape[0], x.shape[1:].numel())
        found = earliest(rows, flat, x.code.num_steps)
        return found[index].view(x.shape)

    def num_compared(
        self, x: Spikes, index: Tensor | None = None, num_groups: Any = None
    ) -> int:
        """One comparison less than there are members, in each group."""
        num_values = x.shape.numel()
        if self.dim is not None:
            return num_values - num_values // max(1, x.shape[self.dim])
        index, _ = groups_of(x, index, num_groups)
        return (x.shape[0] - index.unique().numel()) * x.shape[1:].numel()

    def analog(
        self, x: Tensor, index: Tensor | None = None, num_groups: Any = None
    ) -> Tensor:
        """The largest real values; zero where nothing is left to compare."""
        if self.dim is not None:
            peak = x.amax(self.dim, keepdim=True) if x.numel() else x
            return peak.masked_fill(peak.isinf(), 0.0)
        index, num_groups = groups_of(x, index, num_groups)
        full = index.view(-1, *[1] * (x.dim() - 1)).expand_as(x)
        peak = x.new_full((num_groups, *x.shape[1:]), -torch.inf)
        peak = peak.scatter_reduce(0, full, x, 'amax')
        return peak.masked_fill(peak.isinf(), 0.0)[index]

    def stepped(
        self, x: Spikes, index: Tensor | None = None, num_groups: Any = None
    ) -> Spikes:
        """The first of each group is seen by all of it at once."""
        _check_unsigned(x.code)
        spike_time: Tensor | None = None
        for step, (_, opens) in enumerate(self._opening(x, index, num_groups)):
            if spike_time is None:
                spike_time = torch.full_like(opens, x.code.num_steps, dtype=torch.uint8)
            spike_time[opens & (spike_time == x.code.num_steps)] = step
        assert spike_time is not None
        return Spikes(spike_time, x.code, x.scale)

    def _opening(
        self, x: Spikes, index: Tensor | None, num_groups: Any
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Step by step, which spikes come, and in whose group any does."""
        for comes in x.raster():
            if self.dim is not None:
                any_comes = comes.numel() > 0
                yield comes, comes.any(self.dim, keepdim=True) if any_comes else comes
            else:
                rows, num = groups_of(x, index, num_groups)
                opened = torch.zeros((num, *x.shape[1:]), dtype=torch.int32)
                yield comes, opened.index_add_(0, rows, comes.int())[rows] > 0

    def extra_repr(self) -> str:
        return f'dim={self.dim}'


class Relative(Leading):
    r"""Values relative to the largest of their group: the window of a group opens at
    its first spike.

    .. math::
        \hat{x}_k / \max_l \hat{x}_l = Q^{-(t_k - \min_l t_l)}

    What comes later than the window lasts is silent.

    Args:
        num_steps (int): The number of time steps :math:`T` of the window.
        dim (int, optional): The dimension that is a group; without, groups are given by
            an index of the rows. (default: :obj:`None`)

    Raises:
        ValueError: If the code is signed or not geometric, or the window has no steps.

    Example:
        >>> code = PhaseCode(num_steps=8, base=2)
        >>> x = Spikes.from_values(torch.tensor([0.5, 0.25, 0.125]), code)
        >>> Relative(2)(x, torch.tensor([0, 0, 1]), 2).decode().tolist()
        [1.0, 0.5, 1.0]
    """

    def __init__(self, num_steps: int, dim: int | None = None) -> None:
        self.num_steps = num_steps
        super().__init__(dim)

    def check(self) -> None:
        """Raises ``ValueError`` if the window has no steps, or more than a code has."""
        num_steps = self.num_steps
        if type(num_steps) is not int or not 1 <= num_steps <= MAX_NUM_STEPS:
            raise ValueError(
                f"Expected 'num_steps' to be an integer from 1 to {MAX_NUM_STEPS} (got "
                f'{num_steps!r:.60})'
            )
        super().check()

    def forward(
        self, x: Spikes, index: Tensor | None = None, num_groups: Any = None
    ) -> Spikes:
        """The values :math:`(*)` relative to the largest of their group."""
        code = window_code(x.code, self.num_steps)
        one, silent = x.scale.new_ones(()), x.code.num_steps
        if self.dim is None:
            index, num_groups = groups_of(x, index, num_groups)
            members = MemberShift()(x, index, num_groups)
            found = late(members, x.spike_time, index, silent, self.num_steps)
            return Spikes(found, code, one)
        after = x.spike_time - self._first(x, index, num_groups)
        after = after.clamp(max=self.num_steps)
        spike_time = torch.where(x.spike_time < silent, after, self.num_steps)
        return Spikes(spike_time.to(torch.uint8), code, one)

    def analog(
        self, x: Tensor, index: Tensor | None = None, num_groups: Any = None
    ) -> Tensor:
        """The exponentials of scores relative to the largest one."""
        return (x - super().analog(x, index, num_groups)).exp()

    def stepped(
        self, x: Spikes, index: Tensor | None = None, num_groups: Any = None
    ) -> Spikes:
        """Each group counts from its first spike on."""
        code = window_code(x.code, self.num_steps)
        spike_time = torch.full(x.shape, self.num_steps, dtype=torch.uint8)
        since = torch.full(x.shape, -1, dtype=torch.int16)
        for comes, opens in self._opening(x, index, num_groups):
            since = torch.where(since >= 0, since + 1, since)
            since = torch.where(opens & (since < 0), 0, since)
            fires = comes & (since < self.num_steps)
            spike_time = torch.where(fires, since.to(torch.uint8), spike_time)
        return Spikes(spike_time, code, x.scale.new_ones(()))

    def extra_repr(self) -> str:
        return f'num_steps={self.num_steps}, {super().extra_repr()}'


@lru_cache(maxsize=256)
def window_code(code: PhaseCode, num_steps: int) -> PhaseCode:
    """The code of what comes within a number of steps.

    Raises:
        ValueError: If the code is signed or not geometric.
    """
    if code.base is None or code.signed:
        raise ValueError(
            f"Expected 'x' to have an unsigned geometric code (got {code})"
        )
    return PhaseCode.nearest(num_steps, code.base)


def _check_unsigned(code: PhaseCode) -> None:
    if code.signed:
        raise ValueError(f"Expected 'x' to have an unsigned code (got {code})")
