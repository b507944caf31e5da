"""Softmax written by hand: exponentials, divided by their sum."""

from __future__ import annotations

import math
import operator
from itertools import takewhile
from typing import Any, NamedTuple

from torch import fx, nn

from spikegraph.conversion.operations.rules import reads_shape
from spikegraph.conversion.passes.positive import is_exponential, is_positive
from spikegraph.conversion.passes.products import shape_of
from spikegraph.conversion.passes.relays import Fraction, Relays, is_same, move_of
from spikegraph.conversion.passes.softmax import coefficients, over_dimension
from spikegraph.network.naming import called, module_of
from spikegraph.network.ops import is_call
from spikegraph.nn import Delay
from spikegraph.nn.delayed_sum import DelayedSum
from spikegraph.nn.filter import sums_members
from spikegraph.nn.routing import gather_rows, move_spikes

# What is added to a sum of exponentials may not change it: those relative to the
# largest one are at least 1 together.
_LEAST_ALONE, _LEAST_OF_ONE = 1e-12, 1e-6
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
        least (float): What is added to it, so that nothing is divided by zero.
    """

    e: fx.Node
    total: fx.Node
    along: int | None
    index: Any
    num: Any
    least: float

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
            is_shared = is_same(_rows_of(_unmoved(shift)), self.index)
        else:
            shape = shape_of(shift) or ()
            is_shared = len(shape) >= -self.along and shape[self.along] == 1
        return value if is_shared and shape_of(value) == shape_of(score) else score

    @property
    def is_whole(self) -> bool:
        """Whether what is added to it changes nothing."""
        is_alone = self.score is self.e.args[0]
        return 0 <= self.least <= (_LEAST_ALONE if is_alone else _LEAST_OF_ONE)

    def coefficients(self, relays: Relays, node: fx.Node) -> fx.Node:
        """The exponentials relative to the largest of their group."""
        group = () if self.index is None else (self.index, self.num)
        return coefficients(relays, node, self.score, self.along, *group)


def written_softmax(relays: Relays, node: fx.Node) -> Fraction | None:
    """``e / e.sum(dim)``, over a dimension or over groups of rows."""
    e: Any = node.args[0]
    den: Any = node.args[1]
    total, least = _without_least(_unmoved(den))
    index = _rows_of(_unmoved(total))
    if index is not None:  # Each row is sent the sum of its group.
        total, more = _without_least(_unmoved(_unmoved(total).args[0]))
        least = least + more
    found = _sum_of(relays, total, least)
    if found is None or not found.is_whole:
        return None
    if not is_exponential(relays, e) or e.args != found.e.args:
        return None
    if found.along is None:
        if index is None or not is_same(found.index, index):
            return None
        made = found.coefficients(relays, node)
        return Fraction(made, None, (made, found.index, found.num))
    if index is not None or shape_of(den) != _shape_along(e, found.along):
        return None
    return over_dimension(relays, found.coefficients(relays, node), found.along)


def relate(relays: Relays, node: fx.Node) -> None:
    """Lets exponentials be relative to the largest of their group where what they weigh
    is summed up, and divided by their sum afterwards.
    """
    num, den = _unmoved(node.args[0]), _unmoved(node.args[1])
    total, least = _without_least(den)
    found = _sum_of(relays, total, least)
    if found is None or not found.is_whole:
        return
    gate = _weighs(relays, num, found)
    if gate is None or _readers(found.e) != {found.total, gate}:
        return
    e = found.e
    behind = set(takewhile(lambda n: n is not e, relays.network.graph.nodes))
    if found.index is not None and found.index not in behind:
        return
    if found.num not in behind:  # Not known yet; the index tells.
        found = found._replace(num=None)
    here, relays.writer.here = relays.writer.here, found.e.next
    made = found.coefficients(relays, node)
    relays.writer.here = here
    found.e.replace_all_uses_with(made)
    ramps = {str(n.target) for n in relays.populations(made)}
    for tie in relays.structure.tied:
        if str(found.e.target) in tie:
            tie |= ramps


def unclamp(relays: Relays, node: fx.Node) -> None:
    """Lets a sum that is clamped only so that nothing is divided by zero be read as the
    potential that it is.
    """
    den = _unmoved(node.args[1])
    activation = getattr(_module(relays, den), 'activation', None)
    if not isinstance(activation, nn.Hardtanh) or activation.max_val != math.inf:
        return
    least = activation.min_val
    divides = all(is_call(n, 'div') and n.args[0] is not den for n in _readers(den))
    if 0 < least <= _LEAST_OF_ONE and divides and is_positive(relays, den.args[0]):
        here, relays.writer.here = relays.writer.here, den.next
        made = relays.writer.write(operator.add, den.args[0], least)
        relays.writer.here = here
        den.replace_all_uses_with(made)


def _weighs(relays: Relays, num: Any, found: _Sum) -> fx.Node | None:
    """What multiplies exponentials by values, if a value is the sum of these products
    over the same groups.
    """
    layer = _module(relays, num)
    if isinstance(layer, DelayedSum):
        is_row = found.along == -1 and num.args[0] is found.e
        return num if is_row else None
    if found.index is None or not sums_members(layer) or num.kwargs:
        return None
    gate = num.args[0]
    is_product = isinstance(_module(relays, gate), Delay)
    if not is_product or len(num.args) < 2 or not is_same(num.args[1], found.index):
        return None
    return gate if found.e in map(_unmoved, gate.args) else None


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


def _sum_of(relays: Relays, total: Any, least: float) -> _Sum | None:
    """What a value is as a sum of exponentials."""
    total = _unmoved(total)
    if is_call(total, 'sum'):
        e = total.args[0]
        dim = total.kwargs.get('dim', total.args[1] if len(total.args) > 1 else None)
        dims = list(dim) if isinstance(dim, (list, tuple)) else [dim]
        rank = len(shape_of(e) or ())
        is_one = len(dims) == 1 and isinstance(dims[0], int) and rank > 0
        if not is_one or not is_exponential(relays, e):
            return None
        return _Sum(e, total, dims[0] % rank - rank, None, None, least)
    if not sums_members(_module(relays, total)):
        return None
    if total.kwargs or len(total.args) < 3 or not isinstance(total.args[1], fx.Node):
        return None
    e = _unmoved(total.args[0])
    if not is_exponential(relays, e):
        return None
    return _Sum(e, total, None, total.args[1], total.args[2], least)


def _module(relays: Relays, value: Any) -> Any:
    is_module = isinstance(value, fx.Node) and value.op == 'call_module'
    return module_of(relays.network, value) if is_module else None


def _without_least(total: Any) -> tuple[Any, float]:
    """A sum, and what is added so that nothing is divided by zero."""
    if is_call(total, 'add') and len(total.args) == 2 and not total.kwargs:
        for value, least in (total.args, total.args[::-1]):
            if isinstance(least, (int, float)) and isinstance(value, fx.Node):
                return value, float(least)
    return total, 0.0


def _rows_of(x: Any) -> Any:
    """The index by which rows are taken, with nothing if none are."""
    if called(x) is gather_rows or is_call(x, 'getitem'):
        return x.args[1]
    is_selected = is_call(x, 'index_select') and x.args[1:2] == (0,)
    return x.args[2] if is_selected and len(x.args) == 3 else None


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
