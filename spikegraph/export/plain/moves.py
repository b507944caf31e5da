"""Rows of spikes in other places, whose sizes may be symbols."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true

from spikegraph.nn import routing


def moved(x: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    """What :func:`~spikegraph.nn.routing.move_spikes` returns, for which sizes are the
    same only if they are for all inputs.
    """
    return routing.moved(x, name, args, kwargs, _same)


def gathered(x: Any, index: Any) -> Any:
    """What :func:`~spikegraph.nn.routing.gather_rows` returns."""
    if isinstance(x, Tensor):
        is_row = isinstance(index, Tensor) and index.dim() == 1
        is_number = (
            is_row and not index.dtype.is_floating_point and index.dtype.itemsize > 1
        )
        return x.index_select(0, index) if is_number else x[index]
    scale = x.scale
    if scale.dim() == x.spike_time.dim() and not statically_known_true(
        len_of(scale) == 1
    ):
        scale = scale[index]
    return replace(x, spike_time=x.spike_time[index], scale=scale)


def len_of(x: Tensor) -> Any:
    """The number of rows, which may be a symbol."""
    return x.shape[0]


def _same(a: Any, b: Any) -> bool:
    if len(a) != len(b):
        return False
    return all(statically_known_true(m == n) for m, n in zip(a, b, strict=True))
