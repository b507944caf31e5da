"""Counts what the event-driven machine does: where spikes arrive, and where they do not.

A value that a spike is on its way to is marked by an infinity: it is what all that is
affine makes infinities, or no numbers, of, zero weights included.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from spikegraph.coding import Spikes
from spikegraph.kernels import Adjacency, propagate
from spikegraph.kernels.dispatch import only
from spikegraph.measurement.counts import Counts, LayerCounts
from spikegraph.measurement.fan_out import summed_rows
from spikegraph.measurement.meetings import fired, num_membranes
from spikegraph.network.graph import Node, arguments
from spikegraph.network.interpreter import Interpreter, run_node
from spikegraph.network.ops import Count, count_of
from spikegraph.network.roles import Role
from spikegraph.nn import GraphFilter, PhaseNeuron, SpikingAffine
from spikegraph.nn.delayed_sum import DelayedSum
from spikegraph.nn.gate import EarliestGate
from spikegraph.nn.layer import values_of
from spikegraph.nn.products import quotient
from spikegraph.nn.relative import Leading

if TYPE_CHECKING:
    from spikegraph.measurement.counter import Counter


def count_events(counter: Counter) -> None:
    """Adds what the event-driven machine does to the rows of a counted inference.

    Args:
        counter (Counter): It, with the values of all nodes.
    """
    with only('torch'):
        events = _Events(counter)
        events.run(counter.inputs)
    for name in events.added:
        if counter.rows[name].counts == Counts():
            del counter.rows[name]
    for name, row in counter.rows.items():
        counts = row.counts
        all_move = row.role == 'product' or name in events.dense
        moved = counts.accumulates if all_move else counts.moved
        counts.moved = min(moved, counts.accumulates)
        counts.touches += counts.synops + counts.moved
        counts.decays += counts.touches + counts.openings


class _Events(Interpreter):
    """Reads a network once more, with marks in place of spikes."""

    forgets = False

    def __init__(self, counter: Counter) -> None:
        super().__init__(counter.network)
        self.counter = counter
        self.dense: set[str] = set()  # Rows of indices, each of which is an event.
        self.added: list[str] = []

    def input(self, node: Node) -> Any:
        return self._marked(self.counter.env[node])

    def _known(self, node: Node) -> Any:
        return self.counter.env[node]

    constant = size = structure = check = _known

    def current(self, node: Node) -> Any:
        self.dense.add(node.record.row)
        return self._marked(self.counter.env[node])

    def analog(self, node: Node) -> Any:
        return self._marked(self.counter.env[node])

    def read_out(self, node: Node) -> Any:
        if self.network.operation(node) is quotient:
            for value in node.all_input_nodes:
                self._open('output', value)
        return self._marked(self.counter.env[node])

    def output(self, node: Node) -> Any:
        queue, found = list(node.all_input_nodes), []
        while queue:  # What follows the last layer reads the same potentials.
            value = queue.pop()
            if value.role is Role.READ_OUT:
                if self.network.operation(value) is not quotient:
                    queue += value.all_input_nodes
            elif value not in found:
                found.append(value)
        for value in found:
            is_potential = isinstance(self.counter.env[value], Tensor)
            if is_potential and value.role is not Role.DECODE:
                if self.counter.sources[value]:
                    self._open('output', value)

    def _open(self, row: str, value: Node) -> None:
        counts = self._counts(row, 'read-out')
        counts.receivers += int(_reached(self.env[value]).sum())
        counts.openings += self._num_compartments(value)
        counts.touches += self._num_landed(value)

    def population(self, node: Node) -> Any:
        spikes, neuron = self.counter.env[node], self.network.operation(node)
        assert isinstance(neuron, PhaseNeuron)
        counts = self._counts(node.record.row, 'neurons')
        num_outcomes = spikes.code.num_steps * neuron.comparisons_per_step + 1
        num_compared = math.ceil(math.log2(num_outcomes))
        source = node.all_input_nodes[0]
        if node.record.encodes:
            looked = int(((self.counter.env[source] != 0) | _fires(spikes)).sum())
            counts.encoded = spikes.num_spikes
            counts.searches += looked * (num_compared + int(neuron.node_scale))
            return _seeds(spikes)
        args, kwargs = arguments(node, self.env)
        reached = _reached(args[0])
        others = [kwargs[name] for name in ('divisor', 'start') if name in kwargs]
        for other in others:
            if isinstance(other, Tensor):
                reached = reached | _reached(other)
        num_reached = int(reached.sum())
        counts.receivers += num_reached
        counts.openings += self._num_compartments(source)
        counts.touches += self._num_landed(source)
        counts.searches += num_reached * num_compared
        if 'divisor' in node.kwargs:  # Each threshold is multiplied by it.
            divisor = node.kwargs['divisor']
            size, num = self.env[divisor].numel(), num_membranes(divisor, self.env)
            counts.openings += self._num_compartments(divisor) * num // max(1, size)
            counts.decays += num_reached * num_compared
        return _seeds(spikes)

    def gate(self, node: Node) -> Any:
        gate = self.network.operation(node)
        counts = self._counts(node.record.row, 'gate')
        args, kwargs = arguments(node, self.counter.env)
        x, *groups = args if args else (kwargs.pop('x'),)
        if isinstance(gate, EarliestGate):
            is_one = isinstance(x, Spikes)
            marks = [fired(spikes).float() for spikes in ([x] if is_one else x)]
            found = gate.count(marks[0] if is_one else marks, *groups, **kwargs)
            counts.searches += int(found.sum(dtype=torch.float64))
        elif isinstance(gate, Leading):
            counts.searches += x.num_spikes
        return _seeds(self.counter.env[node])

    def product(self, node: Node) -> Any:
        layer = self.network.operation(node)
        assert isinstance(layer, DelayedSum)
        value = self.counter.env[node]
        x, other = (self.counter.env[n] for n in node.args)
        pairs = layer.num_pairs(fired(x), fired(other))
        return torch.zeros_like(value).masked_fill_(pairs > 0, math.inf)

    def move(self, node: Node) -> Any:
        known = self.counter.env[node]
        parts = known if isinstance(known, (tuple, list)) else [known]
        if any(isinstance(part, Spikes) for part in parts):
            return self._marked(known)
        return self.call(node)

    decode = Interpreter.call

    def layer(self, node: Node) -> Any:
        layer = self.network.operation(node)
        if isinstance(layer, SpikingAffine):
            return self.affine(node)
        counts = self._counts(node.record.row, 'layer')
        args, kwargs = arguments(node, self.env)
        if isinstance(layer, GraphFilter) and not kwargs:
            adjacency = layer.adjacency(args[0], args[1:])
            moved = _num_moved(layer, _reached(args[0]), adjacency)
            if adjacency.weight is None:
                counts.moved += moved
            else:
                counts.touches += moved  # Each is a multiply-accumulate.
        else:
            args, kwargs = arguments(node, self.counter.env)
            for item in layer.operations(*args, **kwargs):
                if item.kind == 'weighted aggregation':
                    counts.touches += item.num
                elif item.kind == 'aggregation':
                    counts.moved += item.num
        return self.call(node)

    def affine(self, node: Node) -> Any:
        counts = self._counts(node.record.row, 'elementwise')
        rows = _MovedRows()
        with rows:
            value = self.call(node)
        counts.moved += rows.num_moved
        if node.record.joins:
            found = [_reached(part) for part in _tensors(value)]
            counts.moved += sum(int(part.sum()) for part in found)
        elif not counts.synops and not counts.accumulates:
            counts.touches += self._num_mixed(node)
        return value

    def _counts(self, row: str, role: str) -> Counts:
        rows = self.counter.rows
        if row not in rows:
            rows[row] = LayerCounts(row, role)
            self.added.append(row)
        return rows[row].counts

    def _marked(self, value: Any) -> Any:
        """Spikes as marks, and of real values that depend on features all of them."""

        def mark(part: Any) -> Any:
            if isinstance(part, Spikes):
                return _seeds(part)
            if not isinstance(part, Tensor) or not part.is_floating_point():
                return part
            is_signal = self.counter.marks[part].kind == 'signal'
            return torch.full_like(part, math.inf) if is_signal else part

        return pytree.tree_map(mark, value)

    def _spikes(self, node: Node) -> Tensor | None:
        """The spikes that a value is, or is a sum of, if nothing has added them up."""
        found = self.counter.spikes_of(node)
        return found if isinstance(found, Tensor) else None

    def _num_mixed(self, node: Node) -> int:
        """The spikes that go into sums with other values."""
        value = self.counter.env[node]
        if not isinstance(value, Tensor) or self._spikes(node) is not None:
            return 0
        total = 0
        for source in node.all_input_nodes:
            spikes = self._spikes(source)
            if spikes is not None and spikes.numel() > 0:
                copies = max(1, value.numel() // spikes.numel())
                total += copies * int(spikes.sum(dtype=torch.float64))
        return total

    def _num_landed(self, value: Node) -> int:
        """The spikes that arrive at membranes as they are, without a layer before."""
        spikes = self._spikes(value)
        if spikes is None:
            return 0
        for node in self._behind(value):
            row = self.counter.rows.get(node.record.row)
            if row is not None and (row.counts.synops or row.counts.accumulates):
                return 0  # They have been added up on their way.
        return int(spikes.sum(dtype=torch.float64))

    def _behind(self, target: Node, source: Node | None = None) -> list[Node]:
        """The nodes from what sends spikes to a value, in order; of one source only
        those that its spikes pass.
        """
        sources = self.counter.sources
        found, queue = {target}, [target]
        while queue:
            for node in queue.pop().all_input_nodes:
                sends = node in sources[node] or not sources[node]
                is_other = source is not None and source not in sources[node]
                if not sends and not is_other and node not in found:
                    found.add(node)
                    queue.append(node)
        return [node for node in self.network.nodes if node in found]

    def _num_compartments(self, value: Node) -> int:
        """The membranes that spikes arrive at: each value has one for each source."""
        sources = self.counter.sources[value]
        if len(sources) < 2:
            return int(_reached(self.env[value]).sum())
        total = 0
        for source in sources:
            env: dict[Node, Any] = {}
            for node in self._behind(value, source):
                for read in node.all_input_nodes:
                    if read not in env:
                        known = self.counter.env[read]
                        plain = pytree.tree_map_only(Spikes, values_of, known)
                        env[read] = self.env[read] if read is source else plain
                env[node] = run_node(self.network, node, env)
            total += int(_reached(env[value]).sum())
        return total


class _MovedRows(TorchDispatchMode):
    """Counts the values that hold a spike where rows are added to others."""

    def __init__(self) -> None:
        super().__init__()
        self.num_moved = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name.partition('::')[2].rstrip('_')
        count = count_of(name)
        adds = count is Count.WRITE and len(args) > 3 and bool(args[3])
        if count is Count.ROWS or adds:
            src, _, how = summed_rows(name, args)
            if how in ('sum', 'mean'):
                found = _reached(src)
                if name.startswith('_embedding_bag'):
                    found = found[args[1]]
                self.num_moved += int(found.sum())
        return func(*args, **(kwargs or {}))


def _tensors(value: Any) -> list[Tensor]:
    return [part for part in pytree.tree_leaves(value) if isinstance(part, Tensor)]


def _reached(value: Tensor) -> Tensor:
    """Where a spike has arrived."""
    return ~value.isfinite()


def _fires(spikes: Spikes) -> Tensor:
    return spikes.spike_time != spikes.code.num_steps


def _seeds(spikes: Spikes) -> Tensor:
    """Marks where spikes are sent."""
    value = values_of(spikes)
    return torch.zeros_like(value).masked_fill_(_fires(spikes), math.inf)


def _num_moved(layer: GraphFilter, reached: Tensor, adjacency: Adjacency) -> int:
    """The sums along edges that hold a spike, those of all hops and channels."""
    width = 1
    if layer.weight is not None:
        reached, width = reached.any(-1, keepdim=True), layer.weight.size(0)
    sent = reached.flatten(1).double()
    plain, total = adjacency.without_factors(), 0

    def starts(power: int) -> bool:
        return any(len(row) > power and row[power] != 0 for row in layer.coefficients)

    at = torch.zeros_like(sent)
    for power in range(layer.num_hops, 0, -1):
        at = torch.maximum(at, sent) if starts(power) else at
        sums = propagate(plain, at)
        total += int(sums.sum())
        at = (sums > 0).double()
    return total * width
