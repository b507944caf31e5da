"""Gates: the exact maximum of spikes is the one that comes first."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.utils import scatter

from spikegraph.coding import Spikes
from spikegraph.kernels import Adjacency, aggregate, earliest
from spikegraph.nn.shift import MemberShift, NeighborShift, groups_of


class SpikeGate(nn.Module):
    """Base of all gates: bytes in, bytes out. A gate makes spikes of spikes by when
    they come, and needs no membrane.
    """

    @abstractmethod
    def forward(self, x: Any, *groups: Any) -> Spikes:
        """The spikes that leave the gate."""

    @abstractmethod
    def analog(self, x: Any, *groups: Any) -> Any:
        """What the ANN computes on real values."""

    @abstractmethod
    def stepped(self, x: Any, *groups: Any) -> Spikes:
        """The same as :meth:`forward`, one time step after the other."""

    def window(self, lengths: Sequence[int]) -> int:
        """How many steps the spikes may take, given those of the sources."""
        return max(lengths)

    def num_compared(self, x: Any, *groups: Any, **kwargs: Any) -> int:
        """How many comparisons it takes to see which spike of a group is first."""
        return 0

    def __call__(self, x: Any, *groups: Any, **kwargs: Any) -> Any:
        """Real values make of it what the ANN computes."""
        first = x[0] if isinstance(x, (list, tuple)) else x
        if issubclass(type(first), Tensor):  # A symbolic one passes for a tensor.
            return self.analog(x, *groups, **kwargs)
        return super().__call__(x, *groups, **kwargs)


class EarliestGate(SpikeGate):
    r"""Base of gates that compare. In each group of neurons, the largest value is the
    earliest ON spike, else silence, else the last OFF spike:

    .. math::
        \max_k \hat{x}_k = s \, \ell_{\min_k t_k} \quad
        \text{(unsigned codes)}

    So a gate fires ON with the first ON spike of its group, and OFF once the
    whole group has fired OFF; it needs no time of its own.
    With :obj:`smallest`, it is the minimum instead, and ON and OFF change
    places. A group without members stays silent, as in PyG.

    Args:
        smallest (bool, optional): Whether the smallest value passes.
            (default: :obj:`False`)

    Raises:
        ValueError: If the neurons of a group may differ in code or scale, so
            that spike times do not compare.
    """

    def __init__(self, smallest: bool = False) -> None:
        super().__init__()
        self.smallest = smallest

    @abstractmethod
    def count(self, x: Any, *groups: Any) -> Tensor:
        """How many members of each group are marked by ones in ``x``."""

    def num_compared(self, x: Any, *groups: Any, **kwargs: Any) -> int:
        """One comparison less than there are members, in each group."""
        is_one = isinstance(x, Spikes)
        ones = [torch.ones(s.shape, device=s.device) for s in ([x] if is_one else x)]
        size = self.count(ones[0] if is_one else ones, *groups, **kwargs)
        return int((size - 1).clamp(min=0).sum())

    def stepped(self, x: Any, *groups: Any) -> Spikes:
        """ON passes with the first of its group, OFF with the last (for a minimum, the
        other way round).
        """
        sources = list(x) if isinstance(x, (list, tuple)) else [x]
        first = sources[0]
        silent, dtype = first.code.num_steps, first.scale.dtype

        def count(marks: list[Tensor]) -> Tensor:
            first = marks if isinstance(x, (list, tuple)) else marks[0]
            return self.count(first, *groups)

        ones = [torch.ones(s.shape, dtype=dtype, device=s.device) for s in sources]
        size = count(ones)
        num_on, num_off = torch.zeros_like(size), torch.zeros_like(size)
        spike_time = torch.full_like(size, silent, dtype=torch.uint8)
        rasters = [(s.raster() * s.polarity()).to(dtype) for s in sources]
        for step in range(silent):
            arriving = [raster[step] for raster in rasters]
            num_on += count([value.clamp(min=0) for value in arriving])
            num_off += count([value.clamp(max=0) for value in arriving])
            all_on = (num_on == size) & (size > 0)
            all_off = (-num_off == size) & (size > 0)
            on = all_on if self.smallest else num_on > 0
            off = num_off < 0 if self.smallest else all_off
            waiting = spike_time == silent
            spike_time[on & waiting] = step
            spike_time[off & waiting] = silent + 1 + step
        return Spikes(spike_time, first.code, first.scale)

    def extra_repr(self) -> str:
        return f'smallest={self.smallest}'


class EarliestSpike(EarliestGate):
    r"""The maximum over several populations, as in ``torch.stack(xs).max(dim=0)`` and
    jumping knowledge; shapes that differ are broadcast, as in ``torch.maximum``.

    Example:
        >>> from spikegraph.coding import PhaseCode
        >>> code = PhaseCode(num_steps=4, base=2)
        >>> a = Spikes.from_values(torch.tensor([1.0, 0.25]), code)
        >>> b = Spikes.from_values(torch.tensor([0.5, 0.5]), code)
        >>> EarliestSpike()([a, b]).decode().tolist()
        [1.0, 0.5]
    """

    def forward(self, x: Sequence[Spikes], *groups: Any) -> Spikes:
        """Returns the largest value of each neuron over all populations."""
        first = x[0]
        for other in x[1:]:
            if other.code != first.code or not torch.equal(other.scale, first.scale):
                raise ValueError(
                    "Expected 'populations' to share one code and scale, so that their "
                    f'spike times compare (got {first.code} and {other.code})'
                )
        try:
            ranks = _stacked([ranks_of(spikes) for spikes in x])
        except RuntimeError as error:
            raise ValueError(
                "Expected 'populations' to share one shape, or be broadcast to one (got "
                f'{", ".join(str(tuple(spikes.shape)) for spikes in x)})'
            ) from error
        picked = ranks.amax(dim=0) if self.smallest else ranks.amin(dim=0)
        return from_rank(picked, first)

    def analog(self, x: Sequence[Tensor], *groups: Any) -> Tensor:
        """The elementwise maximum (minimum)."""
        stacked = _stacked(x)
        return stacked.amin(dim=0) if self.smallest else stacked.amax(dim=0)

    def count(self, x: Sequence[Tensor], *groups: Any) -> Tensor:
        """The elementwise sum."""
        return _stacked(x).sum(dim=0)


def _stacked(x: Sequence[Tensor]) -> Tensor:
    return torch.stack(torch.broadcast_tensors(*x))


class EarliestMember(EarliestGate):
    r"""The maximum over the members of each group: the nodes of a graph
    (global max pooling), or the edges that end in a node.
    """

    def forward(
        self,
        x: Spikes,
        index: Tensor | None = None,
        num_groups: int | None = None,
    ) -> Spikes:
        """Returns the largest value of each group :math:`(G, F)`."""
        _check_comparable(x)
        members = MemberShift()(x, index, num_groups)
        return from_rank(_reduce(members, x, self.smallest), x)

    def analog(
        self,
        x: Tensor,
        index: Tensor | None = None,
        num_groups: int | None = None,
    ) -> Tensor:
        """PyG's ``scatter(x, index, reduce='max')``."""
        index, num_groups = groups_of(x, index, num_groups)
        how = 'min' if self.smallest else 'max'
        return scatter(x, index, dim=0, dim_size=num_groups, reduce=how)

    def count(
        self,
        x: Tensor,
        index: Tensor | None = None,
        num_groups: int | None = None,
    ) -> Tensor:
        """The sum over the members of each group."""
        return aggregate(MemberShift()(x, index, num_groups), x)


