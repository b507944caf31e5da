"""Softmax: a ramp that starts at the first spike of each group."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx, nn
from torch_geometric.utils import softmax as softmax_by_index

from spikegraph.conversion.passes.carrying import carry
from spikegraph.conversion.passes.gates import commutes_with_maximum
from spikegraph.conversion.passes.products import rank_of
from spikegraph.conversion.passes.relays import LEAST, Fraction, Relays, fires
from spikegraph.network.interpreter import run_node
from spikegraph.network.naming import called, module_of
from spikegraph.network.ops import is_call
from spikegraph.nn import PhaseNeuron
from spikegraph.nn.activation import Ramp
from spikegraph.nn.products import Relative
from spikegraph.nn.routing import never_silent, silence

_NEVER = -100.0  # Scores below are those of what is masked.


def softmax(relays: Relays, node: fx.Node) -> Fraction | None:
    """Coefficients and their sum, over a dimension or over groups of rows."""
    by_index = node.target is softmax_by_index
    names = ('src', 'index', 'ptr', 'num_nodes', 'dim') if by_index else ('src', 'dim')
    given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    source, dim = given.get('src', given.get('input')), given.get('dim', 0)
    rank = rank_of(source)
    if not isinstance(dim, int) or rank is None:
        return None
    dim = dim - rank if dim >= 0 else dim
    if not by_index:
        e = _coefficients(relays, node, source, dim)
        total = relays.writer.write(torch.sum, e, dim, keepdim=True)
        return Fraction(e, relays.writer.write(operator.add, total, LEAST))
    if given.get('ptr') is not None or dim != -rank:
        return None
    index, num = given.get('index'), given.get('num_nodes')
    e = _coefficients(relays, node, source, None, index, num)
    return Fraction(e, None, (e, index, num))


def _coefficients(
    relays: Relays, node: fx.Node, score: Any, dim: int | None, *group: Any
) -> fx.Node:
    """The exponentials of scores, relative to the largest of their group."""
    source, hidden = (score, None) if dim is None else _unmasked(relays, score)
    inner, source = _monotone(relays, source)
    e = relays.population(node, source, Ramp(inner), 'ramp')
    relays.tie(e)
    # Where the ramp does not reach any of a group, all weigh the same.
    e = fires(relays.writer.write(never_silent, e))
    if hidden is not None:
        e = fires(relays.writer.write(silence, e, hidden))
    made = relays.gate(node.name, Relative(relays.num_steps, dim), e, *group)
    made.meta['example'] = e.meta.get('example')
    return made


def _monotone(relays: Relays, source: fx.Node) -> tuple[nn.Module | None, fx.Node]:
    """An activation in front that the ramp's thresholds can stand for as well."""
    is_alone = source.meta.get('made') == 'population' and len(source.users) == 1
    neuron = module_of(relays.network, source) if is_alone else None
    if not isinstance(neuron, PhaseNeuron) or source.kwargs or len(source.args) != 1:
        return None, source
    if not commutes_with_maximum(neuron):
        return None, source
    before: Any = source.args[0]
    if isinstance(neuron.activation, str):
        return (nn.ReLU() if neuron.activation == 'relu' else None), before
    return neuron.activation, before


def _unmasked(relays: Relays, score: Any) -> tuple[fx.Node, Any]:
    """Scores without what is masked, and where that is."""
    moving, write = relays.writer.is_moving, relays.writer.write
    if is_call(score, 'masked_fill') and len(score.args) == 3:
        x, mask, number = score.args
        is_low = isinstance(number, (int, float)) and number <= _NEVER
        if is_low and not moving(mask):
            return x, mask
    if called(score) is torch.where and len(score.args) == 3:
        hidden, x, low = score.args
        if moving(x):
            hidden = write(torch.logical_not, hidden)
        else:
            x, low = low, x
        if moving(x) and not moving(hidden) and _number(relays, low) <= _NEVER:
            return x, hidden
        return score, None
    if is_call(score, 'sub') and len(score.args) == 2 and not score.kwargs:
        x, mask = score.args
        if moving(x) and isinstance(mask, fx.Node) and not moving(mask):
            score = write(operator.add, x, write(operator.neg, mask))
            if x in relays.fractions:
                relays.fractions[score] = relays.fractions[x]
    if is_call(score, 'add') and len(score.args) == 2:
        for x, mask in (score.args, score.args[::-1]):
            if moving(x) and isinstance(mask, fx.Node) and not moving(mask):
                hidden = write(torch.le, mask, _NEVER)
                finite = write(torch.masked_fill, mask, hidden, 0.0)
                added = write(operator.add, x, finite)
                if x in relays.fractions:
                    made = carry(relays, added)
                    assert isinstance(made, Fraction)
                    relays.fractions[added] = made
                return added, hidden
    return score, None


def _number(relays: Relays, value: Any) -> float:
    """What a score is replaced by, wherever it is."""
    if is_call(value, 'full', 'full_like') and len(value.args) > 1:
        value = value.args[1]
    if isinstance(value, fx.Node) and value.op == 'get_attr':
        return float(run_node(relays.network, value, {}).max())
    return value if isinstance(value, (int, float)) else 0.0
