"""Weights of the last layer act behind its coefficients: the spikes of the population
in front are delayed themselves, and nothing is coded twice.
"""

from __future__ import annotations

import operator
from typing import Any

from torch import fx

from spikegraph.conversion.passes.gates import origin_of
from spikegraph.conversion.passes.graph import Structure
from spikegraph.conversion.passes.products import shape_of
from spikegraph.conversion.passes.relays import fires
from spikegraph.conversion.passes.writer import Writer
from spikegraph.network.naming import called, module_of, operation_of
from spikegraph.nn import PhaseNeuron, SpikingLinear
from spikegraph.nn.conv.twin import dense
from spikegraph.nn.filter import sums_members
from spikegraph.nn.products import Delay
from spikegraph.nn.routing import move_spikes

# How many times as wide as the values the spikes may be that are delayed instead.
_MOST_WIDTHS = 16


def postpone_weights(structure: Structure, writer: Writer) -> None:
    """Moves the weights of values that coefficients delay behind the sum over them,
    where the outputs are read from that:
    :math:`\\sum_j \\alpha_{ij} W x_j = W \\sum_j \\alpha_{ij} x_j`.

    Args:
        structure (Structure): The network, changed in place.
        writer (Writer): Writes into its graph.
    """
    network = structure.network
    for node in list(network.graph.nodes):
        if not sums_members(operation_of(network, node)):
            continue
        gate: Any = node.args[0]
        if not _calls(network, gate, Delay) or len(gate.users) != 1:
            continue
        for coefficients, values in (gate.args, gate.args[::-1]):
            found = _relayed(network, values)
            shape = shape_of(values)
            if found is None or shape is None or shape[1:-1] != (1,):
                continue
            layer, index = found
            weights: Any = module_of(network, layer)
            is_wide = weights.in_channels > _MOST_WIDTHS * weights.out_channels
            if not is_wide and _is_last(network, node):
                pair = coefficients, values
                _postpone(structure, writer, node, pair, layer, index)
                break


def _postpone(
    structure: Structure,
    writer: Writer,
    node: fx.Node,
    pair: tuple[fx.Node, fx.Node],
    layer: fx.Node,
    index: Any,
) -> None:
    coefficients, values = pair
    source: Any = layer.args[0]
    weights: Any = module_of(structure.network, layer)
    writer.here = node
    rows = fires(writer.write(move_spikes, source, 'unsqueeze', 1))
    rows = fires(writer.write(move_spikes, rows, '__getitem__', index))
    gate: Any = node.args[0]
    delayed = writer.call(f'{gate.target}_in_front', Delay(), coefficients, rows)
    fires(delayed)
    summed = writer.copy(node, gate, delayed)
    plain = dense(weights.weight)
    out = writer.call(f'products.{layer.name}_behind', plain, summed)
    if weights.bias is not None:
        total = writer.copy(node, gate, coefficients)
        bias = writer.constant(f'{layer.name}_bias', weights.bias)
        out = writer.write(operator.add, out, writer.write(operator.mul, total, bias))
    node.replace_all_uses_with(out)
    relay = str(origin_of(values).target)
    for tie in structure.tied:
        if relay in tie:
            tie.remove(relay)
            tie.add(str(source.target))


def _relayed(network: fx.GraphModule, values: Any) -> tuple[fx.Node, Any] | None:
    """The layer whose outputs are relayed, and the rows that are taken of them."""
    index = None
    while called(values) is move_spikes:
        name = values.args[1]
        if name == '__getitem__':
            if index is not None:
                return None
            index = values.args[2]
        elif name not in ('view', 'reshape', 'unsqueeze'):
            return None
        values = values.args[0]
    if index is None or not _calls(network, values, PhaseNeuron) or values.kwargs:
        return None
    layer = values.args[0]
    if values.meta.get('made') != 'relay' or not _calls(network, layer, SpikingLinear):
        return None
    source = layer.args[0]
    is_whole = layer.args == (source,) and _calls(network, source, PhaseNeuron)
    return (layer, index) if is_whole else None


def _calls(network: fx.GraphModule, value: Any, kind: type) -> bool:
    is_call = isinstance(value, fx.Node) and value.op == 'call_module'
    return is_call and isinstance(module_of(network, value), kind)


def _is_last(network: fx.GraphModule, node: fx.Node) -> bool:
    """Whether nothing fires behind a value."""
    queue, seen = [node], {node}
    while queue:
        for user in queue.pop().users:
            if _calls(network, user, PhaseNeuron):
                return False
            if user not in seen:
                seen.add(user)
                queue.append(user)
    return True
