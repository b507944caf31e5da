"""What passes share: the network that they change, and questions about its graph."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, fx

from spikegraph.calls.call import CallSpec
from spikegraph.network.graph import Node, called, is_sum
from spikegraph.network.network import Network
from spikegraph.network.roles import Role
from spikegraph.nn import (
    GraphFilter,
    SpikingConv,
    SpikingLayer,
    SpikingLinear,
)
from spikegraph.nn.routing import (
    SPIKE_MOVES,
    gather_rows,
    trim_rows,
)


@dataclass
class Structure:
    """A converted network before calibration.

    Args:
        network (torch.fx.GraphModule or Network): The graph of spiking modules; once
            all passes are through, with a role for every node.
        spec (CallSpec): How it is called.
        populations (Dict[str, str]): Each population's module path and the
            activation or input it stands for.
        analog (Dict[str, str]): What stays analog: node name and description.
        groups (List[List[str]]): Populations that must share code and scale.
        tied (List[Set[str]]): Populations whose spike times are added, so that they
            must share a base.
        relays (Set[str]): Populations that only pass potentials on, to where they meet
            others.
        wide (FrozenSet[str]): Ramps over more scores than a byte can count through,
            unless they start at those of each group.
        starts (Dict[str, str]): Populations that find where ramps start, and these.
        currents (List[str]): Inputs that enter as analog currents.
        num_folded (int): Normalisation layers folded into weights.
        preprocessed (List[str]): What is computed of inputs in front of their
            populations.
        claimed (Set[str]): Nodes that a rule of a user calls affine.
    """

    network: Any
    spec: CallSpec
    populations: dict[str, str] = field(default_factory=dict)
    analog: dict[str, str] = field(default_factory=dict)
    groups: list[list[str]] = field(default_factory=list)
    tied: list[set[str]] = field(default_factory=list)
    relays: set[str] = field(default_factory=set)
    wide: frozenset[str] = frozenset()
    starts: dict[str, str] = field(default_factory=dict)
    currents: list[str] = field(default_factory=list)
    num_folded: int = 0
    preprocessed: list[str] = field(default_factory=list)
    claimed: set[str] = field(default_factory=set)

    @property
    def has_images(self) -> bool:
        """Whether it has convolutions over images, or volumes."""
        layers = (m for m in self.network.modules() if isinstance(m, SpikingConv))
        return any(layer.channel_dim < -2 for layer in layers)


def count_calls(nodes: Iterable[Any]) -> dict[str, int]:
    """How often each module is called, by its path."""
    calls: dict[str, int] = {}
    for node in nodes:
        if node.op == 'call_module':
            calls[str(node.target)] = calls.get(str(node.target), 0) + 1
    return calls


def summed_layers(network: Any, with_others: bool = False) -> dict[Any, list[Any]]:
    """The nodes that are layers with weights, or sums of such layers only,
    with the nodes they are made of, in order and themselves included.

    Args:
        network (torch.fx.GraphModule or Network): The network.
        with_others (bool, optional): Whether anything else may be added to the
            layers, too, such as the identity of a residual block.
            (default: :obj:`False`)
    """
    nodes = network.nodes if isinstance(network, Network) else network.graph.nodes
    calls = count_calls(nodes)
    found: dict[Any, list[Any]] = {}
    for node in nodes:
        if node.op == 'call_module':
            layer = network.get_submodule(str(node.target))
            usable = isinstance(layer, SpikingLayer) and layer.weight is not None
            if usable and calls[str(node.target)] == 1:
                found[node] = [node]
        elif is_sum(node):
            before = node.all_input_nodes
            parts = [found.get(n, []) if len(n.users) == 1 else [] for n in before]
            if all(parts) or (with_others and any(parts)):
                found[node] = [*parts[0], *parts[1], node]
                for n, part in zip(before, parts, strict=True):
                    if part:
                        del found[n]
    return found


def readout_weight(network: Network, node: Node) -> Tensor | None:
    """The weights of the linear layer that alone reads a population and leads
    to the output row by row; :obj:`None` where the graph goes on otherwise.
    """
    if len(node.users) != 1:
        return None
    user = next(iter(node.users))
    layer = network.operation(user)
    if not isinstance(layer, SpikingLinear):
        return None
    while len(user.users) == 1:
        user = next(iter(user.users))
        if user.role is Role.OUTPUT:
            return layer.weight
        if user.role is not Role.READ_OUT:
            return None
    return None


def is_plain_filter(layer: Any) -> bool:
    """Whether it has no weights and no bias, so that it may take some."""
    if not isinstance(layer, GraphFilter):
        return False
    return layer.weight is None and layer.bias is None


def moves_rows(user: fx.Node, node: fx.Node) -> bool:
    """Whether an operation takes some rows of a population."""
    if called(user) in (gather_rows, trim_rows, *SPIKE_MOVES):
        return user.args[0] is node
    if called(user) is not operator.getitem or user.args[0] is not node:
        return False
    return isinstance(user.args[1], (slice, fx.Node)) and user.args[1] is not node
