"""Spikes of whatever meets others, and values that are quotients."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from spikegraph.conversion.operations.activations import Activation
from spikegraph.conversion.passes.graph import Structure
from spikegraph.conversion.passes.populations import add_population
from spikegraph.conversion.passes.products import rank_of, shape_of
from spikegraph.conversion.passes.writer import Writer
from spikegraph.network.naming import called, describe, module_of
from spikegraph.network.ops import is_call, op_of
from spikegraph.nn import GraphFilter, PhaseNeuron, SpikeGate
from spikegraph.nn.routing import MOVING, PARTS, gather_rows, move_spikes, shaped_like
from spikegraph.nn.shift import MemberShift

# What PyG adds to the sum of coefficients, so that no node divides by zero.
LEAST = 1e-16


@dataclass(frozen=True)
class Fraction:
    """A quotient of potentials, carried on until something fires on it.

    Args:
        num (Any): What is divided, a node or a number.
        den (torch.fx.Node, optional): What by; :obj:`None` for the sum of a group.
        group (Tuple[torch.fx.Node, Any, Any], optional): The spikes that are summed
            over the members of each group, the group of each row, and their number.
    """

    num: Any
    den: fx.Node | None = None
    group: tuple[fx.Node, Any, Any] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is divided."""
        return self.den is None and self.group is None


class Relays:
    """What is written where signals meet.

    Args:
        structure (Structure): The network, changed in place.
        writer (Writer): Writes into its graph.
        num_steps (int): The time steps :math:`T` of coefficients.
        relay_steps (int): Those of relays, and of what they delay.

    Attributes:
        fractions (Dict[torch.fx.Node, Fraction]): The values that are quotients.
        inner (Set[torch.fx.Node]): Parts of what is spelled out, whose readers are not
            there yet.
    """

    def __init__(
        self, structure: Structure, writer: Writer, num_steps: int, relay_steps: int
    ) -> None:
        self.structure, self.network = structure, structure.network
        self.writer = writer
        self.num_steps, self.relay_steps = num_steps, relay_steps
        self.fractions: dict[fx.Node, Fraction] = {}
        self.inner: set[fx.Node] = set()
        self._known: dict[fx.Node, fx.Node] = {}

    def module(self, value: Any) -> Any:
        """The module that a value is made by, or nothing."""
        is_module = isinstance(value, fx.Node) and value.op == 'call_module'
        return module_of(self.network, value) if is_module else None

    def gate(self, name: str, gate: SpikeGate, *args: Any) -> fx.Node:
        """Adds a gate."""
        return fires(self.writer.call(f'gates.{name}', gate, *args))

    def spikes(self, value: Any) -> fx.Node:
        """The spikes that a value is, or that relay it: before it is moved, so that
        each is relayed once.
        """
        if is_firing(value):
            return value
        if value not in self._known:
            here, self.writer.here = self.writer.here, value.next
            if move_of(value) and not is_part(value):
                made = self.moved(value, value.args[0], self.spikes(value.args[0]))
            else:
                made = self.relay(value)
            self._known[value], self.writer.here = made, here
        return self._known[value]

    def relay(self, value: fx.Node) -> fx.Node:
        """A population of either sign that fires on a value as it is."""
        made = self.population(value, value, 'identity', 'relay')
        self.structure.relays.add(str(made.target))
        return made

    def population(
        self,
        node: fx.Node,
        value: Any,
        activation: Activation,
        made: str = 'population',
    ) -> fx.Node:
        """A population that fires on a value; on a quotient with moving thresholds.

        Args:
            node (torch.fx.Node): What it stands for.
            value (torch.fx.Node): What it fires on.
            activation (str or torch.nn.Module): What of it.
            made (str, optional): What it is made as. (default: :obj:`"population"`)
        """
        what = describe(self.network, node)
        if made == 'relay':
            what = f'potentials that meet others ({what})'
        part = self.fraction(value)
        args = (self.num(part),)
        den = None if part.is_whole else self.den(part)
        name = node.name if made == 'population' else f'{made}_{node.name}'
        assert self.writer.here is not None
        with self.network.graph.inserting_before(self.writer.here):
            found = add_population(self.structure, name, args, what, activation, made)
        if den is not None:
            found.kwargs = {'divisor': den}
        self.writer.signals.add(found)
        return found

    def tie(self, *values: fx.Node) -> None:
        """Lets populations whose spike times are added have one base."""
        found = [p for value in values for p in self.populations(value)]
        self.structure.tied.append({str(p.target) for p in found})

    def populations(self, value: fx.Node) -> list[fx.Node]:
        """The populations that spikes come from."""
        if isinstance(self.module(value), PhaseNeuron):
            return [value]
        found = [n for n in value.all_input_nodes if is_firing(n)]
        return [each for n in found for each in self.populations(n)]

    # Quotients.

    def fraction(self, value: Any) -> Fraction:
        """A value as a quotient, of itself and nothing if it is none."""
        return self.fractions.get(value, Fraction(value))

    def num(self, part: Fraction) -> fx.Node:
        """What is divided."""
        if isinstance(part.num, fx.Node):
            return part.num
        return self.writer.write(torch.full_like, self.den(part), part.num)

    def den(self, part: Fraction) -> fx.Node:
        """What it is divided by."""
        if part.den is not None:
            return part.den
        assert part.group is not None
        e, index, num = part.group
        columns = self.moved_by(e, 'unsqueeze', -1) if rank_of(e) == 1 else e
        layer = GraphFilter(MemberShift())
        total = self.writer.call(f'pools.{e.name}', layer, columns, index, num)
        if columns is not e:
            total = self.writer.write(torch.squeeze, total, -1)
        total = self.writer.write(gather_rows, total, index)
        return self.writer.write(operator.add, total, LEAST)

    def settled(self, value: Any) -> fx.Node:
        """A value that is no quotient, but spikes instead if it was one."""
        return self.spikes(value) if value in self.fractions else value

    def settle(self, node: fx.Node) -> None:
        """Lets what cannot carry a quotient on read spikes."""
        for n in node.all_input_nodes:
            if n in self.fractions:
                node.replace_input_with(n, self.spikes(n))

    # Moves.

    def moved(self, node: fx.Node, x: fx.Node, value: fx.Node) -> fx.Node:
        """What a node moves, with another value in the place of one: spikes stay so."""
        if not is_firing(value):
            return self.writer.copy(node, x, value)
        return self.moved_by(value, move_of(node), *node.args[1:], **node.kwargs)

    def moved_by(self, value: fx.Node, name: str, *args: Any, **kwargs: Any) -> fx.Node:
        """Spikes, moved by a method of tensors."""
        return fires(self.writer.write(move_spikes, value, name, *args, **kwargs))

    def moved_like(
        self, node: fx.Node, x: fx.Node, like: fx.Node, value: fx.Node
    ) -> fx.Node:
        """The same, of a value that may have to be repeated to the shape of another."""
        if shape_of(value) != shape_of(like):
            was_firing = is_firing(value)
            value = self.writer.write(shaped_like, value, like)
            value = fires(value) if was_firing else value
        return self.moved(node, x, value)


