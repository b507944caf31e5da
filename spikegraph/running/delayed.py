"""Products along edges that are summed up where they arrive: no value is made for each
edge and channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from spikegraph.coding import Spikes
from spikegraph.kernels.attention import delayed_sums
from spikegraph.network.graph import Node, called
from spikegraph.network.network import Network
from spikegraph.network.roles import Role
from spikegraph.nn import Delay, GraphFilter
from spikegraph.nn.filter import sums_members
from spikegraph.nn.layer import values_of
from spikegraph.nn.routing import move_spikes


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

    def sums(self, layer: Any, index: Tensor, num_targets: Any) -> Tensor:
        """The sums over the edges of each destination."""
        x, source = self.rows.x, self.rows.index
        per_head, shape = self.coefficients, x.shape
        fits = len(shape) == 3 and per_head.shape[1:] == (shape[1], 1)
        if not fits or num_targets is None or x.scale.dim() > 2 or len(source) == 0:
            return layer(self.whole(), index, num_targets)
        value = values_of(per_head).squeeze(-1)
        return delayed_sums(x, value, source, index, int(num_targets))


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