class EarliestNeighbor(EarliestGate):
    r"""The maximum over the in-neighbours of each node.

    Args:
        flow (str, optional): As in PyG. (default: :obj:`"source_to_target"`)
        smallest (bool, optional): Whether the smallest value passes.
            (default: :obj:`False`)
        keeps_values (bool, optional): Whether the values of a ``SparseTensor`` are
            weights, which spikes cannot be multiplied by here; some of PyG's layers
            leave them out. (default: :obj:`True`)

    Example:
        >>> from spikegraph.coding import PhaseCode
        >>> x = torch.tensor([[1.0], [0.25], [0.5]])
        >>> spikes = Spikes.from_values(x, PhaseCode(num_steps=4, base=2))
        >>> edge_index = torch.tensor([[1, 2], [0, 0]])
        >>> EarliestNeighbor()(spikes, edge_index).decode().tolist()
        [[0.5], [0.0], [0.0]]
    """

    def __init__(
        self,
        flow: str = 'source_to_target',
        smallest: bool = False,
        keeps_values: bool = True,
    ) -> None:
        super().__init__(smallest)
        self.shift = NeighborShift(flow=flow, keeps_values=keeps_values)

    def forward(
        self, x: Spikes, edge_index: Tensor, num_targets: int | None = None
    ) -> Spikes:
        """Returns the largest value among in-neighbours :math:`(N, F)`."""
        _check_comparable(x)
        adjacency = self._adjacency(x, edge_index, num_targets)
        return from_rank(_reduce(adjacency, x, self.smallest), x)

    def analog(
        self, x: Tensor, edge_index: Tensor, num_targets: int | None = None
    ) -> Tensor:
        """PyG's maximum (minimum) aggregation."""
        adjacency = self._adjacency(x, edge_index, num_targets)
        counts, num = adjacency.rowptr.diff(), adjacency.num_targets
        target = torch.arange(num, device=counts.device).repeat_interleave(counts)
        how = 'min' if self.smallest else 'max'
        values = x.index_select(0, adjacency.col)
        return scatter(values, target, dim=0, dim_size=num, reduce=how)

    def count(
        self, x: Tensor, edge_index: Tensor, num_targets: int | None = None
    ) -> Tensor:
        """The sum over the in-neighbours."""
        return aggregate(self.shift(x, edge_index, None, num_targets), x)

    def _adjacency(
        self, x: Any, edge_index: Tensor, num_targets: int | None
    ) -> Adjacency:
        adjacency = self.shift(x, edge_index, None, num_targets)
        factors = adjacency.source_factor, adjacency.target_factor
        if any(part is not None for part in (adjacency.weight, *factors)):
            raise ValueError(
                "Expected a sparse 'edge_index' without values for a maximum over "
                'neighbours, whose spikes arrive as they are (got weights); use '
                'edge indices'
            )
        return adjacency


