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

from spikegraph.kernels.leases import Lease
from spikegraph.kernels.tape import current_tape

FLOATS = (torch.float32, torch.float64)  # What kernels compute with.
NUM_BYTES = 256
_MOST_KEPT = 1 << 29  # Bytes of memory for tensors to come.
_KEPT: dict[int, np.ndarray] = {}
_HUGE = 1 << 23  # Bytes; smaller tensors are as fast in small pages.
_MIN_PERIOD = 512  # Shorter rows of columns are repeated,
_WIDTH = 16  # to a multiple of what a processor compares at once.


def is_plain(x: Tensor) -> bool:
    """Whether kernels can read a tensor: no subclass, not sparse, not negated
    lazily, not traced, of no transformed function.
    """
    return (
        not torch.compiler.is_compiling()
        and type(x) in (Tensor, nn.Parameter)
        and x.layout == torch.strided
        and not x.is_neg()
        and not torch.jit.is_tracing()
        and not torch._C._functorch.is_functorch_wrapped_tensor(x)
    )


def is_single(scale: Tensor) -> bool:
    """Whether spikes have one scale, which is not that of the only node."""
    return scale.numel() == 1 and scale.dim() < 2


def needs_gradient(*values: Any) -> bool:
    """Whether PyTorch has to record what is done to one of some tensors."""
    return torch.is_grad_enabled() and any(
        isinstance(x, Tensor) and x.requires_grad for x in values
    )


def padded_table(table: Tensor) -> Tensor:
    """The value of every byte as a spike time, 0 for those that are none."""
    padded = table.new_zeros(NUM_BYTES)
    padded[: len(table)] = table
    return padded


def dense(x: Tensor) -> Tensor:
    """A tensor without gaps, in whatever order its dimensions are stored."""
    expected = 1
    for stride, size in sorted(zip(x.stride(), x.shape, strict=True)):
        if size > 1:
            if stride != expected:
                return x.detach().contiguous()
            expected *= size
    return x.detach()


def empty(shape: Sequence[int], dtype: torch.dtype, of: Tensor | None = None) -> Tensor:
    """A new tensor; a large one in the huge pages that NumPy asks for, or in those of
    one that is no longer in use: to get memory from the system takes as long as to
    sum spikes up. What a single kernel makes ``of`` another tensor, and of nothing
    else that changes, has memory of the pass that is being recorded.
    """
    size, tape = math.prod(shape) * dtype.itemsize, current_tape()
    if tape is not None:
        return tape.empty(shape, dtype, of)
    if size < _HUGE:
        return torch.empty(tuple(shape), dtype=dtype)
    memory = np.asarray(Lease(size, _KEPT, _MOST_KEPT))[:size]
    return torch.from_numpy(memory).view(dtype).view(tuple(shape))


def empty_cache() -> None:
    """Returns the memory that is kept for tensors to come, up to 512 MB, to the
    system; what tensors use stays as it is.
    """
    _KEPT.clear()


def empty_like(x: Tensor, dtype: torch.dtype) -> Tensor:
    """A new tensor in the order in which ``x``, which has no gaps, is stored."""
    strides, shape = x.stride(), x.shape
    if x.is_contiguous() and sorted(strides, reverse=True) == [*strides]:
        return empty(shape, dtype, x)
    order = sorted(range(x.dim()), key=lambda dim: (strides[dim], shape[dim]))[::-1]
    out = empty([shape[dim] for dim in order], dtype, x)
    return out.permute([order.index(dim) for dim in range(x.dim())])


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
    repeats = min(repeats, size // period)
    return (columns if repeats == 1 else columns.repeat(1, repeats)).contiguous()
