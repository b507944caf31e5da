"""Operations on two signals, or on one and itself: products, quotients, powers."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from spikegraph.coding.phase_code import MAX_NUM_STEPS
from spikegraph.conversion.passes.gates import replace_values
from spikegraph.conversion.passes.positive import is_positive, never_zero
from spikegraph.conversion.passes.products import rank_of, shape_of
from spikegraph.conversion.passes.relays import Compute, Fraction, Relays, is_firing
from spikegraph.conversion.passes.softmax import relative, softmax
from spikegraph.conversion.passes.written import relate, unclamp, written_softmax
from spikegraph.network.ops import is_call, op_of
from spikegraph.nn import EarliestAlong, PhaseNeuron
from spikegraph.nn.activation import Exponential, Logarithm, Root
from spikegraph.nn.delayed_sum import DelayedSum
from spikegraph.nn.products import Delay, Rebase
from spikegraph.nn.relative import Relative


def product(relays: Relays, node: fx.Node) -> fx.Node | Fraction | None:
    """``x * y``: one delays the other."""
    if len(node.args) != 2 or node.kwargs:
        return None
    x, y = node.args
    if x is y:
        return _power_of(relays, node, x, 2)
    a, b = relays.fraction(x), relays.fraction(y)
    if not (a.is_whole or b.is_whole):
        b = Fraction(relays.spikes(y))
    num = b.num if a.num == 1 else a.num if b.num == 1 else None
    if num is None:
        num = _delayed(relays, node, a.num, b.num)
    rest = b if a.is_whole else a
    return num if rest.is_whole else Fraction(num, rest.den, rest.group)


def _delayed(relays: Relays, node: fx.Node, a: fx.Node, b: fx.Node) -> fx.Node:
    write, moving = relays.writer.write, relays.writer.is_moving
    if not (moving(a) and moving(b)):
        return write(operator.mul, a, b)
    for x, other in ((a, b), (b, a)):
        found = _shifted(x)
        if found is not None:  # (c + p) y = c y + p y, with what is known exactly.
            constant, sign, spikes = found
            rest = write(operator.mul, other, constant)
            more = _delayed(relays, node, spikes, other)
            return write(operator.add if sign > 0 else operator.sub, rest, more)
    pair = _within_a_byte(relays, a, b)
    relays.tie(*pair)
    return relays.gate(node.name, Delay(), *pair)


def _shifted(value: fx.Node) -> tuple[float, int, fx.Node] | None:
    """The number and the spikes that a value is the sum or the difference of."""
    if not is_call(value, 'add', 'sub', 'rsub') or value.kwargs:
        return None
    a, b = value.args[::-1] if is_call(value, 'rsub') else value.args
    sign = 1 if is_call(value, 'add') else -1
    if isinstance(a, (int, float)) and is_firing(b):
        return float(a), sign, b  # type: ignore[return-value]
    if isinstance(b, (int, float)) and is_firing(a):
        return float(b) * sign, 1, a  # type: ignore[return-value]
    return None


def _within_a_byte(relays: Relays, *values: fx.Node) -> list[fx.Node]:
    """The spikes of two factors, relayed where they are products that come too late to
    be delayed once more.
    """
    pair = [_geometric(relays, relays.spikes(value)) for value in values]
    lengths = [_length(relays, x) for x in pair]
    for i in sorted(range(2), key=lengths.__getitem__, reverse=True):
        if sum(lengths) - 1 > MAX_NUM_STEPS and lengths[i] > relays.relay_steps:
            pair[i], lengths[i] = relays.relay(pair[i]), relays.relay_steps
    return pair


def _length(relays: Relays, x: fx.Node) -> int:
    """How many phases spikes have at most."""
    gate = relays.module(x)
    lengths = [_length(relays, n) for n in x.all_input_nodes if is_firing(n)]
    if isinstance(gate, Delay):
        return gate.window(lengths)
    if isinstance(gate, Relative):
        return relays.num_steps
    own = max(relays.num_steps, relays.relay_steps)
    return own if isinstance(gate, PhaseNeuron) or not lengths else max(lengths)


def _geometric(relays: Relays, x: fx.Node) -> fx.Node:
    """The same value in a code of its own base; a square is delayed by itself."""
    module = relays.module(x)
    if not isinstance(module, Rebase) or module.exponent == 1:
        return x
    if module.exponent == 2:
        return relays.gate(x.name, Delay(), x.args[0], x.args[0])
    return relays.relay(x)


def matrix_product(relays: Relays, node: fx.Node) -> fx.Node | Fraction | None:
    """``x @ y``: all pairs, one delaying the other, summed up where they arrive."""
    if node.kwargs or len(node.args) != 2:
        return None
    x, y = node.args
    a, b = relays.fraction(x), relays.fraction(y)
    if not b.is_whole:
        b = Fraction(relays.spikes(y))
    shape = (1,) if a.is_whole else shape_of(relays.den(a))
    if not shape or shape[-1] != 1 or rank_of(y) in (None, 1):
        a = Fraction(relays.spikes(x))
    if relays.writer.is_moving(a.num) and relays.writer.is_moving(b.num):
        pair = _within_a_byte(relays, a.num, b.num)
        num = relays.writer.call(f'products.{node.name}', DelayedSum(), *pair)
        relays.tie(*pair)
    else:
        num = relays.writer.write(torch.matmul, a.num, b.num)
    return num if a.is_whole else Fraction(num, a.den)


def quotient(relays: Relays, node: fx.Node) -> Fraction | None:
    """``x / y``, if nothing makes ``y`` negative."""
    if len(node.args) != 2 or node.kwargs:
        return None
    unclamp(relays, node)
    found = written_softmax(relays, node)
    if found is not None or not is_positive(relays, node.args[1]):
        return found
    relate(relays, node)
    den = never_zero(relays, relays.settled(node.args[1]))
    num = relays.settled(node.args[0])
    if shape_of(num) not in (None, shape_of(node)):  # Each value is divided by several.
        zeros = relays.writer.write(torch.zeros_like, den)
        num = relays.writer.write(operator.add, num, zeros)
    return Fraction(num, den)


def reciprocal(relays: Relays, node: fx.Node) -> Fraction | None:
    """``1 / x``."""
    if not is_positive(relays, node.args[0]):
        return None
    return Fraction(1, never_zero(relays, relays.settled(node.args[0])))


def power(relays: Relays, node: fx.Node) -> fx.Node | Fraction | None:
    """``x ** p``: the same spikes, read with another base."""
    given = [*node.args, *node.kwargs.values()]
    exponent = given[1] if len(given) > 1 else 2
    if not isinstance(exponent, (int, float)) or exponent == 0 or len(given) > 2:
        return None
    value, size = given[0], abs(exponent)
    made: Any = None
    if size == 0.5:
        made = relays.population(node, value, Root())
    elif exponent > 0:
        made = _power_of(relays, node, value, size)
    elif is_positive(relays, value):
        settled = relays.settled(value)
        made = settled if size == 1 else _power_of(relays, node, settled, size)
    if made is None or exponent > 0:
        return made
    return Fraction(1, never_zero(relays, made))


def _power_of(
    relays: Relays, node: fx.Node, value: Any, exponent: float
) -> fx.Node | None:
    is_even, is_odd = exponent % 2 == 0, exponent % 2 == 1
    if not (is_even or is_odd or is_positive(relays, value)):
        return None
    x = relays.spikes(value)
    relays.tie(x)
    return relays.gate(node.name, Rebase(exponent, keeps_sign=is_odd), x)


def size(relays: Relays, node: fx.Node) -> fx.Node:
    """``abs(x)``: OFF spikes become ON."""
    x = relays.spikes(node.args[0])
    relays.tie(x)
    return relays.gate(node.name, Rebase(1), x)


def root(relays: Relays, node: fx.Node) -> fx.Node:
    """``sqrt(x)``: thresholds on what is below the root."""
    return relays.population(node, node.args[0], Root())


def inverse_root(relays: Relays, node: fx.Node) -> Fraction:
    """``rsqrt(x)``."""
    return Fraction(1, never_zero(relays, root(relays, node)))


def exponential(relays: Relays, node: fx.Node) -> fx.Node:
    """``exp(x)``: thresholds that fall by a constant from step to step."""
    return relays.population(node, node.args[0], Exponential())


def logarithm(relays: Relays, node: fx.Node) -> fx.Node | None:
    """``log(x)`` of what is positive."""
    if not is_positive(relays, node.args[0]):
        return None
    return relays.population(node, node.args[0], Logarithm())


def largest(relays: Relays, node: fx.Node) -> fx.Node | None:
    """The largest value along a dimension, channels too: one scale for all of them."""
    op = op_of(node)
    given = dict(zip(('input', 'dim', 'keepdim'), node.args, strict=False))
    given.update(node.kwargs)
    source, dim = given.get('input'), given.get('dim')
    rank = rank_of(source)
    if not isinstance(dim, int) or rank is None or op is None:
        return None
    dim = dim - rank if dim >= 0 else dim
    x = relays.spikes(source)
    made = EarliestAlong(dim, bool(given.get('keepdim', False)), op.smallest)
    gate = relays.gate(node.name, made, x)
    for each in relays.populations(x):
        each.meta['compares_channels'] = True
    replace_values(node, gate)
    return gate


#: By the first names of operations.
COMPUTED: dict[str, Compute] = {
    'mul': product,
    'div': quotient,
    'softmax': softmax,
    'relative_exponentials': relative,
    **dict.fromkeys(('pow', 'square'), power),
    'abs': size,
    'sqrt': root,
    'rsqrt': inverse_root,
    'reciprocal': reciprocal,
    'exp': exponential,
    'log': logarithm,
    **dict.fromkeys(('max', 'min', 'amax', 'amin'), largest),
    **dict.fromkeys(('matmul', 'mm', 'bmm'), matrix_product),
}
