"""Softmax: a ramp that starts at the first spike of each group."""

from __future__ import annotations

import copy
import operator
from typing import Any

import torch
from torch import fx, nn
from torch_geometric.utils import softmax as softmax_by_index

from spikegraph.conversion.passes.gates import commutes_with_maximum
from spikegraph.conversion.passes.masks import Masks, unmasked
from spikegraph.conversion.passes.products import rank_of
from spikegraph.conversion.passes.relays import LEAST, Fraction, Relays, fires
from spikegraph.network.naming import module_of
from spikegraph.nn import PhaseNeuron
from spikegraph.nn.activation import Height, Ramp
from spikegraph.nn.relative import Leading, Relative
from spikegraph.nn.routing import groups_between, silence


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
        return over_dimension(relays, coefficients(relays, node, source, dim), dim)
    if dim != -rank:
        return None
    index, num = given.get('index'), given.get('num_nodes')
    if given.get('ptr') is not None:
        index, num = relays.writer.write(groups_between, given['ptr']), None
    e = coefficients(relays, node, source, None, index, num)
    return Fraction(e, None, (e, index, num))


def over_dimension(
    relays: Relays, e: fx.Node, dim: int, least: float = LEAST
) -> Fraction:
    """Exponentials, and their sum over a dimension."""
    total = relays.writer.write(torch.sum, e, dim, keepdim=True)
    return Fraction(e, relays.writer.write(operator.add, total, least))


def relative(relays: Relays, node: fx.Node) -> fx.Node:
    """The coefficients alone."""
    source, dim = node.args
    assert isinstance(dim, int)
    return coefficients(relays, node, source, dim)


def coefficients(
    relays: Relays, node: fx.Node, score: Any, dim: int | None, *group: Any
) -> fx.Node:
    """The exponentials of scores, relative to the largest of their group."""
    masks = Masks(score) if dim is None else unmasked(relays, score, dim)
    inner, source = _monotone(relays, masks.scores)
    e = relays.population(node, source, Ramp(inner), 'ramp')
    relays.tie(e)
    if str(e.target) in relays.structure.wide:
        _start(relays, node, e, source, masks, Leading(dim), *group)
    if masks.hidden is not None:
        e = fires(relays.writer.write(silence, e, masks.hidden, masks.alike))
    made = relays.gate(node.name, Relative(relays.num_steps, dim), e, *group)
    made.meta['example'] = e.meta.get('example')
    return made


def _start(
    relays: Relays,
    node: fx.Node,
    ramp: fx.Node,
    score: fx.Node,
    masks: Masks,
    gate: Leading,
    *group: Any,
) -> None:
    """Lets a ramp start, in each group, where one that falls in large steps has found
    its largest score.
    """
    here, relays.writer.here = relays.writer.here, ramp
    neuron: Any = module_of(relays.network, ramp)
    inner = neuron.activation.inner
    neuron.activation = Ramp(inner, starts=True)
    found = relays.population(node, score, Height(copy.deepcopy(inner)), 'height')
    relays.structure.starts[str(found.target)] = str(ramp.target)
    if masks.hidden is not None:
        found = fires(relays.writer.write(silence, found, masks.hidden))
    start = relays.gate(f'start_{node.name}', gate, found, *group)
    ramp.kwargs = {**ramp.kwargs, 'start': start}
    relays.writer.here = here


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
