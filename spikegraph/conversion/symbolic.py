"""Lets functions be called with symbolic values."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
import torch_geometric.nn as pyg_nn
import torch_geometric.utils as pyg_utils
from torch import fx, nn
from torch.utils import _pytree as pytree
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.conv.gcn_conv import gcn_norm

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

_FACTORIES = ('zeros', 'ones', 'full', 'arange')


@contextmanager
def traceable_functions() -> Iterator[None]:
    """Lets functions take symbolic values that do not dispatch on them: sizes in
    ``torch.zeros(batch.max() + 1)``, and PyG's graph functions, wherever PyG's
    own modules call them.
    """
    functions = {id(function): function for function in GRAPH_FUNCTIONS}
    places = [(torch, name) for name in _FACTORIES]
    for name, module in list(sys.modules.items()):
        if name.split('.')[0] in ('torch_geometric', 'spikegraph'):
            places += [
                (module, key)
                for key, value in list(vars(module).items())
                if id(value) in functions
            ]
    originals = [(place, name, getattr(place, name)) for place, name in places]
    call = Aggregation.__call__  # Checks dimensions that are not known yet.
    try:
        for place, name, function in originals:
            setattr(place, name, _traceable(function))
        Aggregation.__call__ = lambda self, *args, **kwargs: nn.Module.__call__(
            self, *args, **kwargs
        )
        yield
    finally:
        Aggregation.__call__ = call
        for place, name, function in originals:
            setattr(place, name, function)


def _traceable(function: Any) -> Any:
    @wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Any:
        flat = pytree.tree_leaves((args, kwargs))
        proxies = [a for a in flat if isinstance(a, fx.Proxy)]
        if not proxies:
            return function(*args, **kwargs)
        tracer = proxies[0].tracer
        return tracer.create_proxy('call_function', function, args, kwargs)

    return traced
