"""Gates over the members of each group: their product, and one of a given rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spikegraph.coding import PhaseCode, Spikes
from spikegraph.coding.phase_code import MAX_NUM_STEPS, MIN_LEVEL
from spikegraph.nn.gate import EarliestMember, SpikeGate, from_rank, ranks_of
from spikegraph.nn.shift import groups_of


class ProductMember(SpikeGate):
    r"""The product over the members of each group: their spike times add up.

    .. math::
        \prod_k \hat{x}_k = \pm s^n Q^{-\sum_k t_k}

    Silence of one silences its group, and so does a sum later than the last phase. A
    group without members is one, as in PyG.

    Args:
        num_steps (int, optional): The phases of the product.
            (default: :obj:`126`, the most that a byte can count)

    Raises:
        ValueError: If the code is not geometric, or has scales of single rows.

    Shapes:
        - **input:** spikes :math:`(N, *)`, groups :math:`(N)`
        - **output:** spikes :math:`(G, *)`

    Example:
        >>> code = PhaseCode(num_steps=3, base=2)
        >>> x = Spikes.from_values(torch.tensor([[2.0], [1.0], [0.5]]), code, 2.0)
        >>> ProductMember()(x, torch.tensor([0, 0, 1]), 2).decode().tolist()
        [[2.0], [0.5]]
    """

    def __init__(self, num_steps: int = MAX_NUM_STEPS) -> None:
        super().__init__()
        self.num_steps = num_steps

    def forward(
        self, x: Spikes, index: Tensor | None = None, num_groups: int | None = None
    ) -> Spikes:
        """The product of each group."""
        index, num_groups = groups_of(x, index, num_groups)
        total = _summed(x.phase().long(), index, num_groups)
        silent = _summed((x.polarity() == 0).long(), index, num_groups) > 0
        is_off = _summed((x.polarity() < 0).long(), index, num_groups) % 2 == 1
        spoken = ~silent & (total < self.num_steps)
        return self._spikes(x, torch.where(spoken, total, -1), is_off, index)

    def analog(
        self, x: Tensor, index: Tensor | None = None, num_groups: int | None = None
    ) -> Tensor:
        """PyG's ``scatter(x, index, reduce='mul')``."""
        index, num_groups = groups_of(x, index, num_groups)
        full = index.view(-1, *[1] * (x.dim() - 1)).expand_as(x)
        ones = x.new_ones(num_groups, *x.shape[1:])
        return ones.scatter_reduce(0, full, x, 'prod')

    def stepped(
        self, x: Spikes, index: Tensor | None = None, num_groups: int | None = None
    ) -> Spikes:
        """Once all have come, each group waits for as many steps as remain."""
        index, num_groups = groups_of(x, index, num_groups)
        size = _summed(torch.ones(x.shape, dtype=torch.long), index, num_groups)
        arrived, total, num_off = (torch.zeros_like(size) for _ in range(3))
        fires_at = torch.full_like(size, -1)
        raster, polarity = x.raster(), x.polarity()
        for step in range(self.num_steps):
            if step < x.code.num_steps:
                comes = raster[step].long()
                arrived += _summed(comes, index, num_groups)
                total += step * _summed(comes, index, num_groups)
                num_off += _summed(comes * (polarity < 0), index, num_groups)
            due = (arrived == size) & (total == step)
            fires_at = torch.where(due, step, fires_at)
        return self._spikes(x, fires_at, num_off % 2 == 1, index)

    def _spikes(self, x: Spikes, step: Tensor, is_off: Tensor, index: Tensor) -> Spikes:
        if x.code.base is None or x.scale.dim() >= len(x.shape) > 0:
            raise ValueError(
                "Expected 'x' to have a geometric code and no scales of single rows, "
                f'so that its spike times add up (got {x.code} and scales '
                f'{tuple(x.scale.shape)})'
            )
        code = code_of(x.code, self.num_steps)
        step = torch.where(step < code.num_steps, step, -1)  # Too small to tell.
        time = torch.where(is_off & (step >= 0), step + code.num_steps + 1, step)
        time = torch.where(step < 0, code.num_steps, time)
        size = torch.bincount(index, minlength=len(step)).to(x.scale.dtype)
        scale = x.scale ** size.view(-1, *[1] * (step.dim() - 1))
        return Spikes(time.to(torch.uint8), code, scale)

    def window(self, lengths: Sequence[int]) -> int:
        """As long as it is told."""
        return self.num_steps

    def extra_repr(self) -> str:
        return f'num_steps={self.num_steps}'


def code_of(code: PhaseCode, num_steps: int) -> PhaseCode:
    """The code of products, as long as their levels are numbers."""
    assert code.base is not None
    most = 1 + int(-math.log(MIN_LEVEL) / math.log(code.base))
    return PhaseCode.nearest(min(num_steps, most), code.base, code.signed)


