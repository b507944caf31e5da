"""Whoever reads values, not spikes, reads a decoder."""

from __future__ import annotations

from torch import fx

from spikegraph.conversion.passes.graph import (
    Structure,
    moves_rows,
)
from spikegraph.network.functions import asks_length
from spikegraph.network.naming import called, is_input, module_of
from spikegraph.nn import (
    SpikeGate,
    SpikingConv,
    SpikingLayer,
)
from spikegraph.nn.delayed_sum import DelayedSum
from spikegraph.nn.layer import values_of
from spikegraph.nn.routing import PARTS, SPIKE_MOVES, move_spikes


def insert_decoders(structure: Structure, _: set[fx.Node]) -> None:
    """Puts a decoder in front of whatever reads values, not spikes; spikes
    that are only moved stay spikes.
    """
    network, graph = structure.network, structure.network.graph
    moved: set[fx.Node] = set()
    for node in list(graph.nodes):
        if not node.meta.get('population') and node not in moved:
            continue
        moved.update(user for user in node.users if moves_rows(user, node))
        readers = [u for u in node.users if not _reads_spikes(network, u, node)]
        readers = [u for u in readers if u not in moved]
        if not readers:
            continue
        if not is_input(node):  # Decoded anyway, and once is enough.
            readers += [u for u in node.users if _is_conv(network, u)]
        with graph.inserting_after(node):
            decoded = graph.call_function(values_of, (node,))
        if called(node) is move_spikes and node.args[1] in PARTS:  # All of them.
            decoded.args = (node.args[0],)
            with graph.inserting_after(decoded):
                args = (decoded, *node.args[2:])
                decoded = graph.call_method(str(node.args[1]), args, node.kwargs)
        if 'example' in node.meta:
            decoded.meta['example'] = node.meta['example']
        for reader in readers:
            reader.replace_input_with(node, decoded)


def _is_conv(network: fx.GraphModule, user: fx.Node) -> bool:
    return user.op == 'call_module' and isinstance(
        module_of(network, user), SpikingConv
    )


def _reads_spikes(network: fx.GraphModule, user: fx.Node, node: fx.Node) -> bool:
    if user.op != 'call_module':
        if called(user) is getattr:
            return user.args[1] in ('dtype', 'device')
        return asks_length(user) or called(user) in ('size', *SPIKE_MOVES)
    module = module_of(network, user)
    if isinstance(module, SpikingLayer):  # Not as weights of edges.
        return user.args[0] is node and node not in user.args[1:]
    return isinstance(module, (SpikeGate, DelayedSum))
