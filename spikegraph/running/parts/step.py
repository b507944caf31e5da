"""What a network does to rows, in steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikegraph.coding import Spikes
from spikegraph.kernels import Adjacency
from spikegraph.network.graph import Record
from spikegraph.nn.routing import move_spikes


class Kind(Enum):
    """Which rows of its inputs a row of a step is made of."""

    FEATURE = 'feature'  #: None: it is given.
    ROWS = 'rows'  #: The same rows.
    LINKS = 'links'  #: The sources of its edges.
    GATHER = 'gather'  #: One, by an index.
    MEMBERS = 'members'  #: Those of its group.
    GROUPS = 'groups'  #: All of the group that it belongs to.
    SIZE = 'size'  #: None: it says how many there are.


class Axis:
    """Rows that belong together, such as the nodes of one type, or the edges of a set.

    Args:
        size (int): How many there are.
        name (str): The input whose rows they are, empty if of none.
    """

    def __init__(self, size: int, name: str = '') -> None:
        self.size, self.name = size, name
        self._same: Axis | None = None

    def find(self) -> Axis:
        """What stands for all that are known to be the same."""
        axis = self
        while axis._same is not None:
            axis = axis._same
        return axis

    def unite(self, other: Axis) -> Axis:
        """Makes two the same; the one that is named stands for both."""
        first, second = self.find(), other.find()
        if first is second:
            return first
        if second.name and not first.name:
            first, second = second, first
        second._same = first
        return first

    def __repr__(self) -> str:
        return f'Axis({self.size}, {self.name!r})'


@dataclass(eq=False)
class Links:
    """Edges that values are sent along.

    Args:
        adjacency (Adjacency): The edges, as kernels read them.
    """

    adjacency: Adjacency


@dataclass(eq=False)
class Index:
    """A row of something else for each row, such as the source of each edge.

    Args:
        value (torch.Tensor): The index.
        num_groups (int): How many rows it may name.
    """

    value: Tensor
    num_groups: int
    _members: tuple[Tensor, Tensor] | None = field(default=None, repr=False)

    @property
    def members(self) -> tuple[Tensor, Tensor]:
        """Where the rows that name each row start, and these, in order."""
        if self._members is None:
            order = torch.argsort(self.value, stable=True)
            counts = torch.bincount(self.value, minlength=self.num_groups)
            start = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
            self._members = start, order
        return self._members


@dataclass(eq=False)
class Step:
    """One operation on rows.

    Args:
        name (str): Its name, unique.
        kind (Kind): Which rows it reads.
        axis (Axis): What its rows are.
        record (Record): What it calls; its arguments are here.
        args (Tuple[Any, ...]): Positional arguments: other steps, :class:`Fixed` values,
            or plain ones.
        kwargs (Dict[str, Any]): Keyword arguments.
        probe (Any): What it makes of a few rows.
        module (torch.nn.Module, optional): What it calls, if not a function.
        site (Links or Index, optional): Where rows come from.
        own (bool): Whether its own rows come first among those that it reads.
        dim (int): The dimension of its rows.
        depth (int): How many edges lie between it and the inputs, at most.
    """

    name: str
    kind: Kind
    axis: Axis
    record: Record
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    probe: Any = None
    module: Any = None
    site: Any = None
    own: bool = False
    dim: int = 0
    depth: int = 0

    @property
    def given(self) -> Any:
        """All of its arguments."""
        return self.args, self.kwargs

    @property
    def inputs(self) -> list[Step]:
        """The steps that it reads, each once."""
        return list(dict.fromkeys(steps_in(self.given)))

    @property
    def has_scales(self) -> bool:
        """Whether each row has a scale of its own; of a single row nobody can tell."""
        if not isinstance(self.probe, Spikes):
            return False
        scale: Tensor = self.probe.scale
        has_rows = scale.dim() == len(self.probe.shape)
        return has_rows and (scale.size(0) > 1 or self.axis.find().size == 1)

    @property
    def row_bytes(self) -> int:
        """The bytes of a row."""
        value = self.probe
        if isinstance(value, Spikes):
            scale = value.scale
            width = scale[:1].numel() * scale.element_size() if self.has_scales else 0
            return value.shape[1:].numel() + width
        assert isinstance(value, Tensor)
        return value[:1].numel() * value.element_size()

    def __repr__(self) -> str:
        return self.name


@dataclass(eq=False)
class Fixed:
    """A value that no feature changes.

    Args:
        name (str): Its name, unique.
        value (Any): The value, for all rows.
        axis (Axis, optional): What its rows are, if it has one for each of them.
    """

    name: str
    value: Any
    axis: Axis | None = None

    def __repr__(self) -> str:
        return self.name


def steps_in(value: Any) -> Iterator[Step]:
    """The steps in a structure."""
    for leaf in leaves(value):
        if isinstance(leaf, Step):
            yield leaf


def is_leaf(value: Any) -> bool:
    """Whether a value is taken as one: a slice has parts that are none."""
    return isinstance(value, (Spikes, Step, Fixed))


def leaves(value: Any) -> list[Any]:
    """The values in a structure, what stands in slices included."""
    found = []
    for leaf in pytree.tree_leaves(value, is_leaf=is_leaf):
        if isinstance(leaf, slice):
            found += [leaf.start, leaf.stop, leaf.step]
        else:
            found.append(leaf)
    return found


def mapped(value: Any, of: Callable[[Any], Any]) -> Any:
    """A structure in which every value is replaced."""

    def each(leaf: Any) -> Any:
        if isinstance(leaf, slice):
            return slice(of(leaf.start), of(leaf.stop), of(leaf.step))
        return of(leaf)

    return pytree.tree_map(each, value, is_leaf=is_leaf)


def take(value: Any, rows: Any, dim: int = 0) -> Any:
    """Rows of tensors or spikes, also of several in a structure.

    Args:
        value (Any): The structure.
        rows (torch.Tensor or slice): Which.
        dim (int, optional): The dimension of rows. (default: :obj:`0`)
    """

    def part(leaf: Any) -> Any:
        if isinstance(leaf, (Tensor, Spikes)) and dim > 0:
            return move_spikes(leaf, 'index_select', dim, rows)
        if isinstance(leaf, Tensor):
            if leaf.layout is torch.strided:
                return leaf[rows]
            return leaf.to_sparse_coo().index_select(0, rows).to_dense()
        return leaf[rows] if isinstance(leaf, Spikes) else leaf

    return mapped(value, part)
