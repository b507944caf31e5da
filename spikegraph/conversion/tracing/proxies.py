"""Symbolic values that know what they were on the calibration data."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from spikegraph.calls.inputs import is_value
from spikegraph.calls.outputs import Form, emptied
from spikegraph.conversion.tracing import memory
from spikegraph.conversion.tracing.refusals import refusal

_SYMBOLIC = {'shape', 'dtype', 'device'}
# What is answered at once, and what has to be the same on every call then.
_FIXED = {
    **dict.fromkeys(('dim', 'ndimension', 'ndim'), 'rank'),
    **dict.fromkeys(('is_floating_point', 'is_complex', 'is_signed'), 'numbers'),
    **dict.fromkeys(('is_cuda', 'get_device'), 'device'),
    'is_coalesced': 'coalesced',
    'is_contiguous': 'contiguous',
    'is_pinned': 'pinned',
    'is_shared': 'shared',
    'is_inference': 'inference',
    'dim_order': 'strides',
}
FIXED_FUNCTIONS: dict[Any, str] = {
    torch.is_floating_point: 'numbers',
    torch.is_complex: 'numbers',
    torch.is_tensor: 'type',
}
# What moves and copies data, and changes no value.
MOVES = {
    *('to', 'cpu', 'cuda', 'clone', 'contiguous', 'detach', 'detach_', 'pin_memory'),
    *('share_memory_', 'requires_grad_', 'record_stream', 'stores_as'),
}
# What tells where a tensor lies, and shows its values to whoever looks there.
_MEMORY = {'data_ptr', 'storage', 'untyped_storage', 'const_data_ptr'}
# What Python writes as 'x += 1'.
AUGMENTED = (
    *('add', 'sub', 'mul', 'truediv', 'floordiv', 'mod', 'pow', 'and', 'or', 'xor'),
    'matmul',
)
_UNREAD = ('logging', 'warnings')  # What these write is for people.
_isinstance = isinstance
_OWN = (
    'torch.',
    *(f'spikegraph.{name}' for name in ('calls', 'conversion', 'kernels', 'network')),
    *('spikegraph.nn', 'spikegraph.running'),
)


class Traced(fx.Proxy):
    """A symbolic value: what is done to it is recorded, and done to the value that
    it has on the first calibration call, too. So questions about it have answers,
    and those that a network depends on are asked again on every call.

    Args:
        node (torch.fx.Node): The operation that makes it.
        tracer (Tracer): Records.
        example (Any): Its value on the first calibration call.
        view (View, optional): The value that it shows a part of.
    """

    tracer: Any

    def __init__(
        self, node: fx.Node, tracer: Any, example: Any, view: View | None = None
    ) -> None:
        super().__init__(node, tracer)
        self._example = example
        self._view = view
        self._made = node  # Before it is written to.
        self._sized: Traced | None = None  # What it is the shape of.
        self._lost: Any = None  # Where a part was written to that it cannot follow.
        self._stamp = self._changed = tracer.clock  # When it was made, and changed.

    def _take_apart(self, apart: Any) -> tuple[Any, Form]:
        """What an operation returned as a whole, as part of an output."""
        example = self._example
        if isinstance(example, (tuple, list)):
            plain, parts = apart(dict(enumerate(self)))
            return tuple(plain.values()), Form('sequence', type(example), parts)
        if isinstance(example, dict):
            plain, parts = apart({key: self[key] for key in example})
            return plain, Form('mapping', emptied(example), parts)
        return self, Form('value')

    def __getattr__(self, name: str) -> Any:
        if name == 'shape' and isinstance(self.__dict__['_example'], Tensor):
            return self.tracer.create_proxy('call_method', 'size', (self,), {})
        example = self.__dict__['_example']
        value = getattr(example, name)
        if callable(value) and not is_value(value):
            return _Method(self, name)
        if isinstance(example, Tensor):
            if name == 'nbytes':
                return self.numel() * self.element_size()
            if name == 'itemsize':
                return self.element_size()
            if name not in _SYMBOLIC and not isinstance(value, Tensor):
                self.tracer.note(self, _FIXED.get(name, 'layout'))
                return value
        if value is None:
            return value
        found = self.tracer.create_proxy('call_function', getattr, (self, name), {})
        return found.pinned() if isinstance(value, (str, bool)) else found

    def pinned(self) -> Any:
        """What it is on the first calibration call, and has to be on every call."""
        bool(self == self._example)
        return self._example

    def __getitem__(self, index: Any) -> Any:
        if type(index) is int and self._sized is not None:  # As ``x.size(index)``.
            arguments = (self._sized, index)
            return self.tracer.create_proxy('call_method', 'size', arguments, {})
        return self.tracer.create_proxy(
            'call_function', operator.getitem, (self, index), {}
        )

    def __setitem__(self, index: Any, value: Any) -> None:
        self.tracer.create_proxy(
            'call_function', operator.setitem, (self, index, value), {}
        )

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self._example, Mapping):
            return iter(self._example)
        return (self[i] for i in range(len(self)))

    def __len__(self) -> int:
        if self._sized is not None:
            self.tracer.note(self._sized, 'rank')
            return len(self._example)
        return int(self.tracer.number(self, 'length', sys._getframe(1)))

    def __contains__(self, item: Any) -> bool:
        if isinstance(self._example, Mapping):
            return item in self._example
        if isinstance(self._example, Tensor):
            return bool((self == item).any())
        return any(bool(part == item) for part in self)

    def __bool__(self) -> bool:
        return bool(self.tracer.ask(self, 'value'))

    def __int__(self) -> int:
        return int(self.tracer.number(self, 'value', sys._getframe(1)))

    def __index__(self) -> int:
        return operator.index(self.tracer.ask(self, 'index', sys._getframe(1)))

    def __float__(self) -> float:
        return float(self.tracer.number(self, 'value', sys._getframe(1)))

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self._example, (Tensor, np.ndarray)):
            return self.tracer.ask(self, 'array')
        return np.asarray(self.pinned()).__array__(*args, **kwargs)

    def __repr__(self) -> str:
        if isinstance(self._example, Tensor):
            return f'{self.node.name} of shape {tuple(self._example.shape)}'
        return f'{self.node.name}={self._example!r}'

    def __str__(self) -> str:
        return format(self)

    def __format__(self, spec: str) -> str:
        name = sys._getframe(1).f_globals.get('__name__', '')
        if isinstance(self._example, Tensor) or name.startswith(_UNREAD):
            return format(self._example, spec)
        return format(self.pinned(), spec)

    def __hash__(self) -> int:
        if isinstance(self._example, Tensor) or self.tracer.closed:
            return fx.Proxy.__hash__(self)
        return hash(self.pinned())  # As a key of a dictionary.

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        found = find_traced((args, kwargs or {}))
        return found[0].tracer.record(function, args, kwargs or {})


def _define(name: str, function: Any) -> None:
    def method(self: Traced, *args: Any) -> Any:
        return self.tracer.create_proxy('call_function', function, (self, *args), {})

    setattr(Traced, f'__{name}__', method)


for _name in AUGMENTED:
    _define(f'i{_name}', getattr(operator, f'i{_name}'))
_define('round', round)
_define('abs', abs)
for _name in ('ceil', 'floor', 'trunc'):
    _define(_name, getattr(math, _name))


class _Method:
    """A method of a symbolic value."""

    def __init__(self, owner: Traced, name: str) -> None:
        self.owner = owner
        self.name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        owner, name = self.owner, self.name
        if isinstance(owner._example, Tensor):
            if name == 'type' and not (args or kwargs):
                owner.dtype.pinned()
                owner.tracer.note(owner, 'layout')
                return owner._example.type()
            if name in _FIXED:
                owner.tracer.note(owner, _FIXED[name])
                return getattr(owner._example, name)(*args, **kwargs)
            if name in ('stride', 'storage_offset'):
                return getattr(memory, f'{name}_of')(owner, *args, **kwargs)
            if name in _MEMORY:
                raise refusal('address', name=name, where=owner.tracer.where())
        return owner.tracer.create_proxy('call_method', name, (owner, *args), kwargs)


class View:
    """How a value shows a part of another one.

    Args:
        source (Traced): The other value.
        node (torch.fx.Node): The operation that took the part.
    """

    def __init__(self, source: Traced, node: fx.Node) -> None:
        self.source = source
        self.node = node


def map_values(function: Any, value: Any) -> Any:
    """Applies a function to all that is in tuples, lists, dictionaries and slices.
    Symbolic values pass for those, but are none.
    """
    kind = type(value)
    if issubclass(kind, tuple):
        items = [map_values(function, v) for v in value]
        return kind(*items) if hasattr(kind, '_fields') else tuple(items)
    if issubclass(kind, list):
        return [map_values(function, v) for v in value]
    if issubclass(kind, dict):
        return {k: map_values(function, v) for k, v in value.items()}
    if kind is slice:
        ends = (value.start, value.stop, value.step)
        return slice(*[map_values(function, v) for v in ends])
    return function(value)


def find_traced(value: Any) -> list[Traced]:
    """All symbolic values in an argument."""
    found: list[Traced] = []
    map_values(lambda v: found.append(v) if type(v) is Traced else None, value)
    return found


def examples_of(value: Any) -> Any:
    """An argument with the values of the calibration call."""
    return map_values(lambda v: v._example if type(v) is Traced else v, value)


def is_foreign(frame: Any) -> bool:
    """Whether a frame runs code that is neither PyTorch's nor ours."""
    name = frame.f_globals.get('__name__', '')
    return not name.startswith(_OWN) and name not in ('torch', 'operator')
