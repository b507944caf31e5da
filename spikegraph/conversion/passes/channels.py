"""Where the channels of a value are: what shares weights, and a scale."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from spikegraph.network.naming import operation_of
from spikegraph.network.ops import ARRANGED, op_for
from spikegraph.nn import (
    EarliestAlong,
    EarliestInWindow,
    PhaseNeuron,
    SpikingConv,
    SpikingLayer,
)
from spikegraph.nn.delayed_sum import DelayedSum
from spikegraph.nn.routing import move_spikes


def set_channel_dims(network: fx.GraphModule) -> None:
    """Tells every population where its channels are, by the layers in front of
    it; an input by those that read it.
    """
    known: dict[fx.Node, int] = {}
    for node in network.graph.nodes:
        own = _own_dim(network, node)
        before = [known[n] for n in node.all_input_nodes if n in known]
        if own is None and before:
            own = before[0]
        elif before and _reshapes(node, operation_of(network, node)):
            moved = _moved_dim(node, before[0])
            is_lost = before[0] != -1 or _is_number_per_row(node)
            is_lost |= _is_single(node, before[0])  # Its one scale is that of all.
            own = moved if moved is not None else 0 if is_lost else own
        neuron = operation_of(network, node)
        if isinstance(neuron, DelayedSum):  # Columns are those of its second factor.
            own = -1 if known.get(node.args[1]) == -1 else 0
        if isinstance(neuron, PhaseNeuron):
            own = _read_dim(network, node) if own is None else own
            pools = (operation_of(network, user) for user in node.users)
            for pool in pools:  # It compares what lies in a window.
                if isinstance(pool, EarliestInWindow):
                    own = -1 - pool.num_dims
                elif isinstance(pool, EarliestAlong) and pool.dim == own:
                    own = 0
            if node.meta.get('compares_channels'):
                own = 0
            neuron.channel_dim = own
        if own is not None:
            known[node] = own


def channel_dim_of(network: fx.GraphModule, node: fx.Node) -> int | None:
    """Where the channels of a value are, None if nothing in front of it tells."""
    own = _own_dim(network, node)
    before = node.all_input_nodes
    if own is None and before:
        return channel_dim_of(network, before[0])
    return own


def _own_dim(network: fx.GraphModule, node: fx.Node) -> int | None:
    """What a node itself says about its channels, whatever it is given."""
    operation = operation_of(network, node)
    if isinstance(operation, SpikingConv):
        return operation.channel_dim
    if isinstance(operation, EarliestInWindow):
        return -1 - operation.num_dims
    if isinstance(operation, SpikingLayer) and operation.weight is not None:
        return -1
    op = op_for(operation)
    if op is not None and op.channels:
        return -1 - op.channels
    return -1 if _reshapes(node, operation) else None


def _reshapes(node: fx.Node, operation: Any) -> bool:
    """Whether it arranges, adds or removes dimensions."""
    if operation is move_spikes:
        return node.args[1] != '__getitem__'
    if operation is operator.getitem:
        index = node.args[1] if isinstance(node.args[1], tuple) else ()
        return any(i is None or isinstance(i, (int, fx.Node)) for i in index)
    op = op_for(operation)
    return op is not None and op.channels == ARRANGED


def _moved_dim(node: fx.Node, dim: int) -> int | None:
    """Where a dimension is after dimensions were arranged, found with the numbers of
    the channels in the place of values; None where that cannot be told, or where it
    is part of several.
    """
    source = node.all_input_nodes[0]
    seen: Any = source.meta.get('example')
    if len(node.all_input_nodes) > 1 or not hasattr(seen, 'shape') or dim >= 0:
        return None
    shape = tuple(seen.shape)
    if len(shape) < -dim or node.op == 'call_module':
        return None
    numbers = torch.arange(shape[dim], dtype=torch.float32)
    numbers = numbers.view(-1, *[1] * (-1 - dim)).expand(shape)
    try:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: numbers)
        if node.target is move_spikes:
            out = getattr(args[0], str(args[1]))(*args[2:], **kwargs)
        elif node.op == 'call_method':
            out = getattr(args[0], str(node.target))(*args[1:], **kwargs)
        else:
            out = node.target(*args, **kwargs)  # type: ignore[operator]
        out = out[0] if isinstance(out, (tuple, list)) else out  # All parts alike.
        sizes = out.shape
        varies = [
            d for d in range(-len(sizes), 0) if bool((out.diff(dim=d) != 0).any())
        ]
    except Exception:  # Whatever PyTorch says: it is left as it was.
        return None
    return varies[0] if len(varies) == 1 else None


def _is_number_per_row(node: fx.Node) -> bool:
    """Whether rows become one number each, such as a score."""
    seen: Any = [n.meta.get('example') for n in (node, node.all_input_nodes[0])]
    sizes = [tuple(getattr(each, 'shape', ())) for each in seen]
    return len(sizes[0]) == 1 < len(sizes[1]) and sizes[0] == sizes[1][:1]


def _is_single(node: fx.Node, dim: int) -> bool:
    """Whether there was one channel."""
    shape = getattr(node.all_input_nodes[0].meta.get('example'), 'shape', ())
    return dim < 0 and len(shape) >= -dim and shape[dim] == 1


def _read_dim(network: fx.GraphModule, node: fx.Node) -> int:
    """The channels that the first layer behind a population reads; 0, none, if
    dimensions are arranged before that.
    """
    queue, seen = list(node.users), set(node.users)
    while queue:
        user = queue.pop(0)
        operation = operation_of(network, user)
        if _reshapes(user, operation):
            return 0
        dim = _own_dim(network, user)
        if dim is not None:
            return dim
        queue += [n for n in user.users if n not in seen]
        seen.update(user.users)
    return -1
