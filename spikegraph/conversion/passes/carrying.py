"""Operations that carry a quotient on, until something fires on it: then what it is
divided by moves the thresholds, and nothing is divided.
"""

from __future__ import annotations

import operator
from typing import Any

from torch import fx
from torch.nn.modules.batchnorm import _BatchNorm

from spikegraph.conversion.operations.rules import ends, reads_out
from spikegraph.conversion.passes.norms import gain_and_offset
from spikegraph.conversion.passes.products import rank_of, shape_of
from spikegraph.conversion.passes.relays import (
    LEAST,
    Fraction,
    Relays,
    is_same,
    move_of,
)
from spikegraph.network.functions import asks_length
from spikegraph.network.naming import module_of
from spikegraph.network.ops import is_call
from spikegraph.nn import PhaseNeuron, SpikingLinear
from spikegraph.nn.filter import sums_members
from spikegraph.nn.products import quotient

_SUMS = ('add', 'sub', 'rsub', 'neg', 'sum', 'mean', 'stack', 'cat')
_TAKE_ROWS = ('__getitem__', 'select', 'index_select', 'narrow')


def carry(relays: Relays, node: fx.Node) -> fx.Node | Fraction | None:
    """What an operation makes of a quotient.

    Returns:
        torch.fx.Node or Fraction: A quotient again, or the node itself, if it takes
        both parts; None if it cannot.
    """
    inputs = [n for n in node.all_input_nodes if n in relays.fractions]
    made = _carried(relays, node, inputs[0]) if len(inputs) == 1 else None
    if made is not None or not _is_read(relays, node):
        return made
    for x in inputs:
        _read(relays, node, x)
    return node


def _read(relays: Relays, node: fx.Node, x: fx.Node) -> None:
    part = relays.fractions[x]
    made = relays.writer.write(quotient, relays.num(part), relays.den(part))
    node.replace_input_with(x, made)


def _is_read(relays: Relays, node: fx.Node) -> bool:
    """Whether what leads from a value to the outputs does no more than add up what has
    been read, such as quotients of several heads.
    """
    if node.op == 'output':
        return True
    if node in relays.inner:
        return False
    if reads_out(node) and ends(node):
        return True
    moving = [i for i, n in enumerate(node.args) if relays.writer.is_moving(n)]
    is_scaled = moving == [0] and is_call(node, 'mul', 'div')
    is_scaled = is_scaled or (moving == [1] and is_call(node, 'mul'))
    is_sum = is_scaled or is_call(node, *_SUMS) or bool(move_of(node))
    return is_sum and all(_is_read(relays, user) for user in node.users)


def _carried(relays: Relays, node: fx.Node, x: fx.Node) -> fx.Node | Fraction | None:
    part = relays.fractions[x]
    part = Fraction(relays.num(part), part.den, part.group)
    if asks_length(node) and shape_of(part.num) == shape_of(x):
        node.replace_input_with(x, part.num)  # Before anything is divided.
        return node
    may_end = node not in relays.inner and reads_out(node) and ends(node)
    if node.op == 'output' or may_end:
        _read(relays, node, x)
        return node
    if node.op == 'call_module':
        return _through_module(relays, node, x, part)
    if move_of(node) and node.args[0] is x:
        return _moved(relays, node, x, part)
    if node.kwargs and not is_call(node, 'sum', 'mean'):
        return None
    if is_call(node, 'add', 'sub'):
        return _added(relays, node, x, part)
    if is_call(node, 'mul', 'neg') or (is_call(node, 'div') and node.args[0] is x):
        return Fraction(relays.writer.copy(node, x, part.num), part.den, part.group)
    if is_call(node, 'sum', 'mean') and node.args[0] is x:
        return _reduced(relays, node, x, part)
    return None


def _moved(relays: Relays, node: fx.Node, x: fx.Node, part: Fraction) -> Fraction:
    num = relays.moved(node, x, part.num)
    before, after = shape_of(x), shape_of(node)
    is_known = before is not None and after is not None
    keeps_rows = is_known and before[:1] == after[:1]  # type: ignore[index]
    if part.group is not None and keeps_rows and move_of(node) not in _TAKE_ROWS:
        e, *rest = part.group
        moved = relays.moved_like(node, x, part.num, e)
        return Fraction(num, None, (moved, *rest))
    return Fraction(num, relays.moved_like(node, x, part.num, relays.den(part)))


