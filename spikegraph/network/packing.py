"""Objects as JSON and tensors: what they are called and what they hold, no code."""

from __future__ import annotations

import dataclasses
import inspect
from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.immutable_collections import immutable_dict, immutable_list
from torch_geometric.data.data import BaseData
from torch_geometric.nn import MessagePassing

from spikegraph.calls.outputs import attributes
from spikegraph.kernels.forms import is_foreign
from spikegraph.network.finding import name_of
from spikegraph.network.graph import Ref
from spikegraph.network.network import Network

ATOMS = (bool, int, float, str, type(None))
HOOKS = ('hooks', 'hooks_with_kwargs', 'hooks_always_called')
TORCH = (torch.dtype, torch.layout, torch.memory_format)
HELD = ('_parameters', '_buffers', '_modules')
COLLECTIONS = (Mapping, set, frozenset, deque)


class Packer:
    """Turns objects into JSON; tensors are put aside.

    Attributes:
        tensors (Dict[str, torch.Tensor]): The tensors, by name.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._known: dict[int, tuple[str, Any]] = {}
        self._objects: dict[int, tuple[int, Any]] = {}

    def pack(self, value: Any, where: str = '') -> Any:
        """The JSON of an object.

        Args:
            value (Any): The object.
            where (str, optional): What it is called in messages and names.
                (default: :obj:`""`)

        Raises:
            ValueError: If it is, or holds, what a file cannot.
        """
        kind = type(value)
        if kind in ATOMS:
            return value
        if isinstance(value, Tensor):
            order = _order_of(value)
            what = 'parameter' if isinstance(value, nn.Parameter) else 'tensor'
            found = {'tensor': self._tensor(value, where), 'is': what}
            return found if order is None else {**found, 'order': order}
        if kind is Ref:
            return {'node': value.index}
        if kind is slice:
            parts = (value.start, value.stop, value.step)
            return {'slice': [self.pack(part, where) for part in parts]}
        if value is Ellipsis:
            return {'ellipsis': True}
        if kind is torch.device:
            return {'device': str(value)}
        if kind in TORCH:
            return {'torch': str(value).removeprefix('torch.')}
        if isinstance(value, complex):
            return {'complex': [value.real, value.imag]}
        if isinstance(value, type):
            return {'type': name_of(value)}
        if isinstance(value, Enum):
            return {'enum': name_of(kind), 'name': value.name}
        if kind in (list, immutable_list):
            return [self.pack(v, f'{where}.{i}') for i, v in enumerate(value)]
        if isinstance(value, tuple):
            items = [self.pack(v, f'{where}.{i}') for i, v in enumerate(value)]
            if kind in (tuple, torch.Size):
                return {'tuple' if kind is tuple else 'size': items}
            return {'named': name_of(kind), 'items': items}
        if kind in (dict, immutable_dict):
            return {'dict': self._pairs(value, where)}
        if isinstance(value, (*COLLECTIONS, BaseData)):
            held: Any = value.to_dict() if isinstance(value, BaseData) else value
            items = list(held.items() if isinstance(held, Mapping) else held)
            made = {'made': name_of(kind), 'of': self.pack(items, where)}
            factory = getattr(value, 'default_factory', None)
            return made if factory is None else {**made, 'default': name_of(factory)}
        if inspect.isroutine(value) or (callable(value) and hasattr(value, '__name__')):
            return {'function': name_of(value)}
        return self._object(value, where)

    def _tensor(self, value: Tensor, where: str) -> str:
        if is_foreign(value):
            raise ValueError(f"Cannot save '{where}': it is a {type(value).__name__}")
        if id(value) not in self._known:
            name = (
                where if where not in self.tensors else f'{where}.{len(self.tensors)}'
            )
            self._known[id(value)] = (name, value)
            order = _order_of(value)
            held = value.detach()
            self.tensors[name] = held if order is None else held.permute(order)
        return self._known[id(value)][0]

    def _pairs(self, value: Mapping[Any, Any], where: str) -> list[list[Any]]:
        return [
            [self.pack(key, where), self.pack(item, f'{where}.{key}'.lstrip('.'))]
            for key, item in value.items()
        ]

    def _object(self, value: Any, where: str) -> Any:
        if id(value) in self._objects:
            return {'same': self._objects[id(value)][0]}
        self._objects[id(value)] = (len(self._objects), value)
        kind = type(value)
        base: dict[str, Any] = {}
        if isinstance(value, Network):
            return {'network': self.pack(value.state(), where)}
        if dataclasses.is_dataclass(value):
            fields = dataclasses.fields(value)
            held = {f.name: getattr(value, f.name) for f in fields}
            state = {
                f.name: held[f.name] for f in fields if held[f.name] is not f.default
            }
        elif isinstance(value, torch.jit.ScriptModule):
            raise ValueError(
                f"Cannot save '{where}': torch.jit hides what it does; save a network that "
                'was converted without it'
            )
        elif isinstance(value, nn.Module):
            state = _state_of(value)
            base = vars(MessagePassing()) if isinstance(value, MessagePassing) else {}
        else:
            state = attributes(value)
        if not hasattr(value, '__dict__') and not hasattr(kind, '__slots__'):
            raise ValueError(
                f"Cannot save '{where}': a {kind.__name__} is no tensor, module, number or "
                'text'
            )
        packed = {}
        for name, item in state.items():
            place = f'{where}.{name}'.lstrip('.')
            if name in HELD:
                packed[name] = self._pairs(item, where)
                continue
            try:
                packed[name] = self.pack(item, place)
            except ValueError:
                if name not in base:  # What PyG makes anew for the class.
                    raise
        return {'object': name_of(kind), 'state': packed}


def _state_of(module: nn.Module) -> dict[str, Any]:
    """What a module holds, hooks and what is made anew left out."""
    has_own = hasattr(module, '__getstate__')
    state = dict(module.__getstate__() if has_own else vars(module))
    dropped = {*getattr(type(module), 'made_anew', ()), 'training'}
    dropped |= {'_is_full_backward_hook', '_compiled_call_impl'}
    return {
        name: item
        for name, item in state.items()
        if name not in dropped and not name.endswith(HOOKS)
    }


def _order_of(value: Tensor) -> list[int] | None:
    """The dimensions as they lie in memory, if that is not their own order: sums start
    elsewhere then.
    """
    if value.layout != torch.strided or value.dim() < 2 or value.is_contiguous():
        return None
    strides = value.stride()
    order = sorted(range(value.dim()), key=lambda dim: -strides[dim])
    return order if value.permute(order).is_contiguous() else None
