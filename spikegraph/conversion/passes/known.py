"""What is known of values that an operation is spelled out in, and what they ask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx


def shape_known(x: Any) -> tuple[int, ...]:
    """The shape on the calibration data.

    Raises:
        NotImplementedError: If it is not known.
    """
    seen: Any = x.node.meta.get('example') if isinstance(x, fx.Proxy) else x
    if not hasattr(seen, 'shape'):
        raise NotImplementedError
    return tuple(seen.shape)


def dtype_known(x: Any) -> Any:
    """The data type on the calibration data, or that of single precision."""
    return getattr(x.node.meta.get('example'), 'dtype', torch.float32)


def sizes_from(x: Any, shape: Sequence[int], start: int) -> tuple[Any, ...]:
    """The sizes from one dimension on."""
    return tuple(x.size(d) for d in range(start, len(shape)))


def dims_of(x: Any, dim: Any) -> tuple[int, ...]:
    """The dimensions that are named, or all of them."""
    if dim is None:
        return tuple(range(len(shape_known(x))))
    return tuple(dim) if isinstance(dim, (list, tuple)) else (dim,)


def number_of(x: Any, dims: Sequence[int]) -> Any:
    """How many values there are along some dimensions."""
    return math.prod(x.size(d) for d in dims)


def record(function: Any, *args: Any) -> Any:
    """Records a function as a whole."""
    tracer = next(a.tracer for a in args if isinstance(a, fx.Proxy))
    return tracer.create_proxy('call_function', function, args, {})
