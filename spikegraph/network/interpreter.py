"""Reads a network node by node, with one method for each role."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn
from torch_geometric.nn.aggr import Aggregation

from spikegraph.network.graph import Node, arguments

if TYPE_CHECKING:
    from spikegraph.network.network import Network


class Interpreter:
    """Evaluates a network in order. Each role has a method, which may be another one
    in a subclass; all of them evaluate the node as it stands unless that says more.

    Args:
        network (Network): What is read.

    Attributes:
        env (Dict[Node, Any]): The values of the nodes, as long as others read them.
    """

    #: Whether values are let go once nobody reads them any more.
    forgets = True

    def __init__(self, network: Network) -> None:
        self.network = network
        self.env: dict[Node, Any] = {}
        self.inputs: Mapping[str, Any] = {}

    def run(self, inputs: Mapping[str, Any]) -> Any:
        """What the network returns for inputs by name."""
        self.inputs = inputs
        value: Any = None
        gone = self.network.last_reads if self.forgets else {}
        for node in self.network.nodes:
            value = self.env[node] = self.evaluate(node)
            for source in gone.get(node, ()):
                del self.env[source]
        return value

    def evaluate(self, node: Node) -> Any:
        """The value of a node, by the method of its role."""
        return getattr(self, node.role.value)(node)

    def call(self, node: Node) -> Any:
        """The value of a node as it stands, given those that it reads."""
        return run_node(self.network, node, self.env)

    def input(self, node: Node) -> Any:
        return self.inputs[node.target]

    def _as_it_stands(self, node: Node) -> Any:
        return self.call(node)

    output = constant = population = gate = product = _as_it_stands
    layer = move = decode = _as_it_stands
    affine = current = analog = size = read_out = structure = check = _as_it_stands


class AnalogReading(Interpreter):
    """Reads a network as the ANN that it was made from: activations instead of
    populations, maxima instead of gates, and no coding.
    """

    def population(self, node: Node) -> Any:
        neuron = self.network.operation(node)
        args, kwargs = arguments(node, self.env)
        return neuron.analog(args[0], **kwargs)

    def gate(self, node: Node) -> Any:
        args, kwargs = arguments(node, self.env)
        return self.network.operation(node).analog(*args, **kwargs)


class SpikeReading(Interpreter):
    """Keeps the spikes of every population and gate, by label."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.spikes: dict[str, Any] = {}

    def population(self, node: Node) -> Any:
        value = self.spikes[node.record.label] = self.call(node)
        return value

    gate = population


def call_module(module: nn.Module, args: Any, kwargs: Any) -> Any:
    """Calls a module; an aggregation as PyG does, whatever a subclass takes."""
    if isinstance(module, Aggregation):
        return Aggregation.__call__(module, *args, **kwargs)
    return module(*args, **kwargs)


def run_node(network: Any, node: Any, env: Mapping[Any, Any]) -> Any:
    """Evaluates one node, also of a graph that is still being converted, given the
    values of its inputs.
    """
    args, kwargs = arguments(node, env)
    if node.op == 'call_module':
        return call_module(network.get_submodule(node.target), args, kwargs)
    if node.op == 'call_function':
        return node.target(*args, **kwargs)
    if node.op == 'call_method':
        return getattr(args[0], node.target)(*args[1:], **kwargs)
    if node.op == 'get_attr':
        value: Any = network
        for name in node.target.split('.'):
            value = getattr(value, name)
        return value
    assert node.op == 'output', node.op
    return args[0]
