"""Products along edges that are summed up where they arrive: no value is made for each
edge and channel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from spikegraph.coding import Spikes
from spikegraph.kernels import Messages
from spikegraph.kernels.attention import send_delayed
from spikegraph.network.graph import Node, called, is_call, is_sum
from spikegraph.network.network import Network
from spikegraph.network.roles import Role
from spikegraph.nn import Delay, GraphFilter, PhaseNeuron
from spikegraph.nn.filter import sums_members
from spikegraph.nn.potentials import relative_spikes
from spikegraph.nn.routing import move_spikes, shaped_like


@dataclass(frozen=True)
class Rows:
    """Rows that are yet to be taken.

    Args:
        x (Spikes): What they are taken of.
        index (torch.Tensor): Which.
    """

    x: Spikes
    index: Tensor

    def whole(self) -> Any:
        """The rows themselves."""
        return move_spikes(self.x, '__getitem__', self.index)


@dataclass(frozen=True)
class Delayed:
    """Products that are yet to be made.

    Args:
        gate (Delay): What makes them.
        coefficients (Spikes): The spikes of edges :math:`(E, H, 1)`.
        rows (Rows): Those of their sources :math:`(E, H, C)`.
    """

    gate: Delay
    coefficients: Spikes
    rows: Rows

    def whole(self) -> Spikes:
        """The products themselves."""
        return self.gate(self.coefficients, self.rows.whole())

    def sums(self, layer: Any, index: Tensor, num_targets: Any) -> Tensor | Messages:
        """The sums over the edges of each destination, or what they are made of."""
        x, source = self.rows.x, self.rows.index
        per_head, shape = self.coefficients, x.shape
        fits = len(shape) == 3 and per_head.shape[1:] == (shape[1], 1)
        fits = fits and x.scale.dim() <= 2 and per_head.scale.numel() == 1
        if not fits or num_targets is None or len(source) == 0:
            return layer(self.whole(), index, num_targets)
        per_head = replace(per_head, spike_time=per_head.spike_time.squeeze(-1))
        return send_delayed(x, per_head, source, index, int(num_targets))


def find_delayed(network: Network) -> tuple[set[Node], set[Node], set[Node]]:
    """The sums, the products that they alone read, and the rows that those alone read.

    Args:
        network (Network): The network.
    """
    sums: set[Node] = set()
    gates: set[Node] = set()
    rows: set[Node] = set()
    for node in network.nodes:
        gate = node.args[0] if node.args else None
        layer = network.operation(node)
        is_own = type(layer) is GraphFilter and sums_members(layer)
        if not is_own or node.role is not Role.LAYER or not isinstance(gate, Node):
            continue  # Others, such as one that is left analog, are called as they are.
        if type(network.operation(gate)) is not Delay or len(gate.users) != 1:
            continue
        taken = [each for each in gate.all_input_nodes if _takes_rows(each)]
        if taken and len(gate.all_input_nodes) == 2 and not node.kwargs:
            sums.add(node)
            gates.add(gate)
            rows.add(taken[-1])
    return sums, gates, rows


def _takes_rows(node: Node) -> bool:
    if called(node) is not move_spikes or node.args[1] != '__getitem__':
        return False
    return isinstance(node.args[2], Node) and len(node.users) == 1


@dataclass(frozen=True)
class Moved:
    """A population that fires on the sums of all heads, side by side, as a second
    potential of each head moves its thresholds.

    Args:
        sums (Node): The sums :math:`(N, H, C)`.
        divisor (Node): The second potential :math:`(N, H, 1)`.
        bias (Node, optional): What is added, times that :math:`(H C)`.
        width (int): How many values are side by side.
        between (Tuple[Node, ...]): What nobody else reads, in order.
    """

    sums: Node
    divisor: Node
    bias: Node | None
    width: int
    between: tuple[Node, ...]

    def spikes(self, neuron: Any, env: dict[Node, Any]) -> Spikes | None:
        """The spikes, with no potential of a channel written; None where there is no
        kernel for that.
        """
        messages, divisor = env[self.sums], env[self.divisor]
        bias = None if self.bias is None else env[self.bias]
        if not isinstance(messages, Messages) or not isinstance(divisor, Tensor):
            return None
        if messages.width != self.width:
            return None
        return relative_spikes(neuron, messages, divisor, bias)


def find_moved(network: Network, sums: set[Node]) -> dict[Node, Moved]:
    """What fires on sums over edges, by population.

    Args:
        network (Network): The network.
        sums (Set[Node]): The sums of products along edges.
    """
    found = {}
    for node in network.nodes:
        if type(network.operation(node)) is PhaseNeuron and set(node.kwargs) == {
            'divisor'
        }:
            moved = _moved(network, node, sums)
            if moved is not None:
                found[node] = moved
    return found


def _moved(network: Network, node: Node, sums: set[Node]) -> Moved | None:
    potential, divisor = node.args[0], node.kwargs['divisor']
    flat, bias, scaled = potential, None, []
    if is_sum(potential):
        flat, product = potential.args
        if not is_call(product, 'mul') or divisor not in product.args:
            return None
        factors = [each for each in product.args if each is not divisor]
        if len(factors) != 1 or getattr(factors[0], 'role', None) is not Role.CONSTANT:
            return None
        bias, scaled = factors[0], [product, potential]
    if not _is_flat(flat) or not _is_flat(divisor) or flat.args[1:] != divisor.args[1:]:
        return None
    whole, spread = flat.args[0], divisor.args[0]
    if whole not in sums or called(spread) is not shaped_like or spread.kwargs:
        return None
    if spread.args[1] is not whole or not isinstance(spread.args[0], Node):
        return None
    between = {flat, spread, divisor, *scaled}
    inside = {node, *between}
    if not all(set(each.users) <= inside for each in (whole, *between)):
        return None
    ordered = tuple(each for each in network.nodes if each in between)
    return Moved(whole, spread.args[0], bias, flat.args[2], ordered)


def _is_flat(node: Any) -> bool:
    """Whether the rows of something are laid out side by side."""
    is_view = isinstance(node, Node) and called(node) in ('view', 'reshape')
    if not is_view or node.kwargs or len(node.args) != 3 or node.args[1] != -1:
        return False
    return type(node.args[2]) is int
