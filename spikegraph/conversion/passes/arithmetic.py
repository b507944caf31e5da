"""Where signals meet: products become delays, powers other bases, softmax a ramp that
starts at the first spike, and quotients thresholds that a second potential moves.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from spikegraph.conversion.operations.rules import ends, reads_out
from spikegraph.conversion.passes.graph import Structure
from spikegraph.conversion.passes.populations import add_population
from spikegraph.conversion.passes.products import rank_of, shape_of
from spikegraph.conversion.passes.writer import Writer
from spikegraph.network.naming import called, describe, module_of
from spikegraph.network.ops import is_call, op_of
from spikegraph.nn import GraphFilter, PhaseNeuron, SpikingLinear
from spikegraph.nn.activation import Exponential
from spikegraph.nn.products import Delay, Rebase, Relative, quotient
from spikegraph.nn.routing import gather_rows, move_spikes, shaped_like
from spikegraph.nn.shift import MemberShift

#: Methods of tensors that only move values, repeat them or leave some out.
MOVES = (
    *('view', 'reshape', 'flatten', 'unflatten', 'squeeze', 'unsqueeze', 'transpose'),
    *('permute', 't', 'movedim', 'swapaxes', 'expand', 'expand_as', 'view_as', 'clone'),
    *('getitem', 'select', 'index_select', 'contiguous', 'detach', 'narrow', 'repeat'),
    *('repeat_interleave', 'flip', 'roll', 'reshape_as', 'chunk', 'split', 'unbind'),
)
_METHODS = {'getitem': '__getitem__'}
# What PyG adds to the sum of coefficients, so that no node divides by zero.
_LEAST = 1e-16


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


class Arithmetic:
    """Lets operations on several signals be computed with spike times.

    Args:
        structure (Structure): The network, changed in place.
        signals (Set[torch.fx.Node]): Values on their way to a membrane.
        fixed (Set[torch.fx.Node]): Those among them that no spike changes.
        refused (Dict[torch.fx.Node, str]): The operations without a rule, and why;
            those that are computed are taken out.
        num_steps (int): The time steps :math:`T` of coefficients.
    """

    def __init__(
        self,
        structure: Structure,
        signals: set[fx.Node],
        fixed: set[fx.Node],
        refused: dict[fx.Node, str],
        num_steps: int,
    ) -> None:
        self.structure, self.network = structure, structure.network
        self.writer = Writer(structure, signals, fixed)
        self.refused, self.num_steps = refused, num_steps
        self.fractions: dict[fx.Node, Fraction] = {}
        self._spikes: dict[fx.Node, fx.Node] = {}

    def run(self) -> None:
        """Looks at every node in order."""
        for node in list(self.network.graph.nodes):
            self.writer.here = node
            if node in self.refused:
                made = self._compute(node)
                if made is not None:
                    del self.refused[node]
                    self._replace(node, made)
            elif any(n in self.fractions for n in node.all_input_nodes):
                made = self._carry(node)
                if made is None:
                    self._settle(node)
                else:
                    self._replace(node, made)
        self.network.graph.eliminate_dead_code()

    def _replace(self, node: fx.Node, made: fx.Node | Fraction) -> None:
        if isinstance(made, Fraction):
            self.fractions[node] = made
        elif made is not node:
            node.replace_all_uses_with(made)

    # What is computed.

    def _compute(self, node: fx.Node) -> fx.Node | Fraction | None:
        op = op_of(node)
        how = None if op is None else _COMPUTED.get(op.name)
        return None if how is None else how(self, node)

    def _product(self, node: fx.Node) -> fx.Node | Fraction | None:
        if len(node.args) != 2 or node.kwargs:
            return None
        a, b = (self.fractions.get(n, Fraction(n)) for n in node.args)  # type: ignore
        if a.num is b.num and a == b:
            return self._power(node, node.args[0], 2)
        if not (_is_whole(a) or _is_whole(b)):
            b = Fraction(self.spikes(node.args[1]))
        num = b.num if a.num == 1 else a.num if b.num == 1 else None
        if num is None:
            num = self._delayed(node, a.num, b.num)
        rest = b if _is_whole(a) else a
        return num if _is_whole(rest) else Fraction(num, rest.den, rest.group)

    def _delayed(self, node: fx.Node, a: fx.Node, b: fx.Node) -> fx.Node:
        moving = self.writer.is_moving
        if not (moving(a) and moving(b)):
            return self.writer.write(operator.mul, a, b)
        pair = self.spikes(a), self.spikes(b)
        gate = self.writer.call(f'gates.{node.name}', Delay(), *pair)
        gate.meta['population'] = True
        self._tie(*pair)
        return gate

    def _power(self, node: fx.Node, value: Any, exponent: float) -> fx.Node | None:
        x = self.spikes(value)
        gate = self.writer.call(f'gates.{node.name}', Rebase(exponent), x)
        gate.meta['population'] = True
        self.structure.tied.append(set(self._populations(x)))
        return gate

    def _softmax(self, node: fx.Node) -> Fraction | None:
        names = ['src', 'index', 'ptr', 'num_nodes', 'dim']
        by_index = called(node) is not torch.softmax and node.target is not None
        given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        if not by_index or given.get('ptr') is not None or given.get('dim', 0) != 0:
            return None
        index, num = given.get('index'), given.get('num_nodes')
        e = self._ramp(node, given['src'], None, index, num)
        return Fraction(e, None, (e, index, num))

    def _ramp(self, node: fx.Node, score: Any, dim: int | None, *group: Any) -> fx.Node:
        """Coefficients relative to the largest of their group."""
        inner: nn.Module | None = None
        source = self._settled(score)
        if source.meta.get('made') == 'population' and len(source.users) == 1:
            neuron = module_of(self.network, source)
            if isinstance(neuron, PhaseNeuron) and not source.kwargs:
                inner, source = _activation_of(neuron), source.args[0]  # type: ignore
        with self.network.graph.inserting_before(node):
            raw = add_population(
                self.structure,
                f'ramp_{node.name}',
                (source,),
                describe(self.network, node),
                Exponential(inner),
                'ramp',
            )
        self.writer.signals.add(raw)
        gate = Relative(self.num_steps, dim)
        e = self.writer.call(f'gates.{node.name}', gate, raw, *group)
        e.meta['population'] = True
        return e

    # What carries a quotient on.

    def _carry(self, node: fx.Node) -> fx.Node | Fraction | None:
        inputs = [n for n in node.all_input_nodes if n in self.fractions]
        if len(inputs) > 1:
            return None
        x, part = inputs[0], self.fractions[inputs[0]]
        if node.op == 'output' or (reads_out(node) and ends(node)):
            made = self.writer.write(quotient, self._num(part), self._den(part))
            node.replace_input_with(x, made)
            return node
        if node.op == 'call_module':
            return self._carry_through_module(node, x, part)
        if _move_of(node) and node.args[0] is x:
            return self._moved(node, x, part)
        op = op_of(node)
        name = '' if op is None else op.name
        if name in ('add', 'sub') and not node.kwargs:
            return self._added(node, x, part)
        if name in ('mul', 'div', 'neg') and not node.kwargs:
            if name == 'div' and node.args[0] is not x:
                return None
            num = self._apply(node, x, part.num)
            return Fraction(num, part.den, part.group)
        if name in ('sum', 'mean') and node.args[0] is x:
            return self._reduced(node, x, part)
        return None

    def _apply(self, node: fx.Node, x: fx.Node, num: fx.Node) -> fx.Node:
        return self.writer.copy(node, x, num)

    def _moved(self, node: fx.Node, x: fx.Node, part: Fraction) -> Fraction:
        num = self._move(node, x, part.num)
        if part.group is not None and is_call(node, 'view', 'unsqueeze', 'reshape'):
            if (
                shape_of(node) is not None
                and (shape_of(node) or ())[:1] == (shape_of(x) or ())[:1]
            ):
                e, *rest = part.group
                return Fraction(num, None, (self._move(node, x, e), *rest))
        den = self._den(part)
        if (shape_of(den) or ()) != (shape_of(part.num) or ()):
            den = self.writer.write(shaped_like, den, part.num)
        return Fraction(num, self.writer.copy(node, x, den))

    def _move(self, node: fx.Node, x: fx.Node, value: fx.Node) -> fx.Node:
        """The same move, of spikes if these are."""
        if not value.meta.get('population'):
            return self.writer.copy(node, x, value)
        name = _METHODS.get(_move_of(node), _move_of(node))
        rest, kwargs = node.args[1:], node.kwargs
        made = self.writer.write(move_spikes, value, name, *rest, **kwargs)
        made.meta['population'] = True
        return made

    def _added(self, node: fx.Node, x: fx.Node, part: Fraction) -> Fraction | None:
        a, b = node.args
        other = b if a is x else a
        if self.writer.is_moving(other):
            return None
        den = self._den(part)
        num = self.writer.write(
            operator.add if is_call(node, 'add') or other is a else operator.sub,
            part.num
            if a is x or is_call(node, 'add')
            else self.writer.write(operator.neg, part.num),
            self.writer.write(operator.mul, den, other),
        )
        return Fraction(num, den)

    def _reduced(self, node: fx.Node, x: fx.Node, part: Fraction) -> Fraction | None:
        dim = node.kwargs.get('dim', node.args[1] if len(node.args) > 1 else None)
        dims = [dim] if isinstance(dim, int) else dim
        den = self._den(part)
        shape = shape_of(den)
        if not isinstance(dims, (list, tuple)) or shape is None:
            return None
        if len(shape) != rank_of(part.num) or any(shape[d] != 1 for d in dims):
            return None
        mean = self.writer.copy(node, x, den)
        return Fraction(self.writer.copy(node, x, part.num), mean)

    def _carry_through_module(
        self, node: fx.Node, x: fx.Node, part: Fraction
    ) -> fx.Node | Fraction | None:
        module: Any = module_of(self.network, node)
        if isinstance(module, PhaseNeuron):
            node.replace_input_with(x, self._num(part))
            node.kwargs = {**node.kwargs, 'divisor': self._den(part)}
            return node
        if isinstance(module, GraphFilter) and isinstance(module.shift, MemberShift):
            group = part.group
            if group is None or node.kwargs or list(node.args[1:2]) != [group[1]]:
                return None
            num = self.writer.copy(node, x, part.num)
            den = self.writer.copy(node, x, group[0])
            return Fraction(num, self.writer.write(operator.add, den, _LEAST))
        if isinstance(module, SpikingLinear) and node.args == (x,):
            return self._through_linear(node, module, x, part)
        return None

    def _through_linear(
        self, node: fx.Node, module: Any, x: fx.Node, part: Fraction
    ) -> Fraction | None:
        den = self._den(part)
        if (shape_of(den) or (0,))[-1] != 1 or rank_of(den) != rank_of(part.num):
            return None
        num = self.writer.copy(node, x, part.num)
        if module.bias is not None:
            one = self.writer.write(operator.sub, den, 1)
            bias = self.writer.constant(f'{node.name}_bias', module.bias)
            num = self.writer.write(
                operator.add, num, self.writer.write(operator.mul, one, bias)
            )
        return Fraction(num, den)

    # Potentials and spikes.

    def _num(self, part: Fraction) -> fx.Node:
        if isinstance(part.num, fx.Node):
            return part.num
        return self.writer.write(torch.full_like, self._den(part), part.num)

    def _den(self, part: Fraction) -> fx.Node:
        if part.den is not None:
            return part.den
        assert part.group is not None
        e, index, num = part.group
        total = self.writer.call(
            f'pools.{e.name}_sum', GraphFilter(MemberShift()), e, index, num
        )
        total.meta.pop('made')
        total.meta['made'] = 'pool'
        return self.writer.write(
            operator.add, self.writer.write(gather_rows, total, index), _LEAST
        )

    def _settle(self, node: fx.Node) -> None:
        """Lets what cannot carry a quotient on read spikes."""
        for n in node.all_input_nodes:
            if n in self.fractions:
                node.replace_input_with(n, self.spikes(n))

    def _settled(self, value: Any) -> fx.Node:
        return self.spikes(value) if value in self.fractions else value

    def spikes(self, value: Any) -> fx.Node:
        """The spikes that a value is, or that relay it."""
        if value.meta.get('population'):
            return value
        if value not in self._spikes:
            self._spikes[value] = self._relayed(value)
        return self._spikes[value]

    def _relayed(self, value: fx.Node) -> fx.Node:
        here = self.writer.here
        if _move_of(value):
            x: Any = value.args[0]
            made = self._at(value, lambda: self._move(value, x, self.spikes(x)))
        else:
            made = self._at(value, lambda: self._relay(value))
        self.writer.here = here
        return made

    def _at(self, value: fx.Node, write: Callable[[], fx.Node]) -> fx.Node:
        """Writes right behind a value."""
        self.writer.here = value.next
        return write()

    def _relay(self, value: fx.Node) -> fx.Node:
        part = self.fractions.get(value)
        what = f'potentials that meet others ({describe(self.network, value)})'
        args = (value if part is None else self._num(part),)
        den = None if part is None else self._den(part)
        assert self.writer.here is not None
        with self.network.graph.inserting_before(self.writer.here):
            node = add_population(
                self.structure, f'relay_{value.name}', args, what, 'identity', 'relay'
            )
        if den is not None:
            node.kwargs = {'divisor': den}
        self.writer.signals.add(node)
        return node

    def _tie(self, *values: fx.Node) -> None:
        """Populations whose spike times are added have one base."""
        self.structure.tied.append(
            {name for value in values for name in self._populations(value)}
        )

    def _populations(self, value: fx.Node) -> list[str]:
        """The populations that a product is made of."""
        if value.op == 'call_module':
            module = module_of(self.network, value)
            if isinstance(module, PhaseNeuron):
                return [str(value.target)]
        found = [n for n in value.all_input_nodes if n.meta.get('population')]
        return [name for n in found for name in self._populations(n)]


def _is_whole(part: Fraction) -> bool:
    return part.den is None and part.group is None


def _move_of(value: fx.Node) -> str:
    """How a value is moved, by the name of the method; nothing if it is not."""
    if not value.args or not isinstance(value.args[0], fx.Node):
        return ''
    if called(value) is gather_rows:
        return 'getitem'
    op = op_of(value)
    return op.name if op is not None and op.name in MOVES else ''


def _activation_of(neuron: PhaseNeuron) -> nn.Module | None:
    if neuron.activation == 'relu':
        return nn.ReLU()
    return None if neuron.activation == 'identity' else neuron.activation  # type: ignore


_COMPUTED: dict[str, Callable[[Arithmetic, fx.Node], Any]] = {
    'mul': Arithmetic._product,
    'softmax': Arithmetic._softmax,
}
