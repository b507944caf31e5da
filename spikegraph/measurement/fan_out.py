"""How many weights, or entries of a matrix, each value meets."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

_MOST_PROBED = 1 << 13  # Values of an operand.


def num_nonzero(value: Tensor) -> int:
    """The entries that are not zero; of a sparse matrix, those it holds."""
    if value.layout != torch.strided:
        return int(value._nnz())
    return int(value.count_nonzero())


def nonzero_along(value: Tensor, rows: bool) -> Tensor:
    """How many entries each row of a matrix has, or each column."""
    if value.layout == torch.strided:
        return (value != 0).sum(dim=-1 if rows else -2).double()
    row, col = value.to_sparse_coo().coalesce().indices()
    index, size = (row, value.size(0)) if rows else (col, value.size(1))
    return torch.bincount(index, minlength=size).double()


def num_summed(name: str, args: Any, kwargs: Any, out: Any) -> int:
    """The values that a sum or an average adds up, those of every window."""
    if not name.startswith('avg_pool'):
        return int(args[0].numel())
    num_dims = int(name[-2])
    size = args[1] if len(args) > 1 else kwargs['kernel_size']
    sizes = [size] if isinstance(size, int) else list(size)
    sizes = sizes * num_dims if len(sizes) == 1 else sizes
    return int(out.numel()) * math.prod(sizes)


def summed_rows(name: str, args: Any) -> tuple[Tensor, int, str]:
    """The values that are added to others in groups, how many there are of them, and
    how: a sum, a mean, or something else.
    """
    if name == 'segment_reduce':
        return args[0], args[0].numel(), args[1]
    if name.startswith('_embedding_bag'):
        how = ('sum', 'mean', 'max')[args[4] if len(args) > 4 else 0]
        return args[0], args[1].numel() * args[0].size(-1), how
    if name == 'index_put':
        return args[2], args[2].numel(), 'sum'
    how = args[4] if name.endswith('_reduce') else 'sum'
    return args[3], args[3].numel(), how


def convolution_fan_out(
    x: Tensor,
    weight: Tensor,
    out: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    _: list[int],
    groups: int,
) -> Tensor:
    """How many weights each input value meets: ones sent the other way round."""
    like: dict[str, Any] = {'dtype': torch.float64, 'device': x.device}
    ones = torch.ones(weight.shape, **like)
    ends = torch.ones(1, *out.shape[1:], **like)
    rest = [0] * len(stride)
    if not transposed:  # Inputs that no window reaches any more.
        sizes = zip(
            *(x.shape[2:], out.shape[2:], weight.shape[2:]),
            *(stride, padding, dilation),
            strict=True,
        )
        rest = [
            size - ((end - 1) * step - 2 * pad + spread * (kernel - 1) + 1)
            for size, end, kernel, step, pad, spread in sizes
        ]
    options = stride, padding, dilation, not transposed, rest, groups
    found: Tensor = torch.ops.aten.convolution(ends, ones, None, *options)
    return found[0]


def probed_fan_out(func: Any, args: Any, kwargs: Any, place: int) -> Tensor | None:
    """How many output values each value of an operand changes, found out one by one;
    None if there are many, or the operation is not affine.
    """
    x = args[place].detach().to(torch.float64)
    rest = pytree.tree_map_only(
        Tensor, lambda v: v.double() if v.is_floating_point() else v, (args, kwargs)
    )

    def run(value: Tensor) -> Tensor:
        given = list(rest[0])
        given[place] = value
        out = func(*given, **rest[1])
        return out if isinstance(out, Tensor) else out[0]

    if not 0 < x.numel() <= _MOST_PROBED:
        return None
    try:
        zero, once, twice = (run(f * x) for f in (0, 1, 2))
    except RuntimeError:  # It takes no such numbers.
        return None
    if not torch.allclose(twice - once, once - zero, rtol=1e-9, atol=1e-9):
        return None
    found = torch.zeros(x.numel(), dtype=torch.float64, device=x.device)
    for i in range(x.numel()):
        probe = torch.zeros_like(found)
        probe[i] = 1
        found[i] = ((run(probe.view(x.shape)) - zero).abs() > 1e-12).sum()
    return found.view(x.shape)


def interpolation_fan_out(
    func: Any, x: Tensor, args: Any, kwargs: dict[str, Any]
) -> Tensor:
    """How many output values each input value is a part of: as many along each
    dimension, one after another.
    """
    spatial = x.shape[2:]
    total = torch.ones(spatial, dtype=torch.float64)
    for dim, size in enumerate(spatial):
        probe = torch.zeros(size, 1, *spatial, dtype=torch.float64)
        for i in range(size):
            probe[i].select(1 + dim, i).fill_(1)
        out = func(probe, *args, **kwargs)
        line = [slice(None), 0] + [0] * len(spatial)
        line[2 + dim] = slice(None)
        found = (out[tuple(line)].abs() > 1e-12).sum(dim=1).double()
        total = total * found.view(
            *[-1 if d == dim else 1 for d in range(len(spatial))]
        )
    return total
