"""Which values are positive, so that others can be relative to them."""

from __future__ import annotations

import operator
from typing import Any

from torch import fx

from spikegraph.conversion.passes.relays import LEAST, Relays, fires, is_firing, move_of
from spikegraph.network.interpreter import run_node
from spikegraph.network.naming import module_of
from spikegraph.network.ops import is_call
from spikegraph.nn import EarliestAlong, GraphFilter, PhaseNeuron
from spikegraph.nn.activation import Exponential, lowest_of
from spikegraph.nn.delayed_sum import DelayedSum
from spikegraph.nn.filter import sums_members
from spikegraph.nn.products import Delay, Rebase
from spikegraph.nn.relative import Relative
from spikegraph.nn.routing import never_silent

_ALWAYS = (
    *('exp', 'sqrt', 'sigmoid', 'softplus', 'abs', 'relu', 'square'),
    *('zeros', 'ones', 'new_zeros', 'new_ones', 'zeros_like', 'ones_like'),
)
_BOTH = (
    *('add', 'mul', 'div', 'maximum', 'cat', 'stack', 'matmul', 'mm', 'bmm'),
    *('index_add', 'scatter_add'),
)
_PASSING = (
    *('sum', 'mean', 'amax', 'values_of', 'pad'),
    *('avg_pool1d', 'avg_pool2d', 'avg_pool3d'),
)


def is_positive(relays: Relays, value: Any) -> bool:
    """Whether a value cannot be negative, whatever the input."""
    if isinstance(value, (int, float)):
        return value > 0
    if not isinstance(value, fx.Node):
        return False
    if value in relays.fractions:
        num = relays.fractions[value].num
        return is_positive(relays, num)  # What divides is.
    if value.op == 'call_module':
        return _is_module(relays, value)
    if value.op == 'get_attr':
        return bool((run_node(relays.network, value, {}) >= 0).all())
    seen = value.meta.get('example')
    if isinstance(seen, (int, float)) and not relays.writer.is_moving(value):
        return seen > 0  # Such as a size.
    if is_call(value, *_BOTH):
        first: Any = value.args[0]
        parts = first if isinstance(first, (list, tuple)) else value.args
        if is_call(value, 'index_add', 'scatter_add'):
            parts = (first, *value.args[3:])
        return all(is_positive(relays, part) for part in parts)
    if is_call(value, 'full', 'full_like', 'new_full'):
        return is_positive(relays, value.args[-1])
    if is_call(value, 'sub') and len(value.args) == 2:
        return _is_range(relays, *value.args)
    if is_call(value, 'clamp', 'clamp_min'):
        low = value.kwargs.get('min', (*value.args, None)[1])
        return isinstance(low, (int, float)) and low >= 0
    if is_call(value, *_ALWAYS):
        return True
    passes = is_firing(value) or move_of(value) or is_call(value, *_PASSING)
    return bool(passes) and is_positive(relays, value.args[0])


def _is_module(relays: Relays, value: fx.Node) -> bool:
    module: Any = module_of(relays.network, value)
    if isinstance(module, PhaseNeuron):
        activation = module.activation
        if activation == 'identity':
            return is_positive(relays, value.args[0])
        return activation == 'relu' or lowest_of(activation) >= 0
    if isinstance(module, (Rebase, Relative)):
        keeps_sign = getattr(module, 'keeps_sign', False)
        return not keeps_sign or is_positive(relays, value.args[0])
    is_sum = isinstance(module, GraphFilter) and module.weight is None
    if isinstance(module, EarliestAlong):
        return is_positive(relays, value.args[0])
    if isinstance(module, (Delay, DelayedSum)):
        return all(is_positive(relays, each) for each in value.args)
    return is_sum and is_positive(relays, value.args[0])


def _is_range(relays: Relays, high: Any, low: Any) -> bool:
    """Whether the smallest of some spikes is taken from the largest."""
    pair = (high, low)
    if not all(isinstance(n, fx.Node) and n.op == 'call_module' for n in pair):
        return False
    gates: Any = [module_of(relays.network, n) for n in pair]
    if not all(isinstance(gate, EarliestAlong) for gate in gates):
        return False
    is_same = high.args == low.args and gates[0].dim == gates[1].dim
    return is_same and gates[1].smallest and not gates[0].smallest


def never_zero(relays: Relays, den: fx.Node) -> fx.Node:
    """What others are divided by: its neurons fire at the last step in any case."""
    if is_firing(den):
        return _never_silent(relays, den)
    parts: Any = ()
    if move_of(den):
        parts = den.args[:1]
    elif is_call(den, 'add', 'mul', 'div') and not den.kwargs:
        parts = den.args
    elif is_call(den, 'sum', 'mean') and is_exponential(relays, den.args[0]):
        parts = den.args[:1]
    elif relays.writer.is_moving(den):  # All that it is made of may be silent.
        if sums_members(relays.module(den)) and is_exponential(relays, den.args[0]):
            first: Any = den.args[0]
            den = relays.writer.copy(den, first, _never_silent(relays, first))
        return relays.writer.write(operator.add, den, LEAST)
    for each in parts:
        made = never_zero(relays, each) if isinstance(each, fx.Node) else each
        if made is not each:
            moved = relays.moved if move_of(den) else relays.writer.copy
            return moved(den, each, made)
    return den


def is_exponential(relays: Relays, value: Any) -> bool:
    """Whether spikes stand for what is never zero, however small."""
    return isinstance(getattr(relays.module(value), 'activation', None), Exponential)


def _never_silent(relays: Relays, den: fx.Node) -> fx.Node:
    if not is_positive(relays, den):
        return den
    return fires(relays.writer.write(never_silent, den))
