"""Finds out what a network does to rows: which it reads for each that it makes."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikegraph.coding import Spikes
from spikegraph.network.graph import Node, called, made_of, map_nodes
from spikegraph.network.interpreter import call_module, run_node
from spikegraph.network.network import Network
from spikegraph.network.ops import ARRANGED, Meaning, means, op_for, op_of
from spikegraph.network.roles import Role
from spikegraph.nn import DegreeFactor, EarliestMember, EarliestNeighbor, GraphFilter
from spikegraph.nn.members import ProductMember
from spikegraph.nn.relative import Leading
from spikegraph.nn.routing import gather_rows, move_spikes, trim_rows
from spikegraph.nn.shift import MemberShift, groups_of
from spikegraph.running.parts.hops import lower
from spikegraph.running.parts.step import (
    Axis,
    Fixed,
    Index,
    Kind,
    Links,
    Step,
    is_leaf,
    leaves,
    mapped,
    steps_in,
    take,
)

_PICKS = ('__getitem__', 'index_select', 'select', 'narrow', 'flip', 'repeat_interleave')


class Layout:
    """The steps of a network on the rows of given inputs.

    Each operation on rows is tried on a few of them, to see whether it acts on each by
    itself. What no feature changes is computed for all rows, as ever.

    Args:
        network (Network): The network.
        inputs (Mapping[str, Any]): Its inputs; of features, the shape is enough.
        currents (Collection[str]): Inputs whose rows are values that enter as they are.

    Attributes:
        steps (List[Step]): The steps, in order.
        features (Dict[str, Step]): The inputs that have rows, by name.
        result (Any): The structure that is returned, of steps and fixed values.

    Raises:
        NotImplementedError: If an operation mixes rows otherwise than along edges, in
            groups, or by an index.
        ValueError: If the network asks again what has another answer.
    """

    def __init__(self, network: Network, inputs: Mapping[str, Any], currents: Any) -> None:
        self.network, self.inputs = network, inputs
        self.steps: list[Step] = []
        self.features: dict[str, Step] = {}
        self.result: Any = None
        self._found: dict[Node, Step] = {}
        self._sizes: dict[Node, Step] = {}  # What they answer for a few rows.
        self._fixed: dict[Node, Fixed] = {}
        self._links: dict[int, Links] = {}
        self._indices: dict[int, Index] = {}
        self._probes: dict[int, int] = {}
        self._random = torch.Generator().manual_seed(0)
        for node in self._find_features(currents):
            self._add_feature(node)
        for node in network.nodes:
            self._read(node)

    def fixed_input(self, step: Step) -> Any:
        """All rows of an input."""
        return next(v.value for n, v in self._fixed.items() if n.name == step.name)

    # Inputs.

    def _find_features(self, currents: Any) -> list[Node]:
        """The inputs, or parts of them, that have a row for each of something."""
        found: dict[Node, None] = {}
        for node in self.network.nodes:
            if node.op == 'placeholder' and node.target in currents:
                found[node] = None
            elif node.record.encodes:
                for source in node.all_input_nodes[:1]:
                    found.update(dict.fromkeys(self._rows_behind(source)))
        return list(found)

    def _rows_behind(self, node: Node) -> list[Node]:
        if _is_access(node):
            return [node] if _has_rows(self.fixed(node).value) else []
        inside = made_of(node, lambda n: not _is_access(n) and n.role is not Role.SIZE)
        return [n for n in inside if _is_access(n) and _has_rows(self.fixed(n).value)]

    def _add_feature(self, node: Node) -> None:
        value = self.fixed(node).value
        axis = Axis(len(value), _path(node))
        axis = next(
            (
                step.axis
                for step in self.features.values()
                if step.axis.name == axis.name
            ),
            axis,
        )
        step = Step(node.name, Kind.FEATURE, axis, node.record)
        step.probe = self._sample(value, self._num_probed(axis))
        self.features[node.name] = step
        self._keep(node, step)

    def _sample(self, value: Tensor, num: int) -> Tensor:
        """A few rows like those of a value."""
        shape = (num, *value.shape[1:])
        if value.is_floating_point():
            found = torch.rand(shape, generator=self._random, dtype=torch.float64)
            return found.to(value.dtype)
        rows = torch.arange(num) % max(1, len(value))
        return take(value, rows) if len(value) else value.new_zeros(shape)

    def _num_probed(self, axis: Axis) -> int:
        """How many rows are tried: another number for each size."""
        if axis.size == 1:
            return 1
        return self._probes.setdefault(axis.size, 5 + 2 * len(self._probes))

    def _keep(self, node: Node, step: Step) -> Step:
        self._found[node] = step
        if step not in self.steps:
            self.steps.append(step)
        return step

    # What no feature changes.

    def fixed(self, node: Node) -> Fixed:
        """The value of a node that no feature changes."""
        if node not in self._fixed:
            env: dict[Node, Any] = {}
            for source in node.all_input_nodes:
                if source in self._found:
                    env[source] = self._like(self._found[source])
                else:
                    env[source] = self.fixed(source).value
            if node.op == 'placeholder':
                value = self.inputs[node.target]
            else:
                value = run_node(self.network, node, env)
            self._fixed[node] = Fixed(node.name, value)
        return self._fixed[node]

    def _like(self, step: Step, size: int | None = None) -> Any:
        """Has the shape of what a step makes, and nothing in it."""
        size = step.axis.find().size if size is None else size

        def part(value: Any) -> Any:
            if isinstance(value, Spikes):
                row = value.spike_time.new_zeros(1).to(value.dtype)
                return row.expand(size, *value.shape[1:])
            if isinstance(value, Tensor):
                return value.new_zeros(1).expand(size, *value.shape[1:])
            return value

        return mapped(step.probe, part)

    # Nodes.

    def _read(self, node: Node) -> None:
        if node in self._found:
            return
        if node.op == 'output':
            self.result = map_nodes(node.args[0], self._value)
        elif any(n in self._found for n in node.all_input_nodes):
            if not self._is_about_shape(node):
                self._add(node)
        elif node.role is Role.CHECK:
            self.fixed(node)
        elif any(n in self._sizes for n in node.all_input_nodes):
            self._try_size(node)

    def _value(self, node: Node) -> Any:
        return self._found[node] if node in self._found else self.fixed(node)

    def _is_about_shape(self, node: Node) -> bool:
        """Whether an operation reads the shape of rows only."""
        target = self.network.operation(node)
        if node.role is Role.SIZE or node.role is Role.CHECK:
            self.fixed(node)
            self._try_size(node)
            return True
        if isinstance(target, DegreeFactor):
            return True
        if means(node, Meaning.LIKE, Meaning.FILL):
            return self._rows(node) is None
        return False

    def _try_size(self, node: Node) -> None:
        """Keeps what a question is answered for a few rows, where it asks for shapes."""
        args, kwargs = map_nodes((node.args, node.kwargs), self._local)
        sources = list(steps_in((args, kwargs)))
        if sources and node.op in ('call_function', 'call_method'):
            axis = sources[0].axis
            step = Step(node.name, Kind.SIZE, axis, node.record, args, kwargs)
            step.probe = self._call(step, {})
            self._sizes[node] = step

    def _local(self, node: Node) -> Any:
        return self._sizes[node] if node in self._sizes else self._value(node)

    def _add(self, node: Node) -> None:
        """Adds what a node does as steps."""
        target = self.network.operation(node)
        step: Step | None
        if isinstance(target, GraphFilter) and not isinstance(target.shift, MemberShift):
            step = self._filter(node, target)
        elif isinstance(target, EarliestNeighbor):
            step = self._neighbors(node, target)
        elif isinstance(target, (GraphFilter, EarliestMember, ProductMember)):
            step = self._members(node, target)
        elif isinstance(target, Leading) and target.dim is None:
            step = self._groups(node, target)
        else:
            step = self._gather(node) or self._rows(node) or self._pick(node)
        if step is None:
            raise NotImplementedError(
                f"Cannot run '{node.record.stands_for or node.name}' layer by layer: it may "
                "mix nodes that are not neighbours; use 'forward', or a loader"
            )
        self._keep(node, step)

    def _step(self, node: Node, kind: Kind, axis: Axis, args: Any, **more: Any) -> Step:
        module = more.pop('module', None)
        if node.op == 'call_module' and module is None:
            module = self.network.operation(node)
        return Step(node.name, kind, axis, node.record, args, module=module, **more)

    # Rows.

    def _rows(self, node: Node) -> Step | None:
        """An operation on each row by itself, if it is one."""
        is_shaped = _reads_sizes(node)
        of = self._local if is_shaped else self._value
        args, kwargs = map_nodes((node.args, node.kwargs), of)
        sources = [s for s in steps_in((args, kwargs)) if s.kind is not Kind.SIZE]
        axis = self._united(sources)
        if axis is None:
            return None
        rank = max(_rank(source.probe) for source in sources)
        for wide in (True, False):  # First as if fixed values had rows, too.
            given = mapped((args, kwargs), lambda v: self._lined(v, axis, rank, wide))
            if not wide and given == (args, kwargs):
                continue
            step = self._step(node, Kind.ROWS, axis, given[0], kwargs=given[1])
            if self._acts_on_rows(step):
                for source in sources:
                    source.axis = source.axis.find()
                return step
            if not any(isinstance(v, Fixed) and v.axis for v in leaves(given)):
                break
        return None

    def _united(self, sources: list[Step]) -> Axis | None:
        """What the rows of an operation are, if its arguments agree on that."""
        axes = list(dict.fromkeys(source.axis.find() for source in sources))
        wide = [axis for axis in axes if axis.size != 1] or axes
        if len({axis.size for axis in wide}) != 1:
            return None
        for axis in wide[1:]:
            wide[0].unite(axis)
        return wide[0].find()

    def _lined(self, value: Any, axis: Axis, rank: int, wide: bool) -> Any:
        """A fixed value, which may have rows of its own."""
        if not wide or not isinstance(value, Fixed) or not isinstance(value.value, Tensor):
            return value
        tensor = value.value
        if tensor.dim() == rank and tensor.size(0) == axis.size > 1:
            return Fixed(f'{value.name}_rows', tensor, axis)
        return value

    def _acts_on_rows(self, step: Step) -> bool:
        """Whether other rows make no difference, on a few."""
        num = self._num_probed(step.axis)
        some = torch.tensor([num - 2, 0, num // 2]) if num > 1 else torch.tensor([0])
        try:
            whole = self._call(step, {})
            part = self._call(step, {step.axis: some})
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError):
            return False
        first = pytree.tree_leaves(whole, is_leaf=is_leaf)
        second = pytree.tree_leaves(part, is_leaf=is_leaf)
        if len(first) != len(second):
            return False
        for a, b in zip(first, second, strict=True):
            if isinstance(a, (Tensor, Spikes)):
                has_rows = len(a.shape) > 0 and a.shape[0] == num
                if not has_rows or not _are_alike(take(a, some), b):
                    return False
            elif a != b:
                return False
        step.probe = whole
        return any(isinstance(a, (Tensor, Spikes)) for a in first)

    def _call(self, step: Step, rows: Mapping[Axis, Tensor]) -> Any:
        """What a step makes of its arguments on a few rows, or on some of these."""

        def part(value: Any) -> Any:
            if isinstance(value, Fixed):
                if value.axis is None:
                    return value.value
                num = self._num_probed(value.axis.find())
                return chosen(value.value[:num].clone(), value.axis)
            if not isinstance(value, Step):
                return value
            if value.kind is Kind.SIZE:
                return self._call(value, rows)
            return chosen(value.probe, value.axis)

        def chosen(value: Any, axis: Axis) -> Any:
            index = rows.get(axis.find())
            return value if index is None else take(value, index)

        args, kwargs = mapped((step.args, step.kwargs), part)
        return call(step, args, kwargs)

    # Edges, groups and indices.

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
        if not isinstance(x, Step) or list(steps_in(graph)):
            return None, ()
        return x, tuple(mapped(g, _plain) for g in graph)

    def _linked(self, adjacency: Any) -> Links:
        found = self._links.get(id(adjacency))
        if found is None:
            keeps_all = adjacency.matrix is not None
            found = self._links[id(adjacency)] = Links(adjacency, keeps_all)
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
        size, rank = x.axis.find().size, _rank(x.probe)
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


def call(step: Step, args: Any, kwargs: Any) -> Any:
    """What a step makes of values."""
    if step.module is not None:
        return call_module(step.module, args, kwargs)
    target = step.record.target
    if step.record.op == 'call_method':
        return getattr(args[0], target)(*args[1:], **kwargs)
    return target(*args, **kwargs)


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


def _is_access(node: Node) -> bool:
    """Whether a node is an input, or a part of one."""
    if node.op == 'placeholder':
        return True
    is_part = called(node) in (operator.getitem, getattr, 'get')
    first = node.args[0] if node.args else None
    plain = all(isinstance(a, (str, int, tuple)) for a in node.args[1:])
    return is_part and plain and isinstance(first, Node) and _is_access(first)


def _path(node: Node) -> str:
    """Where an input lies among the arguments."""
    if node.op == 'placeholder':
        return str(node.target)
    return f'{_path(node.args[0])}.{node.args[1]}'


def _has_rows(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0


def _rank(value: Any) -> int:
    """The most dimensions of what is in a structure."""
    found = pytree.tree_leaves(value, is_leaf=is_leaf)
    return max((len(v.shape) for v in found if isinstance(v, (Tensor, Spikes))), default=0)


def _reads_sizes(node: Node) -> bool:
    """Whether numbers that an operation is given are shapes."""
    op = op_of(node) or op_for(called(node))
    if called(node) is move_spikes:
        return True
    shapes = op is not None and op.channels == ARRANGED and op.channels is not None
    names = ('expand', 'broadcast_to', 'repeat', 'narrow', 'split', 'chunk')
    return (
        shapes
        or (op is not None and op.name in names)
        or means(node, Meaning.LIKE, Meaning.FILL)
    )


def _are_alike(a: Any, b: Any) -> bool:
    if type(a) is not type(b) or a.shape != b.shape:
        return False
    if isinstance(a, Spikes):
        same = (a.spike_time == b.spike_time).double()
        return same.numel() == 0 or float(same.mean()) > 0.9
    if a.is_floating_point():
        return torch.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True)
    return torch.equal(a, b)


Call = Callable[[Step, Any, Any], Any]
