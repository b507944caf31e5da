"""Layers as linear maps, convolutions and sums over edges."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikegraph.export.plain.graphs import Graphs
from spikegraph.export.plain.populations import decoded
from spikegraph.export.plain.segments import reduced, sums_of
from spikegraph.nn import DegreeFactor, GraphFilter, SpikingConv, SpikingLinear
from spikegraph.nn.analog import SpikingAffine
from spikegraph.nn.conv.attention import AttentionCoefficients, AttentionSum
from spikegraph.nn.conv.gcn_conv import SpikingGCNConv
from spikegraph.nn.conv.mf_conv import DegreeLinear
from spikegraph.nn.delayed_sum import DelayedSum
from spikegraph.nn.filter import plus


def _linear(graphs: Graphs, layer: SpikingLinear, x: Any) -> Tensor:
    return F.linear(decoded(x), layer.weight, layer.bias)


def _conv(graphs: Graphs, layer: SpikingConv, x: Any, *args: Any) -> Tensor:
    out: Tensor = layer.conv(decoded(x), *args)
    return out


def _filter(
    graphs: Graphs, layer: GraphFilter, order: str, x: Any, *graph: Any
) -> Tensor:
    """A filter, with what comes first that came first on the example."""
    if layer.cached:
        raise NotImplementedError(
            "'cached=True', by which it keeps the first graph it sees; convert a model "
            "with 'cached=False'"
        )
    prepared, values = graphs.of(layer.shift, x, graph), decoded(x)
    weight, bias, num_terms = layer.weight, layer.bias, len(layer.coefficients)
    if weight is None:
        out = _combined(layer, prepared, [values])
        return out if bias is None else out + bias
    if order == 'aggregate':
        return F.linear(_seen(layer, prepared, values), weight, bias)
    terms = F.linear(values, torch.cat(weight.chunk(num_terms, dim=1)))
    out = _combined(layer, prepared, list(terms.chunk(num_terms, dim=-1)))
    return out if bias is None else out + bias


def _seen(layer: GraphFilter, graph: Any, x: Tensor) -> Tensor:
    """What the weights see, side by side."""
    terms: list[Tensor | None] = [None] * len(layer.coefficients)
    for k in range(layer.num_hops + 1):
        x = graph.propagate(x) if k > 0 else x
        for m, row in enumerate(layer.coefficients):
            if k < len(row) and row[k] != 0:
                terms[m] = plus(terms[m], row[k], x)
    zero = x.new_zeros(graph.num_targets, *x.shape[1:])
    return torch.cat([zero if t is None else t for t in terms], dim=-1)


def _combined(layer: GraphFilter, graph: Any, terms: list[Tensor]) -> Tensor:
    """The polynomial of the graph, by Horner's rule."""
    out: Tensor | None = None
    for k in reversed(range(layer.num_hops + 1)):
        out = None if out is None else graph.propagate(out)
        for row, term in zip(layer.coefficients, terms, strict=True):
            if k < len(row) and row[k] != 0:
                out = plus(out, row[k], term)
    if out is None:
        return terms[0].new_zeros(graph.num_targets, *terms[0].shape[1:])
    return out


def _attention(
    graphs: Graphs,
    layer: AttentionSum,
    x: Any,
    alpha: Tensor,
    source: Tensor,
    target: Tensor,
    num_targets: Any,
    current: Any = None,
) -> Tensor:
    values = decoded(x)
    messages = values.index_select(0, source)
    messages = messages if current is None else messages + current
    heads = messages.unflatten(1, (layer.heads, -1))
    return sums_of((alpha.unsqueeze(-1) * heads).flatten(1), target, num_targets)


def _by_degree(graphs: Graphs, layer: DegreeLinear, x: Any, degree: Tensor) -> Tensor:
    values = decoded(x)
    degree = degree.clamp(max=len(layer.lins) - 1).view(-1, 1)
    out: Any = None
    lins: Any = layer.lins
    for number, lin in enumerate(lins):
        found = F.linear(values, lin.weight, lin.bias)
        out = found if out is None else torch.where(degree == number, found, out)
    return out


def _affine(graphs: Graphs, layer: SpikingAffine, x: Any, *args: Any, **kw: Any) -> Any:
    pair = isinstance(x, (tuple, list))
    return layer.module(tuple(map(decoded, x)) if pair else decoded(x), *args, **kw)


def _pairs(graphs: Graphs, layer: DelayedSum, x: Any, other: Any) -> Tensor:
    return torch.matmul(decoded(x), decoded(other))


def _degree(graphs: Graphs, layer: DegreeFactor, x: Any, *graph: Any) -> Tensor:
    factor = graphs.of(layer.shift, x, graph).source_factor.view(-1, 1)
    return torch.where(factor > 0, 1 / factor, 1.0)


def coefficients(
    layer: AttentionCoefficients,
    source: Tensor,
    target: Tensor,
    num_targets: Any,
    *features: Any,
) -> Tensor:
    """Analog coefficients: a softmax over the edges that end in each node."""
    scores = layer.score(*features, source=source, target=target)
    peak = reduced(scores, target, num_targets, 'max').index_select(0, target)
    share = (scores - peak).exp()
    total = sums_of(share, target, num_targets) + 1e-16
    return share / total.index_select(0, target)


#: The layers that are told which of weights and edges comes first.
FILTERS = (GraphFilter, SpikingGCNConv)

#: What layers are, as functions of the graphs of a pass, the layer and its input.
LAYERS: dict[type[nn.Module], Callable[..., Any]] = {
    SpikingLinear: _linear,
    SpikingConv: _conv,
    GraphFilter: _filter,
    SpikingGCNConv: _filter,
    AttentionSum: _attention,
    DegreeLinear: _by_degree,
    SpikingAffine: _affine,
    DelayedSum: _pairs,
    DegreeFactor: _degree,
}


def in_order(layer: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """The arguments of a layer, all by position."""
    if not kwargs:
        return tuple(args)
    bound = inspect.signature(layer.forward).bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.args
