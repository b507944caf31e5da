"""Lets functions be called with symbolic values."""

from __future__ import annotations

import builtins
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
import torch_geometric.nn as pyg_nn
import torch_geometric.utils as pyg_utils
from torch import Tensor, nn
from torch._functorch import utils as functorch
from torch.autograd.function import _SingleLevelFunction
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from spikegraph.conversion.tracing.objects import passes_for
from spikegraph.conversion.tracing.proxies import find_traced
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
def traceable_functions() -> Iterator[None]:
    """Lets functions take symbolic values that do not dispatch on them: sizes in
    ``torch.zeros(batch.max() + 1)``, and PyG's graph functions, wherever PyG's
    own modules call them.
    """
    functions = {id(function): function for function in GRAPH_FUNCTIONS}
    places = [(torch, name) for name in (*_FACTORIES, *_NUMBER_FIRST)]
    for name, module in list(sys.modules.items()):
        if name.split('.')[0] in ('torch_geometric', 'spikegraph'):
            places += [
                (module, key)
                for key, value in list(vars(module).items())
                if id(value) in functions
            ]
    originals = [(place, name, getattr(place, name)) for place, name in places]
    methods = {name: getattr(Tensor, name) for name in _METHODS}
    is_of = builtins.isinstance
    unwrap = functorch.unwrap_dead_wrappers
    scripted = torch.jit.ScriptFunction.__call__
    call = Aggregation.__call__  # Checks dimensions that are not known yet.
    try:
        for place, name, function in originals:
            setattr(place, name, _traceable(function))
        for name, method in methods.items():
            setattr(Tensor, name, _traceable(method, 'call_method'))
        Aggregation.__call__ = _unchecked(call)
        # What 'apply' calls: models keep 'apply' itself, as in 'spmm = SpMM.apply'.
        functorch.unwrap_dead_wrappers = _unwrapped(unwrap)
        _SingleLevelFunction.apply = classmethod(_look_into)  # type: ignore[attr-defined]
        torch.jit.ScriptFunction.__call__ = _whole(scripted)  # type: ignore[method-assign]
        torch.Size = _Size  # type: ignore[assignment,misc]
        builtins.isinstance = passes_for
        with torch._dynamo.config.patch(error_on_nested_fx_trace=False):
            yield  # Functions that torch.compile compiles are Python here.
    finally:
        builtins.isinstance = is_of
        torch.Size = _SIZE  # type: ignore[misc]
        torch.jit.ScriptFunction.__call__ = scripted  # type: ignore[method-assign]
        del _SingleLevelFunction.apply  # type: ignore[attr-defined]
        functorch.unwrap_dead_wrappers = unwrap
        Aggregation.__call__ = call
        for name in methods:
            delattr(Tensor, name)  # Inherited.
        for place, name, function in originals:
            setattr(place, name, function)


_SIZE = torch.Size


class _SizeType(type):
    def __call__(cls, *args: Any) -> Any:
        return tuple(args[0]) if find_traced(args) else _SIZE(*args)

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, _SIZE)


class _Size(metaclass=_SizeType):
    """Stands for :class:`torch.Size`, which takes known numbers only."""


class _Context:
    """What a function with gradients of its own writes to, where there are none."""

    def __init__(self, num_inputs: int) -> None:
        self.needs_input_grad = (False,) * num_inputs

    def save_for_backward(self, *tensors: Any) -> None:
        """Nothing goes back."""

    save_for_forward = mark_dirty = mark_non_differentiable = save_for_backward
    set_materialize_grads = save_for_backward


def _look_into(cls: Any, *args: Any, **kwargs: Any) -> Any:
    """Looks into functions with gradients of their own, which PyTorch would hand to
    code that takes tensors only, and crash.
    """
    if not find_traced((args, kwargs)):
        return super(_SingleLevelFunction, cls).apply(*args, **kwargs)
    if cls.setup_context is not torch.autograd.Function.setup_context:
        return cls.forward(*args, **kwargs)
    return cls.forward(_Context(len(args)), *args, **kwargs)


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


def _traceable(function: Any, kind: str = 'call_function') -> Any:
    @wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Any:
        found = find_traced((args, kwargs))
        if not found:
            return function(*args, **kwargs)
        target = function if kind == 'call_function' else function.__name__
        return found[0].tracer.create_proxy(kind, target, args, kwargs)

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
