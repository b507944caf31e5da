"""A converted network, read as plain PyTorch."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import add_self_loops, remove_self_loops, scatter

from spikegraph.coding import Spikes
from spikegraph.export.plain.gates import GATES
from spikegraph.export.plain.graphs import Graphs
from spikegraph.export.plain.layers import FILTERS, LAYERS, coefficients, in_order
from spikegraph.export.plain.moves import gathered, moved
from spikegraph.export.plain.populations import PlainPopulation, decoded
from spikegraph.export.plain.segments import (
    counts_of,
    ends_of,
    reduced,
    with_loops,
    without_loops,
)
from spikegraph.network.graph import Node, arguments, map_nodes
from spikegraph.network.interpreter import Interpreter, call_module
from spikegraph.network.network import Network
from spikegraph.network.roles import Role
from spikegraph.nn import PhaseNeuron, routing
from spikegraph.nn.conv.attention import AttentionCoefficients
from spikegraph.nn.layer import is_changed, values_of

_SHARED = (Role.STRUCTURE, Role.SIZE)


def _with_self_loops(
    edge_index: Any, edge_attr: Any, num_sources: Any, num_targets: Any, fill: Any
) -> tuple[Tensor, Any]:
    edges = without_loops(torch.stack(ends_of(edge_index)), edge_attr)
    return with_loops(*edges, fill, min(num_sources, num_targets))


def _scatter(
    src: Tensor, index: Tensor, dim: int = 0, dim_size: Any = None, reduce: str = 'sum'
) -> Tensor:
    if dim not in (0, -src.dim()) or index.dim() != 1:
        raise NotImplementedError(f'groups along dimension {dim}')
    index, num = Graphs().groups(src, index, dim_size)
    return reduced(src, index, num, reduce)


def _item(x: Any, index: Any) -> Any:
    return gathered(x, index) if isinstance(x, Spikes) else x[index]


def _quantile_share(like: Tensor, index: Tensor, q: float) -> Tensor:
    count = counts_of(index, like.shape[0], torch.int64)
    point = torch.tensor(q, dtype=like.dtype, device=like.device) * (count - 1)
    point = point + (count.cumsum(0) - count)
    return point.frac().view(-1, *[1] * (like.dim() - 1))


#: What functions are that ask about values, or keep graphs.
_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    values_of: decoded,
    routing.edge_ends: ends_of,
    routing.gather_rows: gathered,
    routing.move_spikes: moved,
    operator.getitem: _item,
    routing.with_self_loops: _with_self_loops,
    routing.quantile_share: _quantile_share,
    remove_self_loops: without_loops,
    add_self_loops: with_loops,
    scatter: _scatter,
}


class Example(Interpreter):
    """Runs a network as it stands on an example, and notes what its plain form keeps:
    thresholds, and whether weights or edges come first.

    Attributes:
        populations (Dict[Node, PlainPopulation]): The populations.
        orders (Dict[Node, str]): What comes first, for each filter.
    """

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.populations: dict[Node, PlainPopulation] = {}
        self.orders: dict[Node, str] = {}

    def population(self, node: Node) -> Any:
        neuron: Any = self.network.operation(node)
        if type(neuron) is not PhaseNeuron or is_changed(neuron):
            raise refused(node, neuron, 'a population of another type, or with hooks')
        args, kwargs = arguments(node, self.env)
        first = args[0] if args else kwargs['potential']
        self.populations[node] = PlainPopulation(neuron, first)
        return self.call(node)

    def layer(self, node: Node) -> Any:
        layer: Any = self.network.operation(node)
        if type(layer) in FILTERS and layer.weight is not None and not layer.cached:
            args, kwargs = arguments(node, self.env)
            self.orders[node] = layer.choice(*in_order(layer, args, kwargs)).order
        return self.call(node)


class PlainReading(Interpreter):
    """Reads a network with PyTorch's operations alone, none of which asks about values.

    Args:
        network (Network): What is read.
        populations (Mapping[Node, PlainPopulation]): Its populations.
        operations (Mapping[Node, Any]): What its nodes call, as tracers show modules
            under types of their own.
        orders (Mapping[Node, str]): What comes first in its filters.
    """

    forgets = False

    def __init__(
        self,
        network: Network,
        populations: Mapping[Node, PlainPopulation],
        operations: Mapping[Node, Any],
        orders: Mapping[Node, str],
    ) -> None:
        super().__init__(network)
        self.populations, self.operations = populations, operations
        self.orders = orders
        self.graphs = Graphs()
        self._alike = alike(network.nodes)
        self._needed = needed(network.nodes)

    def evaluate(self, node: Node) -> Any:
        """The value of a node; of two that are alike, that of the first."""
        if node not in self._needed:
            return None
        first = self._alike.get(node, node)
        if first is not node:
            return self.env[first]
        try:
            return super().evaluate(node)
        except Exception as error:  # Whatever a tracer raises.
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise refused(node, self.operations[node], lines[0]) from error

    def check(self, node: Node) -> None:
        """Asks what can be answered by sizes: the program then fits these."""
        value, what, *_ = arguments(node, self.env)[0]
        if what != 'length' and isinstance(value, Tensor):
            raise NotImplementedError(
                'the model asks about a value, of which its answer is a part, and no '
                'program does; leave the question out of the model'
            )
        self.call(node)

    def population(self, node: Node) -> Any:
        args, kwargs = arguments(node, self.env)
        return self.populations[node](*args, **kwargs)

    def call(self, node: Node) -> Any:
        """The value of a node, by its plain form."""
        operation: Any = self.operations[node]
        args, kwargs = arguments(node, self.env)
        if node.op == 'call_function':
            return _FUNCTIONS.get(operation, operation)(*args, **kwargs)
        if not isinstance(operation, nn.Module) or node.op != 'call_module':
            return super().call(node)
        kind = type(operation)
        if kind in GATES:
            check_unchanged(operation)
            return GATES[kind](self.graphs, operation, *args, **kwargs)
        if kind in LAYERS:
            check_unchanged(operation)
            args = in_order(operation, args, kwargs)
            if kind in FILTERS:
                args = (self.orders.get(node, 'transform'), *args)
            return LAYERS[kind](self.graphs, operation, *args)
        if isinstance(operation, AttentionCoefficients):
            check_unchanged(operation)
            return coefficients(operation, *in_order(operation, args, kwargs))
        check_foreign(operation)
        return call_module(operation, args, kwargs)


def check_unchanged(module: nn.Module) -> None:
    """Raises ``NotImplementedError`` if a call does more than what the class says."""
    if is_changed(module):
        raise NotImplementedError(
            'hooks, or a forward of its own, which no program holds; remove them'
        )


def check_foreign(module: nn.Module) -> None:
    """Raises ``NotImplementedError`` if a module has no plain form, or keeps a graph."""
    for part in module.modules():
        if type(part).__module__.startswith('spikegraph.'):
            raise NotImplementedError('a layer that has no plain form')
        if isinstance(part, MessagePassing) and getattr(part, 'cached', False):
            raise NotImplementedError(
                "'cached=True', by which it keeps the first graph it sees; convert a "
                "model with 'cached=False'"
            )


def refused(node: Node, operation: Any, why: str) -> NotImplementedError:
    """What to raise where a node has no plain form."""
    record = node.record
    name = record.label or record.origin or record.name
    kind = operation if isinstance(operation, str) else type(operation).__name__
    if node.op == 'call_function':
        kind = getattr(operation, '__name__', kind)
    where = f' at {record.where}' if record.where else ''
    return NotImplementedError(
        f"Cannot export '{name}' ({kind}){where}: {why}. Leave it out of the model that is "
        "converted, or keep the network as a file of 'spikegraph.save'"
    )


def needed(nodes: Sequence[Node]) -> set[Node]:
    """The nodes that the output or a check is made of, and all inputs."""
    found: set[Node] = set()
    for node in reversed(nodes):
        is_end = node.role in (Role.OUTPUT, Role.CHECK, Role.INPUT)
        if is_end or any(user in found for user in node.users):
            found.add(node)
    return found


def alike(nodes: Sequence[Node]) -> dict[Node, Node]:
    """The first of the nodes that make the same of the same sizes and graphs."""
    first: dict[Any, Node] = {}
    found: dict[Node, Node] = {}
    for node in nodes:
        if node.role not in _SHARED or node.op == 'call_module':
            continue
        parts = map_nodes(
            (node.args, node.kwargs), lambda n: (Node, found.get(n, n).name)
        )
        key = (node.op, str(node.target), id(node.target) * callable(node.target))
        found[node] = first.setdefault((*key, repr(parts)), node)
    return found
