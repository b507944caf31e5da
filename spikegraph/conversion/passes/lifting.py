"""Activations that are lifted by a constant so that they are never negative."""

from __future__ import annotations

from collections.abc import Collection

from torch import fx

from spikegraph.conversion.operations.allowing import moving
from spikegraph.conversion.operations.probing import find_formula
from spikegraph.conversion.passes.relays import Relays, move_of
from spikegraph.network.naming import module_of
from spikegraph.network.ops import is_call
from spikegraph.nn import PhaseNeuron
from spikegraph.nn.activation import lowest_of


def lifted(
    relays: Relays, node: fx.Node, refused: Collection[fx.Node]
) -> fx.Node | None:
    """``elu(x) + 1``, on its way to other signals: one population that fires on it, so
    that what is coded is not negative, either.
    """
    if not is_call(node, 'add', 'sub', 'rsub') or len(node.all_input_nodes) != 1:
        return None
    (below,) = node.all_input_nodes
    if below.op != 'call_module' or len(below.users) != 1:
        return None
    neuron = module_of(relays.network, below)
    if not isinstance(neuron, PhaseNeuron) or isinstance(neuron.activation, str):
        return None
    if below.meta.get('made') != 'population' or len(below.args) != 1 or below.kwargs:
        return None
    if lowest_of(neuron.activation) >= 0 or not _meets_others(node, refused):
        return None
    signals, fixed = relays.writer.signals, relays.writer.fixed
    found = find_formula(
        relays.network, node, lambda value: moving(value, signals, fixed), {below}
    )
    if found is None or isinstance(found[0], str) or lowest_of(found[0]) != 0:
        return None
    return relays.population(node, found[1], found[0])


def _meets_others(node: fx.Node, refused: Collection[fx.Node]) -> bool:
    """Whether a value, or sums of it, are multiplied or divided by another."""
    queue, seen = [node], {node}
    while queue:
        for user in queue.pop().users:
            if user in refused:
                return True
            passes = bool(move_of(user)) or is_call(user, 'sum', 'mean')
            if passes and user not in seen:
                seen.add(user)
                queue.append(user)
    return False
