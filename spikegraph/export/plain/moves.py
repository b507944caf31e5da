"""Rows of spikes in other places, whose sizes may be symbols."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true

from spikegraph.coding import Spikes
from spikegraph.nn.routing import check_moving, has_one_scale, takes_rows


def moved(x: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    """What :func:`~spikegraph.nn.routing.move_spikes` returns, for which sizes are the
    same only if they are for all inputs.
    """
    check_moving(name)
    if not isinstance(x, Spikes):
        return getattr(x, name)(*args, **kwargs)

    def method(value: Tensor) -> Any:
        return getattr(value, name)(*args, **kwargs)

    times = method(x.spike_time)
    if isinstance(times, Tensor):
        scale = _scale(x, times, method, takes_rows(name, args, kwargs))
        return replace(x, spike_time=times, scale=scale)
    scales = [x.scale] * len(times)
    if not has_one_scale(x):
        scales = method(x.scale.expand(x.shape))
    parts = zip(times, scales, strict=True)
    return tuple(replace(x, spike_time=t, scale=s) for t, s in parts)


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


def _scale(
    x: Spikes, times: Tensor, method: Callable[[Tensor], Tensor], is_plain: bool
) -> Tensor:
    """The scales of spikes that were moved; those of channels stay those of channels."""
    scale = x.scale
    if has_one_scale(x):
        return scale
    if scale.dim() < len(x.shape):
        if is_plain and _same(times.shape[1:], x.shape[1:]):
            return scale
        try:
            row = method(scale.expand(1, *x.shape[1:]))
        except (RuntimeError, IndexError):
            row = scale
        is_row = _same(row.shape, (1, *times.shape[1:]))
        if is_row and _same(times.shape[:1], x.shape[:1]):
            return row[0]
    return method(scale.expand(x.shape))


def _same(a: Any, b: Any) -> bool:
    if len(a) != len(b):
        return False
    return all(statically_known_true(m == n) for m, n in zip(a, b, strict=True))
