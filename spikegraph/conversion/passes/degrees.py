"""Degrees that normalise sums over neighbours become part of thresholds."""

from __future__ import annotations

import itertools
from typing import Any

from torch import fx, nn

from spikegraph.conversion.passes.graph import (
    Structure,
)
from spikegraph.network.naming import module_of, place
from spikegraph.nn import (
    DegreeFactor,
    PhaseNeuron,
    SpikingGCNConv,
)


def fold_degree(structure: Structure, _: set[fx.Node]) -> None:
    network, graph = structure.network, structure.network.graph
    for node in list(graph.nodes):
        if not node.meta.get('population') or node.op != 'call_module':
            continue
        neuron = module_of(network, node)
        if not isinstance(neuron, PhaseNeuron) or isinstance(
            neuron.activation, nn.Module
        ):
            continue  # Only ReLU and identity scale as their argument does.
        convs = [(user, _folding_conv(network, user)) for user in node.users]
        calls = {(u.args[1:], tuple(u.kwargs.items())) for u, _ in convs}
        options = {None if conv is None else conv.shift for _, conv in convs}
        if len(convs) > 0 and len(calls) == 1 and len(options) == 1:
            if None not in options:
                _fold_source(network, node, convs)
    for node in graph.nodes:
        conv = _folding_conv(network, node)
        readers = [u for u in node.users if u.meta.get('made') != 'factor']
        if conv is not None and readers:
            conv.fold_target = all(u.meta.get('population') for u in readers)


def _folding_conv(network: fx.GraphModule, node: fx.Node) -> SpikingGCNConv | None:
    if node.op != 'call_module':
        return None
    conv = module_of(network, node)
    folds = isinstance(conv, SpikingGCNConv) and conv.shift.normalize
    folds = folds and not conv.cached
    return conv if folds else None  # type: ignore[return-value]


def _fold_source(network: fx.GraphModule, node: fx.Node, convs: list[Any]) -> None:
    graph = network.graph
    user, conv = convs[0]
    before = set(itertools.takewhile(lambda n: n is not node, graph.nodes))
    if not before.issuperset(set(user.all_input_nodes) - {node}):
        return  # The graph is only known once the population has fired.
    name = place(network, f'factors.{node.name}', DegreeFactor(conv))
    potential = node.args[0]
    with graph.inserting_before(node):
        arguments = (potential, *user.args[1:])
        factor = graph.call_module(name, arguments, dict(user.kwargs))
    factor.meta['made'] = 'factor'
    node.args = (potential, factor)
    for _, each in convs:
        each.fold_source = True
