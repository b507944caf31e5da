"""Counts the operations of one inference, node by node."""

from __future__ import annotations

import math
import operator
from collections import ChainMap
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree
from torch_geometric.data.data import BaseData
from torch_geometric.nn.models.linkx import SparseLinear

from spikegraph.coding import Spikes
from spikegraph.conversion import SpikingModel
from spikegraph.conversion.images import AVERAGES, CONVOLUTIONS, INTERPOLATIONS, MOVES
from spikegraph.conversion.interpretation import (
    arguments,
    is_input,
    is_population,
    run_network_as_ann,
    run_node,
)
from spikegraph.conversion.rules import Rule, rule_for
from spikegraph.conversion.tracing import operation_of
from spikegraph.measurement.counts import Counts, LayerCounts
from spikegraph.nn import (
    Analog,
    Operation,
    PhaseNeuron,
    SpikeGate,
    SpikingConv,
    SpikingLayer,
)
from spikegraph.nn.layer import values_of
from spikegraph.nn.routing import gather_rows, of_length, trim_rows
from spikegraph.nn.shift import GCNShift

_SUMS = (operator.add, operator.sub, torch.add, torch.sub, 'add', 'sub')
_ADDING = {*_SUMS, torch.mean, torch.sum, 'mean', 'sum'}
_SCALING = {operator.mul, operator.truediv, torch.mul, torch.div, 'mul', 'div'}
_PRODUCTS = {
    *(torch.matmul, torch.mm, operator.matmul, torch.sparse.mm, torch.spmm),
    *('matmul', 'mm', F.linear),
    *CONVOLUTIONS,
}
_MOVES = {
    *(of_length, torch.cat, torch.concat, gather_rows, trim_rows, operator.getitem),
    *(torch.flatten, torch.reshape, torch.index_select, torch.unsqueeze),
    *('view', 'reshape', 'flatten', 'index_select', 'unsqueeze', 'squeeze'),
    *('permute', 'transpose', torch.permute, torch.transpose, torch.squeeze),
    *(torch.chunk, 'chunk', torch.split, 'split', torch.unbind, 'unbind', 'expand'),
    *(torch.flip, 'flip', torch.narrow, 'narrow', 'repeat', 'expand_as'),
    *(f for f in MOVES if not isinstance(f, type) and f is not F.pad),
}
_VALUES = (Tensor, Spikes)