def is_firing(value: Any) -> bool:
    """Whether a value is spikes."""
    return isinstance(value, fx.Node) and bool(value.meta.get('population'))


def fires(node: fx.Node) -> fx.Node:
    """Notes that a value is spikes."""
    node.meta['population'] = True
    return node


def move_of(value: fx.Node) -> str:
    """How a value is moved, by the name of the method; nothing if it is not."""
    if not value.args or not isinstance(value.args[0], fx.Node):
        return ''
    if called(value) is gather_rows:
        return '__getitem__'
    op = op_of(value)
    if is_call(value, 'getitem') and shape_of(value.args[0]) is None:
        if not is_call(value.args[0], *PARTS):  # Of something else than a tensor.
            return ''
    name = '' if op is None else op.name.replace('getitem', '__getitem__')
    return name if name in MOVING else ''


def is_same(a: Any, b: Any) -> bool:
    """Whether two values are computed alike, of the same: such as ``edge_index[1]``,
    written twice.
    """
    if not isinstance(a, fx.Node) or not isinstance(b, fx.Node):
        return type(a) is type(b) and bool(a == b)
    if a is b:
        return True
    alike = a.op == b.op and a.op in ('call_function', 'call_method')
    op = op_of(a)
    if not alike or a.target != b.target or op is None or op.why == 'random':
        return False
    parts = [pytree.tree_flatten((n.args, n.kwargs)) for n in (a, b)]
    (own, shape), (others, other_shape) = parts
    return shape == other_shape and all(map(is_same, own, others))


def is_part(value: fx.Node) -> bool:
    """Whether a value is one of several parts, of which others may not be sent."""
    return is_call(value, 'getitem') and is_call(value.args[0], *PARTS)


#: How an operation is computed.
Compute = Callable[[Relays, fx.Node], Any]
