"""What a file may name: a closed list of functions, methods and types of PyTorch, PyG
and this package, and what a user adds to it by hand.
"""

from __future__ import annotations

import builtins
import inspect
import math
import operator
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import is_dataclass
from enum import Enum
from functools import lru_cache
from types import FunctionType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import get_overridable_functions
from torch_geometric import EdgeIndex
from torch_geometric.data import Data, HeteroData

from spikegraph.network.finding import find, key_of, name_of
from spikegraph.network.graph import Record, Ref, Seen
from spikegraph.network.roles import Role

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
    *('reinforce', 'retain_grad', 'as_subclass', 'resize_', 'resize_as_', 'resize'),
    *('storage_type', 'const_data_ptr', 'resize_as', 'resize_as_sparse_', 'grad_fn'),
    *('sparse_resize_', 'sparse_resize_and_clear_'),
}
_OPERATIONS = {
    f'__{name}__'
    for name in (
        *('add', 'and', 'eq', 'floordiv', 'ge', 'getitem', 'gt', 'invert', 'le', 'lt'),
        *('matmul', 'mod', 'mul', 'ne', 'neg', 'or', 'pow', 'radd', 'rdiv', 'rmatmul'),
        *('rmul', 'rpow', 'rsub', 'rtruediv', 'sub', 'truediv', 'xor', 'abs', 'len'),
    )
}
# Functions that take the name of a method and, at which place, its arguments.
_NAMING = ('write_copy', 'write_through')
_OPERATORS = ('attrgetter', 'itemgetter', 'methodcaller', 'call')
# Arguments of functions that call what they are given, or go to files.
_CALLED = {
    *('cls', 'model', 'transform', 'initializer', 'module', 'func', 'function'),
    'distance_function',
}
# Packages of whose modules the functions may be named, and the modules be built.
_FUNCTIONS = (
    *('torch_geometric.utils', 'torch_geometric.nn.pool', 'torch_geometric.nn.dense'),
    *('torch_geometric.nn.unpool', 'torch_geometric.nn.norm', 'torch_scatter'),
    *('torch_geometric.nn.functional', 'torch.nn.functional', 'spikegraph.nn'),
    *('spikegraph.network.functions', 'torch_geometric.nn.aggr', 'torch_sparse'),
    'torch_geometric.nn.conv',
)
_MODULES = (
    *('spikegraph', 'torch.nn.modules', 'torch_geometric.nn', 'ogb.graphproppred'),
    'torch_geometric.deprecation',
)
_NOT_BUILT = ('torch_geometric.nn.nlp', 'torch_geometric.llm')
# Of these, dataclasses and enumerations.
_RECORDS = (
    *('spikegraph.nn', 'spikegraph.coding.phase_code', 'spikegraph.calls.outputs'),
)
_PLAIN_TYPES = (
    *(bool, int, float, str, bytes, complex, list, tuple, dict, set, frozenset),
    *(slice, range, OrderedDict, defaultdict, deque, SimpleNamespace, Tensor),
    *(nn.Parameter, EdgeIndex),
    *(Data, HeteroData, torch.Size, torch.dtype, torch.device),
)


class UnknownName(ValueError):
    """What a file names is none of what it may name."""


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
        return self._find(name, 'function', is_known_function)

    def type(self, name: str) -> Any:
        """A type as a value, such as what a number is turned into, by its name.

        Raises:
            ValueError: If it is none of those that a file may name.
        """
        return self._find(name, 'plain type', is_plain_type)

    def kind(self, name: str) -> Any:
        """A type of which an object is built, by its name.

        Raises:
            ValueError: If it is none of those that a file may name.
        """
        return self._find(name, 'type', is_known_type)

    def _find(self, name: str, what: str, is_known: Callable[[Any], bool]) -> Any:
        if not isinstance(name, str):
            raise ValueError(f'Expected the name of a {what} (got {name!r:.60})')
        if name in self.more:
            return self.more[name]
        value = find(name)
        if value is None or not is_known(value):
            raise UnknownName(
                f"Expected a {what} of PyTorch, PyG or spikegraph (got '{name:.80}'); if "
                "it is yours, 'load(path, known=[...])' takes it"
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
        if function is getattr:
            name = args[1] if len(args) > 1 else None
            if not isinstance(name, str) or name not in _attributes():
                raise ValueError(
                    f'Expected the name of an attribute of tensors (got {name!r:.60})'
                )
        elif getattr(function, '__name__', '') in _NAMING:
            names = [arg for arg in args if isinstance(arg, str)]
            place = 1 if function.__name__ == 'write_copy' else 2
            self.method(args[place] if names else None)


def is_known_function(value: Any) -> bool:
    """Whether files may name a function without the user's doing: those of tensors, and
    those at the top of modules that compute with tensors and call nothing they are given.
    """
    if key_of(value) in _listed():
        return True
    if not isinstance(value, FunctionType) or '.' in value.__qualname__:
        return False
    names = inspect.signature(value).parameters
    return _is_in(value, _FUNCTIONS) and not _CALLED.intersection(names)


def is_plain_type(value: Any) -> bool:
    """Whether a type has no more to it than the numbers that it holds."""
    return isinstance(value, type) and value in _PLAIN_TYPES


def is_known_type(value: Any) -> bool:
    """Whether files may have objects of a type built without the user's doing."""
    if not isinstance(value, type) or _is_in(value, _NOT_BUILT):
        return False
    if value in (*_PLAIN_TYPES, Record, Ref, Seen, Role):
        return True
    if issubclass(value, nn.Module):
        return _is_in(value, _MODULES)
    is_record = is_dataclass(value) or issubclass(value, Enum)
    return is_record and _is_in(value, _RECORDS)


def _is_in(value: Any, places: tuple[str, ...]) -> bool:
    """Whether something was defined in a package, wherever it was found."""
    module = getattr(value, '__module__', None)
    return f'{module}.'.startswith(tuple(f'{place}.' for place in places))


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
    # PyG, and whoever traces, put others in the place of some.
    names = {n for n, value in vars(torch).items() if key_of(value) in found}
    names |= {getattr(f, '__name__', '') for f in found}
    own = torch._C._VariableFunctions
    found.update(getattr(own, name) for name in names if hasattr(own, name))
    return frozenset(f for f in found if _is_safe(getattr(f, '__name__', '')))


def _is_safe(name: str) -> bool:
    return name in _OPERATIONS or not (name.startswith('_') or name in _UNSAFE)


@lru_cache(maxsize=1)
def _methods() -> frozenset[str]:
    """The methods of tensors, and of what stands for graphs."""
    names = {*dir(Tensor), *dir(EdgeIndex), 'sparse_size', 'sparse_sizes', 'mul_nnz'}
    names |= {'coo', 'csr', 'csc', 'set_value', 'has_value', 'set_diag', 'remove_diag'}
    names |= {'to_torch_sparse_coo_tensor', 'keys', 'values', 'items'}
    return frozenset(name for name in names if _is_safe(name))


@lru_cache(maxsize=1)
def _attributes() -> frozenset[str]:
    """What tensors, devices and graphs are asked for, that is no method."""
    kinds = (Tensor, EdgeIndex, torch.device, torch.dtype)
    names = {
        name
        for kind in kinds
        for name in dir(kind)
        if not callable(inspect.getattr_static(kind, name))
    }
    return frozenset(name for name in names if name[:1] != '_' and _is_safe(name))