class Counter:
    """One inference of both networks, counted node by node."""

    def __init__(
        self, snn: SpikingModel, ann: fx.GraphModule, inputs: dict[str, Any]
    ) -> None:
        self.network = snn.network
        self.analog = snn.report.analog
        self.rows: dict[str, LayerCounts] = {}
        self.uncounted: list[str] = []
        self.num_nodes = 0
        self.num_images = 0  # That the first convolution sees.
        self.nonzero: dict[str, Tensor] = {}
        self.arrivals: dict[fx.Node, Tensor] = {}
        run_network_as_ann(ann, inputs, self._observe)
        for name, value in inputs.items():
            for key, item in _items(name, value):
                if isinstance(item, Tensor) and item.layout == torch.strided:
                    self.nonzero[key] = item != 0
        env: dict[fx.Node, Any] = {}
        sources: dict[fx.Node, frozenset[fx.Node]] = {}
        for node in self.network.graph.nodes:
            before = node.all_input_nodes
            feeds: frozenset[fx.Node] = frozenset().union(*(sources[n] for n in before))
            if node.op == 'placeholder':
                env[node] = inputs[str(node.target)]
            else:
                env[node] = run_node(self.network, node, env)
            if is_population(self.network, node):
                self._count_population(node, env, feeds)
                feeds = frozenset([node])
            elif node.op == 'output':
                self._count_readout(node, env, sources)
            elif node.op.startswith('call') and node.target is not values_of:
                self._count_operation(node, env, feeds)
            sources[node] = feeds
            arrivals = self._count_arrivals(node, env)
            if arrivals is not None:
                self.arrivals[node] = arrivals

    def _count_arrivals(self, node: fx.Node, env: dict[fx.Node, Any]) -> Tensor | None:
        """How many spikes charge each value, if nothing but spikes does: those
        of a population, wherever they are moved to or added up.
        """
        if is_population(self.network, node):
            spikes: Spikes = env[node]
            return (spikes.spike_time != spikes.code.num_steps).to(torch.float64)
        before = [n for n in node.all_input_nodes if _holds_values(env[n])]
        moved = [n for n in before if n in self.arrivals]
        if node.target is values_of:
            return self.arrivals.get(node.all_input_nodes[0])
        if node.target in _SUMS and before and len(moved) == len(before):
            return sum(self.arrivals[n] for n in moved)  # type: ignore[return-value]
        floats = [n for n in before if _is_real(env[n])]
        if self._moves(node) and floats and all(n in moved for n in floats):
            found = run_node(self.network, node, ChainMap(self.arrivals, env))
            return found  # Of a split, a tuple.
        return None

    def _moves(self, node: fx.Node) -> bool:
        operation = operation_of(self.network, node)
        if operation is F.pad:
            return not node.kwargs.get('value')
        if isinstance(operation, nn.Module):
            return type(operation) in MOVES and not getattr(operation, 'value', 0)
        return operation in _MOVES

    def _observe(self, node: fx.Node, value: Any) -> None:
        if isinstance(value, Tensor) and value.layout == torch.strided:
            self.nonzero[node.name] = value != 0

    def _row(self, node: fx.Node, role: str) -> Counts:
        name = node.name
        for prefix in ('neurons_', 'gates_', 'pools_'):
            name = name.removeprefix(prefix)
        return self.rows.setdefault(name, LayerCounts(name, role)).counts

    def _count_population(
        self, node: fx.Node, env: dict[fx.Node, Any], feeds: frozenset[fx.Node]
    ) -> None:
        spikes: Spikes = env[node]
        neuron = self.network.get_submodule(str(node.target))
        num_neurons = spikes.shape.numel()
        if isinstance(neuron, SpikeGate):
            counts = self._row(node, 'gate')
            args, kwargs = arguments(node, env)
            counts.spikes = spikes.num_spikes
            counts.comparisons = _num_compared(neuron, args, kwargs) - num_neurons
            counts.ann_activations = num_neurons
            return
        assert isinstance(neuron, PhaseNeuron)
        counts = self._row(node, 'input encoding' if is_input(node) else 'neurons')
        counts.spikes = spikes.num_spikes
        counts.neurons = num_neurons
        waited = spikes.phase().int().clamp(max=spikes.code.num_steps - 1) + 1
        fire_steps = int(waited.sum())
        counts.comparisons = fire_steps * neuron.comparisons_per_step
        charge_steps = sum(env[n].code.num_steps for n in feeds) * num_neurons
        counts.membrane_updates = charge_steps + fire_steps
        if is_input(node):
            if neuron.node_scale:  # Find each node's peak, scale its thresholds.
                num_nodes = spikes.scale.numel()
                counts.comparisons += num_neurons
                counts.scalings = num_nodes * spikes.code.num_steps
        else:
            counts.ann_activations = num_neurons

    def _count_readout(
        self,
        node: fx.Node,
        env: dict[fx.Node, Any],
        sources: dict[fx.Node, frozenset[fx.Node]],
    ) -> None:
        for out in node.all_input_nodes:
            value = env[out]
            if not isinstance(value, Tensor):
                continue
            self.num_nodes += value.size(0) if value.dim() > 0 else 1
            feeds = sources[out]
            if out.target is values_of or not feeds:
                continue
            counts = self.rows.setdefault('output', LayerCounts('output', 'read-out'))
            steps = sum(env[n].code.num_steps for n in feeds)
            counts.counts.membrane_updates += steps * value.numel()
            counts.counts.ann_activations += value.numel()

    def _count_operation(
        self, node: fx.Node, env: dict[fx.Node, Any], feeds: frozenset[fx.Node]
    ) -> None:
        target = operation_of(self.network, node)
        value = env[node]
        rule = rule_for(target)
        if isinstance(target, SpikingLayer):
            self._count_layer(node, target, env)
        elif node.name in self.analog:
            counts = self._row(node, 'analog')
            weights = 0
            if isinstance(target, nn.Module):
                weights = sum(p.numel() for p in target.parameters() if p.dim() > 1)
            rows = value.size(0) if isinstance(value, Tensor) and value.dim() else 1
            size = value.numel() if isinstance(value, Tensor) else 0
            macs = rows * weights + size
            if isinstance(target, Analog):
                args, _ = arguments(node, env)
                macs = target.macs(*_decoded(args))
            counts.snn_macs = counts.ann_macs = macs
            counts.ann_macs_nonzero = counts.ann_macs
            counts.analog_values = counts.ann_activations = size
            if not isinstance(target, Analog):
                self.uncounted.append(f'{node.name} (estimated from weights and size)')
        elif rule is not None and rule.kind == 'source':
            self._count_source(node, value, env)
        elif not isinstance(value, Tensor) or not feeds:
            return  # Graph preparation, the same in both networks.
        elif target in MOVES or type(target) in MOVES or _is_free(rule):
            return
        elif target in INTERPOLATIONS or type(target) in INTERPOLATIONS:
            mode = node.kwargs.get('mode', getattr(target, 'mode', ''))
            if mode != 'nearest':
                self.uncounted.append(f'{node.name} (interpolation)')
        elif target in AVERAGES or type(target) in AVERAGES:
            counts = self._row(node, 'elementwise')
            counts.adds = self._num_averaged(node, target, env)
        elif isinstance(target, nn.Module):
            if isinstance(target, nn.modules.batchnorm._BatchNorm):
                counts = self._row(node, 'elementwise')
                counts.scalings = counts.ann_multiplications = value.numel()
                counts.adds = value.numel()
            else:
                self.uncounted.append(f'{node.name} ({type(target).__name__})')
        elif target in _ADDING:
            size = max(
                env[n].numel()
                for n in node.all_input_nodes
                if isinstance(env[n], Tensor)
            )
            self._row(node, 'elementwise').adds = size
        elif target in _SCALING:
            counts = self._row(node, 'elementwise')
            counts.scalings = counts.ann_multiplications = value.numel()
        elif target in _PRODUCTS:
            self.uncounted.append(f'{node.name} (matrix product)')

    def _num_averaged(self, node: fx.Node, pool: Any, env: dict[fx.Node, Any]) -> int:
        """The values that an average pool adds up, those of every window."""
        args, kwargs = arguments(node, env)
        size = getattr(pool, 'kernel_size', None)
        if not isinstance(pool, nn.Module) and 'adaptive' not in pool.__name__:
            size = kwargs.get('kernel_size', args[1] if len(args) > 1 else None)
        if size is None:
            return int(args[0].numel())  # Of an adaptive pool.
        name = pool.__name__ if callable(pool) and hasattr(pool, '__name__') else ''
        name = name or type(pool).__name__
        num_dims = int(name[-2])
        sizes = [size] * num_dims if isinstance(size, int) else list(size) * num_dims
        return int(env[node].numel()) * math.prod(sizes[:num_dims])

    def _count_source(
        self, node: fx.Node, value: Tensor, env: dict[fx.Node, Any]
    ) -> None:
        """An index adds one row of weights; an edge of a sparse layer, too."""
        index = env[node.all_input_nodes[0]]
        is_sparse = isinstance(operation_of(self.network, node), SparseLinear)
        num_rows = index.size(1) if is_sparse else index.numel()  # [2, E]: edges.
        counts = self._row(node, 'input encoding')
        if is_sparse:
            counts.accumulates = num_rows * value.size(-1)
            counts.ann_aggregation_macs = counts.accumulates
        else:
            counts.adds = num_rows * value.size(-1)  # In both networks.
        counts.analog_values = value.numel()

    def _count_layer(
        self, node: fx.Node, layer: SpikingLayer, env: dict[fx.Node, Any]
    ) -> None:
        args, kwargs = arguments(node, env)
        x = args[0] if args else kwargs['x']
        source = node.all_input_nodes[0]
        key = source.name
        if source.target is values_of:
            key = source.all_input_nodes[0].name
        parts = x if isinstance(x, (tuple, list)) else (x,)  # Of a bipartite graph.
        parts = [part for part in parts if part is not None]
        nonzero = self.nonzero.get(key)
        if nonzero is None:
            nonzero = torch.ones(sum(part.shape.numel() for part in parts))
        if isinstance(layer, SpikingConv) and not self.num_images:
            self.num_images = x.shape[: layer.channel_dim].numel()
        counts = self._row(node, 'layer')
        arrivals = self.arrivals.get(source) if len(parts) == 1 else None
        for item in layer.operations(*args, **kwargs):
            _add_operation(counts, item, arrivals, nonzero)
        for part in parts:
            if arrivals is None and not isinstance(part, Spikes):
                counts.analog_values += part.numel()
        if isinstance(x, Spikes) and self._needs_node_scale(source, layer):
            counts.scalings += env[node].numel()

    def _needs_node_scale(self, source: fx.Node, layer: SpikingLayer) -> bool:
        """Whether a node's own scale is a multiplication of its own, and not
        one with the degree factor that its sums are multiplied by anyway.
        """
        while source.target in (gather_rows, trim_rows, operator.getitem):
            source = source.all_input_nodes[0]  # Rows keep their scale.
        if source.op != 'call_module':
            return False
        neuron = self.network.get_submodule(str(source.target))
        if not (isinstance(neuron, PhaseNeuron) and neuron.node_scale):
            return False
        shift = getattr(layer, 'shift', None)
        is_scaled = isinstance(shift, GCNShift) and shift.normalize
        return not (is_scaled and not getattr(layer, 'fold_source', False))


