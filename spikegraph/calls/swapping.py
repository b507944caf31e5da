"""Functions that are swapped for one thread, and are as ever for all others."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from threading import RLock, get_ident
from types import ModuleType
from typing import Any

_LOCK = RLock()
_MISSING = object()


class Swaps(ExitStack):
    """Swaps functions of modules, methods of classes and global names, for the thread
    that enters it and as long as it lasts.
    """

    def put(
        self,
        owner: Any,
        name: str,
        make: Callable[[Any], Any],
        original: Any = _MISSING,
        wrap: Callable[[Any], Any] | None = None,
    ) -> None:
        """Swaps one function.

        Args:
            owner (Any): A class; a dictionary of global names; or a module, whose
                attribute keeps its identity for other threads.
            name (str): The name of the function there.
            make (Callable): Makes what this thread finds of what it found before.
            original (Any, optional): What other threads find.
                (default: what is there)
            wrap (Callable, optional): Such as :obj:`classmethod`.
        """
        with _LOCK:
            key = (id(owner), name)
            if key not in _SWITCHES:
                _SWITCHES[key] = _Switch(owner, name, original, wrap)
            found = _SWITCHES[key].found.setdefault(get_ident(), [])
            found.append(make(found[-1] if found else _SWITCHES[key].original))
            self.callback(_take_back, key, get_ident())

    def put_for_all(self, owner: dict[str, Any], name: str, value: Any) -> None:
        """Gives all threads something, which must be to all others as what it stands
        for: what may not be called through another function.
        """
        with _LOCK:
            self.callback(_set, owner, name, owner.get(name, _MISSING))
            owner[name] = value


class _Switch:
    """Stands in the place of a function, and looks at the thread."""

    def __init__(self, owner: Any, name: str, original: Any, wrap: Any) -> None:
        self.owner = owner
        self.name = name
        is_dict = isinstance(owner, dict)
        self.held = (owner if is_dict else vars(owner)).get(name, _MISSING)
        if original is _MISSING:
            original = owner[name] if is_dict else getattr(owner, name)
        self.original = original
        # What each thread finds, the latest last.
        self.found: dict[int, list[Any]] = {}
        if isinstance(owner, ModuleType):
            _show(owner, name, property(self._read, self._write))
            return
        spare = _SPARE.setdefault(id(original), [])
        self.switch, self.found = spare.pop() if spare else _make_switch(original)
        _set(owner, name, self.switch if wrap is None else wrap(self.switch))

    def remove(self) -> None:
        if isinstance(self.owner, ModuleType):
            _show(self.owner, self.name, None)
        else:
            _set(self.owner, self.name, self.held)
            _SPARE[id(self.original)].append((self.switch, self.found))

    def _read(self, _: Any) -> Any:
        own = self.found.get(get_ident())
        return own[-1] if own else vars(self.owner)[self.name]

    def _write(self, _: Any, value: Any) -> None:
        vars(self.owner)[self.name] = value


def _make_switch(original: Any) -> tuple[Callable[..., Any], dict[int, list[Any]]]:
    found: dict[int, list[Any]] = {}

    @wraps(original)
    def switch(*args: Any, **kwargs: Any) -> Any:
        own = found.get(get_ident())
        return (own[-1] if own else original)(*args, **kwargs)

    return switch, found


def _set(owner: Any, name: str, value: Any) -> None:
    if isinstance(owner, dict):
        owner.update({name: value})
        if value is _MISSING:
            del owner[name]
    elif value is _MISSING:
        delattr(owner, name)  # Inherited.
    else:
        setattr(owner, name, value)


def _show(module: ModuleType, name: str, part: property | None) -> None:
    """Lets an attribute of a module depend on who reads it."""
    kind, parts = _KINDS.setdefault(id(module), (type(module), {}))
    if part is None:
        del parts[name]
    else:
        parts[name] = part
    module.__class__ = type(kind.__name__, (kind,), dict(parts)) if parts else kind
    if not parts:
        del _KINDS[id(module)]


def _take_back(key: tuple[int, str], thread: int) -> None:
    with _LOCK:
        switch = _SWITCHES[key]
        switch.found[thread].pop()
        if not switch.found[thread]:
            del switch.found[thread]
        if not switch.found:
            _SWITCHES.pop(key).remove()


_SWITCHES: dict[tuple[int, str], _Switch] = {}
# Functions out of use that look at the thread, by what they stand for, which they
# keep alive: hundreds of them take longer to make than to put in their places.
_SPARE: dict[int, list[tuple[Callable[..., Any], dict[int, list[Any]]]]] = {}
_KINDS: dict[int, tuple[type, dict[str, property]]] = {}
