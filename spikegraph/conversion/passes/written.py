"""Softmax written by hand: exponentials, divided by their sum."""

from __future__ import annotations

import math
import operator
from itertools import takewhile
from typing import Any, NamedTuple

from torch import fx, nn

from spikegraph.conversion.operations.rules import reads_shape
from spikegraph.conversion.passes.messages import gathered
from spikegraph.conversion.passes.positive import is_exponential, is_positive
from spikegraph.conversion.passes.products import shape_of
from spikegraph.conversion.passes.relays import (
    LEAST,
    Fraction,
    Relays,
    is_same,
    move_of,
)
from spikegraph.conversion.passes.softmax import coefficients, over_dimension
from spikegraph.network.naming import called
from spikegraph.network.ops import is_call
from spikegraph.nn import Delay, EarliestAlong
from spikegraph.nn.delayed_sum import DelayedSum
from spikegraph.nn.filter import sums_members
from spikegraph.nn.routing import move_spikes

# What may be added to a sum without changing it.
_NOTHING = 1e-12
# Moves that put dimensions of one in, or take them out.
_KEEPING = ('unsqueeze', 'squeeze', 'view', 'reshape', 'contiguous', 'clone')


class _Sum(NamedTuple):
    """A sum of exponentials.

    Args:
        e (torch.fx.Node): The exponentials.
        total (torch.fx.Node): Their sum.
        along (int, optional): The dimension, from the end, that is summed over.
        index (torch.fx.Node, optional): The group of each row, if there are groups.
        num (Any): The number of groups.
    """

    e: fx.Node
    total: fx.Node
    along: int | None
    index: Any
    num: Any

    @property
    def score(self) -> Any:
        """The scores, without what is taken off all of a group: it changes no
        coefficient.
        """
        score: Any = self.e.args[0]
        if not is_call(score, 'sub') or len(score.args) != 2 or score.kwargs:
            return score
        value, shift = score.args
        if not isinstance(value, fx.Node) or not isinstance(shift, fx.Node):
            return score
        if self.along is None:
            rows = gathered(_unmoved(shift))
            is_shared = rows is not None and is_same(rows[1], self.index)
        else:
            shape = shape_of(shift) or ()
            is_shared = len(shape) >= -self.along and shape[self.along] == 1
        return value if is_shared and shape_of(value) == shape_of(score) else score

    def is_relative(self, relays: Relays) -> bool:
        """Whether it is that of exponentials relative to the largest of their row."""
        score: Any = self.e.args[0]
        if self.along is None or self.score is score:
            return False
        gate = _unmoved(score.args[1])
        largest = relays.module(gate)
        if not isinstance(largest, EarliestAlong) or largest.smallest:
            return False
        relay = gate.args[0]
        is_own = relay is self.score or relay.args[:1] == (self.score,)
        return is_own and largest.dim == self.along

    def coefficients(self, relays: Relays, node: fx.Node) -> fx.Node:
        """The exponentials relative to the largest of their group."""
        group = () if self.index is None else (self.index, self.num)
        return coefficients(relays, node, self.score, self.along, *group)


def written_softmax(relays: Relays, node: fx.Node) -> Fraction | None:
    """``e / e.sum(dim)``, over a dimension or over groups of rows."""
    e: Any = node.args[0]
    den: Any = node.args[1]
    total, least = _without_least(_unmoved(den))
    index, rows = None, gathered(_unmoved(total))
    if rows is not None:  # Each row is sent the sum of its group.
        source, index = rows
        total, more = _without_least(_unmoved(source))
        least = least + more
    found = _sum_of(relays, total)
    if found is None or not is_exponential(relays, e) or e.args != found.e.args:
        return None
    is_relative = found.is_relative(relays)
    if e.kwargs or not (is_relative or 0 <= least <= _NOTHING):
        return None
    if found.along is None:
        is_own = index is not None and is_same(found.index, index)
        if not is_own or shape_of(den) != shape_of(e):
            return None
        made = found.coefficients(relays, node)
        return Fraction(made, None, (made, found.index, found.num))
    if index is not None or shape_of(den) != _shape_along(e, found.along):
        return None
    made = found.coefficients(relays, node)
    kept = max(least, LEAST) if is_relative else LEAST
    return over_dimension(relays, made, found.along, kept)


def relate(relays: Relays, node: fx.Node) -> None:
    """Lets exponentials be relative to the largest of their group where what they weigh
    is summed up, and divided by their sum afterwards.
    """
    num: Any = node.args[0]
    den: Any = node.args[1]
    total, least = _without_least(_unmoved(den))
    found = _sum_of(relays, total)
    if found is None or not 0 <= least <= _NOTHING:
        return
    e, gate = found.e, _weighs(relays, num, found, den)
    if gate is None or _readers(e) != {found.total, gate}:
        return
    divides = [_readers(n) == {node} for n in (num, _unmoved(den), found.total)]
    divides[2] |= _readers(found.total) == {_unmoved(den)}
    if not all(divides) or (gate is not num and _readers(gate) != {num}):
        return
    behind = set(takewhile(lambda n: n is not e, relays.network.graph.nodes))
    if found.index is not None:  # Perhaps written again, and later.
        known = [index for index in (found.index, num.args[1]) if index in behind]
        if not known:
            return
        found = found._replace(index=known[0])
    if found.num not in behind:  # Not known yet; the index tells.
        found = found._replace(num=None)
    here, relays.writer.here = relays.writer.here, e.next
    made = found.coefficients(relays, node)
    relays.writer.here = here
    e.replace_all_uses_with(made)
    ramps = {str(n.target) for n in relays.populations(made)}
    for tie in relays.structure.tied:
        if str(e.target) in tie:
            tie |= ramps


