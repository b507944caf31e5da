"""What an operation does to values, found by what it does to labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

_MOST_ASKED = 2**24
_EXACT = 1e-9  # Relative; labels and coefficients are far from that.


class Map(NamedTuple):
    """A linear operation as a sparse matrix, by entries.

    Args:
        row (numpy.ndarray): The place of each entry in the flat output.
        col (numpy.ndarray): Its place in the flat input.
        value (numpy.ndarray): Its coefficient.
        shape (Tuple[int, ...]): The shape of the output.
        size (int): How many values the input has.
    """

    row: np.ndarray
    col: np.ndarray
    value: np.ndarray
    shape: tuple[int, ...]
    size: int


def map_of(function: Callable[[Tensor], Tensor], like: Tensor) -> Map | None:
    """The linear part of an affine function in which each output is made of one input
    at most, such as all that moves, repeats and scales values, or each input is part of
    one output at most, such as sums and means of what lies apart; others only if they
    have few inputs and outputs, or do the same along leading dimensions.

    Args:
        function (Callable): The function.
        like (torch.Tensor): A tensor of the shape of its input.

    Returns:
        Map, optional: What it does; :obj:`None` if it is none of these.
    """
    size, dtype = like.numel(), torch.float64
    labels = torch.arange(1, size + 1, dtype=dtype).view(like.shape)
    ones, zeros = torch.ones_like(labels), torch.zeros_like(labels)
    random = torch.randn(like.shape, dtype=dtype, generator=_generator())
    offset = function(zeros)
    shape = tuple(offset.shape)
    expected = _flat(function(random) - offset)
    tolerance = _EXACT * max(1.0, float(offset.abs().max()) if offset.numel() else 1.0)
    value = _flat(function(ones) - offset)
    found = _picked(_flat(function(labels) - offset), value, size)
    if found is not None:
        made = found.value * _flat(random)[found.col]
        total = np.zeros_like(expected)
        total[found.row] = made
        if np.allclose(total, expected, rtol=_EXACT, atol=tolerance):
            return found._replace(shape=shape)
    found = _summed(function, zeros, shape)
    if found is not None:
        made = found.value * _flat(random)[found.col]
        total = np.bincount(found.row, made, minlength=len(expected))
        if np.allclose(total, expected, rtol=1e-7, atol=tolerance):
            return found
    for lead in (2, 1, 0):
        found = _asked(function, zeros, offset, lead)
        if found is not None:
            made = found.value * _flat(random)[found.col]
            total = np.bincount(found.row, made, minlength=len(expected))
            if np.allclose(total, expected, rtol=1e-7, atol=tolerance):
                return found
    return None


def _picked(labelled: np.ndarray, value: np.ndarray, size: int) -> Map | None:
    """A label times its coefficient tells which one it is."""
    row = np.flatnonzero(np.abs(labelled) > _EXACT)
    if (np.abs(value[row]) <= _EXACT).any():
        return None
    col = np.rint(labelled[row] / value[row]).astype(np.int64) - 1
    if len(col) and not 0 <= col.min() <= col.max() < size:
        return None
    return Map(row, col, value[row], (), size)


def _summed(
    function: Callable[[Tensor], Tensor], zeros: Tensor, shape: tuple[int, ...]
) -> Map | None:
    """The same, asked backwards."""
    with torch.enable_grad():
        x = zeros.clone().requires_grad_()
        out = function(x)
        if not out.requires_grad:
            return None
        labels = torch.arange(1, out.numel() + 1, dtype=out.dtype).view(out.shape)
        ones = torch.ones_like(labels)
        (value,) = torch.autograd.grad(out, x, ones, retain_graph=True)
        (labelled,) = torch.autograd.grad(out, x, labels)
    found = _picked(_flat(labelled), _flat(value), out.numel())
    if found is None:
        return None
    return Map(found.col, found.row, found.value, shape, zeros.numel())


def _asked(
    function: Callable[[Tensor], Tensor], zeros: Tensor, offset: Tensor, lead: int
) -> Map | None:
    """Input by input, in the first of all places along leading dimensions, where the
    same is done in all of them.
    """
    if lead >= zeros.dim() or zeros.shape[:lead] != offset.shape[:lead]:
        return None
    repeats = math.prod(zeros.shape[:lead])
    own, size = offset.numel() // max(1, repeats), zeros.numel() // max(1, repeats)
    if repeats == 0 or size * offset.numel() > _MOST_ASKED:
        return None
    columns = []
    for k in range(size):
        one = zeros.clone().reshape(repeats, size)
        one[0, k] = 1
        found = _flat(function(one.view(zeros.shape)) - offset)
        if (found[own:] != 0).any():
            return None
        columns.append(found[:own])
    matrix = np.stack(columns, axis=1)
    row, col = np.nonzero(matrix)
    step = np.arange(repeats)[:, None]
    return Map(
        (step * own + row).reshape(-1),
        (step * size + col).reshape(-1),
        np.tile(matrix[row, col], repeats),
        tuple(offset.shape),
        zeros.numel(),
    )


def _flat(x: Tensor) -> np.ndarray:
    array: np.ndarray = x.detach().reshape(-1).double().numpy()
    return array


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def rows_of(
    found: Map, in_shape: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """A map of rows of the largest width that goes, by its rows, or of single values."""
    is_sum = len(np.unique(found.row)) < len(found.row)
    order = np.argsort(found.col if is_sum else found.row, kind='stable')
    row, col, value = (part[order] for part in found[:3])
    for dims in range(min(len(in_shape), len(found.shape)) - 1, 0, -1):
        width = int(np.prod(in_shape[-dims:]))
        if tuple(in_shape[-dims:]) != found.shape[-dims:] or width < 2:
            continue
        if len(row) % width:
            continue
        rows, cols, values = (part.reshape(-1, width) for part in (row, col, value))
        step = np.arange(width)
        if (
            (rows[:, :1] % width == 0).all()
            and (cols[:, :1] % width == 0).all()
            and (rows == rows[:, :1] + step).all()
            and (cols == cols[:, :1] + step).all()
            and (values == values[:, :1]).all()
        ):
            return rows[:, 0] // width, cols[:, 0] // width, values[:, 0], width
    return row, col, value, 1
