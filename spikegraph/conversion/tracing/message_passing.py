"""Looks into message passing layers that have no rule of their own: messages
and updates are traced, and aggregations become filters or gates.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import fx, nn
from torch_geometric.nn.conv import MessagePassing

from spikegraph.conversion.operations.rules import rule_for
from spikegraph.nn.conv.twin import ends
from spikegraph.nn.routing import gather_rows


def can_trace(module: nn.Module) -> bool:
    """Whether a layer passes messages as PyG's base class does."""
    if not isinstance(module, MessagePassing) or module.decomposed_layers > 1:
        return False
    if type(module).edge_update is not MessagePassing.edge_update:
        return False
    return rule_for(module) is None


def call_traced(module: Any, *args: Any, **kwargs: Any) -> Any:
    """Calls the forward of a layer symbolically.

    Raises:
        Exception: Whatever the layer does with symbolic values.
    """

    def propagate(edge_index: Any, size: Any = None, **data: Any) -> Any:
        return _propagate(module, edge_index, size, data)

    module.__dict__['propagate'] = propagate
    try:
        return type(module).forward(module, *args, **kwargs)
    finally:
        del module.__dict__['propagate']


def _propagate(conv: Any, edge_index: Any, size: Any, data: dict[str, Any]) -> Any:
    source, target = ends(edge_index, conv.flow)
    j, i = (0, 1) if conv.flow == 'source_to_target' else (1, 0)
    num_targets = size[i] if size is not None and size[i] is not None else None
    values: dict[str, Any] = {}
    for names in (conv.message, conv.aggregate, conv.update):
        for name in inspect.signature(names).parameters:
            base, end = name[:-2], name[-2:]
            if name in values or end not in ('_i', '_j') or base not in data:
                continue
            value, index = data[base], source if end == '_j' else target
            if isinstance(value, (tuple, list)):
                value = value[j if end == '_j' else i]
            values[name] = None if value is None else gather_rows(value, index)
    if num_targets is None:
        lifted = {name[:-2]: data[name[:-2]] for name in values}
        num_targets = _num_rows(lifted, i)
    values.update(
        {
            'edge_index': edge_index,
            'edge_index_i': target,
            'edge_index_j': source,
            'index': target,
            'ptr': None,
            'size': size,
            'size_i': num_targets,
            'dim_size': num_targets,
        }
    )
    given = {**data, **values}
    out = conv.message(**_pick(conv.message, given))
    if type(conv).aggregate is MessagePassing.aggregate:
        out = conv.aggr_module(out, target, dim_size=num_targets, dim=conv.node_dim)
    else:
        out = conv.aggregate(out, **_pick(conv.aggregate, given))
    return conv.update(out, **_pick(conv.update, given))


def _num_rows(data: dict[str, Any], i: int) -> Any:
    """The number of destinations, as PyG finds it."""
    for value in data.values():
        if isinstance(value, (tuple, list)) and len(value) == 2:
            value = value[i] if value[i] is not None else None
        if isinstance(value, fx.Proxy):
            return value.size(0)
    raise NotImplementedError('the number of nodes is not known from the features')


def _pick(function: Any, given: dict[str, Any]) -> dict[str, Any]:
    names = list(inspect.signature(function).parameters)
    return {name: given[name] for name in names if name in given}