def unclamp(relays: Relays, node: fx.Node) -> None:
    """Lets a sum that is clamped only so that nothing is divided by zero be read as the
    potential that it is.
    """
    den = _unmoved(node.args[1])
    activation = getattr(relays.module(den), 'activation', None)
    if not isinstance(activation, nn.Hardtanh) or activation.max_val != math.inf:
        return
    least = activation.min_val
    divides = all(is_call(n, 'div') and n.args[0] is not den for n in _readers(den))
    if 0 < least <= _NOTHING and divides and is_positive(relays, den.args[0]):
        here, relays.writer.here = relays.writer.here, den.next
        made = relays.writer.write(operator.add, den.args[0], least)
        relays.writer.here = here
        den.replace_all_uses_with(made)


def _weighs(relays: Relays, num: Any, found: _Sum, den: Any) -> fx.Node | None:
    """What multiplies exponentials by values, if a value is the sum of these products
    over the same groups, each divided by its own sum.
    """
    layer, shape, divisor = relays.module(num), shape_of(num), shape_of(den)
    if shape is None or divisor is None or len(shape) != len(divisor):
        return None
    if isinstance(layer, DelayedSum):
        weighed, values = num.args
        is_row = found.along == -1 and weighed is found.e
        is_own = _unmoved(values) is not found.e and divisor == (*shape[:-1], 1)
        return num if is_row and is_own else None
    if found.index is None or not sums_members(layer) or num.kwargs:
        return None
    gate = num.args[0]
    is_product = isinstance(relays.module(gate), Delay)
    if not is_product or len(num.args) < 2 or not is_same(num.args[1], found.index):
        return None
    weights = [x for x in gate.args if _unmoved(x) is found.e]
    is_one = len(weights) == 1 and len(shape_of(weights[0]) or ()) == len(divisor)
    is_own = is_one and (shape_of(weights[0]) or ())[1:] == divisor[1:]
    return gate if is_own else None


def _readers(e: fx.Node) -> set[fx.Node]:
    """What reads a value, whatever dimensions are put in before."""
    found: set[fx.Node] = set()
    for user in e.users:
        if _unmoved(user) is not user:
            found |= _readers(user)
        elif _is_read(user) and not reads_shape(user):
            found.add(user)
    return found


def _is_read(node: fx.Node) -> bool:
    """Whether a value is still read: what has been replaced stays until the end."""
    return node.op == 'output' or any(map(_is_read, node.users))


def _sum_of(relays: Relays, total: Any) -> _Sum | None:
    """What a value is as a sum of exponentials."""
    total = _unmoved(total)
    if is_call(total, 'sum'):
        e = total.args[0]
        dim = total.kwargs.get('dim', total.args[1] if len(total.args) > 1 else None)
        dims = list(dim) if isinstance(dim, (list, tuple)) else [dim]
        rank = len(shape_of(e) or ())
        is_one = len(dims) == 1 and isinstance(dims[0], int) and rank > 0
        if not is_one or not is_exponential(relays, e) or e.kwargs:
            return None
        return _Sum(e, total, dims[0] % rank - rank, None, None)
    if not sums_members(relays.module(total)):
        return None
    if total.kwargs or len(total.args) < 3 or not isinstance(total.args[1], fx.Node):
        return None
    e = _unmoved(total.args[0])
    if not is_exponential(relays, e) or e.kwargs:
        return None
    return _Sum(e, total, None, total.args[1], total.args[2])


def _without_least(total: Any) -> tuple[Any, float]:
    """A sum, and what is added so that nothing is divided by zero."""
    if is_call(total, 'add') and len(total.args) == 2 and not total.kwargs:
        for value, least in (total.args, total.args[::-1]):
            if isinstance(least, (int, float)) and isinstance(value, fx.Node):
                return value, float(least)
    return total, 0.0


def _shape_along(e: fx.Node, along: int) -> tuple[int, ...]:
    """The shape of sums along a dimension that is kept."""
    shape = list(shape_of(e) or ())
    shape[along] = 1
    return tuple(shape)


def _unmoved(value: Any) -> Any:
    """A value as it was before dimensions of one were put in, or taken out."""
    while _keeps_values(value):
        value = value.args[0]
    return value


def _keeps_values(value: Any) -> bool:
    if not isinstance(value, fx.Node):
        return False
    if called(value) is move_spikes:
        name, given = value.args[1], value.args[2:]
    else:
        name, given = move_of(value), value.args[1:]
    if name != '__getitem__' or not given:
        return name in _KEEPING
    places = given[0] if isinstance(given[0], tuple) else (given[0],)
    return all(each in (None, ..., slice(None)) for each in places)
