"""How a converted network runs: potentials are computed block by block where a
population fires on them, inputs are encoded where they are read, and nothing is
kept longer than it is needed.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from spikegraph.coding import Spikes
from spikegraph.kernels import Messages
from spikegraph.kernels.memory import needs_gradient
from spikegraph.network.graph import Node, arguments, is_sum
from spikegraph.network.interpreter import Interpreter
from spikegraph.network.network import Network
from spikegraph.network.roles import Role
from spikegraph.nn import (
    GraphFilter,
    PhaseNeuron,
    SpikingConv,
    SpikingGCNConv,
    SpikingLinear,
)
from spikegraph.nn.embedding import embed_sum
from spikegraph.nn.encoding import Encoding
from spikegraph.nn.layer import is_changed, values_of
from spikegraph.nn.potentials import (
    Decoded,
    Gathered,
    Given,
    Potentials,
    Total,
    spikes_of,
)
from spikegraph.nn.routing import gather_rows
from spikegraph.running.delayed import Delayed, Moved, Rows, find_delayed, find_moved
from spikegraph.running.heard import (
    Heard,
    Waiting,
    convolved,
    find_heard,
    fires_in_order,
    wait,
    whole,
)
from spikegraph.running.keeping import GraphValues
from spikegraph.running.scores import find_scored

_IN_ROWS = (GraphFilter, SpikingGCNConv, SpikingLinear)  # Not those derived from them.


class Flow:
    """What may stay rows, or an encoding, until it is read, and what is kept.

    Args:
        network (Network): What will run.
        keeps (bool, optional): Whether what is computed of graphs alone is kept.
            (default: :obj:`True`)
    """

    def __init__(self, network: Network, keeps: bool = True) -> None:
        self.network = network
        self.graphs = GraphValues(network, keeps)
        self.sums, self.delays, self.rows = find_delayed(network)
        self.moved = find_moved(network, self.sums)
        # The population that they are a part of.
        self.inside = {n: each for each, m in self.moved.items() for n in m.between}
        self.fired = {moved.sums for moved in self.moved.values()}
        place: dict[Any, int] = {
            node: number for number, node in enumerate(network.nodes)
        }
        run = [node for node in network.nodes if node not in self.graphs.idle]
        last: dict[Node, Node] = {node: node for node in run}
        for node in sorted(run, key=lambda n: place[self.inside.get(n, n)]):
            reader = self.inside.get(node, node)
            last.update(dict.fromkeys((*self.graphs.reads(node), node), reader))
        self.last_reads: dict[Node, list[Node]] = {node: [] for node in network.nodes}
        for source, node in last.items():
            self.last_reads[node].append(source)
        self.in_rows: set[Node] = set()
        for node in reversed(network.nodes):
            user = next(iter(node.users)) if len(node.users) == 1 else None
            if user is None or not self._may_be_rows(node):
                continue
            passes_on = user in self.in_rows and is_sum(user)
            if passes_on or self._fires_on(user, node):
                self.in_rows.add(node)
        self.scored = find_scored(network)
        self.heard = find_heard(network)
        self.convolved = {n for heard in self.heard.values() for n in heard.layers}
        self.encodings = {n for n in network.nodes if self.is_read_once(n)}

    def _may_be_rows(self, node: Node) -> bool:
        operation = self.network.operation(node)
        is_known = type(operation) in _IN_ROWS or operation is gather_rows
        return is_known or node.role is Role.DECODE or is_sum(node)

    def _fires_on(self, user: Node, node: Node) -> bool:
        alone = user.args == (node,) and not user.kwargs
        return alone and type(self.network.operation(user)) is PhaseNeuron

    def is_read_once(self, node: Node) -> bool:
        """Whether it encodes an input for a single layer."""
        if not node.record.encodes or len(node.args) != 1 or len(node.users) != 1:
            return False
        if type(self.network.operation(node)) is not PhaseNeuron:
            return False
        user = next(iter(node.users))
        if user.args[:1] != (node,) or node in user.args[1:]:
            return False
        return type(self.network.operation(user)) in _IN_ROWS


class ClosedForm(Interpreter):
    """One pass: decode, apply, encode, layer by layer.

    Args:
        flow (Flow): What is known of the network before it runs.
    """

    def __init__(self, flow: Flow) -> None:
        super().__init__(flow.network)
        self.flow = flow
        self.made: dict[Node, Any] = {}  # Together with what they read.
        self.passed: set[Node] = set()  # What was not written down then.

    def run(self, inputs: Any) -> Any:
        """The output of the network for inputs by name."""
        flow, env, self.inputs = self.flow, self.env, inputs
        value: Any = None
        for node in self.network.nodes:
            if node in flow.graphs.idle or node in flow.inside or node in self.passed:
                continue
            if node in self.made:
                value = env[node] = self.made.pop(node)
            elif node in flow.graphs.kept:
                value = env[node] = flow.graphs.run(node, env)
            else:
                value = env[node] = self.evaluate(node)
            if node.role is not Role.OUTPUT:
                for source in flow.last_reads[node]:
                    env.pop(source, None)
        return value

    def population(self, node: Node) -> Any:
        neuron: Any = self.network.operation(node)
        moved = self.flow.moved.get(node)
        if moved is not None:
            is_own = type(neuron) is PhaseNeuron and not is_changed(neuron)
            found = moved.spikes(neuron, self.env) if is_own else None
            return self._after(node, moved) if found is None else found
        value = self.env[node.all_input_nodes[0]]
        heard = self.flow.heard.get(node)
        if heard is not None and not isinstance(value, Waiting):
            value = self._wait(heard, node) or self.env[node.all_input_nodes[0]]
        if isinstance(value, Waiting):
            if heard is None or heard.gate is None:
                return value.values(neuron)
            return value  # What the gate keeps fires.
        if node in self.flow.encodings and self.flow.is_read_once(node):
            is_flat = isinstance(value, Tensor) and value.dim() == 2
            reader: Any = self.network.operation(next(iter(node.users)))
            if is_flat and not is_changed(neuron) and not is_changed(reader):
                return Encoding(neuron, value)
        if isinstance(value, Potentials):
            if type(neuron) is PhaseNeuron and not is_changed(neuron):
                return spikes_of(neuron, value)
            return neuron(value.whole())
        return self.call(node)

    def _after(self, node: Node, moved: Moved) -> Any:
        """What a population makes of potentials that are written down after all."""
        sums = self.env[moved.sums]
        if isinstance(sums, Messages):
            self.env[moved.sums] = sums.sums()
        for each in moved.between:
            self.env[each] = self.evaluate(each)
        return self.call(node)

    def move(self, node: Node) -> Any:
        if node not in self.flow.rows:
            return self.call(node)
        x, _, index = (self.env.get(n, n) for n in node.args)
        is_row = (
            isinstance(x, Spikes) and isinstance(index, Tensor) and index.dim() == 1
        )
        return Rows(x, index) if is_row else self.call(node)

    def _wait(self, heard: Heard, node: Node) -> Waiting | None:
        """Potentials of images that nobody but a node reads; None where somebody looks,
        and then these are made.
        """
        waiting = None
        if self._may_wait(heard):
            values = [self.env[n] for n in node.all_input_nodes]
            layers = [self.env.get(n) for n in heard.layers]
            place = next((v for v in layers if isinstance(v, Tensor)), None)
            waiting = wait(values, place)
        if waiting is None:
            for source in node.all_input_nodes:
                self.env[source] = whole(self.env[source])
        return waiting

    def _may_wait(self, heard: Heard) -> bool:
        modules: list[Any] = [self.network.operation(n) for n in heard.kinds]
        if [*map(type, modules)] != [*heard.kinds.values()]:
            return False  # May have been put in its place.
        if heard.gate is not None and not fires_in_order(modules[0]):
            return False
        modules += [m.conv for m in modules if type(m) is SpikingConv]
        return not any(isinstance(m, nn.Module) and is_changed(m) for m in modules)

    def gate(self, node: Node) -> Any:
        heard = self.flow.heard.get(node)
        if heard is not None:
            waiting = self.env[heard.population]
            if isinstance(waiting, Waiting):
                neuron: Any = self.network.operation(heard.population)
                module: Any = self.network.operation(node)
                return waiting.pooled(module).values(neuron)
        if node not in self.flow.delays:
            return self.call(node)
        pair = [self.env[n] for n in node.all_input_nodes]
        gate: Any = self.network.operation(node)
        rows = [each for each in pair if isinstance(each, Rows)]
        others = [each for each in pair if isinstance(each, Spikes)]
        if rows and others and not is_changed(gate):
            return Delayed(gate, others[0], rows[0])
        return gate(*(p.whole() if isinstance(p, Rows) else p for p in pair))

    def layer(self, node: Node) -> Any:
        layer: Any = self.network.operation(node)
        if node in self.flow.sums:
            (delayed, *rest), _ = arguments(node, self.env)
            if isinstance(delayed, Delayed):
                if type(layer) is not GraphFilter or is_changed(layer):
                    return layer(delayed.whole(), *rest)
                sums = delayed.sums(layer, *(*rest, None)[:2])
                if isinstance(sums, Messages) and node not in self.flow.fired:
                    return sums.sums()
                return sums
        if node in self.flow.scored:
            return self._scored(node)
        if node in self.flow.convolved:
            found = convolved(layer, self.env[node.args[0]])
            return self.call(node) if found is None else found
        if node not in self.flow.in_rows:
            return self.call(node)
        args, kwargs = arguments(node, self.env)
        x, is_known = (args[0] if args else None), type(layer) in _IN_ROWS
        if not is_known or is_changed(layer) or x is None or len(x.shape) != 2:
            return self.call(node)  # May have been put in its place.
        if kwargs:
            args = inspect.signature(layer.forward).bind(*args, **kwargs).args
        return layer.potentials(*args)

    def _scored(self, node: Node) -> Any:
        """What a layer leaves behind, if it is written down, or None."""
        scored, x = self.flow.scored[node], self.env[node.args[0]]
        layer: Any = self.network.operation(node)
        neuron = self.network.operation(scored.population)
        is_own = type(layer) is SpikingLinear and type(neuron) is PhaseNeuron
        if not is_own or is_changed(layer) or is_changed(neuron) or len(x.shape) != 2:
            return self.call(node)
        spikes, made = scored.run(self.network, layer.potentials(x))
        self.made.update({scored.population: spikes, **made})
        self.passed.update(scored.products)
        return None

    def current(self, node: Node) -> Any:
        module: Any = self.network.operation(node)
        if isinstance(module, nn.Module) and not is_changed(module):
            found = embed_sum(module, *arguments(node, self.env))
            if found is not None:
                return found
        return self.call(node)

    def decode(self, node: Node) -> Any:
        x = self.env[node.all_input_nodes[0]]
        is_flat = isinstance(x, Spikes) and len(x.shape) == 2
        return Decoded(x) if is_flat and node in self.flow.in_rows else values_of(x)

    def affine(self, node: Node) -> Any:
        heard = self.flow.heard.get(node)
        if heard is not None:
            waiting = self._wait(heard, node)
            if waiting is not None:
                return waiting
        if node not in self.flow.in_rows:
            return self.call(node)
        args, _ = arguments(node, self.env)
        if self.network.operation(node) is gather_rows:
            return _gathered(*args)
        parts = sorted(map(_in_rows, args), key=lambda p: isinstance(p, Given))
        if all(isinstance(p, Potentials) for p in parts):
            alike = (
                parts[0].shape == parts[1].shape and parts[0].dtype == parts[1].dtype
            )
            if alike and not isinstance(parts[0], Given):
                return Total(parts)
        values = (p.whole() if isinstance(p, Potentials) else p for p in args)
        return torch.add(*values)


def _gathered(x: Any, index: Any) -> Any:
    """Rows at an index, which are taken when they are read."""
    is_known = isinstance(x, Tensor) and isinstance(index, Tensor) and x.dim() == 2
    if not is_known or index.dim() != 1 or needs_gradient(x):
        return gather_rows(x, index)
    is_inside = index.dtype in (torch.int32, torch.int64) and index.numel() > 0
    return Gathered(x, index) if is_inside else gather_rows(x, index)


def _in_rows(value: Any) -> Any:
    """A tensor of rows as potentials."""
    if not isinstance(value, Tensor) or value.dim() != 2 or needs_gradient(value):
        return value
    return Given(value)
