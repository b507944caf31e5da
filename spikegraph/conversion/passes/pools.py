"""Pooling functions become modules: filters, or gates that let the earliest
spike pass.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg_nn
from torch import fx, nn
from torch.utils import _pytree as pytree
from torch_geometric.utils import scatter

from spikegraph.conversion.passes.channels import channel_dim_of
from spikegraph.conversion.passes.gates import replace_values, values_compared
from spikegraph.conversion.passes.products import rank_of
from spikegraph.conversion.passes.reductions import (
    REDUCTIONS,
    dense_batch_of,
    replace_reduction,
)
from spikegraph.network.naming import called, place, place_of
from spikegraph.nn import (
    EarliestAlong,
    EarliestInWindow,
    EarliestMember,
    GraphFilter,
)
from spikegraph.nn.shift import MemberShift

_GLOBAL_POOLS = {
    pyg_nn.global_add_pool: 'sum',
    pyg_nn.global_mean_pool: 'mean',
    pyg_nn.global_max_pool: 'max',
}
_MAX_POOLS: dict[Any, type[nn.Module]] = {
    **dict.fromkeys((F.max_pool1d, torch.max_pool1d), nn.MaxPool1d),
    **dict.fromkeys((F.max_pool2d, torch.max_pool2d), nn.MaxPool2d),
    **dict.fromkeys((F.max_pool3d, torch.max_pool3d), nn.MaxPool3d),
    F.adaptive_max_pool1d: nn.AdaptiveMaxPool1d,
    F.adaptive_max_pool2d: nn.AdaptiveMaxPool2d,
    F.adaptive_max_pool3d: nn.AdaptiveMaxPool3d,
}

_MINIMA = {'min', 'amin', torch.min, torch.amin}
_MAXIMA = {'max', 'amax', torch.max, torch.amax} | _MINIMA

Moving = Callable[[Any], list[fx.Node]]


def replace_pool(
    network: fx.GraphModule, node: fx.Node, moving: Moving
) -> list[fx.Node]:
    """Turns a call of a pooling function into that of a module, in place.

    Args:
        network (torch.fx.GraphModule): The network.
        node (torch.fx.Node): Any operation.
        moving (Callable): Finds the signals in an argument.

    Returns:
        List[torch.fx.Node]: The nodes that were put in front of it.

    Raises:
        NotImplementedError: If a maximum pool returns indices, or has a window
            that depends on its input and other options.
    """
    keeps_dims = True
    if called(node) in REDUCTIONS:
        return replace_reduction(network, node, moving)
    if called(node) in _MAXIMA:
        if values_compared(node) or not moving(node.args[:1]):
            return []
        options = {**dict(zip(('dim', 'keepdim'), node.args[1:], strict=False))}
        options.update(node.kwargs)
        keeps_dims = bool(options.get('keepdim', False))
        dim, is_smallest = options.get('dim'), called(node) in _MINIMA
        found = None if is_smallest else _global_gate(network, node, dim)
        if found is None:
            found = _gate_along(network, node, dim, keeps_dims, is_smallest)
            keeps_dims = True  # Or not, as the gate has been told.
    elif called(node) in _MAX_POOLS:
        found = _window_gate(node)
    else:
        found = _group_pool(node, moving)
    if found is None:
        return []
    module, args = found
    node.meta['ann_type'] = getattr(node.target, '__name__', str(node.target))
    path = place(network, f'pools.{node.name}', module)
    if called(node) in _MAXIMA:
        replace_values(node, node)
    if keeps_dims:
        node.op, node.target, node.args, node.kwargs = 'call_module', path, args, {}
        node.meta['made'] = 'pool'
        return []
    with network.graph.inserting_before(node):
        gate = network.graph.call_module(path, args)
    gate.meta['made'] = 'pool'
    node.op, node.target, node.args = 'call_function', torch.flatten, (gate, 1)
    node.kwargs = {}
    return [gate]


def _global_gate(
    network: fx.GraphModule, node: fx.Node, dim: Any
) -> tuple[nn.Module, tuple[Any, ...]] | None:
    """A maximum over all places of an image or a sequence."""
    x = node.args[0] if node.args else None
    channel_dim = channel_dim_of(network, x) if isinstance(x, fx.Node) else None
    dims = list(dim) if isinstance(dim, (tuple, list)) else [dim]
    if channel_dim is None or not all(isinstance(d, int) for d in dims):
        return None
    rank = 1 - channel_dim  # Samples, channels, places.
    places = range(channel_dim + 1, 0)
    if sorted(d if d < 0 else d - rank for d in dims) != list(places):
        return None
    if len(places) == 0:
        return None
    pools = (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)
    return EarliestInWindow(pools[len(places) - 1](1)), (x,)


def _gate_along(
    network: fx.GraphModule, node: fx.Node, dim: Any, keepdim: bool, smallest: bool
) -> tuple[nn.Module, tuple[Any, ...]] | None:
    """A maximum over one dimension that is not that of the channels."""
    x: Any = node.args[0]
    rank = rank_of(x)
    if isinstance(dim, (tuple, list)) and len(dim) == 1:
        dim = dim[0]
    if rank is None or rank < 2 or not isinstance(dim, int):
        return None
    dim = dim if dim < 0 else dim - rank
    if dim == (channel_dim_of(network, x) or -1):
        return None
    whole = None if smallest or keepdim else dense_batch_of(network, x, dim)
    if whole is not None:
        return EarliestMember(), whole
    return EarliestAlong(dim, keepdim, smallest), (x,)


def _window_gate(node: fx.Node) -> tuple[nn.Module, tuple[Any, ...]]:
    pool = _MAX_POOLS[node.target]
    names = list(inspect.signature(pool).parameters)
    if 'return_indices' in names and 'ceil_mode' in names:  # The functions' order.
        names = ['kernel_size', 'stride', 'padding', 'dilation', 'ceil_mode']
        names.append('return_indices')
    options = {**dict(zip(names, node.args[1:], strict=False)), **node.kwargs}
    x = node.args[0] if node.args else options.pop('input')
    size, *_ = options.values()
    if not any(isinstance(v, fx.Node) for v in pytree.tree_leaves(options)):
        return EarliestInWindow(pool(**options)), (x,)  # type: ignore[arg-type]
    rest = {k: v for k, v in list(options.items())[1:] if v not in (None, 0, False)}
    if rest.pop('dilation', 1) != 1 or rest:
        raise NotImplementedError(
            f"Cannot convert '{node.target.__name__}': the size of its window is "  # type: ignore[union-attr]
            f'computed, and it has other options ({", ".join(rest)}). Use numbers, or an '
            f'adaptive pool{place_of(node)}'
        )
    return EarliestInWindow(pool(1)), (x, size)  # type: ignore[arg-type]


def _group_pool(
    node: fx.Node, moving: Moving
) -> tuple[nn.Module, tuple[Any, ...]] | None:
    target = node.target
    if target is not scatter and target not in _GLOBAL_POOLS:
        return None
    assert callable(target)
    bound = inspect.signature(target).bind(*node.args, **node.kwargs)
    bound.apply_defaults()
    given = bound.arguments
    if target is not scatter:
        how, args = _GLOBAL_POOLS[target], tuple(given.values())
    elif moving(given['src']) and given['dim'] in (0, -2):
        how = 'sum' if given['reduce'] == 'add' else given['reduce']
        args = (given['src'], given['index'], given['dim_size'])
    else:
        return None
    if how in ('sum', 'mean'):
        return GraphFilter(MemberShift(mean=how == 'mean')), args
    if how in ('max', 'min'):
        return EarliestMember(smallest=how == 'min'), args
    return None
