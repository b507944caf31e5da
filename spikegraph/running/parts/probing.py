"""Tries operations on a few rows, to see whether they act on each by itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikegraph.coding import Spikes
from spikegraph.network.functions import write_through
from spikegraph.network.graph import Node, Record, called, map_nodes
from spikegraph.network.interpreter import call_module
from spikegraph.network.ops import ARRANGED, Meaning, means, op_for, op_of
from spikegraph.network.roles import Role
from spikegraph.nn.routing import move_spikes
from spikegraph.running.parts.step import (
    Axis,
    Fixed,
    Kind,
    Step,
    is_leaf,
    leaves,
    mapped,
    steps_in,
    take,
)
from spikegraph.running.parts.values import Values

Rows = (Tensor, Spikes)
#: What operations raise on rows that they cannot take.
FAILURES = (RuntimeError, ValueError, TypeError, LookupError, AttributeError)


class Probing(Values):
    """Finds the operations that act on rows."""

    def _step(self, node: Node, kind: Kind, axis: Axis, args: Any, **more: Any) -> Step:
        module = more.pop('module', None)
        if node.op == 'call_module' and module is None:
            module = self.network.operation(node)
        return Step(node.name, kind, axis, node.record, args, module=module, **more)

    def _rows(self, node: Node) -> Step | None:
        """An operation on each row by itself, if it is one."""
        is_shaped = _reads_sizes(node)
        of = self._local if is_shaped else self._value
        args, kwargs = map_nodes((node.args, node.kwargs), of)
        sources = [s for s in steps_in((args, kwargs)) if s.kind is not Kind.SIZE]
        axis = self._united(sources)
        if axis is None:
            return None
        rank = max(rank_of(source.probe) for source in sources)
        given = args, kwargs
        tried: list[Any] = []
        for ranks in ((rank,), range(1, 1 + rank), ()):
            lined = mapped(given, partial(self._lined, axis=axis, ranks=ranks))
            if is_shaped:
                lined = mapped(lined, lambda v: self._counted(v, sources[0], axis))
            num = sum(
                isinstance(v, Fixed) and v.axis is not None for v in leaves(lined)
            )
            if num in tried:
                continue
            tried.append(num)
            args, kwargs = lined
            step = self._step(node, Kind.ROWS, axis, args, kwargs=kwargs)
            if self._acts_on_rows(step):
                return step
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

    def _lined(self, value: Any, axis: Axis, ranks: Collection[int]) -> Any:
        """A fixed value of some dimensions as if it had rows of its own, if it may."""
        if not isinstance(value, Fixed) or not isinstance(value.value, Rows):
            return value
        shape = value.value.shape
        if len(shape) in ranks and shape[0] == axis.size > 1:
            return Fixed(f'{value.name}_rows', value.value, axis)
        return value

    def _counted(self, value: Any, source: Step, axis: Axis) -> Any:
        """A number that a shape is made of, as that of the rows if it is the same."""
        if not isinstance(value, Fixed) or type(value.value) is not int:
            return value
        if value.value != axis.size:
            return value
        name = f'{value.name}_of_{source.name}'
        record = Record(name, Role.SIZE, 'call_function', count_rows)
        return Step(name, Kind.SIZE, axis, record, (source, source.dim))

    def _acts_on_rows(self, step: Step) -> bool:
        """Whether other rows make no difference, on a few, and on so many that numbers
        which an operation is given, such as the end of a slice, lie among them.
        """
        num = self._num_probed(step.axis)
        given = [v.value if isinstance(v, Fixed) else v for v in leaves(step.given)]
        places = [abs(value) for value in given if type(value) is int]
        most = max((p for p in places if num <= p <= step.axis.size), default=0)
        try:
            whole, rows = self._call(step, {}), torch.arange(num)
            dims = {self._row_dim_of(step, whole, rows, some) for some in _subsets(num)}
            if most > 0 and None not in dims:
                rows = torch.arange(min(most + 2, step.axis.size))
                again = rows % num  # Those that there are, again and again.
                many = self._call(step, {step.axis: again})
                for some in (rows[1:], rows[:-1], rows.flip(0)):
                    dims.add(self._row_dim_of(step, many, again, some))
        except FAILURES:
            return False
        if len(dims) != 1 or None in dims:
            return False
        step.probe, step.dim = self._stirred(whole), next(iter(dims)) or 0
        return True

    def _row_dim_of(
        self, step: Step, whole: Any, rows: Tensor, some: Tensor
    ) -> int | None:
        """The dimension of rows, if some of them are what they are among all."""
        part = self._call(step, {step.axis: rows[some]})
        first = pytree.tree_leaves(whole, is_leaf=is_leaf)
        second = pytree.tree_leaves(part, is_leaf=is_leaf)
        if len(first) != len(second):
            return None
        dims: set[int | None] = set()
        for a, b in zip(first, second, strict=True):
            if isinstance(a, Rows):
                dims.add(_row_dim(a, b, some, len(rows)))
            elif a != b:
                return None
        return dims.pop() if len(dims) == 1 else None

    def _stirred(self, value: Any) -> Any:
        """Spikes at any time, so that what reads them has something to tell apart,
        whatever features are like.
        """

        def part(leaf: Any) -> Any:
            if not isinstance(leaf, Spikes):
                return leaf
            times = torch.randint(
                leaf.code.num_times, leaf.shape, generator=self._random
            )
            return replace(leaf, spike_time=times.to(torch.uint8))

        return mapped(value, part)

    def _call(self, step: Step, rows: Mapping[Axis, Tensor]) -> Any:
        """What a step makes of its arguments on a few rows, or on some of these."""

        def part(value: Any) -> Any:
            if isinstance(value, Fixed):
                if value.axis is None:
                    return value.value
                num = self._num_probed(value.axis.find())
                return chosen(_few(value.value, num), value.axis)
            if not isinstance(value, Step):
                return value
            if value.kind is Kind.SIZE:
                return self._call(value, rows)
            return chosen(value.probe, value.axis, value.dim)

        def chosen(value: Any, axis: Axis, dim: int = 0) -> Any:
            index = rows.get(axis.find())
            return value if index is None else take(value, index, dim)

        args, kwargs = mapped((step.args, step.kwargs), part)
        return call(step, args, kwargs)


def _few(value: Any, num: int) -> Any:
    """As many rows as are tried, of those that there are: of numbers, such as groups,
    some that differ, and some that are the same.
    """
    size = value.shape[0]
    rows = torch.arange(num) % size
    if isinstance(value, Tensor) and not value.is_floating_point():
        _, group = value.reshape(size, -1)[:, 0].unique(return_inverse=True)
        first = torch.full((size,), size).scatter_reduce_(
            0, group, torch.arange(size), 'amin'
        )
        first = first.sort().values[: (num + 1) // 2]
        first = first[first < size]
        others = rows[~torch.isin(rows, first)]
        found = torch.cat([first, others])[:num].sort().values
        rows = found[torch.arange(num) % len(found)]
    return take(value, rows)


def call(step: Step, args: Any, kwargs: Any) -> Any:
    """What a step makes of values."""
    if step.module is not None:
        return call_module(step.module, args, kwargs)
    target = step.record.target
    if step.record.op == 'call_method':
        return getattr(args[0], target)(*args[1:], **kwargs)
    return target(*args, **kwargs)


def count_rows(value: Any, dim: int) -> int:
    """How many rows there are."""
    return int(value.shape[dim])


def rank_of(value: Any) -> int:
    """The most dimensions of what is in a structure."""
    found = pytree.tree_leaves(value, is_leaf=is_leaf)
    return max((len(v.shape) for v in found if isinstance(v, Rows)), default=0)


def _reads_sizes(node: Node) -> bool:
    """Whether numbers that an operation is given are shapes."""
    op = op_of(node) or op_for(called(node))
    if called(node) in (move_spikes, write_through):
        return True
    shapes = op is not None and op.channels == ARRANGED and op.channels is not None
    names = ('expand', 'broadcast_to', 'repeat', 'narrow', 'split', 'chunk')
    return (
        shapes
        or (op is not None and op.name in names)
        or means(node, Meaning.LIKE, Meaning.FILL)
    )


def _row_dim(whole: Any, part: Any, some: Tensor, num: int) -> int | None:
    """The dimension of rows, if a part holds some of them."""
    if type(whole) is not type(part):
        return None
    for dim, size in enumerate(whole.shape):
        if size == num and _are_alike(take(whole, some, dim), part):
            return dim
    return None


def _subsets(num: int) -> list[Tensor]:
    """Rows that are left when any of them is taken away, in another order."""
    if num == 1:
        return [torch.tensor([0])]
    others = [
        [row for row in reversed(range(num)) if row != gone] for gone in range(num)
    ]
    return [torch.tensor(rows) for rows in (*others, [num - 2, 0, num // 2])]


def _are_alike(a: Any, b: Any) -> bool:
    if type(a) is not type(b) or a.shape != b.shape:
        return False
    if isinstance(a, Spikes):
        same = (a.spike_time == b.spike_time).double()
        return same.numel() == 0 or float(same.mean()) > 0.9
    if a.is_floating_point():
        largest = float(a.abs().nan_to_num(posinf=0.0).max()) if a.numel() else 0.0
        return torch.allclose(a, b, rtol=1e-3, atol=1e-5 * largest, equal_nan=True)
    return torch.equal(a, b)
