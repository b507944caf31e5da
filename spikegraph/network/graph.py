"""Nodes: operations that know what they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import fx

from spikegraph.network.ops import is_call
from spikegraph.network.roles import Role


@dataclass(frozen=True)
class Seen:
    """What a tensor was like on the first calibration call.

    Args:
        shape (Tuple[int, ...]): Its shape.
        dtype (torch.dtype): Its data type.
        layout (torch.layout): How it lies in memory.
    """

    shape: tuple[int, ...]
    dtype: Any
    layout: Any


@dataclass(frozen=True)
class Ref:
    """Stands for a node in the arguments of another one, by its place.

    Args:
        index (int): How many nodes come before it.
    """

    index: int


#: What a node is by how it is computed, if it calls nothing.
ROLES = {'placeholder': Role.INPUT, 'get_attr': Role.CONSTANT, 'output': Role.OUTPUT}
_OPS = (*ROLES, 'call_module', 'call_function', 'call_method')


@dataclass(frozen=True)
class Record:
    """A node as plain data.

    Args:
        name (str): Its name, unique in the network.
        role (Role): What it is.
        op (str): How it is computed, in the terms of :class:`torch.fx.Node`.
        target (Any): What is called: a function, the name of a method, or the path of
            a module or constant; of an input, its name.
        args (Tuple[Any, ...]): Positional arguments; other nodes as :class:`Ref`.
        kwargs (Dict[str, Any]): Keyword arguments.
        label (str): What spikes and potentials are listed by.
        row (str): The row of the account that it is counted in.
        origin (str): The path of the user's module that it was part of.
        stands_for (str): What it was in the model, in words.
        where (str): The line of the user's code.
        encodes (bool): Whether it is a population that encodes an input.
        is_own (bool): Whether it calls a module that conversion has added.
        joins (bool): Whether it adds up, on one membrane, what the model adds earlier.
        seen (Seen, optional): What its value was like on the first calibration call.
    """

    name: str
    role: Role
    op: str
    target: Any
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    label: str = ''
    row: str = ''
    origin: str = ''
    stands_for: str = ''
    where: str = ''
    encodes: bool = False
    is_own: bool = False
    joins: bool = False
    seen: Seen | None = None

    def check(self) -> None:
        """Raises ``ValueError`` if a field is not of its type."""
        texts = (self.name, self.label, self.row, self.origin, self.stands_for)
        is_called = self.op == 'call_function'
        if not all(isinstance(text, str) for text in (*texts, self.where, self.op)):
            raise ValueError(f'expected texts in the record of {self.name!r:.60}')
        if not isinstance(self.role, Role) or self.op not in _OPS:
            raise ValueError(f'expected a role and a way to compute {self.name!r:.60}')
        if is_called != callable(self.target) or is_called == isinstance(
            self.target, str
        ):
            raise ValueError(f'expected a target for {self.name!r:.60}')
        if not isinstance(self.args, tuple) or not isinstance(self.kwargs, dict):
            raise ValueError(f'expected arguments for {self.name!r:.60}')
        if not all(isinstance(name, str) for name in self.kwargs):
            raise ValueError(f'expected names of arguments for {self.name!r:.60}')


class Node:
    """One operation of a :class:`Network`. It reads like a :class:`torch.fx.Node`, but
    does not change, and knows what it is.

    Args:
        record (Record): What it is.
        args (Tuple[Any, ...]): Its positional arguments, with nodes in them.
        kwargs (Dict[str, Any]): Its keyword arguments.

    Attributes:
        all_input_nodes (List[Node]): The nodes that it reads, each once.
        users (Dict[Node, None]): The nodes that read it.
    """

    __slots__ = ('all_input_nodes', 'args', 'kwargs', 'op', 'record', 'target', 'users')

    def __init__(self, record: Record, args: Any, kwargs: Any) -> None:
        self.record, self.op, self.target = record, record.op, record.target
        self.args, self.kwargs = args, kwargs
        found: dict[Node, None] = {}
        map_nodes((args, kwargs), lambda node: found.setdefault(node))
        self.all_input_nodes = list(found)
        self.users: dict[Node, None] = {}
        for node in found:
            node.users[self] = None

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def role(self) -> Role:
        return self.record.role

    def __repr__(self) -> str:
        return self.name


def map_nodes(value: Any, of: Callable[[Any], Any]) -> Any:
    """A structure in which every node is replaced, also one that is still traced."""
    kinds = (Node, fx.Node)
    return fx.node.map_aggregate(value, lambda v: of(v) if isinstance(v, kinds) else v)


def arguments(
    node: Node, env: Mapping[Node, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and keyword arguments of a node, as values.

    Args:
        node (Node): The node.
        env (Mapping[Node, Any]): The values of those that it reads.
    """
    return map_nodes((node.args, node.kwargs), env.__getitem__)


def called(node: Any) -> Any:
    """The function that a node calls, or the name of the method: of modules, inputs and
    attributes nothing, as their names are the user's.
    """
    return node.target if node.op in ('call_function', 'call_method') else None


def made_of(
    node: Any, goes_on: Callable[[Any], bool] = lambda _: True
) -> Iterator[Any]:
    """A node, also one that is still traced, and all that it is made of, each once.

    Args:
        node (Node): The node.
        goes_on (Callable, optional): Whether what one of them reads counts, too.
            (default: always)
    """
    queue, seen = [node], {node}
    while queue:
        value = queue.pop()
        yield value
        if goes_on(value):
            new = [n for n in value.all_input_nodes if n not in seen]
            seen.update(new)
            queue += new


def inputs_behind(node: Node) -> set[str]:
    """The inputs that a value is made of, not only by their shape."""
    values = made_of(node, lambda n: n.role is not Role.SIZE)
    return {value.target for value in values if value.role is Role.INPUT}


def is_sum(node: Any) -> bool:
    """Whether a node adds two others up, as they are."""
    return is_call(node, 'add') and not node.kwargs and len(node.all_input_nodes) == 2
