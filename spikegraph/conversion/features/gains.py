"""Norms of inputs, and the weights that follow them."""

from __future__ import annotations

import copy
import operator
from collections.abc import Mapping
from functools import partial

import torch_geometric.nn as pyg_nn
from torch import fx, nn

from spikegraph.network.graph import Seen
from spikegraph.network.naming import keep_value, module_of, place_beside

# Their gains and offsets follow, one for each channel, which comes last.
_NORMS = (nn.LayerNorm, pyg_nn.LayerNorm, pyg_nn.InstanceNorm)


def take_gains_apart(
    network: fx.GraphModule,
    behind: Mapping[fx.Node, frozenset[fx.Node]],
    weighted: set[fx.Node],
) -> bool:
    """Lets norms of inputs alone be followed by their gains and offsets, which are
    weights, in operations of their own.

    Args:
        network (torch.fx.GraphModule): The traced network, which is changed.
        behind (Mapping[torch.fx.Node, frozenset[torch.fx.Node]]): The features that
            each value is made of.
        weighted (Set[torch.fx.Node]): The values made with parameters.

    Returns:
        bool: Whether there are any.
    """
    found = [
        node
        for node in network.graph.nodes
        if _has_gains(network, node)
        and behind[node.args[0]]
        and node.args[0] not in weighted
    ]
    for node in found:
        _take_apart(network, node)
    return bool(found)


def _has_gains(network: fx.GraphModule, node: fx.Node) -> bool:
    if node.op != 'call_module' or not node.args:
        return False
    norm = module_of(network, node)
    return type(norm) in _NORMS and any(True for _ in norm.parameters())


def _take_apart(network: fx.GraphModule, node: fx.Node) -> None:
    norm = copy.copy(module_of(network, node))
    norm._parameters = dict(norm._parameters)
    last = node
    for name, target in (('weight', operator.mul), ('bias', operator.add)):
        value = norm._parameters[name]
        norm._parameters[name] = None
        if value is None:
            continue
        path = keep_value(network, f'values_{node.name}_{name}', value)
        with network.graph.inserting_after(last):
            constant = network.graph.get_attr(path)
        with network.graph.inserting_after(constant):
            after = network.graph.call_function(target, (last, constant))
        constant.meta['example'] = Seen(tuple(value.shape), value.dtype, value.layout)
        after.meta.update(node.meta)
        last.replace_all_uses_with(after, partial(operator.is_not, after))
        last = after
    node.target = place_beside(network, f'{node.name}_without_gain', norm)