def _decoded(value: Any) -> Any:
    return pytree.tree_map_only(Spikes, lambda spikes: spikes.decode(), value)


def _num_compared(gate: SpikeGate, args: Any, kwargs: dict[str, Any]) -> int:
    """How many spikes arrive at a gate at most: all members of all groups."""
    ones = pytree.tree_map_only(
        Spikes, lambda spikes: torch.ones(spikes.shape, device=spikes.device), args
    )
    return int(gate.count(*ones, **kwargs).sum())


def _add_operation(
    counts: Counts, item: Operation, arrivals: Tensor | None, nonzero: Tensor
) -> None:
    if item.kind == 'transform':
        counts.ann_macs += item.num
        counts.ann_macs_nonzero += _num_met(nonzero, item)
        if arrivals is not None:
            counts.synops += _num_met(arrivals, item)
        else:
            counts.snn_macs += item.num
    elif item.kind == 'scaling':
        counts.scalings += item.num
    else:
        counts.ann_aggregation_macs += item.num
        if item.kind == 'weighted aggregation':
            counts.snn_macs += item.num
        else:
            counts.accumulates += item.num


def _num_met(marks: Tensor, item: Operation) -> int:
    """The weights met by the values that are marked by ones, or by a number."""
    if isinstance(item.fan_out, Tensor):
        return int((marks * item.fan_out).sum(dtype=torch.float64))
    return int(marks.sum(dtype=torch.float64)) * item.fan_out


def _items(name: str, value: Any) -> list[tuple[str, Any]]:
    """An input by name, or what the PyG data that it is holds."""
    is_data = isinstance(value, BaseData)
    return list(value.to_dict().items()) if is_data else [(name, value)]


def _is_free(rule: Rule | None) -> bool:
    return rule is not None and rule.kind in ('readout', 'metadata', 'identity')


def _holds_values(value: Any) -> bool:
    parts = value if isinstance(value, (tuple, list)) else (value,)
    return bool(parts) and all(isinstance(part, _VALUES) for part in parts)


def _is_real(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(map(_is_real, value))
    return isinstance(value, Spikes) or value.is_floating_point()
