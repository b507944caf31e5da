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
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from spikegraph.conversion.proxies import find_traced, passes_for
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
    call = Aggregation.__call__  # Checks dimensions that are not known yet.
    try:
        for place, name, function in originals:
            setattr(place, name, _traceable(function))
        for name, method in methods.items():
            setattr(Tensor, name, _traceable(method, 'call_method'))
        Aggregation.__call__ = _unchecked(call)
        builtins.isinstance = passes_for
        yield
    finally:
        builtins.isinstance = is_of
        Aggregation.__call__ = call
        for name in methods:
            delattr(Tensor, name)  # Inherited.
        for place, name, function in originals:
            setattr(place, name, function)


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