def _added(
    relays: Relays, node: fx.Node, x: fx.Node, part: Fraction
) -> Fraction | None:
    """``v / z + b`` is ``(v + b z) / z``."""
    write, first = relays.writer.write, node.args[0] is x
    other = node.args[1] if first else node.args[0]
    if relays.writer.is_moving(other):
        return None
    den = relays.den(part)
    scaled = write(operator.mul, den, other)
    if is_call(node, 'add'):
        return Fraction(write(operator.add, part.num, scaled), den)
    pair = (part.num, scaled) if first else (scaled, part.num)
    return Fraction(write(operator.sub, *pair), den)


def _reduced(
    relays: Relays, node: fx.Node, x: fx.Node, part: Fraction
) -> Fraction | None:
    """Sums and means over dimensions along which all are divided by the same."""
    dim = node.kwargs.get('dim', node.args[1] if len(node.args) > 1 else None)
    dims = [dim] if isinstance(dim, int) else dim
    den = relays.den(part)
    shape = shape_of(den)
    if not isinstance(dims, (list, tuple)) or shape is None:
        return None
    if len(shape) != rank_of(part.num) or any(shape[d] != 1 for d in dims):
        return None
    reduced = relays.writer.copy(node, x, den)
    return Fraction(relays.writer.copy(node, x, part.num), reduced)


def _through_module(
    relays: Relays, node: fx.Node, x: fx.Node, part: Fraction
) -> fx.Node | Fraction | None:
    module: Any = module_of(relays.network, node)
    if isinstance(module, PhaseNeuron):
        node.replace_input_with(x, part.num)
        node.kwargs = {**node.kwargs, 'divisor': relays.den(part)}
        return node
    if sums_members(module):
        group = part.group
        if group is None or node.kwargs or len(node.args) < 2:
            return None
        if not is_same(node.args[1], group[1]):
            return None
        den = relays.writer.copy(node, x, group[0])
        num = relays.writer.copy(node, x, part.num)
        return Fraction(num, relays.writer.write(operator.add, den, LEAST))
    if isinstance(module, SpikingLinear) and node.args == (x,):
        return _through_linear(relays, node, x, part)
    if isinstance(module, _BatchNorm) and module.running_mean is not None:
        return _through_norm(relays, node, module, part)
    return None


def _through_norm(
    relays: Relays, node: fx.Node, module: _BatchNorm, part: Fraction
) -> Fraction:
    """``g v / z + b`` is ``(g v + b z) / z``."""
    den, write, constant = relays.den(part), relays.writer.write, relays.writer.constant
    shape = (-1, *[1] * ((rank_of(part.num) or 2) - 2))
    gain, offset = (value.view(shape) for value in gain_and_offset(module))
    scaled = write(operator.mul, part.num, constant(f'{node.name}_gain', gain))
    added = write(operator.mul, den, constant(f'{node.name}_offset', offset))
    return Fraction(write(operator.add, scaled, added), den)


def _through_linear(
    relays: Relays, node: fx.Node, x: fx.Node, part: Fraction
) -> Fraction | None:
    """``W v / z + b`` is ``(W v + b z) / z``, if all channels are divided by the same."""
    module: Any = module_of(relays.network, node)
    den, write = relays.den(part), relays.writer.write
    if (shape_of(den) or (0,))[-1] != 1 or rank_of(den) != rank_of(part.num):
        return None
    num = relays.writer.copy(node, x, part.num)
    if module.bias is not None:
        bias = relays.writer.constant(f'{node.name}_bias', module.bias)
        others = relays.network.graph.find_nodes(op=node.op, target=node.target)
        if any(n.users for n in others if n is not node):
            num = write(operator.sub, num, bias)  # Which the layer has added.
        else:
            module.set_parameters(module.weight, None)
        num = write(operator.add, num, write(operator.mul, den, bias))
    return Fraction(num, den)