class EarliestAlong(EarliestGate):
    r"""The maximum along one dimension, such as the nodes of dense batches
    :math:`(B, N, F)`.

    Args:
        dim (int): The dimension, counted from the end; not that of the channels, if
            they have scales of their own.
        keepdim (bool, optional): Whether it stays, of size 1.
            (default: :obj:`False`)
        smallest (bool, optional): Whether the smallest value passes.
            (default: :obj:`False`)

    Raises:
        ValueError: If scales differ along the dimension.
    """

    def __init__(self, dim: int, keepdim: bool = False, smallest: bool = False) -> None:
        super().__init__(smallest)
        assert dim < 0
        self.dim = dim
        self.keepdim = keepdim

    def forward(self, x: Spikes, *groups: Any) -> Spikes:
        """Returns the largest value along the dimension."""
        scale = x.scale
        if scale.dim() >= -self.dim:
            if scale.size(self.dim) != 1:
                raise ValueError(
                    f"Expected 'x' to have one scale along dimension {self.dim}, so "
                    'that its spike times compare (got shape '
                    f'{tuple(scale.shape)})'
                )
            scale = scale if self.keepdim else scale.squeeze(self.dim)
        ranks = ranks_of(x)
        reduce = torch.amax if self.smallest else torch.amin
        return replace(from_rank(reduce(ranks, self.dim, self.keepdim), x), scale=scale)

    def analog(self, x: Tensor, *groups: Any) -> Tensor:
        """The maximum (minimum) along the dimension."""
        reduce = torch.amin if self.smallest else torch.amax
        return reduce(x, self.dim, self.keepdim)

    def count(self, x: Tensor, *groups: Any) -> Tensor:
        """The sum along the dimension."""
        return x.sum(dim=self.dim, keepdim=self.keepdim)

    def extra_repr(self) -> str:
        return f'{self.dim}, keepdim={self.keepdim}, {super().extra_repr()}'


def _check_comparable(x: Spikes) -> None:
    if x.scale.dim() >= len(x.shape) > 0:
        raise ValueError(
            "Expected 'x' to have one scale, or one per channel, so that the spike "
            f'times of different nodes compare (got shape {tuple(x.scale.shape)})'
        )


def ranks_of(x: Spikes) -> Tensor:
    """The smaller, the larger the value: :math:`t` for ON spikes, :math:`T`
    for silence, :math:`2T - t` for OFF spikes.
    """
    if not x.code.signed:
        return x.spike_time
    num_steps = x.code.num_steps
    last = 3 * num_steps + 1  # OFF spikes are written as T + 1 + t.
    late = (last - x.spike_time.int()).to(torch.uint8)
    return torch.where(x.spike_time > num_steps, late, x.spike_time)


def from_rank(rank: Tensor, like: Spikes) -> Spikes:
    num_steps = like.code.num_steps
    if like.code.signed:
        off = (3 * num_steps + 1 - rank.int()).to(torch.uint8)
        rank = torch.where(rank > num_steps, off, rank)
    return Spikes(rank, like.code, like.scale)


def _reduce(adjacency: Adjacency, x: Spikes, smallest: bool) -> Tensor:
    return earliest(adjacency, ranks_of(x), x.code.num_steps, smallest)
