"""Writes in place as operations that return a new tensor."""

from __future__ import annotations

import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spikegraph.conversion.tracing.proxies import AUGMENTED, Traced, map_values
from spikegraph.network.functions import set_items, write_copy
from spikegraph.network.naming import called

IN_PLACE = {
    getattr(operator, f'i{name}'): getattr(operator, f'__{name}__')
    for name in AUGMENTED
}


def may_write(target: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a call may write into its first argument, or into :obj:`out`."""
    name = target if isinstance(target, str) else getattr(target, '__name__', '')
    if kwargs.get('inplace') or kwargs.get('out') is not None:
        return True
    is_private = name.startswith('_') or name.endswith('__')
    return (
        target is operator.setitem
        or target in IN_PLACE
        or (name.endswith('_') and not is_private)
    )


def functional(
    kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[str, Any, tuple[Any, ...], dict[str, Any]]:
    """The operation that returns what another one writes in place."""
    options = {k: v for k, v in kwargs.items() if k not in ('inplace', 'out')}
    if target is operator.setitem:
        return 'call_function', set_items, args, options
    if target in IN_PLACE:
        return 'call_function', IN_PLACE[target], args, options
    if kind == 'call_module' or len(options) < len(kwargs):
        return kind, target, args, options
    if kind == 'call_method':
        plain = str(target)[:-1]
        if hasattr(Tensor, plain):
            return 'call_method', plain, args, options
        return 'call_function', write_copy, (args[0], target, *args[1:]), options
    name = target.__name__.rstrip('_')
    for place in (torch, F):
        if hasattr(place, name):
            return 'call_function', getattr(place, name), args, options
    return kind, target, args, options


def is_same(a: Any, b: Any) -> bool:
    """Whether two tensors are the same memory in the same shape."""
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return False
    same = a.shape == b.shape and a.stride() == b.stride()
    return same and a.storage_offset() == b.storage_offset()


def storages(example: Any) -> set[int]:
    found: set[int] = set()

    def visit(value: Any) -> None:
        if isinstance(value, Tensor) and value.layout == torch.strided:
            found.add(value.untyped_storage()._cdata)

    map_values(visit, example)
    return found


def memory_of(value: Tensor) -> int | None:
    """Where a tensor lies in memory, if it does."""
    if value.layout != torch.strided or value.is_meta:
        return None
    return value.untyped_storage().data_ptr() or None


# These return a part of memory, or a copy of it where it is not in order.
_COPIES = ('contiguous', 'reshape', 'reshape_as', 'flatten', 'ravel', 'unflatten')


def may_be_a_copy(value: Traced) -> bool:
    """Whether it depends on the order in memory what a write to a value changes."""
    nodes = [value._made]
    while value._view is not None:
        nodes.append(value._view.node)
        value = value._view.source
    return any(getattr(called(n), '__name__', called(n)) in _COPIES for n in nodes)
