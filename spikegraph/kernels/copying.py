"""Copies of models and arguments that hold sparse tensors, which PyTorch does not
copy where they are compressed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

_WITHOUT_PARTS = (str, bytes, int, float, complex, type, ModuleType, FunctionType)


def deepcopy(value: Any, memo: dict[int, Any] | None = None) -> Any:
    """What :func:`copy.deepcopy` returns, also where there are sparse tensors, as
    buffers, in containers, or cached inside a layer.

    Args:
        value (Any): What is copied.
        memo (Dict[int, Any], optional): The copies there are already, by identity.
            (default: :obj:`None`)
    """
    memo = {} if memo is None else memo
    for tensor in _sparse_tensors(value, set()):
        if id(tensor) not in memo:
            memo[id(tensor)] = _copied(tensor)
    return copy.deepcopy(value, memo)


def _copied(tensor: Tensor) -> Tensor:
    found = tensor.detach().clone()
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(found, tensor.requires_grad)
    return found.requires_grad_(tensor.requires_grad)


def _sparse_tensors(value: Any, seen: set[int]) -> Iterator[Tensor]:
    """The sparse tensors that a value holds, however deep."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, _WITHOUT_PARTS):
            continue
        seen.add(id(item))
        if isinstance(item, Tensor) and item.layout != torch.strided:
            yield item
        elif isinstance(item, Mapping):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, (list, tuple, set, frozenset)):
            waiting += item
        waiting += _attributes(item)


def _attributes(item: Any) -> list[Any]:
    found = list(getattr(item, '__dict__', {}).values())
    for kind in type(item).__mro__:
        names = vars(kind).get('__slots__', ())
        for name in (names,) if isinstance(names, str) else names:
            if name not in ('__dict__', '__weakref__') and hasattr(item, name):
                found.append(getattr(item, name))
    return found
