"""Operations that read the rows of others: along edges, in groups, by an index."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from spikegraph.coding import Spikes
from spikegraph.network.graph import Node, called, map_nodes
from spikegraph.network.interpreter import call_module
from spikegraph.network.network import Network
from spikegraph.network.ops import Meaning, means
from spikegraph.nn import EarliestNeighbor, GraphFilter
from spikegraph.nn.routing import gather_rows, move_spikes, trim_rows
from spikegraph.nn.shift import groups_of
from spikegraph.running.parts.hops import lower
from spikegraph.running.parts.probing import Probing, rank_of
from spikegraph.running.parts.step import (
    Axis,
    Fixed,
    Index,
    Kind,
    Links,
    Step,
    mapped,
    steps_in,
    take,
)

_PICKS = (
    '__getitem__',
    'index_select',
    'select',
    'narrow',
    'flip',
    'repeat_interleave',
)


class Sites(Probing):
    """Finds the operations that read rows of others."""

    def __init__(
        self, network: Network, inputs: Mapping[str, Any], currents: Any
    ) -> None:
        super().__init__(network, inputs, currents)
        self._links: dict[int, Links] = {}
        self._indices: dict[int, Index] = {}

    def _filter(self, node: Node, layer: GraphFilter) -> Step | None:
        x, graph = self._bound(node, layer)
        if x is None:
            return None
        adjacency = layer.adjacency(self._like(x), graph)
        if adjacency.num_targets == x.axis.find().size:
            axis = x.axis
        else:
            axis = self._axis(adjacency.num_targets, node)
        links = self._linked(adjacency)
        for step in lower(node, layer, x, axis, links, self._like_spikes(x)):
            step.axis = step.axis.find()
            num = self._num_probed(step.axis)
            if step.kind is Kind.LINKS:
                step.probe = self._sent(step, num)
            else:
                step.probe = self._call(step, {})
            self.steps.append(step)
        return step

    def _like_spikes(self, x: Step) -> Any:
        """Spikes of all rows, with nothing in them."""
        if not isinstance(x.probe, Spikes):
            return self._like(x)
        size = x.axis.find().size
        time = x.probe.spike_time[:1].expand(size, *x.probe.shape[1:])
        return replace(x.probe, spike_time=time)

    def _sent(self, step: Step, num: int) -> Any:
        """Something like what a filter makes of a few rows."""
        source = step.inputs[0].probe
        if isinstance(step.module, EarliestNeighbor):
            rows = torch.arange(num) % len(source.spike_time)
            return take(source, rows)
        width: Any = source.shape[1:]
        if step.module.weight is not None:
            width = (*source.shape[1:-1], step.module.weight.size(0))
        out = torch.rand((num, *width), generator=self._random, dtype=torch.float64)
        return out.to(source.dtype)

    def _neighbors(self, node: Node, gate: EarliestNeighbor) -> Step | None:
        x, graph = self._bound(node, gate)
        if x is None:
            return None
        adjacency = gate._adjacency(self._like(x), *(*graph, None)[:2])
        same = adjacency.num_targets == x.axis.find().size
        axis = x.axis if same else self._axis(adjacency.num_targets, node)
        links = self._linked(adjacency)
        step = self._step(node, Kind.LINKS, axis, (x,), site=links, module=gate)
        step.probe = self._sent(step, self._num_probed(axis.find()))
        return step

    def _bound(self, node: Node, layer: Any) -> tuple[Step | None, tuple[Any, ...]]:
        """What a layer is given, and the graph, which no feature may change."""
        args, kwargs = map_nodes((node.args, node.kwargs), self._value)
        if kwargs:
            args = inspect.signature(layer.forward).bind(*args, **kwargs).args
        x, *graph = args
        if not isinstance(x, Step) or x.dim != 0 or list(steps_in(graph)):
            return None, ()
        return x, tuple(mapped(g, _plain) for g in graph)

    def _linked(self, adjacency: Any) -> Links:
        found = self._links.get(id(adjacency))
        if found is None:
            found = self._links[id(adjacency)] = Links(adjacency)
        return found

    def _members(self, node: Node, layer: Any) -> Step | None:
        found = self._grouped(node, layer)
        if found is None:
            return None
        x, index, num = found
        axis = self._axis(num, node)
        step = self._step(node, Kind.MEMBERS, axis, (x,), site=index, module=layer)
        return self._tried(step, index, self._num_probed(axis.find()))

    def _groups(self, node: Node, layer: Any) -> Step | None:
        found = self._grouped(node, layer)
        if found is None:
            return None
        x, index, _ = found
        step = self._step(node, Kind.GROUPS, x.axis, (x,), site=index, module=layer)
        return self._tried(step, index, 3)

    def _grouped(self, node: Node, layer: Any) -> tuple[Step, Index, int] | None:
        x, graph = self._bound(node, layer)
        if x is None:
            return None
        index, num = groups_of(self._like(x), *(*graph, None, None)[:2])
        if len(index) != x.axis.find().size:
            return None
        return x, self._indexed(index, int(num)), int(num)

    def _tried(self, step: Step, index: Index, num: int) -> Step:
        (x,) = step.inputs
        few = torch.arange(self._num_probed(x.axis.find())) % max(1, num)
        step.probe = call_module(step.module, (x.probe, few, num), {})
        return step

    def _indexed(self, value: Tensor, num_groups: int) -> Index:
        found = self._indices.get(id(value))
        if found is None:
            found = self._indices[id(value)] = Index(value, num_groups)
        return found

    def _axis(self, size: int, node: Node) -> Axis:
        """The rows of a result: those that its number was asked of, or the first that
        are as many.
        """
        if size == 1:
            return Axis(1)
        asked = [self._sizes[n].axis for n in node.all_input_nodes if n in self._sizes]
        known = [step.axis for step in self.features.values()]
        known += [step.axis for step in self.steps]
        for axis in (*asked, *known):
            if axis.find().size == size:
                return axis.find()
        return Axis(size)

    def _gather(self, node: Node) -> Step | None:
        """Rows that are taken by a plain index."""
        x, index = _taken(node)
        if x is None or x not in self._found or index in self._found:
            return None
        if self._found[x].dim != 0:
            return None
        value = self.fixed(index).value
        is_plain = isinstance(value, Tensor) and value.dim() == 1
        if not is_plain or value.dtype not in (torch.int32, torch.int64):
            return None
        return self._taking(node, self._found[x], value)

    def _pick(self, node: Node) -> Step | None:
        """Rows that are taken otherwise, found out on their numbers."""
        args, kwargs = map_nodes((node.args, node.kwargs), self._value)
        sources = list(steps_in((args, kwargs)))
        is_pick = means(node, Meaning.PICK) or called(node) in (trim_rows, move_spikes)
        is_pick = is_pick or str(called(node)) in _PICKS
        if len(sources) != 1 or args[:1] != (sources[0],) or not is_pick:
            return None
        x = sources[0]
        if x.dim != 0:
            return None
        size, rank = x.axis.find().size, rank_of(x.probe)
        numbers = torch.arange(size).view(-1, *[1] * (rank - 1))
        args, kwargs = mapped((args[1:], kwargs), _plain)
        try:
            target = node.target
            own = target if callable(target) else getattr(Tensor, str(target))
            found = own(numbers, *args, **kwargs)
        except (RuntimeError, IndexError, TypeError):
            return None
        is_same = isinstance(found, Tensor) and found.shape[1:] == numbers.shape[1:]
        return self._taking(node, x, found.reshape(-1)) if is_same else None

    def _taking(self, node: Node, x: Step, index: Tensor) -> Step:
        size = x.axis.find().size
        index = torch.where(index < 0, index + size, index) if len(index) else index
        axis = self._axis(len(index), node)
        site = self._indexed(index, size)
        step = self._step(node, Kind.GATHER, axis, (x,), site=site)
        few = torch.arange(self._num_probed(axis.find()))
        step.probe = take(x.probe, few % self._num_probed(x.axis.find()))
        return step


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Fixed) else value


def _taken(node: Node) -> tuple[Any, Any]:
    """What rows are taken of, and the index."""
    args, target = node.args, called(node)
    if target is move_spikes and args[1:2] == ('__getitem__',) and len(args) == 3:
        return args[0], args[2] if isinstance(args[2], Node) else None
    is_getitem = target in (gather_rows, operator.getitem, '__getitem__')
    if is_getitem and len(args) == 2 and isinstance(args[1], Node):
        return args
    if target in (torch.index_select, 'index_select') and len(args) == 3:
        if args[1] == 0 and isinstance(args[2], Node):
            return args[0], args[2]
    return None, None