def _summed(values: Tensor, index: Tensor, num_groups: int) -> Tensor:
    zeros = values.new_zeros(num_groups, *values.shape[1:])
    return zeros.index_add(0, index, values)


class RankedMember(EarliestMember):
    r"""The member of each group below which a share :math:`q` of the others lies, in
    each channel: the largest values spike first.

    A group of :math:`n` fires ON with the ON spike that leaves :math:`k = \lfloor q (n -
    1) \rfloor` of it behind, and OFF with its OFF spike number :math:`k + 1`. A group
    without members stays silent.

    Args:
        q (float): The quantile, in :math:`[0, 1]`.
        how (str, optional): Which rank between two members, ``'lower'``, ``'higher'``
            or ``'nearest'``. (default: :obj:`"lower"`)

    Example:
        >>> code = PhaseCode(num_steps=4, base=2)
        >>> x = Spikes.from_values(torch.tensor([[1.0], [0.25], [0.5]]), code)
        >>> RankedMember(0.5)(x).decode().tolist()
        [[0.5]]
    """

    def __init__(self, q: float, how: str = 'lower') -> None:
        super().__init__()
        self.q, self.how = q, how

    def forward(
        self, x: Spikes, index: Tensor | None = None, num_groups: int | None = None
    ) -> Spikes:
        """The member of that rank in each group."""
        if x.scale.dim() >= len(x.shape) > 0:
            return super().forward(x, index, num_groups)  # Which raises.
        ranks = 255 - ranks_of(x).int()
        found = self._picked(ranks, index, num_groups, x.scale.dtype)
        size = self._sizes(ranks, index, num_groups)
        found = torch.where(size > 0, 255 - found, x.code.num_steps)
        return from_rank(found.to(torch.uint8), x)

    def analog(
        self, x: Tensor, index: Tensor | None = None, num_groups: int | None = None
    ) -> Tensor:
        """The quantile of real values, zero in groups without members."""
        found = self._picked(x, index, num_groups, x.dtype)
        return found.masked_fill(self._sizes(x, index, num_groups) == 0, 0)

    def stepped(
        self, x: Any, index: Tensor | None = None, num_groups: int | None = None
    ) -> Spikes:
        """ON passes with the spike that leaves as many behind as have a lower rank,
        OFF once these have come.
        """
        raster, polarity = x.raster(), x.polarity()
        dtype = x.scale.dtype
        size = self.count(torch.ones(x.shape, dtype=dtype), index, num_groups)
        rank = self._sizes(raster[0], index, num_groups, self._rank(dtype))
        num_on, num_off = torch.zeros_like(size), torch.zeros_like(size)
        spike_time = torch.full_like(size, x.code.num_steps, dtype=torch.uint8)
        for step in range(x.code.num_steps):
            comes = (raster[step] * polarity).to(dtype)
            num_on += self.count(comes.clamp(min=0), index, num_groups)
            num_off += self.count(-comes.clamp(max=0), index, num_groups)
            waiting = (spike_time == x.code.num_steps) & (size > 0)
            spike_time[waiting & (num_on >= size - rank)] = step
            spike_time[waiting & (num_off > rank)] = x.code.num_steps + 1 + step
        return Spikes(spike_time, x.code, x.scale)

    def _picked(
        self, x: Tensor, index: Any, num_groups: Any, dtype: torch.dtype
    ) -> Tensor:
        index, num_groups = groups_of(x, index, num_groups)
        flat = x.flatten(1)
        order = flat.argsort(dim=0)
        order = order.gather(0, index[order].argsort(dim=0, stable=True))
        count = torch.bincount(index, minlength=num_groups)
        place = count.cumsum(0) - count + self._rank(dtype)(count)
        place = place.clamp(max=max(0, len(x) - 1))
        if len(x) == 0:
            return x.new_zeros(num_groups, *x.shape[1:])
        rows = flat.gather(0, order)[place]
        return rows.view(num_groups, *x.shape[1:])

    def _rank(self, dtype: torch.dtype) -> Any:
        def rank_of(count: Tensor) -> Tensor:
            start = count.cumsum(0) - count
            q = torch.tensor(self.q, dtype=dtype, device=count.device)
            return round_quantile(q * (count - 1) + start, self.how) - start

        return rank_of

    def _sizes(
        self, x: Tensor, index: Any, num_groups: Any, function: Any = None
    ) -> Tensor:
        """A number for each group: how many members it has, or what is made of that."""
        index, num_groups = groups_of(x, index, num_groups)
        count = torch.bincount(index, minlength=num_groups)
        count = count if function is None else function(count)
        return count.view(-1, *[1] * (x.dim() - 1))

    def extra_repr(self) -> str:
        return f'q={self.q}, how={self.how!r}'


def round_quantile(point: Tensor, how: str) -> Tensor:
    """The rank that stands for a point between two."""
    functions = {'lower': torch.floor, 'higher': torch.ceil, 'nearest': torch.round}
    return functions[how](point).long()
