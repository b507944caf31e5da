"""Layers whose potentials a population and the scores of heads read: in rows, so that
they are never written down as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikegraph.coding import Spikes
from spikegraph.network.graph import Node, called, is_call
from spikegraph.network.interpreter import run_node
from spikegraph.network.network import Network
from spikegraph.network.roles import Role
from spikegraph.nn import PhaseNeuron, SpikingLinear
from spikegraph.nn.potentials import Potentials, spikes_of


@dataclass(frozen=True)
class Scored:
    r"""A population, and scores :math:`\sum_c a_{hc} \, v_{nhc}` of heads, that alone
    read what a layer leaves behind.

    Args:
        layer (Node): The layer :math:`(N, H C)`.
        population (Node): The population.
        views (Tuple[Node, ...]): The potentials by head :math:`(N, H, C)`.
        products (Tuple[Node, ...]): Those times constants.
        scores (Tuple[Node, ...]): The sums of these :math:`(N, H)`.
    """

    layer: Node
    population: Node
    views: tuple[Node, ...]
    products: tuple[Node, ...]
    scores: tuple[Node, ...]

    def run(
        self, network: Network, potentials: Potentials
    ) -> tuple[Spikes, dict[Node, Tensor]]:
        """The spikes, and the scores; views have a shape, and nothing in them."""
        operands = [n for each in self.products for n in each.all_input_nodes]
        fixed = [n for n in operands if n.role is Role.CONSTANT]
        env: dict[Node, Any] = {node: run_node(network, node, {}) for node in fixed}
        parts: dict[Node, list[Tensor]] = {node: [] for node in self.scores}

        def read(rows: Tensor) -> None:
            env[self.layer] = rows
            for node in (*self.views, *self.products, *self.scores):
                env[node] = run_node(network, node, env)
            for node in self.scores:
                parts[node].append(env[node])

        neuron: Any = network.operation(self.population)
        spikes = spikes_of(neuron, _Read(potentials, read))
        made = {n: p[0] if len(p) == 1 else torch.cat(p) for n, p in parts.items()}
        for view in self.views:
            rows = env[view]
            like = rows.new_empty(1).expand(potentials.shape[0], *rows.shape[1:])
            made[view] = like
        return spikes, made


class _Read(Potentials):
    """Potentials that somebody else reads, too, on the way."""

    def __init__(self, potentials: Potentials, read: Any) -> None:
        super().__init__(potentials.shape, potentials.dtype, potentials.width)
        self.potentials, self.read = potentials, read

    def rows(self, start: int, stop: int) -> Tensor:
        rows = self.potentials.rows(start, stop)
        self.read(rows)
        return rows


def find_scored(network: Network) -> dict[Node, Scored]:
    """What reads layers in rows, by layer."""
    found = {}
    for node in network.nodes:
        is_layer = type(network.operation(node)) is SpikingLinear and not node.kwargs
        if is_layer and node.role is Role.LAYER and len(node.args) == 1:
            scored = _scored(network, node)
            if scored is not None:
                found[node] = scored
    return found


def _scored(network: Network, layer: Node) -> Scored | None:
    fires = [n for n in layer.users if type(network.operation(n)) is PhaseNeuron]
    views = [n for n in layer.users if n not in fires]
    if len(fires) != 1 or fires[0].args != (layer,) or fires[0].kwargs or not views:
        return None
    products = [n for each in views for n in each.users if n.role is not Role.SIZE]
    scores = [n for each in products for n in each.users]
    fits = all(_is_by_head(n) for n in views) and all(map(_is_score, scores))
    fits = fits and all(_is_scaled(n) and len(n.users) == 1 for n in products)
    if not fits or not scores:
        return None
    return Scored(layer, fires[0], tuple(views), tuple(products), tuple(scores))


def _is_by_head(node: Node) -> bool:
    if called(node) not in ('view', 'reshape') or node.kwargs or len(node.args) != 4:
        return False
    return node.args[1] == -1 and all(type(n) is int for n in node.args[2:])


def _is_scaled(node: Node) -> bool:
    if not is_call(node, 'mul') or node.kwargs or len(node.all_input_nodes) != 2:
        return False
    return sum(n.role is Role.CONSTANT for n in node.all_input_nodes) == 1


def _is_score(node: Node) -> bool:
    given = node.args[1:], dict(node.kwargs)
    is_last = given in (((-1,), {}), ((), {'dim': -1}))
    return is_call(node, 'sum') and is_last
