"""Edges sorted by destination: a stable counting sort, first into buckets that fit a
cache, so that the time per edge hardly depends on the size of the graph.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from spikegraph.kernels.cpu import takes
from spikegraph.kernels.cpu.compiled import edges as kernels
from spikegraph.kernels.memory import empty, flat
from spikegraph.kernels.sorting import integers_for
from spikegraph.kernels.threads import share

_BUCKET = 1 << 18  # Edges that are sorted in a cache, about,
_ROW_BITS = 16  # in no more rows than these bits can tell apart.
_PIECES = 16  # Of all edges, that threads take.


def sort_edges(
    target: Tensor,
    source: Tensor,
    num_sources: int,
    num_targets: int,
    loops: bool,
    with_order: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """See :func:`spikegraph.kernels.sorting.sort_edges`."""
    integers = (torch.int32, torch.int64)
    if not takes(source) or not {source.dtype, target.dtype} <= set(integers):
        return NotImplemented
    num, kind = target.numel(), integers_for(target.numel())
    shift = min(_ROW_BITS, max(0, num_targets * _BUCKET // num - 1).bit_length())
    num_buckets, step = 1 + (num_targets - 1 >> shift), max(1, -(-num // _PIECES))
    edges = (source.contiguous().numpy(), target.contiguous().numpy(), loops, shift)
    counts = np.zeros((-(-num // step), num_buckets), np.int64)
    share(partial(kernels.count, *edges, counts, step), num, num, step)
    bounds = np.concatenate([[0], counts.sum(axis=0).cumsum()])
    places = bounds[:-1] + counts.cumsum(axis=0) - counts
    num_kept, width = int(bounds[-1]), integers_for(num_sources)
    sources = flat(empty((num_kept,), width))
    rows = flat(empty((num_kept,), torch.int16)).view(np.uint16)
    numbers = flat(empty((num_kept if with_order else 0,), kind))
    share(
        partial(kernels.distribute, *edges, places, step, sources, rows, numbers),
        *(num, num, step),
    )
    rowptr = torch.zeros(num_targets + 1, dtype=torch.int64)
    col = empty((num_kept + (num_targets if loops else 0),), width)
    order = empty((num_kept if with_order else 0,), kind)
    work = partial(
        kernels.sort_buckets,
        *(sources, rows, numbers, bounds, loops, shift),
        *(rowptr.numpy(), flat(col), flat(order)),
    )
    share(work, num_buckets, num, 1)
    return rowptr, col, order if with_order else None
