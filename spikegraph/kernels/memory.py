"""Tensors as the kernels read them: one dense block of memory, in which a
channel comes in runs or in columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_HUGE = 1 << 23  # Bytes; smaller tensors are as fast in small pages.
_MIN_PERIOD = 512  # Shorter rows of columns are repeated,
_WIDTH = 16  # to a multiple of what a processor compares at once.


def is_plain(x: Tensor) -> bool:
    """Whether kernels can read a tensor: no subclass, not sparse, not negated
    lazily, not traced.
    """
    return (
        type(x) in (Tensor, nn.Parameter)
        and x.layout == torch.strided
        and not x.is_neg()
        and not torch.compiler.is_compiling()
    )


def dense(x: Tensor) -> Tensor:
    """A tensor without gaps, in whatever order its dimensions are stored."""
    expected = 1
    for stride, size in sorted(zip(x.stride(), x.shape, strict=True)):
        if size > 1:
            if stride != expected:
                return x.detach().contiguous()
            expected *= size
    return x.detach()


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A new tensor; a large one in the huge pages that NumPy asks for, which are
    ready sooner.
    """
    size = math.prod(shape)
    if size * dtype.itemsize < _HUGE:
        return torch.empty(tuple(shape), dtype=dtype)
    memory = np.empty(size * dtype.itemsize, np.uint8)
    return torch.from_numpy(memory).view(dtype).view(tuple(shape))


def flat(x: Tensor) -> Any:
    """The memory of a dense tensor as an array."""
    return x.detach().as_strided((x.numel(),), (1,)).numpy()


def runs_of(shape: torch.Size, x: Tensor) -> tuple[int, int] | None:
    """How many channels something of a shape that broadcasts to ``x`` has, and
    how many neighbours in memory share one; None if it is no single dimension.
    """
    dims = [dim for dim in range(-len(shape), 0) if shape[dim] != 1]
    if not dims:
        return 1, x.numel()
    dim = dims[0]
    if len(dims) > 1 or len(shape) > x.dim() or x.size(dim) != shape[dim]:
        return None
    return x.size(dim), x.stride(dim)


def columns_of(per_channel: Tensor, length: int, size: int) -> Tensor:
    """Repeats the channels of ``[*, C]`` for all their neighbours, and until a
    row of columns is long enough for vectors.
    """
    columns = per_channel.unsqueeze(-1).expand(-1, -1, length).flatten(1)
    period = columns.size(1)
    repeats = 1
    if period < _MIN_PERIOD:
        repeats = _WIDTH // math.gcd(period, _WIDTH)
        while period * repeats < _MIN_PERIOD:
            repeats *= 2
    return columns.repeat(1, min(repeats, size // period)).contiguous()
