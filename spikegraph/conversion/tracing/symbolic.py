"""Lets functions be called with symbolic values."""

from __future__ import annotations

import builtins
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial, wraps
from typing import Any

import torch
import torch_geometric.nn as pyg_nn
import torch_geometric.utils as pyg_utils
from torch import Tensor, nn
from torch._functorch import utils as functorch
from torch.autograd.function import _SingleLevelFunction
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from spikegraph.calls.swapping import Swaps
from spikegraph.conversion.tracing.objects import passes_for
from spikegraph.conversion.tracing.proxies import Traced, find_traced
from spikegraph.nn.routing import LEAF_FUNCTIONS, SHAPE_FUNCTIONS

# PyG's graph functions branch on their inputs: keep them whole.
GRAPH_FUNCTIONS = tuple(
    function
    for function in (
        gcn_norm,
        *(getattr(pyg_utils, name) for name in pyg_utils.__all__),
        *(getattr(pyg_nn.pool, f'global_{how}_pool') for how in ('add', 'mean', 'max')),
    )
    if callable(function) and not isinstance(function, type)
) + (*LEAF_FUNCTIONS, *SHAPE_FUNCTIONS)

_BY_ID = {id(function): function for function in GRAPH_FUNCTIONS}

# These take sizes, types and devices without asking whether they are symbolic.
_FACTORIES = (
    *('zeros', 'ones', 'empty', 'full', 'arange', 'eye', 'linspace', 'tensor'),
    *('as_tensor', 'rand', 'randn', 'sparse_coo_tensor', 'sparse_csr_tensor'),
)
# These may take a number first, and PyTorch crashes where it then looks into a symbolic
# value that passes for a tensor.
_NUMBER_FIRST = ('where', 'pow', 'isin')
_METHODS = (
    *('expand', 'view', 'reshape', 'repeat', 'tile', 'permute', 'to', 'type'),
    *('new_zeros', 'new_ones', 'new_empty', 'new_full', 'new_tensor'),
)


@contextmanager
def traceable_functions() -> Iterator[Swaps]:
    """Lets functions take symbolic values that do not dispatch on them: sizes in
    ``torch.zeros(batch.max() + 1)``, and PyG's graph functions, whichever module
    calls them. Other threads find them as they are.
    """
    with Swaps() as swaps, torch._dynamo.config.patch(error_on_nested_fx_trace=False):
        # Functions that torch.compile compiles are Python here.
        for name in (*_FACTORIES, *_NUMBER_FIRST):
            swaps.put(torch, name, _traceable)
        swaps.put(torch, 'Size', lambda _: _Size)
        for name in ('finfo', 'iinfo'):
            swaps.put(torch, name, _of_known_type)
        for names, found in _modules_with_functions():
            for name in found:
                swaps.put(names, name, _traceable)
        for name in _METHODS:
            swaps.put(Tensor, name, partial(_traceable, target=name))
        # Checks dimensions that are not known yet.
        swaps.put(Aggregation, '__call__', _unchecked)
        # What 'apply' calls: models keep 'apply' itself, as in 'spmm = SpMM.apply'.
        swaps.put(vars(functorch), 'unwrap_dead_wrappers', _unwrapped)
        swaps.put(_SingleLevelFunction, 'apply', _look_into, _apply, classmethod)
        swaps.put(torch.jit.ScriptFunction, '__call__', _whole)
        # Asks who calls it.
        swaps.put_for_all(vars(builtins), 'isinstance', passes_for)
        yield swaps


def wrap_functions(swaps: Swaps, names: dict[str, Any]) -> None:
    """Lets code with these global names record PyG's graph functions as a whole."""
    for name in _find_functions(names):
        swaps.put(names, name, _traceable)


def _find_functions(names: dict[str, Any]) -> list[str]:
    """The global names that PyG's graph functions have."""
    return [name for name, value in list(names.items()) if id(value) in _BY_ID]


# The names of modules that were looked through, and how many they had: most of
# thousands of modules have none, and the next conversion need not look again.
_LOOKED_THROUGH: dict[int, tuple[Any, int, list[str]]] = {}


