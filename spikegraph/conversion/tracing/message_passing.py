"""Looks into message passing layers that have no rule of their own: messages
and updates are traced, and aggregations become filters or gates.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import fx, nn
from torch_geometric.nn.conv import MessagePassing

from spikegraph.conversion.operations.kinds import Attention, Rule
from spikegraph.nn.conv.twin import ends
from spikegraph.nn.routing import gather_rows


def can_trace(module: nn.Module, rule: Rule | None) -> bool:
    """Whether a layer passes messages as PyG's base class does, and has no rule to go
    by.
    """
    if not isinstance(module, MessagePassing) or module.decomposed_layers > 1:
        return False
    return rule is None or isinstance(rule, Attention)


def call_traced(module: Any, *args: Any, **kwargs: Any) -> Any:
    """Calls the forward of a layer symbolically.

    Raises:
        Exception: Whatever the layer does with symbolic values.
    """

    known: dict[int, Any] = {}  # The same ends for all that reads the same edges.

    def ends_of(edge_index: Any) -> Any:
        if id(edge_index) not in known:
            known[id(edge_index)] = edge_index, ends(edge_index, module.flow)
        return known[id(edge_index)][1]

    def propagate(edge_index: Any, size: Any = None, **data: Any) -> Any:
        return _propagate(module, edge_index, ends_of(edge_index), size, data)

    def edge_updater(edge_index: Any, size: Any = None, **data: Any) -> Any:
        both = ends_of(edge_index)
        functions = (module.edge_update,)
        given, _ = _lifted(module, edge_index, both, size, data, functions)
        return module.edge_update(**_pick(module.edge_update, given))

    module.__dict__['propagate'] = propagate
    module.__dict__['edge_updater'] = edge_updater
    try:
        return type(module).forward(module, *args, **kwargs)
    finally:
        del module.__dict__['propagate'], module.__dict__['edge_updater']


def _lifted(
    conv: Any,
    edge_index: Any,
    both: Any,
    size: Any,
    data: dict[str, Any],
    functions: Any,
) -> tuple[dict[str, Any], Any]:
    """What the functions of a layer are given, and the destination of each edge."""
    source, target = both
    j, i = (0, 1) if conv.flow == 'source_to_target' else (1, 0)
    num_targets = size[i] if size is not None and size[i] is not None else None
    values: dict[str, Any] = {}
    for function in functions:
        for name in inspect.signature(function).parameters:
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
    return {**data, **values}, num_targets


def _propagate(
    conv: Any, edge_index: Any, both: Any, size: Any, data: dict[str, Any]
) -> Any:
    functions = (conv.message, conv.aggregate, conv.update)
    given, num_targets = _lifted(conv, edge_index, both, size, data, functions)
    target = given['index']
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
