"""Messages that are gathered along edges and summed up again become filters, so that
weights act where spikes are sent, once for each node.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from spikegraph.conversion.passes.canonical import ask_before_layers
from spikegraph.conversion.passes.graph import Structure
from spikegraph.conversion.passes.products import rank_of
from spikegraph.network.naming import called, module_of, place
from spikegraph.network.ops import is_call
from spikegraph.nn import GraphFilter
from spikegraph.nn.routing import gather_rows
from spikegraph.nn.shift import MemberShift, NeighborShift

_ROWS = (0, -2)  # Where the nodes of a matrix of features are.
_EXPANDS = ('expand', 'expand_as', 'repeat', 'broadcast_to')
_ZEROS = ('zeros', 'zeros_like', 'new_zeros')
_ADDS = ('index_add', 'scatter_add')
_REDUCES = ('scatter_reduce', 'index_reduce')


def collect_messages(structure: Structure, signals: set[fx.Node]) -> None:
    """Turns sums over groups of rows into filters, and those whose rows were gathered
    from nodes, with or without edge weights, into filters over these edges.
    """
    network = structure.network
    collect_members(structure, signals)
    ask_before_layers(network)
    for node in list(network.graph.nodes):
        if node in signals and node.op == 'call_module':
            _sum_neighbors(network, node)
    network.graph.eliminate_dead_code()


def collect_members(structure: Structure, signals: set[fx.Node]) -> None:
    """Turns sums over groups of rows into filters."""
    for node in list(structure.network.graph.nodes):
        if node in signals and is_call(node, *_ADDS, *_REDUCES):
            _sum_members(structure.network, node, signals)


def _sum_members(network: fx.GraphModule, node: fx.Node, signals: set[fx.Node]) -> None:
    """``zeros.index_add(0, index, src)``, ``scatter_add`` and ``scatter_reduce`` alike."""
    names: tuple[str, ...] = ('base', 'dim', 'index', 'src')
    is_mean = False
    if is_call(node, *_REDUCES):
        names = (*names, 'reduce', 'include_self')
    given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    base, src = given.get('base', given.get('input')), given.get('src')
    src = given.get('source', src)
    zeros = zero_rows(base)
    if zeros is None or src not in signals or given['dim'] not in rows_of(src):
        return
    if set(given) - {*names, 'input', 'source'} or len(node.args) > len(names):
        return
    if is_call(node, *_REDUCES):
        is_mean = given['reduce'] == 'mean' and given.get('include_self') is False
        if given['reduce'] != 'sum' and not is_mean:
            return  # Another one, or with the zeros among what is averaged.
    index: Any = given['index']
    if is_call(node, 'scatter_add', 'scatter_reduce'):
        index = before_expansion(index, src)
    if index is None or index in signals:
        return
    path = place(network, f'pools.{node.name}', GraphFilter(MemberShift(is_mean)))
    with network.graph.inserting_before(node):
        rows, is_asked = zeros
        if is_asked:
            rows = network.graph.call_method('size', (rows, 0))
        is_column = rank_of(src) == 1
        if is_column:
            src = network.graph.call_function(torch.unsqueeze, (src, -1))
            signals.add(src)
        out = network.graph.call_module(path, (src, index, rows))
        out.meta = {**node.meta, 'made': 'pool'}
        signals.add(out)
        if is_column:
            out.meta.pop('example', None)
            out = network.graph.call_function(torch.squeeze, (out, -1))
            out.meta = {**node.meta}
            signals.add(out)
    node.replace_all_uses_with(out)
    network.graph.erase_node(node)


def zero_rows(base: Any) -> tuple[Any, bool] | None:
    """How many rows of zeros a value has, or a value that has as many and whether it
    is one; None if the value may be anything else.
    """
    if not is_call(base, *_ZEROS):
        return None
    if is_call(base, 'zeros_like'):
        return base.args[0], True
    sizes: Any = base.args if is_call(base, 'zeros') else base.args[1:]
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = sizes[0]
    return (sizes[0], False) if len(sizes) > 1 else (base, True)


def rows_of(value: Any) -> tuple[int, ...]:
    """The numbers of the first dimension."""
    rank = rank_of(value)
    return (0,) if rank is None else (0, -rank)


def before_expansion(index: Any, src: Any) -> Any:
    """The entry for each row that was repeated for all of its columns."""
    repeated = False
    while isinstance(index, fx.Node):
        if is_call(index, *_EXPANDS):
            index, repeated = index.args[0], True
            continue
        before = _before_column(index)
        if before is None:
            break
        index = before
        if repeated:
            return index
    return None


def _before_column(value: Any) -> Any:
    """The vector that a column is made of: ``v.view(-1, 1)``, ``v[:, None]``, ..."""
    if not isinstance(value, fx.Node) or value.kwargs:
        return None
    rest: Any = value.args[1:]
    rest = rest[0] if len(rest) == 1 and isinstance(rest[0], (tuple, list)) else rest
    is_column = is_call(value, 'view', 'reshape') and tuple(rest) == (-1, 1)
    is_column |= is_call(value, 'unsqueeze') and rest in ((1,), (-1,))
    if is_call(value, 'getitem'):
        is_column = tuple(rest) == (slice(None), None)
    return value.args[0] if is_column else None


def _sum_neighbors(network: fx.GraphModule, node: fx.Node) -> None:
    layer = module_of(network, node)
    if not isinstance(layer, GraphFilter) or not isinstance(layer.shift, MemberShift):
        return
    plain = layer.coefficients == [[0.0, 1.0]]
    if not plain or node.kwargs or len(node.args) != 3 or node.args[2] is None:
        return
    messages, target, num_targets = node.args
    if len(messages.users) != 1:  # type: ignore[union-attr]
        return
    weight = None
    found = gathered(messages)
    if found is None:
        product = _weighted(messages)
        if product is None:
            return
        weight, messages = product
        if len(messages.users) != 1:
            return
        found = gathered(messages)
        if found is None:
            return
    x, source = found
    edge_index, flow = _edges(source, target)
    shift = NeighborShift(mean=layer.shift.mean, flow=flow)
    if weight is not None and layer.shift.mean:
        return
    made = GraphFilter(shift, weight=layer.weight, bias=layer.bias)
    with network.graph.inserting_before(node):
        if edge_index is None:
            ends = [source, target]
            edge_index = network.graph.call_function(torch.stack, (ends,))
        node.args = (x, edge_index, weight, num_targets)
    node.target = place(network, f'products.{node.name}', made)
    node.meta['made'] = 'product'


def gathered(value: Any) -> tuple[fx.Node, Any] | None:
    """The rows and the index that a value takes of them."""
    if not isinstance(value, fx.Node) or value.kwargs:
        return None
    x: Any = value.args[0] if value.args else None
    if called(value) is gather_rows:
        return x, value.args[1]
    if is_call(value, 'index_select') and value.args[1] in _ROWS:
        is_row = value.args[1] == 0 or rank_of(x) == 2
        return (x, value.args[2]) if is_row else None
    if is_call(value, 'getitem') and isinstance(value.args[1], fx.Node):
        return (x, value.args[1]) if _is_vector(value.args[1]) else None
    return None


def _is_vector(index: fx.Node) -> bool:
    """Whether an index has one dimension, as a row of edges."""
    rank = rank_of(index)
    if rank is None and is_call(index, 'getitem'):
        return isinstance(index.args[1], int)
    return rank == 1


def _weighted(value: Any) -> tuple[fx.Node, fx.Node] | None:
    """The weight of each edge, and what it multiplies."""
    if not is_call(value, 'mul') or value.kwargs:
        return None
    for factor, messages in (value.args, value.args[::-1]):
        if gathered(messages) is None:
            continue
        weight = _before_column(factor)
        rank = rank_of(weight)
        if weight is not None and rank in (None, 1):
            return weight, messages
    return None


def _edges(source: Any, target: Any) -> tuple[Any, str]:
    """The edges that two ends belong to, and which way they point."""
    same = is_call(source, 'getitem') and is_call(target, 'getitem')
    both = source.args[0] if same else None
    is_tensor = rank_of(both) == 2
    if isinstance(both, fx.Node) and both.op == 'placeholder':
        is_tensor = True
    if same and is_tensor and both is target.args[0]:
        ends = source.args[1], target.args[1]
        if ends == (0, 1):
            return both, 'source_to_target'
        if ends == (1, 0):
            return both, 'target_to_source'
    return None, 'source_to_target'
