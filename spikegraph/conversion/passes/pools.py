"""Pooling functions become modules: filters, or gates that let the earliest
spike pass.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch_geometric.nn as pyg_nn
from torch import fx, nn
from torch.utils import _pytree as pytree
from torch_geometric.utils import scatter

from spikegraph.conversion.operations.refusals import WINDOW, describe_call
from spikegraph.conversion.passes.channels import channel_dim_of
from spikegraph.conversion.passes.gates import replace_values, values_compared
from spikegraph.conversion.passes.products import rank_of
from spikegraph.conversion.passes.reductions import (
    REDUCTIONS,
    dense_batch_of,
    replace_reduction,
)
from spikegraph.network.graph import Seen
from spikegraph.network.naming import place
from spikegraph.network.ops import Meaning, is_call, op_of
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
    if is_call(node, *REDUCTIONS):
        return replace_reduction(network, node, moving)
    op = op_of(node)
    if op is None:
        return []
    if op.meaning is Meaning.MAXIMUM:
        if values_compared(node) or not moving(node.args[:1]):
            return []
        options = {**dict(zip(('dim', 'keepdim'), node.args[1:], strict=False))}
        options.update(node.kwargs)
        keeps_dims = bool(options.get('keepdim', False))
        dim = options.get('dim')
        found = None if op.smallest else _global_gate(network, node, dim)
        if found is None:
            found = _gate_along(network, node, dim, keeps_dims, op.smallest)
            keeps_dims = True  # Or not, as the gate has been told.
    elif op.meaning is Meaning.POOL:
        found = _window_gate(node, op.module)
    else:
        found = _group_pool(node, moving)
    if found is None:
        return []
    module, args = found
    if isinstance(module, GraphFilter) and rank_of(args[0]) == 1:
        return _of_columns(network, node, module, *args)
    node.meta['ann_type'] = getattr(node.target, '__name__', str(node.target))
    path = place(network, f'pools.{node.name}', module)
    if op.meaning is Meaning.MAXIMUM:
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


def _of_columns(
    network: fx.GraphModule, node: fx.Node, layer: nn.Module, x: Any, *groups: Any
) -> list[fx.Node]:
    """Sums of one value for each row: of rows of a single column."""
    path = place(network, f'pools.{node.name}', layer)
    with network.graph.inserting_before(node):
        column = network.graph.call_function(torch.unsqueeze, (x, -1))
        sums = network.graph.call_module(path, (column, *groups))
    sums.meta['made'] = 'pool'
    sums.meta['ann_type'] = getattr(node.target, '__name__', str(node.target))
    for made, seen in ((column, x), (sums, node)):
        made.meta['where'] = node.meta.get('where', '')
        example = seen.meta.get('example')
        if isinstance(example, Seen):
            shape = (*example.shape, 1)
            made.meta['example'] = replace(example, shape=shape)
    node.op, node.target, node.args = 'call_function', torch.squeeze, (sums, -1)
    node.kwargs = {}
    return [column, sums]


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


def _window_gate(node: fx.Node, pool: Any) -> tuple[nn.Module, tuple[Any, ...]]:
    names = list(inspect.signature(pool).parameters)
    if 'return_indices' in names and 'ceil_mode' in names:  # The functions' order.
        names = ['kernel_size', 'stride', 'padding', 'dilation', 'ceil_mode']
        names.append('return_indices')
    options = {**dict(zip(names, node.args[1:], strict=False)), **node.kwargs}
    x = node.args[0] if node.args else options.pop('input')
    size, *_ = options.values()
    if not any(isinstance(v, fx.Node) for v in pytree.tree_leaves(options)):
        return EarliestInWindow(pool(**options)), (x,)
    rest = {k: v for k, v in list(options.items())[1:] if v not in (None, 0, False)}
    if rest.pop('dilation', 1) != 1 or rest:
        refusal = WINDOW.format(', '.join(rest))
        remedy = 'Use numbers, or an adaptive pool'
        raise NotImplementedError(describe_call(node, refusal, remedy))
    return EarliestInWindow(pool(1)), (x, size)


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
