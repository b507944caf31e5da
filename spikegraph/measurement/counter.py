"""Counts the operations of one inference of a spiking network, node by node."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch_geometric.nn.models.linkx import SparseLinear

from spikegraph.coding import Spikes
from spikegraph.kernels import propagate
from spikegraph.measurement.arrivals import are_many
from spikegraph.measurement.counts import Counts, LayerCounts
from spikegraph.measurement.marks import Mark, marks_of
from spikegraph.measurement.meetings import (
    count_gate,
    count_product,
    fired,
    has_node_scale,
    num_membranes,
    values_behind,
)
from spikegraph.measurement.operations import OperationCounter
from spikegraph.network.graph import Node, arguments, inputs_behind
from spikegraph.network.interpreter import Interpreter, run_node
from spikegraph.network.roles import Role
from spikegraph.nn import (
    Analog,
    GraphFilter,
    Operation,
    PhaseNeuron,
    SpikingAffine,
    SpikingLayer,
)
from spikegraph.nn.layer import values_of
from spikegraph.nn.products import quotient
from spikegraph.nn.routing import never_silent
from spikegraph.nn.shift import MemberShift
from spikegraph.running.model import SpikingModel


class Counter(Interpreter):
    """One inference of a spiking network, counted node by node.

    Args:
        snn (SpikingModel): The network.
        inputs (Dict[str, Any]): Its inputs by name.

    Attributes:
        rows (Dict[str, LayerCounts]): What was counted, by the label of the node.
        uncounted (List[str]): What could not be.
        result (Any): What the network returned.
    """

    forgets = False

    def __init__(self, snn: SpikingModel, inputs: dict[str, Any]) -> None:
        super().__init__(snn.network)
        self.rows: dict[str, LayerCounts] = {}
        self.uncounted: list[str] = []
        self.arrivals: dict[Node, Any] = {}  # Of values that are spikes.
        self.sources: dict[Node, frozenset[Node]] = {}
        self.steps: dict[Node, int] = {}  # Of their windows.
        self.marks = marks_of(self.network, inputs, signal_names(snn))
        self.result = self.run(inputs)
        for row in self.rows.values():  # The ANN is counted by running it.
            counts = row.counts
            counts.ann_macs = counts.ann_macs_nonzero = 0
            counts.ann_aggregation_macs = counts.ann_multiplications = 0

    def evaluate(self, node: Node) -> Any:
        feeds = (self.sources[n] for n in values_behind(node))
        self.sources[node] = frozenset().union(*feeds)
        value = self.env[node] = super().evaluate(node)
        return value

    def population(self, node: Node) -> Any:
        value = self.env[node] = self.call(node)
        self._count_population(node)
        return self._fires(node, value)

    def gate(self, node: Node) -> Any:
        value, gate = self.call(node), self.network.operation(node)
        args, kwargs = arguments(node, self.env)
        count_gate(self._row(node, 'gate'), gate, args, kwargs, value)
        return self._fires(node, value)

    def _fires(self, node: Node, value: Spikes) -> Spikes:
        self.arrivals[node], self.steps[node] = fired(value), value.code.num_steps
        self.sources[node] = frozenset([node])
        return value

    def product(self, node: Node) -> Any:
        value, layer = self.call(node), self.network.operation(node)
        x, other = (self.env[n] for n in node.args)
        counts = self._row(node, 'product')
        pairs, self.steps[node] = count_product(counts, layer, x, other)
        if any(has_node_scale(self.network, n) for n in node.all_input_nodes):
            counts.scalings = value.numel()
        self.sources[node] = frozenset([node])
        return self.marks.note(value, None if are_many(pairs) else pairs)

    def output(self, node: Node) -> Any:
        self._count_readout(node)
        return self.call(node)

    def layer(self, node: Node) -> Any:
        layer = self.network.operation(node)
        if isinstance(layer, SpikingAffine):
            return self._run_counted(node)
        value = self.call(node)
        self._count_layer(node, layer)
        spikes = self._summed(node, layer) if _sums_rows(layer) else None
        return self.marks.note(value, spikes)

    def decode(self, node: Node) -> Any:
        source = node.all_input_nodes[0]
        return self.marks.note(values_of(self.env[source]), self.arrivals.get(source))

    def current(self, node: Node) -> Any:
        value = self.call(node)
        self._count_source(node, value)
        return self.marks.note(value)

    def analog(self, node: Node) -> Any:
        module = self.network.operation(node)
        if not isinstance(module, Analog):
            return self._run_counted(node)
        value = self.call(node)
        self._count_analog(node, module, value)
        return value

    def affine(self, node: Node) -> Any:
        return self._run_counted(node)

    move = size = structure = check = affine

    def read_out(self, node: Node) -> Any:
        if self.network.operation(node) is not quotient:
            return self._run_counted(node)
        value = self.call(node)
        counts = self.rows.setdefault('output', LayerCounts('output', 'read-out'))
        counts.counts.membrane_updates += sum(map(self._num_charges, node.args))
        counts.counts.snn_macs += value.numel()  # A division costs no less.
        counts.counts.ann_activations += value.numel()
        self.sources[node] = frozenset()  # It is read.
        return self.marks.note(value)

    def _summed(self, node: Node, layer: Any) -> Tensor | None:
        """The spikes that arrive where a layer without weights sums them up, unless
        they are so many that the sums are better read as real values.
        """
        args, kwargs = arguments(node, self.env)
        spikes = self.spikes_of(node.all_input_nodes[0])
        if spikes is None or kwargs:
            return None
        shape = spikes.shape
        adjacency = layer.adjacency(args[0], args[1:])
        if adjacency.weight is not None:
            return None  # Each has a size of its own.
        summed = propagate(adjacency.without_factors(), spikes.flatten(1))
        if not isinstance(layer.shift, MemberShift) and are_many(summed):
            return None
        return summed.view(len(summed), *shape[1:])

    def spikes_of(self, node: Node) -> Tensor | None:
        """How many spikes a value is made of, if of nothing else."""
        value = self.env[node]
        if isinstance(value, Tensor):
            return self.marks[value].arrivals
        return self.arrivals.get(node)

    def _run_counted(self, node: Node) -> Any:
        """Evaluates a node on decoded values, and counts what that does."""
        row: list[Counts] = []

        def counts(_: str) -> Counts:
            if not row:
                role = 'analog' if node.role is Role.ANALOG else 'elementwise'
                row.append(self._row(node, role))
            return row[0]

        found = dict(self.env)
        spiking = [n for n in node.all_input_nodes if _are_spikes(found[n])]
        for n in node.all_input_nodes:
            if n in spiking:
                found[n] = self._read(found[n], self.arrivals.get(n))
            if node.role is Role.ANALOG:
                self._forget_spikes(found[n])
        counter = OperationCounter(self.marks, counts, follows=True)
        with counter:
            value = run_node(self.network, node, found)
        if node.role is Role.ANALOG:
            self._count_rest(node, value, bool(counter.uncounted))
        else:
            self.uncounted += [
                f'{node.name} ({name})' for name in dict.fromkeys(counter.uncounted)
            ]
        if row and node.record.joins:  # In one membrane.
            row[0].accumulates, row[0].adds = row[0].adds, 0
        if row and row[0] == Counts():
            del self.rows[node.record.row]
        elif row and (row[0].synops or row[0].snn_macs or row[0].accumulates):
            made = self.rows[node.record.row]
            made.role = 'layer' if made.role == 'elementwise' else made.role
        moved = run_node(self.network, node, self.env) if spiking else None
        if _are_spikes(moved):
            self.arrivals[node] = pytree.tree_map(fired, moved)
            if self.network.operation(node) is never_silent:  # Some fire at the end.
                more = self.arrivals[node] - self.arrivals[spiking[0]]
                self._row(node, 'gate').spikes += int(more.sum())
            return moved
        return value

    def _read(self, value: Any, arrivals: Any) -> Any:
        """Spikes as real values, of which it is noted that they are spikes."""
        if isinstance(value, Spikes):
            return self.marks.note(values_of(value), arrivals)
        found = arrivals if isinstance(arrivals, (tuple, list)) else [None] * len(value)
        return type(value)(map(self._read, value, found))

    def _forget_spikes(self, value: Any) -> None:
        for part in pytree.tree_leaves(value):
            if isinstance(part, Tensor) and self.marks[part].kind == 'signal':
                self.marks[part] = Mark('signal')

    def _row(self, node: Node, role: str) -> Counts:
        name = node.record.row
        return self.rows.setdefault(name, LayerCounts(name, role)).counts

    def _count_rest(self, node: Node, value: Any, unknown: bool) -> None:
        """What is analog is billed once for each value, besides its products."""
        counts = self._row(node, 'analog')
        size = value.numel() if isinstance(value, Tensor) else 0
        if unknown or not counts.snn_macs:
            counts.snn_macs += size
            self.uncounted.append(f'{node.name} (estimated from its size)')
        counts.analog_values += size
        counts.ann_activations += size

    def _count_analog(self, node: Node, operation: Analog, value: Any) -> None:
        counts = self._row(node, 'analog')
        args, _ = arguments(node, self.env)
        size = value.numel() if isinstance(value, Tensor) else 0
        decoded = pytree.tree_map_only(Spikes, Spikes.decode, args)
        counts.snn_macs = operation.macs(*decoded)
        counts.analog_values = counts.ann_activations = size

    def _count_population(self, node: Node) -> None:
        spikes: Spikes = self.env[node]
        neuron = self.network.operation(node)
        num_neurons = spikes.shape.numel()
        assert isinstance(neuron, PhaseNeuron)
        counts = self._row(node, 'input encoding' if node.record.encodes else 'neurons')
        counts.spikes = spikes.num_spikes
        counts.neurons = num_neurons
        waited = spikes.phase().int().clamp(max=spikes.code.num_steps - 1) + 1
        fire_steps = int(waited.sum())
        counts.comparisons = fire_steps * neuron.comparisons_per_step
        charged = self._num_steps(node.all_input_nodes[0]) * num_neurons
        if 'divisor' in node.kwargs:  # A second membrane, which is the threshold.
            charged += self._num_charges(node.kwargs['divisor'])
        counts.membrane_updates = charged + fire_steps
        if node.record.encodes:
            if neuron.node_scale:  # Find each node's peak, scale its thresholds.
                num_nodes = spikes.scale.numel()
                counts.comparisons += num_neurons
                counts.scalings = num_nodes * spikes.code.num_steps
        else:
            counts.ann_activations = num_neurons

    def _num_steps(self, node: Node) -> int:
        """Through how many steps a potential is charged, in one window per source."""
        return sum(self.steps[source] for source in self.sources[node])

    def _num_charges(self, node: Node) -> int:
        """How often the membranes of a potential are updated while it is charged."""
        return self._num_steps(node) * num_membranes(node, self.env)

    def _count_readout(self, node: Node) -> None:
        for out in node.all_input_nodes:
            value = self.env[out]
            if not isinstance(value, Tensor):
                continue
            if out.role is Role.DECODE or not self.sources[out]:
                continue
            counts = self.rows.setdefault('output', LayerCounts('output', 'read-out'))
            steps = self._num_steps(out)
            counts.counts.membrane_updates += steps * value.numel()
            counts.counts.ann_activations += value.numel()

    def _count_source(self, node: Node, value: Tensor) -> None:
        """An index adds one row of weights; an edge of a sparse layer, too."""
        index = self.env[node.all_input_nodes[0]]
        is_sparse = isinstance(self.network.operation(node), SparseLinear)
        num_rows = index.size(1) if is_sparse else index.numel()  # [2, E]: edges.
        counts = self._row(node, 'input encoding')
        if is_sparse:
            counts.accumulates = num_rows * value.size(-1)
        else:
            counts.adds = num_rows * value.size(-1)  # In both networks.
        counts.analog_values = value.numel()

    def _count_layer(self, node: Node, layer: SpikingLayer) -> None:
        args, kwargs = arguments(node, self.env)
        x = args[0] if args else kwargs['x']
        source = node.all_input_nodes[0]
        parts = x if isinstance(x, (tuple, list)) else (x,)  # Of a bipartite graph.
        parts = [part for part in parts if part is not None]
        counts = self._row(node, 'layer')
        arrivals = self.spikes_of(source) if len(parts) == 1 else None
        operations = layer.operations(*args, **kwargs)
        if arrivals is None and isinstance(layer, GraphFilter) and not kwargs:
            operations = _cheaper(operations, layer, *args)
        for item in operations:
            _add_operation(counts, item, arrivals)
        for part in parts:
            if arrivals is None and not isinstance(part, Spikes):
                counts.analog_values += part.numel()
        if isinstance(x, Spikes) and self._needs_node_scale(source, layer, args):
            value = run_node(self.network, node, self.env)
            counts.scalings += value.numel()

    def _needs_node_scale(
        self, source: Node, layer: SpikingLayer, args: tuple[Any, ...]
    ) -> bool:
        """Whether a node's own scale is a multiplication of its own, and not
        one with a factor that its sums are multiplied by anyway, such as a degree's.
        """
        if not has_node_scale(self.network, source):
            return False
        if not isinstance(layer, GraphFilter) or not args:
            return True
        is_scaled = layer.adjacency(args[0], args[1:]).source_factor is not None
        return not (is_scaled and not getattr(layer, 'fold_source', False))


def _are_spikes(value: Any) -> bool:
    """Whether a value is spikes, or parts of them."""
    if isinstance(value, (tuple, list)):
        return len(value) > 0 and all(isinstance(part, Spikes) for part in value)
    return isinstance(value, Spikes)


def _add_operation(counts: Counts, item: Operation, arrivals: Tensor | None) -> None:
    if item.kind == 'scaling':
        counts.scalings += item.num
    elif item.kind == 'transform' and arrivals is not None:
        counts.synops += _num_met(arrivals, item)
    elif item.kind == 'aggregation':
        counts.accumulates += item.num
    else:  # Real values, or weighted edges.
        counts.snn_macs += item.num


def _cheaper(
    operations: list[Operation], layer: GraphFilter, x: Any, *graph: Any
) -> list[Operation]:
    """Real values that are pooled are summed up before they meet the weights."""
    is_pool = isinstance(layer.shift, MemberShift)
    if layer.weight is None or not is_pool:
        return operations
    adjacency = layer.adjacency(x, graph)
    per_row = x.shape[1:].numel()
    num = adjacency.num_targets * per_row * layer.weight.size(0)
    summed = [
        Operation('transform', num),
        Operation(operations[1].kind, adjacency.num_edges * per_row),
    ]
    if layer.scalings(adjacency):
        summed.append(Operation('scaling', layer.scalings(adjacency) * per_row))
    both = operations, summed
    return min(both, key=lambda found: sum(item.num for item in found))


def _num_met(marks: Tensor, item: Operation) -> int:
    """The weights met by the values that are marked by ones, or by a number."""
    if isinstance(item.fan_out, Tensor):
        return int((marks * item.fan_out).sum(dtype=torch.float64))
    return int(marks.sum(dtype=torch.float64)) * item.fan_out


def _sums_rows(operation: Any) -> bool:
    """Whether it adds up rows: members, each a part of one sum, or neighbours."""
    if not isinstance(operation, GraphFilter) or operation.weight is not None:
        return False
    is_mean = isinstance(operation.shift, MemberShift) and operation.shift.mean
    return not is_mean and operation.coefficients == [[0.0, 1.0]]


def signal_names(snn: SpikingModel) -> set[str]:
    """The inputs that are features, or that these are made of."""
    names = set(snn.report.currents)
    for node in snn.network.nodes:
        if node.record.encodes:
            names.update(set(inputs_behind(node)) & set(snn.spec.features))
    return names
