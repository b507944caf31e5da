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
from torch_geometric.utils import softmax as pyg_softmax

from spikegraph.conversion.operations.activations import Activation, activation_of
from spikegraph.conversion.operations.allowing import Call
from spikegraph.conversion.operations.kinds import Refused, Rule
from spikegraph.conversion.operations.rules import ends, reads_out
from spikegraph.conversion.passes.gates import commutes_with_maximum, replace_values
from spikegraph.conversion.passes.graph import Structure
from spikegraph.conversion.passes.populations import add_population
from spikegraph.conversion.passes.postponing import postpone_weights
from spikegraph.conversion.passes.products import rank_of, shape_of
from spikegraph.conversion.passes.spelling import SPELLED_OUT
from spikegraph.conversion.passes.writer import Writer
from spikegraph.network.naming import called, describe, module_of
from spikegraph.network.ops import is_call, op_of
from spikegraph.nn import EarliestAlong, GraphFilter, PhaseNeuron, SpikingLinear
from spikegraph.nn.activation import Exponential, Logarithm, Ramp, Root
from spikegraph.nn.products import Delay, DelayedSum, Rebase, Relative, quotient
from spikegraph.nn.routing import (
    gather_rows,
    move_spikes,
    never_silent,
    shaped_like,
    silence,
)
from spikegraph.nn.shift import MemberShift

