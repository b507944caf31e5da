"""When populations and gates fire: the step at which a window opens, and its length."""

from __future__ import annotations

from typing import Any, NamedTuple

from spikegraph.network.graph import Node
from spikegraph.network.network import Network
from spikegraph.network.roles import Role


class Window(NamedTuple):
    """When something fires.

    Args:
        start (int): The first time step.
        num_steps (int): How many steps it lasts.
    """

    start: int
    num_steps: int

    @property
    def end(self) -> int:
        """The step after the last one."""
        return self.start + self.num_steps


def windows_of(network: Network) -> dict[Node, Window]:
    """The windows of all that fires, and of spikes that are moved.

    A population opens its window when all that it is charged by has fired. A gate passes
    spikes on as they come: its window opens with the last one of its sources, and is as
    long as its spikes may take. Sizes are known before anything fires.
    """
    found: dict[Node, Window] = {}
    ready: dict[Node, int] = {}  # When a value is known.
    for node in network.nodes:
        before = [] if node.role is Role.SIZE else node.all_input_nodes
        ready[node] = max((ready[n] for n in before), default=0)
        sources = [found[n] for n in before if n in found]
        operation: Any = network.operation(node)
        if node.role is Role.POPULATION:
            found[node] = Window(ready[node], operation.code.num_steps)
        elif node.role in (Role.GATE, Role.PRODUCT) and sources:
            start = max(window.start for window in sources)
            length = operation.window([window.num_steps for window in sources])
            found[node] = Window(start, length)
        elif node.role is Role.MOVE:
            found[node] = sources[0]
        if node in found:
            ready[node] = found[node].end
    return found
