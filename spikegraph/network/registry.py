"""What a file may name: a closed list of functions, methods and types of PyTorch, PyG
and this package, and what a user adds to it by hand.
"""

from __future__ import annotations

import builtins
import importlib
import inspect
import math
import operator
import pkgutil
import sys
from collections.abc import Iterable
from functools import lru_cache
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import torch
import torch_geometric
from torch import Tensor, nn
from torch.overrides import get_overridable_functions
from torch_geometric import EdgeIndex

_FACTORIES = (
    *('arange', 'as_tensor', 'empty', 'eye', 'full', 'linspace', 'ones', 'rand'),
    *('randn', 'sparse_coo_tensor', 'sparse_csr_tensor', 'tensor', 'zeros'),
    *('finfo', 'iinfo', 'is_tensor', 'randperm', 'randint', 'logspace', 'range'),
    *('sym_int', 'sym_float', 'sym_max', 'sym_min', 'sym_not', 'promote_types'),
)
_BUILTINS = (
    *('abs', 'bool', 'divmod', 'float', 'getattr', 'int', 'len', 'max', 'min', 'pow'),
    *('round', 'slice', 'sum', 'tuple', 'list', 'dict', 'isinstance', 'range', 'all'),
    *('any', 'zip', 'enumerate', 'reversed', 'sorted', 'str'),
)
# What reaches past numbers: it calls what it is given, or lays memory open.
_UNSAFE = {
    *('apply_', 'map_', 'map2_', 'numpy', 'register_hook', 'tofile', 'backward'),
    *('register_post_accumulate_grad_hook', 'share_memory_', 'set_', 'storage'),
    *('untyped_storage', 'typed_storage', 'data_ptr', 'module_load', 'share_memory'),
    *(
        'reinforce',
        'retain_grad',
        'as_subclass',
        'resize_',
        'resize_as_',
        'storage_type',
    ),
}
# Functions that take the name of a method, or attribute, and which argument that is.
_NAMING = {'getattr': 1, 'write_copy': 1, 'write_through': 2}
_OPERATORS = ('attrgetter', 'itemgetter', 'methodcaller', 'call')
# Packages whose functions compute with tensors only.
_FUNCTIONS = (
    *('torch_geometric.utils', 'torch_geometric.nn.pool', 'torch_geometric.nn.dense'),
    *(
        'torch_geometric.nn.unpool',
        'torch_geometric.nn.conv',
        'torch_geometric.nn.norm',
    ),
    *('torch_geometric.nn.models', 'torch_geometric.nn.functional'),
    *('spikegraph.network.functions', 'spikegraph.nn', 'torch.nn.functional'),
    *('torch_scatter', 'torch_sparse'),
)
_TYPES = (
    *('spikegraph.nn', 'spikegraph.coding', 'spikegraph.calls', 'spikegraph.network'),
    *(
        'torch.nn',
        'torch_geometric.nn',
        'torch_geometric.data',
        'torch_geometric.typing',
    ),
    *('ogb.graphproppred.mol_encoder', 'collections', 'torch_geometric.utils'),
)
_PLAIN_TYPES = (
    bool,
    int,
    float,
    str,
    bytes,
    complex,
    list,
    tuple,
    dict,
    set,
    frozenset,
)


def name_of(value: Any) -> str:
    """The name of a function or type, as the registry knows it.

    Raises:
        ValueError: If it has none by which it could be found again.
    """
    module = getattr(value, '__module__', None) or ''
    qualified = getattr(value, '__qualname__', None) or getattr(value, '__name__', '')
    for place in (f'{module}.{qualified}', *_aliases().get(_key(value), ())):
        if place and _find(place) is value:
            return place
    raise ValueError(
        f'Cannot save {value!r}: it has no name by which a file could refer to it; define '
        'it in a module, as a function or a class of its own'
    )


