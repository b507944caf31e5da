"""Where signals meet: what gates, delays and second membranes cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from spikegraph.coding import Spikes
from spikegraph.measurement.counts import Counts
from spikegraph.network.graph import Node
from spikegraph.network.network import Network
from spikegraph.network.ops import Count, Meaning, is_call, means, op_of
from spikegraph.network.roles import Role
from spikegraph.nn import PhaseNeuron, SpikeGate
from spikegraph.nn.delayed_sum import DelayedSum
from spikegraph.nn.gate import EarliestGate
from spikegraph.nn.products import Delay, Rebase, product_code
from spikegraph.nn.routing import gather_rows, shaped_like


def count_gate(
    counts: Counts, gate: SpikeGate, args: Any, kwargs: dict[str, Any], spikes: Spikes
) -> None:
    """Counts what a gate passes on, what it compares, and the pairs it delays.

    Args:
        counts (Counts): What is added to.
        gate (SpikeGate): The gate.
        args (Tuple[Any, ...]): Its arguments.
        kwargs (Dict[str, Any]): Its keyword arguments.
        spikes (Spikes): What leaves it.
    """
    counts.spikes = spikes.num_spikes
    counts.comparisons = gate.num_compared(*args, **kwargs)
    if isinstance(gate, Delay):
        counts.delays = spikes.num_spikes  # Silence of either is silence.
    elif isinstance(gate, EarliestGate):
        counts.ann_activations = spikes.shape.numel()


def count_product(
    counts: Counts, layer: DelayedSum, x: Spikes, other: Spikes
) -> tuple[Tensor, int]:
    """Counts the pairs of spikes that a product of matrices delays and sums up.

    Args:
        counts (Counts): What is added to.
        layer (DelayedSum): The product.
        x (Spikes): The one population.
        other (Spikes): The other one.

    Returns:
        Tuple[torch.Tensor, int]: How many pairs arrive at each potential, and within
        how many steps.
    """
    pairs = layer.num_pairs(fired(x), fired(other))
    counts.delays = counts.accumulates = int(pairs.sum())
    return pairs, product_code(x.code, other.code).num_steps


def fired(spikes: Spikes) -> Tensor:
    """Ones where a spike is sent."""
    return (spikes.spike_time != spikes.code.num_steps).double()


def has_node_scale(network: Network, node: Node) -> bool:
    """Whether each row of spikes has a scale of its own, which its peak decides."""
    if node.role is Role.MOVE:
        return has_node_scale(network, node.all_input_nodes[0])  # Rows keep theirs.
    operation = network.operation(node)
    if isinstance(operation, (Delay, Rebase)):
        return any(has_node_scale(network, n) for n in node.all_input_nodes)
    return isinstance(operation, PhaseNeuron) and operation.node_scale


def num_membranes(node: Node, env: Mapping[Node, Any]) -> int:
    """How many membranes hold the values of a potential: those that are the same, as
    they were repeated, share one.

    Args:
        node (Node): The potential.
        env (Mapping[Node, Any]): The values of all nodes.
    """
    found: int = env[node].shape.numel()
    while _repeats(node) and isinstance(env[node.all_input_nodes[0]], (Tensor, Spikes)):
        node = node.all_input_nodes[0]
        found = min(found, env[node].shape.numel())
    return found


def values_behind(node: Node) -> list[Node]:
    """What a node reads of which it takes more than the shape."""
    if node.role is Role.SIZE or means(node, Meaning.LIKE, Meaning.FILL):
        return []
    is_shaped = node.target is shaped_like or is_call(node, *_SHAPED)
    return node.all_input_nodes[: 1 if is_shaped else None]


def _repeats(node: Node) -> bool:
    """Whether a node does no more than move or repeat values of the first it reads."""
    if node.role in (Role.MOVE, Role.DECODE) or node.target in _REPEATING:
        return True
    op = op_of(node)
    moves = op is not None and op.count in (Count.MOVE, Count.GATHER)
    return moves and len(node.all_input_nodes) > 0 and not is_call(node, *_JOINING)


_REPEATING = (shaped_like, gather_rows)
_SHAPED = ('expand_as', 'view_as', 'reshape_as', 'type_as')
_JOINING = ('cat', 'stack', 'pad')
