"""The delay lines that a network needs for its products."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spikegraph.coding import Spikes
from spikegraph.network.graph import Node
from spikegraph.network.interpreter import Interpreter
from spikegraph.network.network import Network
from spikegraph.network.report import ProductReport
from spikegraph.network.roles import Role
from spikegraph.nn.products import Delay, product_code


class _Delays(Interpreter):
    """Reads how many pairs of neurons meet, and within how many steps."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.found: dict[str, ProductReport] = {}

    def gate(self, node: Node) -> Any:
        value = self.call(node)
        if isinstance(self.network.operation(node), Delay):
            self._note(node, value.shape.numel())
        return value

    def product(self, node: Node) -> Any:
        x, other = (self.env[n] for n in node.args)
        self._note(node, x.shape.numel() * other.shape[-1])
        return self.call(node)

    def _note(self, node: Node, num_delays: int) -> None:
        pair: list[Spikes] = [self.env[n] for n in node.args]
        longest = min(spikes.code.num_steps for spikes in pair) - 1
        num_steps = product_code(*[spikes.code for spikes in pair]).num_steps
        self.found[node.record.label] = ProductReport(num_delays, longest, num_steps)


def delays_of(network: Network, inputs: Mapping[str, Any]) -> dict[str, ProductReport]:
    """The products of a network, and the delay lines that each needs for one call.

    Args:
        network (Network): The network.
        inputs (Dict[str, Any]): Its inputs by name.
    """
    if not any(_multiplies(network, node) for node in network.nodes):
        return {}
    reading = _Delays(network)
    reading.run(inputs)
    return reading.found


def _multiplies(network: Network, node: Node) -> bool:
    is_product = node.role is Role.PRODUCT
    return is_product or isinstance(network.operation(node), Delay)
