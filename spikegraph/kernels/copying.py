"""Copies of models and arguments that hold what PyTorch does not copy: compressed
sparse tensors, tensors with a gradient function, compiled functions.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

_WITHOUT_PARTS = (str, bytes, int, float, complex, type, ModuleType, FunctionType)

_SHARED = (
    torch.jit.ScriptFunction,
    *(torch._ops.OpOverload, torch._ops.OpOverloadPacket),
    torch.library.CustomOpDef,
)


def deepcopy(value: Any, memo: dict[int, Any] | None = None) -> Any:
    """What :func:`copy.deepcopy` returns, also where there are sparse tensors, or such
    that were computed with gradients, as buffers, in containers, or cached inside a
    layer. Compiled functions are shared.

    Args:
        value (Any): What is copied.
        memo (Dict[int, Any], optional): The copies there are already, by identity.
            (default: :obj:`None`)
    """
    memo = {} if memo is None else memo
    for item in _find_special(value):
        if id(item) not in memo:
            memo[id(item)] = _copied(item) if isinstance(item, Tensor) else item
    return copy.deepcopy(value, memo)


def _copied(tensor: Tensor) -> Tensor:
    found = tensor.detach().clone()
    if tensor.grad_fn is not None:
        return found
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(found, tensor.requires_grad)
    return found.requires_grad_(tensor.requires_grad)


def _find_special(value: Any) -> Iterator[Any]:
    """What a value holds that has to be copied by hand or shared, however deep."""
    waiting, seen = [value], set()
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, _WITHOUT_PARTS):
            continue
        seen.add(id(item))
        if isinstance(item, _SHARED):
            yield item
            continue
        if isinstance(item, Tensor):
            if item.layout != torch.strided or item.grad_fn is not None:
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
