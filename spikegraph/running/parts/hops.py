"""Graph filters hop by hop, so that what is sent can be kept, or exchanged, on the way."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from spikegraph.network.graph import Node, Record
from spikegraph.network.roles import Role
from spikegraph.nn import GraphFilter, SpikingLinear
from spikegraph.nn.filter import plus
from spikegraph.nn.layer import values_of
from spikegraph.running.parts.step import Axis, Fixed, Kind, Links, Step, steps_in


@dataclass(frozen=True)
class Prepared:
    """A graph that is prepared, as it is given."""

    def __call__(self, x: Any, adjacency: Any, *graph: Any) -> Any:
        """The graph."""
        return adjacency


def lower(
    node: Node, layer: GraphFilter, x: Step, axis: Axis, links: Links, like: Any
) -> Iterator[Step]:
    """The steps of a filter; the last one is the result.

    Args:
        node (Node): What calls it.
        layer (GraphFilter): The filter.
        x (Step): What it is given.
        axis (Axis): What its rows are.
        links (Links): Its graph.
        like (Spikes or torch.Tensor): Has the shape of all that it is given.
    """
    return _Lowering(node, layer, x, axis, links).steps(like)


class _Lowering:
    def __init__(
        self, node: Node, layer: GraphFilter, x: Step, axis: Axis, links: Links
    ) -> None:
        self.node, self.layer, self.x = node, layer, x
        self.axis, self.links, self.count = axis, links, 0

    def steps(self, like: Any) -> Iterator[Step]:
        layer, x = self.layer, self.x
        weight, bias, rows = layer.weight, layer.bias, layer.coefficients
        is_plain, order = rows == [[0.0, 1.0]], layer.order
        if weight is not None:
            order = layer.choice_on(like, self.links.adjacency).order
        is_whole = weight is not None and order == 'aggregate' and layer.num_hops < 2
        if is_whole or (weight is None and is_plain):
            own = any(row[0] != 0 for row in rows)
            yield self._sent(x, self._filter(order=order), own)
            return
        if weight is not None and order == 'aggregate':
            yield from self._features_first()
            return
        terms = [x]
        if weight is not None:
            weights = torch.cat(weight.chunk(len(rows), dim=1))
            terms = [self._linear(x, weights, None)]
            yield terms[0]
            if is_plain:
                plain = self._filter(weight=None, bias=bias, coefficients=rows)
                yield self._sent(terms[0], plain, False)
                return
            if len(rows) > 1:
                whole = terms[0]
                chunks = self._call(torch.chunk, (whole, len(rows)), {'dim': -1})
                yield chunks
                terms = []
                for m in range(len(rows)):
                    terms.append(self._call(operator.getitem, (chunks, m)))
                    yield terms[-1]
        else:
            terms = [self._call(values_of, (x,))]
            yield terms[0]
        yield from self._horner(terms)

    def _features_first(self) -> Iterator[Step]:
        layer, rows = self.layer, self.layer.coefficients
        assert layer.weight is not None
        x = self._call(values_of, (self.x,))
        yield x
        terms: list[Step | None] = [None] * len(rows)
        for k in range(layer.num_hops + 1):
            if k > 0:
                x = self._sent(x, self._hop(), False)
                yield x
            for m, row in enumerate(rows):
                if k < len(row) and row[k] != 0:
                    added = self._call(plus, (terms[m], row[k], x))
                    terms[m] = added
                    yield added
        found = []
        for term in terms:
            if term is None:
                term = self._call(torch.zeros_like, (x,))
                yield term
            found.append(term)
        seen = found[0]
        if len(found) > 1:
            seen = self._call(torch.cat, (tuple(found),), {'dim': -1})
            yield seen
        yield self._linear(seen, layer.weight, layer.bias)

    def _horner(self, terms: list[Step]) -> Iterator[Step]:
        layer = self.layer
        out: Step | None = None
        for k in reversed(range(layer.num_hops + 1)):
            if out is not None:
                out = self._sent(out, self._hop(), False)
                yield out
            for row, term in zip(layer.coefficients, terms, strict=True):
                if k < len(row) and row[k] != 0:
                    out = self._call(plus, (out, row[k], term))
                    yield out
        if out is None:
            out = self._call(torch.zeros_like, (terms[0],))
            yield out
        if layer.bias is not None:
            bias = Fixed(f'{self.node.name}_bias', layer.bias.detach())
            yield self._call(torch.add, (out, bias))

    def _filter(self, **changed: Any) -> GraphFilter:
        """The filter on a graph that is prepared."""
        layer = copy.copy(self.layer)
        layer.__dict__['_parameters'] = dict(layer._parameters)
        for name, value in {**changed, 'cached': False}.items():
            setattr(layer, name, value)
        layer.shift = Prepared()
        layer.clear_cache()
        return layer

    def _hop(self) -> GraphFilter:
        return GraphFilter(Prepared())

    def _linear(self, x: Step, weight: Tensor, bias: Tensor | None) -> Step:
        layer = SpikingLinear.from_weight(weight, bias)
        record = self._record('call_module', '')
        return Step(record.name, Kind.ROWS, x.axis, record, (x,), module=layer)

    def _sent(self, x: Step, layer: GraphFilter, own: bool) -> Step:
        record = self._record('call_module', '')
        return Step(
            record.name,
            Kind.LINKS,
            self.axis,
            record,
            (x,),
            module=layer,
            site=self.links,
            own=own,
        )

    def _call(self, function: Any, args: Any, kwargs: Any = None) -> Step:
        record = self._record('call_function', function)
        axis = next(steps_in(args)).axis
        return Step(record.name, Kind.ROWS, axis, record, args, kwargs or {})

    def _record(self, op: str, target: Any) -> Record:
        self.count += 1
        name = f'{self.node.name}_step_{self.count}'
        role = Role.LAYER if op == 'call_module' else Role.AFFINE
        return replace(
            self.node.record, name=name, role=role, op=op, target=target or name
        )
