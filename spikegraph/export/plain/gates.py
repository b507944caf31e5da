"""Gates as minima and sums of spike times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from spikegraph.coding import Spikes
from spikegraph.export.plain.graphs import Graphs
from spikegraph.export.plain.populations import is_off, phase_of, read_as
from spikegraph.export.plain.segments import (
    ends_of,
    extremes_of,
    reduced,
    sums_of,
)
from spikegraph.nn.gate import (
    EarliestAlong,
    EarliestMember,
    EarliestNeighbor,
    EarliestSpike,
)
from spikegraph.nn.members import ProductMember, code_of
from spikegraph.nn.pool import EarliestInWindow
from spikegraph.nn.products import Delay, Rebase, power_code, product_code
from spikegraph.nn.relative import Leading, Relative, window_code


def ranks_of(x: Spikes) -> Tensor:
    """The smaller, the larger the value: ON spikes, then silence, then OFF spikes."""
    if not x.code.signed:
        return x.spike_time
    last = 3 * x.code.num_steps + 1
    return torch.where(is_off(x), last - x.spike_time, x.spike_time)


def from_ranks(rank: Tensor, like: Spikes) -> Spikes:
    """The inverse of :func:`ranks_of`."""
    num_steps = like.code.num_steps
    if like.code.signed:
        rank = torch.where(rank > num_steps, 3 * num_steps + 1 - rank, rank)
    return Spikes(rank, like.code, like.scale)


def _earliest(
    x: Spikes, index: Tensor, num_groups: Any, smallest: bool = False
) -> Tensor:
    """The rank that each group passes on; silence where it has no members."""
    ranks = ranks_of(x)
    found = extremes_of(ranks, index, num_groups, largest=smallest)
    info = torch.iinfo(found.dtype)
    nothing = info.min if smallest else info.max
    return torch.where(found == nothing, x.code.num_steps, found)


def _spike(graphs: Graphs, gate: EarliestSpike, x: Any, *groups: Any) -> Any:
    if not isinstance(x[0], Spikes):
        return gate.analog(x, *groups)
    ranks = torch.stack(torch.broadcast_tensors(*map(ranks_of, x)))
    return from_ranks(ranks.amax(0) if gate.smallest else ranks.amin(0), x[0])


def _member(
    graphs: Graphs, gate: EarliestMember, x: Any, index: Any = None, num: Any = None
) -> Any:
    index, num = graphs.groups(x, index, num)
    if not isinstance(x, Spikes):
        return reduced(x, index, num, 'min' if gate.smallest else 'max')
    return from_ranks(_earliest(x, index, num, gate.smallest), x)


def _neighbor(
    graphs: Graphs, gate: EarliestNeighbor, x: Any, edge_index: Any, num: Any = None
) -> Any:
    source, target = ends_of(edge_index, gate.shift.flow)
    num = x.shape[0] if num is None else num
    if not isinstance(x, Spikes):
        how = 'min' if gate.smallest else 'max'
        return reduced(x.index_select(0, source), target, num, how)
    sent = replace(x, spike_time=x.spike_time.index_select(0, source))
    return from_ranks(_earliest(sent, target, num, gate.smallest), x)


def _along(graphs: Graphs, gate: EarliestAlong, x: Any, *groups: Any) -> Any:
    if not isinstance(x, Spikes):
        return gate.analog(x)
    scale = x.scale
    if scale.dim() >= -gate.dim and not gate.keepdim:
        scale = scale.squeeze(gate.dim)
    reduce = torch.amax if gate.smallest else torch.amin
    found = from_ranks(reduce(ranks_of(x), gate.dim, gate.keepdim), x)
    return replace(found, scale=scale)


def _window(graphs: Graphs, gate: EarliestInWindow, x: Any, *groups: Any) -> Any:
    if not isinstance(x, Spikes):
        return gate.analog(x, *groups)
    # Pools know no integers; as numbers, times are exact.
    found = -gate.analog(-ranks_of(x).to(torch.float32), *groups)
    return from_ranks(found.to(torch.int32), x)


def _delay(graphs: Graphs, gate: Delay, x: Any, other: Any) -> Any:
    if not isinstance(x, Spikes):
        return gate.analog(x, other)
    code = product_code(x.code, other.code)
    silent = code.num_steps
    both = phase_of(x) + phase_of(other)
    is_silent = (x.spike_time == x.code.num_steps) | (
        other.spike_time == other.code.num_steps
    )
    if code.signed:
        both = torch.where(is_off(x) != is_off(other), both + (silent + 1), both)
    times = torch.where(is_silent, silent, both)
    return Spikes(times, code, x.scale * other.scale)


def _rebase(graphs: Graphs, gate: Rebase, x: Any) -> Any:
    if not isinstance(x, Spikes):
        return gate.analog(x)
    code = power_code(x.code, gate.exponent, gate.keeps_sign)
    times = x.spike_time if gate.keeps_sign else phase_of(x)
    return read_as(x, times, code, x.scale**gate.exponent)


def _first(graphs: Graphs, gate: Leading, x: Spikes, index: Any, num: Any) -> Tensor:
    if gate.dim is not None:
        return x.spike_time.amin(gate.dim, keepdim=True)
    index, num = graphs.groups(x, index, num)
    return _earliest(x, index, num).index_select(0, index)


def _leading(
    graphs: Graphs, gate: Leading, x: Any, index: Any = None, num: Any = None
) -> Any:
    if not isinstance(x, Spikes):
        return _largest(graphs, gate, x, index, num)
    return Spikes(_first(graphs, gate, x, index, num), x.code, x.scale)


def _relative(
    graphs: Graphs, gate: Relative, x: Any, index: Any = None, num: Any = None
) -> Any:
    if not isinstance(x, Spikes):
        return (x - _largest(graphs, gate, x, index, num)).exp()
    code = window_code(x.code, gate.num_steps)
    after = x.spike_time - _first(graphs, gate, x, index, num)
    after = after.clamp(max=gate.num_steps)
    times = torch.where(x.spike_time < x.code.num_steps, after, gate.num_steps)
    return Spikes(times, code, x.scale.new_ones(()))


def _largest(graphs: Graphs, gate: Leading, x: Tensor, index: Any, num: Any) -> Tensor:
    if gate.dim is not None:
        return Leading.analog(gate, x)
    index, num = graphs.groups(x, index, num)
    return reduced(x, index, num, 'max').index_select(0, index)


def _product(
    graphs: Graphs, gate: ProductMember, x: Any, index: Any = None, num: Any = None
) -> Any:
    if not isinstance(x, Spikes):
        raise NotImplementedError('products of values that are no spikes')
    index, num = graphs.groups(x, index, num)
    code = code_of(x.code, gate.num_steps)
    silent = (x.spike_time == x.code.num_steps).to(torch.int32)
    total = sums_of(phase_of(x), index, num)
    speaks = (sums_of(silent, index, num) == 0) & (total < code.num_steps)
    is_odd = sums_of(is_off(x).to(torch.int32), index, num) % 2 == 1
    times = torch.where(is_odd, total + code.num_steps + 1, total)
    times = torch.where(speaks, times, code.num_steps)
    ones = x.scale.new_ones(index.shape[0], *[1] * (times.dim() - 1))
    return Spikes(times, code, x.scale ** sums_of(ones, index, num))


#: What gates are, as functions of the graphs of a pass, the gate and what it is given.
GATES: dict[type[nn.Module], Callable[..., Any]] = {
    EarliestSpike: _spike,
    EarliestMember: _member,
    EarliestNeighbor: _neighbor,
    EarliestAlong: _along,
    EarliestInWindow: _window,
    Delay: _delay,
    Rebase: _rebase,
    Leading: _leading,
    Relative: _relative,
    ProductMember: _product,
}
