"""Objects of JSON and tensors: none but those of a registry, and no code is run."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections import defaultdict
from collections.abc import Mapping
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data.data import BaseData
from torch_geometric.nn import MessagePassing

from spikegraph.network.checking import check_nodes
from spikegraph.network.graph import Ref
from spikegraph.network.network import Network
from spikegraph.network.packing import ATOMS, COLLECTIONS, HELD, HOOKS, TORCH
from spikegraph.network.registry import Registry

_MODULE = frozenset(nn.Module().__dict__)
_MOST_SHARED = 2**20  # Values, if what is named twice were written twice.


class Unpacker:
    """Builds what a :class:`Packer` has packed, of types and functions of a registry.

    Args:
        tensors (Dict[str, torch.Tensor]): The tensors, by name.
        registry (Registry): What may be built.
    """

    def __init__(self, tensors: Mapping[str, Tensor], registry: Registry) -> None:
        self.tensors, self.registry = tensors, registry
        self._values: dict[str, Any] = {}
        self._objects: list[Any] = []
        self._sizes: list[int] = []  # In values; less than one until they are built.
        self._size = self._shared = 0

    def unpack(self, data: Any) -> Any:
        """The object of some JSON.

        Raises:
            ValueError: If it is not the JSON of an object.
        """
        self._size += 1
        if isinstance(data, ATOMS):
            return data
        if isinstance(data, list):
            return [self.unpack(item) for item in data]
        if not isinstance(data, dict) or not data:
            raise ValueError(f'Expected a description (got {data!r:.60})')
        tag = next(iter(data))
        build = getattr(self, f'_build_{tag}', None) if tag in _TAGS else None
        if build is None:
            raise ValueError(f'Expected a known kind of value (got {tag!r:.60})')
        if tag not in ('object', 'network'):
            return build(data)
        place, before = len(self._objects), self._size
        self._objects.append(None)
        self._sizes.append(-1)
        value = self._objects[place] = build(data)
        self._sizes[place] = self._size - before
        return value

    def _list(self, value: Any, length: int | None = None) -> list[Any]:
        if not isinstance(value, list) or length not in (None, len(value)):
            raise ValueError(f'Expected a list (got {value!r:.60})')
        return value

    def _build_tensor(self, data: Any) -> Any:
        name, kind = data['tensor'], data.get('is')
        if not isinstance(name, str) or name not in self.tensors:
            raise ValueError(f'Expected the tensor {name!r:.80} (got none)')
        if name not in self._values:
            value = self.tensors[name]
            if 'order' in data:
                order = self._list(data['order'], value.dim())
                if sorted(order) != list(range(value.dim())):
                    raise ValueError(f'Expected an order of dimensions (got {order})')
                value = value.permute([order.index(dim) for dim in range(len(order))])
            self._values[name] = nn.Parameter(value) if kind == 'parameter' else value
        return self._values[name]

    def _build_node(self, data: Any) -> Any:
        return Ref(data['node'])

    def _build_slice(self, data: Any) -> slice:
        return slice(*[self.unpack(v) for v in self._list(data['slice'], 3)])

    def _build_ellipsis(self, data: Any) -> Any:
        return Ellipsis

    def _build_device(self, data: Any) -> torch.device:
        return torch.device(str(data['device']))

    def _build_torch(self, data: Any) -> Any:
        value = getattr(torch, str(data['torch']), None)
        if not isinstance(value, TORCH):
            raise ValueError(f'Expected a data type (got {data["torch"]!r:.60})')
        return value

    def _build_complex(self, data: Any) -> complex:
        real, imag = self._list(data['complex'], 2)
        return complex(real, imag)

    def _build_type(self, data: Any) -> Any:
        return self.registry.type(data['type'])

    def _build_enum(self, data: Any) -> Any:
        kind = self.registry.kind(data['enum'])
        if not issubclass(kind, Enum):
            raise ValueError(f"Expected an enumeration (got '{kind.__name__}')")
        return kind[data['name']]

    def _build_tuple(self, data: Any) -> Any:
        return tuple(self.unpack(v) for v in self._list(data['tuple']))

    def _build_size(self, data: Any) -> Any:
        return torch.Size(self.unpack(v) for v in self._list(data['size']))

    def _build_named(self, data: Any) -> Any:
        kind: Any = self.registry.kind(data['named'])
        if not issubclass(kind, tuple) or not hasattr(kind, '_make'):
            raise ValueError(f"Expected a named tuple (got '{kind.__name__}')")
        return kind._make(self.unpack(v) for v in self._list(data['items']))

    def _build_dict(self, data: Any) -> Any:
        pairs = [self._list(pair, 2) for pair in self._list(data['dict'])]
        return {self.unpack(key): self.unpack(value) for key, value in pairs}

    def _build_function(self, data: Any) -> Any:
        value = self.registry.function(data['function'])
        is_compiled = isinstance(value, torch.jit.ScriptFunction)
        return _copyable(value) if is_compiled else value

    def _build_same(self, data: Any) -> Any:
        """An object once more, which must be there as a whole."""
        place = data['same']
        if type(place) is not int or not 0 <= place < len(self._objects):
            raise ValueError(f'Expected the number of an object (got {place!r:.60})')
        size = self._sizes[place]
        if size < 0:
            raise ValueError(
                f'Expected objects that do not hold themselves (got {place})'
            )
        self._size += size
        self._shared += size
        if self._shared > _MOST_SHARED:
            raise ValueError('Expected objects that are shared a few times (got many)')
        return self._objects[place]

    def _build_made(self, data: Any) -> Any:
        kind: Any = self.registry.kind(data['made'])
        items = self._list(self.unpack(data['of']))
        if issubclass(kind, BaseData):
            held: Any = dict(items)
            return kind.from_dict(held)
        if not issubclass(kind, COLLECTIONS):
            raise ValueError(f"Expected a collection (got '{kind.__name__}')")
        if issubclass(kind, defaultdict):
            factory = data.get('default')
            made = None if factory is None else self.registry.type(factory)
            return kind(made, items)
        return kind(items)

    def _build_network(self, data: Any) -> Network:
        network = Network.from_state(self.unpack(data['network']))
        check_nodes(network, self.registry)
        return network

    def _build_object(self, data: Any) -> Any:
        kind: Any = self.registry.kind(data['object'])
        state = data['state']
        if not isinstance(state, dict):
            raise ValueError(
                f'Expected the state of a {kind.__name__} (got {state!r:.60})'
            )
        if issubclass(kind, nn.Module):
            return self._module(kind, state)
        held = {name: self.unpack(item) for name, item in state.items()}
        if dataclasses.is_dataclass(kind):
            make: Any = kind
            return make(**held)
        value = kind.__new__(kind)
        _check_names(kind, held)
        for name, item in held.items():
            object.__setattr__(value, name, item)
        return value

    def _module(self, kind: Any, state: dict[str, Any]) -> nn.Module:
        module: nn.Module = kind.__new__(kind)
        first = MessagePassing if issubclass(kind, MessagePassing) else nn.Module
        first.__init__(module)
        held: dict[str, Any] = dict.fromkeys(getattr(kind, 'made_anew', ()))
        if held.keys() & state.keys():
            raise ValueError(f'Expected no {", ".join(held)} in a {kind.__name__}')
        for name, item in state.items():
            if name not in HELD:
                held[name] = self.unpack(item)
                continue
            pairs = [self._list(pair, 2) for pair in self._list(item)]
            held[name] = {str(key): self.unpack(value) for key, value in pairs}
            part = nn.Module if name == '_modules' else Tensor
            for value in held[name].values():
                if not isinstance(value, (part, type(None))):
                    raise ValueError(f'Expected {name[1:]} (got {value!r:.60})')
        _check_names(kind, held)
        setter = getattr(kind, '__setstate__', nn.Module.__setstate__)
        setter(module, {**module.__dict__, **held})
        for name in getattr(kind, '__constants__', ()):
            if not hasattr(module, name):
                raise ValueError(f"Expected '{name}' in a {kind.__name__} (got none)")
        return module.eval()


_TAGS = {
    name.removeprefix('_build_')
    for name in vars(Unpacker)
    if name.startswith('_build_')
}


def _copyable(compiled: Any) -> Any:
    """What torch.jit compiled as a function, which copies of a network share."""

    @functools.wraps(compiled, assigned=())
    def scripted(*args: Any, **kwargs: Any) -> Any:
        return compiled(*args, **kwargs)

    scripted.scripted = True  # type: ignore[attr-defined]
    return scripted


def _check_names(kind: type, held: dict[str, Any]) -> None:
    """Raises ``ValueError`` if an attribute would hide what a class does, or be called
    whenever it is called.
    """
    for name in held:
        hides = callable(inspect.getattr_static(kind, name, None))
        is_bad = name.startswith('__') or name.endswith((*HOOKS, '_call_impl'))
        if not name.isidentifier() or is_bad or (hides and name not in _MODULE):
            raise ValueError(
                f'Expected an attribute of a {kind.__name__} (got {name!r:.60})'
            )