_PARTS = ('chunk', 'split', 'unbind', 'tensor_split')
#: Methods of tensors that only move values, repeat them or leave some out.
MOVES = (
    *('view', 'reshape', 'flatten', 'unflatten', 'squeeze', 'unsqueeze', 'transpose'),
    *('permute', 't', 'movedim', 'swapaxes', 'expand', 'expand_as', 'view_as', 'clone'),
    *('getitem', 'select', 'index_select', 'contiguous', 'detach', 'narrow', 'repeat'),
    *('repeat_interleave', 'flip', 'roll', 'reshape_as'),
    *_PARTS,
)
_METHODS = {'getitem': '__getitem__'}
# What PyG adds to the sum of coefficients, so that no node divides by zero.
_LEAST = 1e-16
_NEVER = -1e4  # Scores below are those of what is masked.


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
        self._replaced: dict[fx.Node, fx.Node] = {}

    def run(self) -> None:
        """Looks at every node in order."""
        for node in list(self.network.graph.nodes):
            self._visit(node)
        self.network.graph.eliminate_dead_code()
        postpone_weights(self.structure, self.writer)
        self.network.graph.eliminate_dead_code()

    def _visit(self, node: fx.Node) -> None:
        self.writer.here = node
        if node in self.refused:
            made = self._compute(node)
            if made is not None:
                del self.refused[node]
                self._replace(node, made)
                return
        if any(n in self.fractions for n in node.all_input_nodes):
            made = None if node in self.refused else self._carry(node)
            if made is None:
                self._settle(node)
            else:
                self._replace(node, made)

    def _replace(self, node: fx.Node, made: fx.Node | Fraction) -> None:
        if isinstance(made, Fraction):
            self.fractions[node] = made
        elif made is not node:
            node.replace_all_uses_with(made)
            self._replaced[node] = made
            if made in self.fractions:
                return

    # What is computed.

    def _compute(self, node: fx.Node) -> Any:
        op = op_of(node)
        how = None if op is None else _COMPUTED.get(op.name)
        if how is not None:
            return how(self, node)
        spelled = None if op is None else SPELLED_OUT.get(op.name)
        return None if spelled is None else self._spelled_out(node, spelled)

    def _spelled_out(self, node: fx.Node, function: Callable[..., Any]) -> Any:
        """Puts what an operation is made of in its place."""
        graph = fx.Graph()
        tracer = fx.proxy.GraphAppendingTracer(graph)
        lent: dict[fx.Node, fx.Node] = {}

        def proxy(value: fx.Node) -> fx.Proxy:
            made = graph.placeholder(value.name)
            made.meta['example'] = value.meta.get('example')
            lent[made] = value
            return fx.Proxy(made, tracer)

        known: dict[fx.Node, fx.Proxy] = {}
        given: Any = fx.node.map_arg(
            (node.args, node.kwargs), lambda n: known.setdefault(n, proxy(n))
        )
        given_kwargs = {k: v for k, v in given[1].items() if (k, v) != ('out', None)}
        try:
            out = function(*given[0], **given_kwargs)
        except NotImplementedError:
            return None
        if isinstance(out, tuple):
            return self._parts(node, graph, lent, out)
        return self._written(node, graph, lent)[out.node]

    def _parts(
        self, node: fx.Node, graph: fx.Graph, lent: dict[fx.Node, fx.Node], out: Any
    ) -> fx.Node | None:
        """Lets those that read a part of an operation read what it is made of."""
        if not all(is_call(user, 'getitem') for user in node.users):
            return None
        copies = self._written(node, graph, lent)
        for user in list(node.users):
            part = out[user.args[1]]
            made = copies[part.node] if isinstance(part, fx.Proxy) else part
            if made in self.fractions:
                self.fractions[user] = self.fractions[made]
            elif isinstance(made, fx.Node):
                user.replace_all_uses_with(made)
        return node

    def _written(
        self, node: fx.Node, graph: fx.Graph, lent: dict[fx.Node, fx.Node]
    ) -> dict[fx.Node, fx.Node]:
        """Copies a small graph to where a node is."""
        copies: dict[fx.Node, fx.Node] = dict(lent)
        for each in list(graph.nodes):
            if each in lent:
                continue
            self.writer.here = node
            copies[each] = made = self.writer.repeat(each, copies.__getitem__)
            rule = self._rule_of(made)
            if isinstance(rule, Refused):
                self.refused[made] = self.refused[node]
            if rule is not None and rule.stands_in:
                activation = activation_of(self.network, made)
                self._replace(made, self._fired(made, made.args[0], activation))
            else:
                self._visit(made)
            self.writer.here = node
            for old, new in list(self._replaced.items()):
                copies = {k: new if v is old else v for k, v in copies.items()}
            self._replaced.clear()
        return copies

    def _rule_of(self, node: fx.Node) -> Rule | None:
        if not self.writer.is_moving(node):
            return None
        signals, fixed = self.writer.signals, self.writer.fixed
        return Call(self.network, node, signals, fixed).rule()

    def _product(self, node: fx.Node) -> fx.Node | Fraction | None:
        if len(node.args) != 2 or node.kwargs:
            return None
        x, y = node.args
        if x is y:
            return self._power_of(node, x, 2)
        a, b = (self.fractions.get(n, Fraction(n)) for n in (x, y))  # type: ignore
        if not (_is_whole(a) or _is_whole(b)):
            b = Fraction(self.spikes(y))
        num = b.num if a.num == 1 else a.num if b.num == 1 else None
        if num is None:
            num = self._delayed(node, a.num, b.num)
        rest = b if _is_whole(a) else a
        return num if _is_whole(rest) else Fraction(num, rest.den, rest.group)

    def _delayed(self, node: fx.Node, a: fx.Node, b: fx.Node) -> fx.Node:
        moving = self.writer.is_moving
        if not (moving(a) and moving(b)):
            return self.writer.write(operator.mul, a, b)
        for x, other in ((a, b), (b, a)):
            found = self._shifted(x)
            if found is not None:  # (c + k p) y = c y + k (p y)
                constant, factor, spikes = found
                product = self._delayed(node, spikes, other)
                rest = self.writer.write(operator.mul, other, constant)
                added = operator.add if factor > 0 else operator.sub
                return self.writer.write(added, rest, product)
        pair = self._geometric(self.spikes(a)), self._geometric(self.spikes(b))
        gate = self.writer.call(f'gates.{node.name}', Delay(), *pair)
        gate.meta['population'] = True
        self._tie(*pair)
        return gate

    def _shifted(self, value: fx.Node) -> tuple[float, int, fx.Node] | None:
        """The number and the spikes that a value is the sum or difference of."""
        if not is_call(value, 'add', 'sub', 'rsub') or value.kwargs:
            return None
        a, b = value.args
        if is_call(value, 'rsub'):
            a, b = b, a
        factor = -1 if is_call(value, 'sub', 'rsub') else 1
        if isinstance(a, (int, float)) and self._fires(b):
            return float(a), factor, b  # type: ignore[return-value]
        if isinstance(b, (int, float)) and self._fires(a):
            return float(b) * factor, 1, a  # type: ignore[return-value]
        return None

    def _fires(self, value: Any) -> bool:
        return isinstance(value, fx.Node) and bool(value.meta.get('population'))

    def _geometric(self, x: fx.Node) -> fx.Node:
        """The same value in a code of its base; of a square, a delay by itself."""
        if x.op == 'call_module' and isinstance(module_of(self.network, x), Rebase):
            if module_of(self.network, x).exponent == 2:
                source: Any = x.args[0]
                gate = self.writer.call(f'gates.{x.name}', Delay(), source, source)
                gate.meta['population'] = True
                return gate
            return self._relay(x)
        return x

    def _power(self, node: fx.Node) -> Any:
        given = [*node.args, *node.kwargs.values()]
        exponent = given[1] if len(given) > 1 else 2
        is_number = isinstance(exponent, (int, float)) and exponent != 0
        if not is_number or len(given) > 2:
            return None
        if exponent == 0.5:
            return self._fired(node, given[0], Root())
        if exponent < 0:
            positive = self._root_or_power(node, given[0], -exponent)
            if positive is None:
                return None
            return Fraction(1, self._never_silent(positive))
        return self._power_of(node, given[0], exponent)

    def _root_or_power(self, node: fx.Node, value: Any, exponent: float) -> Any:
        if exponent == 0.5:
            return self._fired(node, value, Root())
        if not self._is_positive(value):
            return None
        if exponent == 1:
            return self._settled(value)
        return self._power_of(node, value, exponent)

    def _power_of(self, node: fx.Node, value: Any, exponent: float) -> fx.Node | None:
        is_even = float(exponent).is_integer() and exponent % 2 == 0
        is_odd = float(exponent).is_integer() and exponent % 2 == 1
        if not (is_even or is_odd or self._is_positive(value)):
            return None
        x = self.spikes(value)
        made = Rebase(exponent, keeps_sign=is_odd)
        gate = self.writer.call(f'gates.{node.name}', made, x)
        gate.meta['population'] = True
        self._tie(x)
        return gate

    def _size(self, node: fx.Node) -> fx.Node:
        x = self.spikes(node.args[0])
        gate = self.writer.call(f'gates.{node.name}', Rebase(1), x)
        gate.meta['population'] = True
        self._tie(x)
        return gate

    def _root(self, node: fx.Node) -> fx.Node:
        return self._fired(node, node.args[0], Root())

    def _inverse_root(self, node: fx.Node) -> Fraction:
        root = self._fired(node, node.args[0], Root())
        return Fraction(1, self._never_silent(root))

    def _inverse(self, node: fx.Node) -> Fraction | None:
        value: Any = node.args[0]
        if not self._is_positive(value):
            return None
        return Fraction(1, self._never_silent(self._settled(value)))

    def _exponential(self, node: fx.Node) -> fx.Node:
        return self._fired(node, node.args[0], Exponential())

    def _logarithm(self, node: fx.Node) -> fx.Node | None:
        if not self._is_positive(node.args[0]):
            return None
        return self._fired(node, node.args[0], Logarithm())

    def _fired(self, node: fx.Node, value: Any, activation: Activation) -> fx.Node:
        """A population whose thresholds stand for a function."""
        part = self.fractions.get(value)
        made = self._population(node, value, part, activation, 'population')
        return made

    def _quotient(self, node: fx.Node) -> Fraction | None:
        if len(node.args) != 2 or node.kwargs:
            return None
        x, y = node.args
        if not self._is_positive(y):
            return None
        den = self._never_silent(self._settled(y))
        part = self.fractions.get(x, Fraction(x))  # type: ignore[arg-type]
        if not _is_whole(part):
            part = Fraction(self.spikes(x))
        return Fraction(part.num, den)

    def _never_silent(self, den: fx.Node) -> fx.Node:
        """What others are divided by: it fires at the last step in any case."""
        if is_call(den, 'add') and not den.kwargs:
            for spikes in den.args:
                if self._fires(spikes):
                    return self.writer.copy(den, spikes, self._never_silent(spikes))
        if not self._fires(den) or not self._is_positive(den):
            return den
        made = self.writer.write(never_silent, den)
        made.meta['population'] = True
        return made

    def _is_positive(self, value: Any) -> bool:
        """Whether a value cannot be negative, nor zero where all goes well."""
        if isinstance(value, (int, float)):
            return value > 0
        if not isinstance(value, fx.Node):
            return False
        if value.op == 'call_module':
            return self._is_positive_module(value)
        if value in self.fractions:
            part = self.fractions[value]
            return part.num == 1 or self._is_positive(part.num)
        if not self.writer.is_moving(value):
            seen = value.meta.get('example')
            if isinstance(seen, (int, float)):
                return seen > 0
            return value in self.writer.fixed or not value.all_input_nodes
        if is_call(value, 'add', 'mul', 'div', 'maximum', 'cat', 'stack'):
            parts = [a for a in value.args if isinstance(a, (fx.Node, int, float))]
            return bool(parts) and all(map(self._is_positive, parts))
        if is_call(value, 'clamp', 'clamp_min'):
            low = value.kwargs.get('min', (*value.args, None)[1])
            return isinstance(low, (int, float)) and low >= 0
        if is_call(value, 'exp', 'sqrt', 'sigmoid', 'softplus', 'abs', 'relu'):
            return True
        passes = _move_of(value) or is_call(value, 'sum', 'mean', 'amax', 'values_of')
        return bool(passes) and self._is_positive(value.args[0])

    def _is_positive_module(self, value: fx.Node) -> bool:
        module: Any = module_of(self.network, value)
        if isinstance(module, PhaseNeuron):
            kinds = (nn.Sigmoid, nn.ReLU, nn.Softplus, Root, Exponential)
            return module.activation == 'relu' or isinstance(module.activation, kinds)
        if isinstance(module, (Rebase, Relative)):
            return not getattr(module, 'keeps_sign', False)
        if isinstance(module, Delay):
            return all(map(self._is_positive, value.args))
        is_sum = isinstance(module, GraphFilter) and module.weight is None
        return is_sum and self._is_positive(value.args[0])

    def _softmax(self, node: fx.Node) -> Fraction | None:
        if node.target is not pyg_softmax:
            given = {**dict(zip(('x', 'dim'), node.args, strict=False)), **node.kwargs}
            source = given.get('input', given.get('x'))
            dim = given.get('dim')
            rank = rank_of(source)
            if not isinstance(dim, int) or rank is None:
                return None
            dim = dim - rank if dim >= 0 else dim
            e = self._ramp(node, source, dim)
            total = self.writer.write(torch.sum, e, dim, keepdim=True)
            return Fraction(e, self.writer.write(operator.add, total, _LEAST))
        names = ['src', 'index', 'ptr', 'num_nodes', 'dim']
        given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        rank = rank_of(given['src'])
        if given.get('ptr') is not None or given.get('dim', 0) not in (0, -(rank or 1)):
            return None
        index, num = given.get('index'), given.get('num_nodes')
        e = self._ramp(node, given['src'], None, index, num)
        return Fraction(e, None, (e, index, num))

    def _ramp(self, node: fx.Node, score: Any, dim: int | None, *group: Any) -> fx.Node:
        """Coefficients relative to the largest of their group."""
        source, hidden = self._unmasked(score)
        inner: nn.Module | None = None
        part = self.fractions.get(source)
        if source.meta.get('made') == 'population' and len(source.users) == 1:
            neuron = module_of(self.network, source)
            if isinstance(neuron, PhaseNeuron) and not source.kwargs:
                monotone = commutes_with_maximum(neuron)
                if monotone:
                    inner = _activation_of(neuron)
                    source = source.args[0]  # type: ignore[assignment]
        raw = self._population(node, source, part, Ramp(inner), 'ramp')
        if hidden is not None:
            raw = self.writer.write(silence, raw, hidden)
            raw.meta['population'] = True
        e = self.writer.call(
            f'gates.{node.name}', Relative(self.num_steps, dim), raw, *group
        )
        e.meta['population'] = True
        return e

    def _unmasked(self, score: Any) -> tuple[fx.Node, Any]:
        """Scores, and where there are none: instead of numbers without end."""
        if is_call(score, 'masked_fill') and len(score.args) == 3:
            x, mask, number = score.args
            is_low = isinstance(number, (int, float)) and number <= _NEVER
            if is_low and not self.writer.is_moving(mask):
                return x, mask
        if is_call(score, 'add') and len(score.args) == 2:
            for x, mask in (score.args, score.args[::-1]):
                fixed = isinstance(mask, fx.Node) and not self.writer.is_moving(mask)
                if fixed and isinstance(x, fx.Node) and x in self.writer.signals:
                    hidden = self.writer.write(torch.le, mask, _NEVER)
                    finite = self.writer.write(torch.masked_fill, mask, hidden, 0.0)
                    added = self.writer.write(operator.add, x, finite)
                    if x in self.fractions:
                        self._visit_written(added)
                    return added, hidden
        return score, None

    def _visit_written(self, node: fx.Node) -> None:
        here = self.writer.here
        self.writer.here = node
        made = self._carry(node)
        if made is None:
            self._settle(node)
        elif isinstance(made, Fraction):
            self.fractions[node] = made
        self.writer.here = here

    def _largest(self, node: fx.Node) -> fx.Node | None:
        """The largest value along a dimension, channels too: one scale for all."""
        op = op_of(node)
        given = {**dict(zip(('x', 'dim', 'keepdim'), node.args, strict=False))}
        given.update(node.kwargs)
        source, dim = given.get('x', given.get('input')), given.get('dim')
        rank = rank_of(source)
        if not isinstance(dim, int) or rank is None or op is None:
            return None
        dim = dim - rank if dim >= 0 else dim
        x = self.spikes(source)
        made = EarliestAlong(dim, bool(given.get('keepdim', False)), op.smallest)
        gate = self.writer.call(f'gates.{node.name}', made, x)
        gate.meta['population'] = True
        for name in self._populations(x):
            self.network.get_submodule(name).channel_dim = 0
        replace_values(node, gate)
        return gate

    def _contraction(self, node: fx.Node) -> Any:
        names = {'matmul', 'mm', 'bmm'}
        op = op_of(node)
        if op is None or op.name not in names or node.kwargs or len(node.args) != 2:
            return None
        x, y = node.args
        a, b = (self.fractions.get(n, Fraction(n)) for n in (x, y))  # type: ignore
        if not _is_whole(b):
            b = Fraction(self.spikes(y))
        shape = shape_of(self._den(a)) if not _is_whole(a) else (1,)
        if shape is None or shape[-1] != 1 or rank_of(y) in (None, 1):
            a = Fraction(self.spikes(x))
        num = self._met(node, a.num, b.num)
        return num if _is_whole(a) else Fraction(num, a.den)

    def _met(self, node: fx.Node, a: fx.Node, b: fx.Node) -> fx.Node:
        if not (self.writer.is_moving(a) and self.writer.is_moving(b)):
            return self.writer.write(torch.matmul, a, b)
        pair = self._geometric(self.spikes(a)), self._geometric(self.spikes(b))
        made = self.writer.call(f'products.{node.name}', DelayedSum(), *pair)
        self._tie(*pair)
        return made

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
        before, after = shape_of(x), shape_of(node)
        keeps_rows = (
            before is not None and after is not None and before[:1] == after[:1]
        )
        if part.group is not None and keeps_rows and not _takes_rows(node):
            e, *rest = part.group
            return Fraction(num, None, (self._moved_like(node, x, part, e), *rest))
        return Fraction(num, self._moved_like(node, x, part, self._den(part)))

    def _moved_like(
        self, node: fx.Node, x: fx.Node, part: Fraction, value: fx.Node
    ) -> fx.Node:
        """What is divided by, moved as what is divided."""
        if shape_of(value) != shape_of(part.num):
            fires = self._fires(value)
            value = self.writer.write(shaped_like, value, part.num)
            if fires:
                value.meta['population'] = True
        return self._move(node, x, value)

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
        return self._population(value, value, self.fractions.get(value), 'identity')

    def _population(
        self,
        node: fx.Node,
        value: fx.Node,
        part: Fraction | None,
        activation: Activation,
        made: str = 'relay',
    ) -> fx.Node:
        what = describe(self.network, node)
        if made == 'relay':
            what = f'potentials that meet others ({what})'
        num = value if part is None else self._num(part)
        den = None if part is None else self._den(part)
        name = node.name if made == 'population' else f'{made}_{node.name}'
        assert self.writer.here is not None
        with self.network.graph.inserting_before(self.writer.here):
            found = add_population(self.structure, name, (num,), what, activation, made)
        if den is not None:
            found.kwargs = {'divisor': den}
        self.writer.signals.add(found)
        return found

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
    if is_call(value, 'getitem') and shape_of(value.args[0]) is None:
        if not is_call(value.args[0], *_PARTS):  # Of something else than a tensor.
            return ''
    return op.name if op is not None and op.name in MOVES else ''


def _takes_rows(value: fx.Node) -> bool:
    return _move_of(value) in ('getitem', 'select', 'index_select', 'narrow')


def _activation_of(neuron: PhaseNeuron) -> nn.Module | None:
    if neuron.activation == 'relu':
        return nn.ReLU()
    return None if neuron.activation == 'identity' else neuron.activation  # type: ignore


_COMPUTED: dict[str, Callable[[Arithmetic, fx.Node], Any]] = {
    'mul': Arithmetic._product,
    'div': Arithmetic._quotient,
    'softmax': Arithmetic._softmax,
    'pow': Arithmetic._power,
    'square': Arithmetic._power,
    'abs': Arithmetic._size,
    'sqrt': Arithmetic._root,
    'rsqrt': Arithmetic._inverse_root,
    'reciprocal': Arithmetic._inverse,
    'exp': Arithmetic._exponential,
    'log': Arithmetic._logarithm,
    'max': Arithmetic._largest,
    'min': Arithmetic._largest,
    'amax': Arithmetic._largest,
    'amin': Arithmetic._largest,
    'matmul': Arithmetic._contraction,
    'mm': Arithmetic._contraction,
    'bmm': Arithmetic._contraction,
}
