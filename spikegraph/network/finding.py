"""What functions and types are called, and where they are found again."""

from __future__ import annotations

import importlib
import inspect
import math
import operator
import pkgutil
import sys
from functools import lru_cache
from types import BuiltinFunctionType, ModuleType
from typing import Any

import torch
import torch_geometric
from torch import Tensor, nn


def name_of(value: Any) -> str:
    """The name of a function or type, as the registry knows it.

    Raises:
        ValueError: If it has none by which it could be found again.
    """
    if getattr(value, 'scripted', False) is True:
        value = getattr(value, '__wrapped__', value)
    origin = getattr(value, '_torchdynamo_inline', value)  # Of what torch.jit compiled.
    module = getattr(origin, '__module__', None) or ''
    qualified = getattr(origin, '__qualname__', None) or getattr(origin, '__name__', '')
    for place in (f'{module}.{qualified}', *_aliases().get(key_of(value), ())):
        found = find(place)
        is_builtin = isinstance(value, BuiltinFunctionType)  # Made anew on each look.
        if found is value or (is_builtin and found == value):
            return place
    raise ValueError(
        f'Cannot save {qualified or repr(value):.80}: it has no name by which a file could '
        'refer to it; define it at the top of a module'
    )


def key_of(value: Any) -> Any:
    """What a value is looked up by."""
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value


@lru_cache(maxsize=1)
def _aliases() -> dict[Any, list[str]]:
    """Where functions are that do not know it themselves."""
    places: tuple[Any, ...] = (torch, torch.nn.functional, torch.linalg, torch.fft)
    places += (torch.special, torch.sparse, torch._C._nn, operator, math, Tensor)
    places += (torch_geometric.nn, torch_geometric.nn.aggr, torch_geometric.utils)
    found: dict[Any, list[str]] = {}
    for place in places:
        prefix = getattr(place, '__name__', '')
        prefix = 'torch.Tensor' if place is Tensor else prefix
        items = {**vars(torch._C.TensorBase), **vars(Tensor)} if place is Tensor else {}
        for name, value in (items or vars(place)).items():
            if callable(value) and not isinstance(value, ModuleType):
                found.setdefault(key_of(value), []).append(f'{prefix}.{name}')
    own = torch._C._VariableFunctions
    for name in dir(own):
        place = f'torch._C._VariableFunctions.{name}'
        found.setdefault(key_of(getattr(own, name)), []).append(place)
    return found


def find(name: str) -> Any:
    """What a name stands for in modules that are there, or are in the packages of
    which files may name things; None if there is nothing.
    """
    parts = name.split('.')
    for end in range(len(parts) - 1, 0, -1):
        place = '.'.join(parts[:end])
        module = sys.modules.get(place)
        if module is None and place in _importable():
            module = importlib.import_module(place)
        if module is None:
            continue
        value: Any = module
        for part in parts[end:]:
            value = inspect.getattr_static(value, part, None)
            value = value.__func__ if isinstance(value, staticmethod) else value
        return value
    return None


@lru_cache(maxsize=1)
def _importable() -> frozenset[str]:
    """The modules that are imported if a file names something in them."""
    found = {'ogb.graphproppred.mol_encoder'}
    for package in ('spikegraph.nn', 'torch_geometric.nn', 'torch_geometric.utils'):
        path = importlib.import_module(package).__path__
        found |= {m.name for m in pkgutil.walk_packages(path, f'{package}.')}
    return frozenset(found)


def of_model(model: nn.Module) -> list[Any]:
    """The types of a model's modules, and the functions beside them."""
    found: dict[Any, None] = {}
    for module in model.modules():
        for kind in type(module).__mro__[:-1]:
            found.setdefault(kind)
        name = type(module).__module__
        is_own = name in sys.modules and not name.startswith('torch')
        for value in vars(sys.modules[name]).values() if is_own else ():
            origin = getattr(value, '_torchdynamo_inline', value)
            is_local = getattr(origin, '__module__', None) == name
            if callable(value) and is_local:
                found.setdefault(value)
    return [value for value in found if _is_named(value)]


def _is_named(value: Any) -> bool:
    try:
        return bool(name_of(value))
    except ValueError:
        return False