class Registry:
    """What may be built and called.

    Args:
        more (Iterable[Any]): Functions and types beside those of the packages.
    """

    def __init__(self, more: Iterable[Any] = ()) -> None:
        self.more = {name_of(value): value for value in more}

    def function(self, name: str) -> Any:
        """A function by its name.

        Raises:
            ValueError: If it is none of those that a file may name.
        """
        if name in self.more:
            return self.more[name]
        value = _find(name)
        if value is None or not is_known_function(value, name):
            raise ValueError(
                f"Expected a function of PyTorch, PyG or spikegraph (got '{name:.80}'); if "
                "it is yours, 'load(path, known=[...])' takes it"
            )
        return value

    def type(self, name: str) -> Any:
        """A type by its name.

        Raises:
            ValueError: If it is none of those that a file may name.
        """
        if name in self.more:
            return self.more[name]
        value = _find(name)
        if not isinstance(value, type) or not is_known_type(value, name):
            raise ValueError(
                f"Expected a type of PyTorch, PyG or spikegraph (got '{name:.80}'); if it "
                "is yours, 'load(path, known=[...])' takes it"
            )
        return value

    def method(self, name: Any) -> str:
        """The name of a method that takes and gives numbers.

        Raises:
            ValueError: If it is none of those that a file may name.
        """
        if not isinstance(name, str) or name not in _methods():
            raise ValueError(
                f'Expected the name of a method of tensors (got {name!r:.80})'
            )
        return name

    def check(self, function: Any, args: Any) -> None:
        """Raises ``ValueError`` if a function that takes the name of a method, or of an
        attribute, is given one that reaches past numbers.
        """
        place = _NAMING.get(getattr(function, '__name__', ''))
        if place is not None:
            name = args[place] if len(args) > place else None
            if function is getattr:
                if not isinstance(name, str) or name.startswith('_') or name in _UNSAFE:
                    raise ValueError(
                        f'Expected the name of an attribute (got {name!r:.60})'
                    )
            else:
                self.method(name)


def is_known_function(value: Any, name: str) -> bool:
    """Whether files may name a function without the user's doing."""
    if _key(value) in _listed():
        return True
    is_function = isinstance(value, (FunctionType, BuiltinFunctionType))
    return is_function and name.startswith(tuple(f'{place}.' for place in _FUNCTIONS))


def is_known_type(value: type, name: str) -> bool:
    """Whether files may name a type without the user's doing."""
    if value in _PLAIN_TYPES:
        return True
    return name.startswith(tuple(f'{place}.' for place in _TYPES))


def _key(value: Any) -> Any:
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value


@lru_cache(maxsize=1)
def _listed() -> frozenset[Any]:
    """The functions that PyTorch lists as those of tensors, and Python's operators."""
    found: set[Any] = set()
    for functions in get_overridable_functions().values():
        found.update(f for f in functions if not isinstance(f, property))
    found.update(getattr(torch, n) for n in _FACTORIES if hasattr(torch, n))
    found.update(getattr(builtins, n) for n in _BUILTINS)
    for module in (math, operator):
        found.update(
            value
            for name, value in vars(module).items()
            if callable(value) and not name.startswith('_') and name not in _OPERATORS
        )
    return frozenset(f for f in found if getattr(f, '__name__', '') not in _UNSAFE)


@lru_cache(maxsize=1)
def _methods() -> frozenset[str]:
    """The methods of tensors, and of what stands for graphs."""
    names = {*dir(Tensor), *dir(EdgeIndex), 'matmul', 'sparse_size', 'sparse_sizes'}
    names |= {
        'coo',
        'csr',
        'csc',
        'set_value',
        'fill_value',
        'has_value',
        'storage_type',
    }
    names |= {'set_diag', 'remove_diag', 'to_torch_sparse_coo_tensor', 'mul', 'mul_nnz'}
    kept = (n for n in names if not n.startswith('_') and n not in _UNSAFE)
    dunder = (
        'matmul',
        'rmatmul',
        'getitem',
        'add',
        'mul',
        'sub',
        'radd',
        'rsub',
        'rmul',
    )
    return frozenset((*kept, *(f'__{n}__' for n in dunder), 'keys', 'values', 'items'))


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
        for name, value in vars(place).items():
            if callable(value) and not isinstance(value, ModuleType):
                found.setdefault(_key(value), []).append(f'{prefix}.{name}')
    return found


def _find(name: str) -> Any:
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
            value = inspect.getattr_static(value, part, None) if value else None
            value = getattr(value, '__func__', value)  # Of static methods.
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
            is_local = getattr(value, '__module__', None) == name
            if callable(value) and is_local:
                found.setdefault(value)
    return [value for value in found if _is_named(value)]


def _is_named(value: Any) -> bool:
    try:
        return bool(name_of(value))
    except ValueError:
        return False
