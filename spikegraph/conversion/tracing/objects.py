"""Arguments that hold tensors, such as PyG data, while a model is traced."""

from __future__ import annotations

import sys
from typing import Any

from torch.utils import _pytree as pytree
from torch_geometric.data.data import BaseData

from spikegraph.calls.inputs import Path, is_plain, is_value, plain, spell
from spikegraph.calls.outputs import Form
from spikegraph.conversion.tracing.proxies import MOVES, Traced, is_foreign
from spikegraph.conversion.tracing.refusals import refusal

_isinstance = isinstance  # Others may be told otherwise, see symbolic.


class InputObject:
    """PyG data as an argument of a model: what is read becomes an input.

    Args:
        tracer (Tracer): Records.
        argument (str): The argument.
        path (Path): Where in the argument.
        example (Any): The data on the first calibration call.
    """

    def __init__(self, tracer: Any, argument: str, path: Path, example: Any) -> None:
        self.__dict__.update({'_tracer': tracer, '_argument': argument, '_path': path})
        self.__dict__.update({'_example': example, '_changed': {}, '_parts': {}})

    def _take_apart(self, apart: Any) -> tuple[Any, Form]:
        plain, parts = apart(self.changes())
        return plain, Form('argument', (self._argument, self._path), parts)

    def __getattr__(self, name: str) -> Any:
        if name in self._changed:
            return self._changed[name]
        try:
            value = getattr(self._example, name)
        except AttributeError:
            self._note_presence(name, False)
            raise
        if value is None:
            self._note_presence(name, False)
            return None
        if callable(value) and not is_value(value):
            return lambda *args, **kwargs: self._call(name, args, kwargs)
        return self._read(('attr', name), value)

    def __getitem__(self, key: Any) -> Any:
        if key in self._changed:
            return self._changed[key]
        try:
            value = self._example[key]
        except KeyError:
            self._note_presence(key, False)
            raise
        if isinstance(key, str) and hasattr(self._example, key):
            return getattr(self, key)
        return self._read(('item', key), value)

    def __setattr__(self, name: str, value: Any) -> None:
        self._changed[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        self._changed[name] = value

    def __contains__(self, key: Any) -> bool:
        if key in self._changed:
            return True
        found = key in self._example
        self._note_presence(key, found)
        return bool(found)

    def __len__(self) -> int:
        return int(self._call('__len__', (), {}))

    def _read(self, step: Any, value: Any) -> Any:
        if step in self._parts:
            return self._parts[step]
        found = self._tracer.enter(self._argument, (*self._path, step), value)
        if type(found) is InputObject:  # Which remembers what is written to it.
            self._parts[step] = found
        return found

    def changes(self) -> dict[tuple[Any, str], Any]:
        """What was written, by the storage inside and attribute."""
        found = {(None, str(key)): value for key, value in self._changed.items()}
        for (_, inside), part in self._parts.items():
            found.update({(inside, key): v for (_, key), v in part.changes().items()})
        return found

    def _note_presence(self, name: Any, found: bool) -> None:
        if isinstance(name, str) and not name.startswith('_'):
            path = (*self._path, ('attr', name))
            self._tracer.note_input(self._argument, path, 'has', found)

    def _call(self, name: str, args: Any, kwargs: Any) -> Any:
        """Moves and copies change no value; else what a method returns has to be the
        same on every call.
        """
        if name in MOVES:
            return self._copy()
        with self._tracer.on_examples():
            value = getattr(self._example, name)(*args, **kwargs)
        if isinstance(value, BaseData) or type(value) is type(self._example):
            raise self._computes(name)
        if is_plain(value) and not args and not kwargs:
            path = (*self._path, ('attr', name))
            self._tracer.note_input(self._argument, path, 'call', plain(value))
            return value
        held = (
            {id(v): key for key, v in self._example.items()}
            if hasattr(self._example, 'items')
            else {}
        )

        def own(item: Any) -> Any:
            if not is_value(item):
                return item
            if id(item) not in held:
                raise self._computes(name)
            return self[held[id(item)]]

        if not any(is_value(item) for item in pytree.tree_leaves(value)):
            raise self._computes(name)
        return pytree.tree_map(own, value)

    def _copy(self) -> InputObject:
        found = InputObject(self._tracer, self._argument, self._path, self._example)
        found._changed.update(self._changed)
        found._parts.update({k: part._copy() for k, part in self._parts.items()})
        return found

    def _computes(self, name: str) -> Exception:
        what = f"'{spell(self._argument, self._path)}.{name}()'"
        return refusal('computed', what, where=self._tracer.where())


def passes_for(value: Any, kinds: Any) -> bool:
    """Whether a value is of a type, as :func:`isinstance` says; symbolic ones are of
    those of their examples, too. PyTorch's own checks are not to believe that: they
    would read memory that is none of a tensor.
    """
    if _isinstance(value, kinds):
        return True
    if type(value) is Traced:
        if is_foreign(sys._getframe(1)):
            value.tracer.note(value, 'type')
        return _isinstance(value._example, kinds)
    return type(value) is InputObject and _isinstance(value._example, kinds)