def _modules_with_functions() -> list[tuple[dict[str, Any], list[str]]]:
    """Global names of modules, and :func:`_find_functions` among them, which looks
    again once a module has other names.
    """
    # Some modules are there by two names, such as that of a script.
    spaces = (getattr(module, '__dict__', {}) for module in list(sys.modules.values()))
    result = []
    for names in {id(names): names for names in spaces}.values():
        key, title, size = id(names), names.get('__name__'), len(names)
        known = _LOOKED_THROUGH.get(key)
        if (
            known is None
            or known[1] != size
            or known[0] != title
            or title == '__main__'
        ):
            known = _LOOKED_THROUGH[key] = title, size, _find_functions(names)
        if known[2]:
            found = [name for name in known[2] if id(names.get(name)) in _BY_ID]
            result.append((names, found))
    return result


_SIZE = torch.Size


class _SizeType(type):
    def __call__(cls, *args: Any) -> Any:
        return tuple(args[0]) if find_traced(args) else _SIZE(*args)

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, _SIZE)


class _Size(metaclass=_SizeType):
    """Stands for :class:`torch.Size`, which takes known numbers only."""


def _of_known_type(limits: Any) -> Any:
    """Lets the limits of a data type be asked for, which is the same on every call."""

    def traced(*types: Any) -> Any:
        return limits(*(t.pinned() if type(t) is Traced else t for t in types))

    return traced


class _Context:
    """What a function with gradients of its own writes to, where there are none."""

    def __init__(self, num_inputs: int) -> None:
        self.needs_input_grad = (False,) * num_inputs

    def save_for_backward(self, *tensors: Any) -> None:
        """Nothing goes back."""

    save_for_forward = mark_dirty = mark_non_differentiable = save_for_backward
    set_materialize_grads = save_for_backward


def _apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
    return super(_SingleLevelFunction, cls).apply(*args, **kwargs)


def _look_into(apply: Any) -> Any:
    """Looks into functions with gradients of their own, which PyTorch would hand to
    code that takes tensors only, and crash.
    """

    def traced(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if not find_traced((args, kwargs)):
            return apply(cls, *args, **kwargs)
        if cls.setup_context is not torch.autograd.Function.setup_context:
            return cls.forward(*args, **kwargs)
        return cls.forward(_Context(len(args)), *args, **kwargs)

    return traced


def _unwrapped(unwrap: Any) -> Any:
    """Lets functions with gradients of their own take symbolic values."""

    def traced(args: Any) -> Any:
        return args if find_traced(args) else unwrap(args)

    return traced


def _whole(call: Any) -> Any:
    """Records functions that torch.jit has compiled, which take tensors only."""

    def traced(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = find_traced((args, kwargs))
        if not found:
            return call(self, *args, **kwargs)

        @wraps(self, assigned=())
        def scripted(*args: Any, **kwargs: Any) -> Any:
            return call(self, *args, **kwargs)

        scripted.__name__, scripted.scripted = self.name, True  # type: ignore[attr-defined]
        return found[0].tracer.create_proxy('call_function', scripted, args, kwargs)

    return traced


def _unchecked(call: Any) -> Any:
    """Lets aggregations take symbolic values without looking into them."""

    def traced(self: Any, *args: Any, **kwargs: Any) -> Any:
        if find_traced((args, kwargs)):
            return nn.Module.__call__(self, *args, **kwargs)
        names = inspect.signature(type(self).forward).parameters
        if not {'ptr', 'dim_size'} <= set(names):  # It takes no more than it says.
            return nn.Module.__call__(self, *args, **kwargs)
        return call(self, *args, **kwargs)

    return traced


@cache
def _traceable(function: Any, target: Any = None) -> Any:
    kind = 'call_function' if target is None else 'call_method'

    @wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Any:
        found = find_traced((args, kwargs))
        if not found:
            return function(*args, **kwargs)
        return found[0].tracer.create_proxy(kind, target or function, args, kwargs)

    return traced


def with_type_of(
    target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """The arguments of a cast to the type and the place of another tensor, of which
    nothing else matters.
    """
    if target not in ('to', 'type_as') or not passes_for((*args, None)[1], Tensor):
        return target, args, kwargs
    owner, like, *rest = args
    kwargs = {**kwargs, 'device': like.device, 'dtype': like.dtype}
    return 'to', (owner, *rest), kwargs
