"""Edges sorted by destination: a stable counting sort, first into buckets that fit a
cache, so that the time per edge hardly depends on the size of the graph.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from spikegraph.kernels.backend import cpu_kernels, is_fast
from spikegraph.kernels.memory import empty, flat
from spikegraph.kernels.threads import share

_BUCKET = 1 << 18  # Edges that are sorted in a cache, about,
_ROW_BITS = 16  # in no more rows than these bits can tell apart.
_PIECES = 16  # Of all edges, that threads take.


def sort_edges(
    source: Tensor,
    target: Tensor,
    num_sources: int,
    num_targets: int,
    *,
    loops: bool = False,
    with_order: bool = True,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Sorts edges by destination, those of one destination as given.

    Args:
        source (torch.Tensor): The source of each edge :math:`(E)`.
        target (torch.Tensor): The destination of each edge :math:`(E)`.
        num_sources (int): The number of sources :math:`M`.
        num_targets (int): The number of destinations :math:`N`.
        loops (bool, optional): If set to :obj:`True`, the last edge of every node is
            one from itself, in place of those there are. (default: :obj:`False`)
        with_order (bool, optional): Whether positions are returned, :obj:`None`
            with :obj:`loops`. (default: :obj:`True`)

    Returns:
        Tuple[torch.Tensor, torch.Tensor, torch.Tensor]: Where the edges of each
        destination start :math:`(N + 1)`, their sources, int32 where that is
        enough, and their positions before :math:`(E)`.
    """
    with_order &= not loops
    cpu = cpu_kernels()
    integers = (torch.int32, torch.int64)
    if cpu is None or not all(is_fast(t, *integers) for t in (source, target)):
        found = _sort_plainly(source, target, num_sources, num_targets, loops)
        return found if with_order else (*found[:2], None)
    num, kind = target.numel(), _integers(target.numel())
    shift = min(_ROW_BITS, max(0, num_targets * _BUCKET // num - 1).bit_length())
    num_buckets, step = 1 + (num_targets - 1 >> shift), max(1, -(-num // _PIECES))
    edges = (source.contiguous().numpy(), target.contiguous().numpy(), loops, shift)
    counts = np.zeros((-(-num // step), num_buckets), np.int64)
    share(partial(cpu.edges.count, *edges, counts, step), num, num, step)
    bounds = np.concatenate([[0], counts.sum(axis=0).cumsum()])
    places = bounds[:-1] + counts.cumsum(axis=0) - counts
    num_kept, width = int(bounds[-1]), _integers(num_sources)
    sources = flat(empty((num_kept,), width))
    rows = flat(empty((num_kept,), torch.int16)).view(np.uint16)
    numbers = flat(empty((num_kept if with_order else 0,), kind))
    share(
        partial(cpu.edges.distribute, *edges, places, step, sources, rows, numbers),
        *(num, num, step),
    )
    rowptr = torch.zeros(num_targets + 1, dtype=torch.int64)
    col = empty((num_kept + (num_targets if loops else 0),), width)
    order = empty((num_kept if with_order else 0,), kind)
    work = partial(
        cpu.edges.sort_buckets,
        *(sources, rows, numbers, bounds, loops, shift),
        *(rowptr.numpy(), flat(col), flat(order)),
    )
    share(work, num_buckets, num, 1)
    return rowptr, col, order if with_order else None


def _sort_plainly(
    source: Tensor, target: Tensor, num_sources: int, num_targets: int, loops: bool
) -> tuple[Tensor, Tensor, Tensor]:
    if loops:
        nodes = torch.arange(num_targets, device=target.device)
        keep = source != target
        source, target = (torch.cat([t[keep], nodes]) for t in (source, target))
    order = target.sort(stable=True).indices
    counts = torch.bincount(target, minlength=num_targets)
    rowptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return rowptr, source[order].to(_integers(num_sources)), order


def _integers(num: int) -> torch.dtype:
    """What numbers below ``num`` are stored as."""
    return torch.int32 if num <= torch.iinfo(torch.int32).max else torch.int64
