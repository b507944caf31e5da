"""Which backend does what: each folder beside this file with an ``operations.py`` is
one, and offers whatever functions it has.

The folder itself says in its ``__init__.py`` which tensors it ``takes``, which of two
that take one is asked first (the lower ``RANK``), and what package it ``NEEDS``, by
name. A function returns :obj:`NotImplemented` for arguments that it leaves to the
next; PyTorch, the last, leaves none.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

_PACKAGE = __name__.rpartition('.')[0]
_ONLY: ContextVar[str | None] = ContextVar('_ONLY', default=None)


class Backend:
    """The functions of a folder, imported when one is first asked for.

    Args:
        module (ModuleType): The folder.
    """

    def __init__(self, module: ModuleType) -> None:
        self.name = module.__name__.rpartition('.')[2]
        self.takes, self.rank, self.needs = module.takes, module.RANK, module.NEEDS
        self._module = module

    @functools.cached_property
    def operations(self) -> ModuleType | None:
        """The functions; None, with a warning, where they cannot be imported."""
        try:
            return importlib.import_module(f'{self._module.__name__}.operations')
        except Exception as error:  # Whatever a broken installation raises.
            warnings.warn(
                f'{self.needs} cannot be used ({error}): PyTorch does the work of the '
                f"kernels, more slowly. Install it with 'pip install "
                f"{self.needs.lower()}'",
                RuntimeWarning,
                stacklevel=_depth(),
            )
            return None


@functools.cache
def backends() -> list[Backend]:
    """All backends, in the order in which they are asked."""
    package, found = importlib.import_module(_PACKAGE), []
    for each in pkgutil.iter_modules(package.__path__, f'{package.__name__}.'):
        if each.ispkg:
            module = importlib.import_module(each.name)
            if hasattr(module, 'takes'):
                found.append(Backend(module))
    return sorted(found, key=lambda backend: backend.rank)


@contextmanager
def only(name: str) -> Iterator[None]:
    """Within, no other backend is asked than that of a name: with ``'torch'``, what is
    done is made of PyTorch's own operations, which tracers follow and exporters know.

    Example:
        >>> with only('torch'):
        ...     info()['path']
        'torch'
    """
    known = [backend.name for backend in backends()]
    if name not in known:
        raise ValueError(
            f"Expected 'name' to be one of {', '.join(sorted(known))} (got {name!r})"
        )
    token = _ONLY.set(name)
    try:
        yield
    finally:
        _ONLY.reset(token)


def _takers(x: Tensor) -> Iterator[Backend]:
    """The backends that may be asked about a tensor."""
    name = _ONLY.get()
    for backend in backends():
        if name in (None, backend.name) and backend.takes(x):
            yield backend


def call(name: str, x: Tensor, *args: Any) -> Any:
    """What the first backend returns that takes ``x``, offers a function of that name,
    and does not leave these arguments to others; :obj:`NotImplemented` if none does.
    """
    for backend in _takers(x):
        if backend.operations is not None:
            function = getattr(backend.operations, name, None)
            found = NotImplemented if function is None else function(x, *args)
            if found is not NotImplemented:
                return found
    return NotImplemented


def find(name: str, x: Tensor) -> Any:
    """The function of that name of the first backend that takes ``x`` and has it."""
    for backend in _takers(x):
        if hasattr(backend.operations, name):
            return getattr(backend.operations, name)
    return None


def info() -> dict[str, Any]:
    """How spikes are encoded, sent and decoded on this CPU: ``'path'`` (``'numba'``
    or ``'torch'``), ``'reason'``, ``'num_threads'`` and, with Numba, ``'numba'``
    (its version), ``'cpu'`` (what it compiles for), ``'levels'`` (where float32
    levels are looked up: in the registers of ``'avx512'`` or ``'avx2'``, or in
    ``'memory'``) and ``'threads'`` (PyTorch's ``'openmp'``, or a ``'pool'``).

    Example:
        >>> sorted(info())
        ['cpu', 'levels', 'num_threads', 'numba', 'path', 'reason', 'threads']
    """
    found = call('info', torch.empty(1))
    if _ONLY.get() is not None:
        found['reason'] = 'no other is asked'
    return {**found, 'num_threads': torch.get_num_threads()}


def _depth() -> int:
    """How far up the stack the caller of the package is."""
    frame, depth = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get('__name__', '').startswith(
        ('spikegraph.', 'functools')
    ):
        frame, depth = frame.f_back, depth + 1
    return depth
