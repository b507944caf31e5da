"""Operations that change no value, and those that look at a size only."""

from __future__ import annotations

from torch import fx

from spikegraph.conversion.operations.rules import rule_for
from spikegraph.conversion.passes.graph import (
    Structure,
)
from spikegraph.network.naming import called, operation_of

_SHAPED_AS = {'expand_as': 'expand', 'view_as': 'reshape', 'reshape_as': 'reshape'}


def ask_for_sizes(network: fx.GraphModule) -> None:
    """Lets what is shaped like another value read that one's size only, not its
    values: indices that are expanded as features are, above all, stay indices.
    """
    for node in list(network.graph.nodes):
        name = getattr(called(node), '__name__', called(node))
        if name not in _SHAPED_AS or len(node.args) != 2 or node.kwargs:
            continue
        x, like = node.args
        if not isinstance(like, fx.Node):
            continue
        with network.graph.inserting_before(node):
            size = network.graph.call_method('size', (like,))
        node.op, node.target, node.args = 'call_method', _SHAPED_AS[name], (x, size)


def remove_identities(structure: Structure, signals: set[fx.Node]) -> None:
    network, graph = structure.network, structure.network.graph
    for node in list(graph.nodes):
        if node.op == 'call_method' and node in signals:  # May not be contiguous.
            node.target = 'reshape' if called(node) == 'view' else node.target
        rule = rule_for(operation_of(network, node)) if node in signals else None
        if rule is not None and rule.is_removed:
            node.replace_all_uses_with(node.all_input_nodes[0])
            graph.erase_node(node)
