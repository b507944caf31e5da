"""Linear layers in a row become one, and filters take their weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from spikegraph.conversion.passes.graph import (
    Structure,
    count_calls,
    is_plain_filter,
)
from spikegraph.network.naming import called, module_of
from spikegraph.nn import (
    GraphFilter,
    SpikingLinear,
)
from spikegraph.nn.conv.twin import dense

_ROW_MOVES = (((0,), (-2,)), ((-2,), (0,)))  # Of nodes, in products of matrices.


def fuse_linear(structure: Structure, _: set[fx.Node]) -> None:
    """Lets a filter without weights take those of the linear layer behind it, or of
    the one without bias before it: weights and edges commute, and weights then read
    spikes, not sums of them. Linear layers in a row become one.
    """
    network, graph = structure.network, structure.network.graph
    calls = count_calls(graph.nodes)
    for node in list(graph.nodes):
        last = _after_moves(node)
        user = next(iter(last.users)) if len(last.users) == 1 else node
        if node.op != 'call_module' or user.op != 'call_module' or user is node:
            continue
        if user.args[:1] != (last,):
            continue
        first: Any = module_of(network, node)
        second: Any = module_of(network, user)
        alone = calls[str(node.target)] == calls[str(user.target)] == 1
        if not alone or user.all_input_nodes.count(last) != 1:
            continue
        if is_plain_filter(first) and type(second) is SpikingLinear:
            first.set_parameters(second.weight, second.bias)
            user.replace_all_uses_with(last)
            graph.erase_node(user)
        elif type(first) is SpikingLinear and is_plain_filter(second):
            if first.bias is None:
                second.set_parameters(first.weight, None)
                reader = next(iter(node.users))
                reader.replace_input_with(node, node.all_input_nodes[0])
                graph.erase_node(node)
        elif type(first) is type(second) is SpikingLinear and last is node:
            merged = _merged(first, second)
            if merged is not None:
                network.add_submodule(str(user.target), merged)
                user.replace_input_with(node, node.all_input_nodes[0])
                graph.erase_node(node)
    _pass_weights_on(structure)


def _merged(first: SpikingLinear, second: SpikingLinear) -> SpikingLinear | None:
    """A layer that does what two in a row do, unless it takes more weights than they."""
    weight = second.weight @ first.weight
    if weight.numel() > first.weight.numel() + second.weight.numel():
        return None
    bias: Tensor | None = second.bias
    if first.bias is not None:
        passed = second.weight @ first.bias
        bias = passed if bias is None else bias + passed
    return dense(weight, bias)


def _after_moves(node: fx.Node) -> fx.Node:
    """The value once its rows are elsewhere, and its channels where they were."""
    while len(node.users) == 1:
        user = next(iter(node.users))
        if called(user) is not torch.movedim or user.args[1:] not in _ROW_MOVES:
            break
        node = user
    return node


def _pass_weights_on(structure: Structure) -> None:
    """Gives the weights of a filter to the filter without weights in front of it, and
    so on, up to where spikes are read.
    """
    network, graph = structure.network, structure.network.graph
    calls = count_calls(graph.nodes)
    for node in reversed(list(graph.nodes)):
        before = node.args[0] if node.op == 'call_module' and node.args else None
        if not isinstance(before, fx.Node) or before.op != 'call_module':
            continue
        first: Any = module_of(network, before)
        second: Any = module_of(network, node)
        alone = calls[str(before.target)] == calls[str(node.target)] == 1
        alone &= len(before.users) == 1 and node.all_input_nodes.count(before) == 1
        if not alone or not is_plain_filter(first) or type(second) is not GraphFilter:
            continue
        if second.weight is not None and len(second.coefficients) == 1:
            first.set_parameters(second.weight, None)
            second.set_parameters(None, second.bias)
