"""A linear layer on a sum, or on parts side by side, becomes one for each part, where
that lets it act on spikes before these are summed up over neighbours.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from spikegraph.conversion.passes.graph import (
    Structure,
    count_calls,
    is_plain_filter,
)
from spikegraph.conversion.passes.products import rank_of, shape_of
from spikegraph.network.graph import is_sum
from spikegraph.network.naming import keep_value, module_of, place_beside
from spikegraph.network.ops import is_call
from spikegraph.nn import GraphFilter, SpikingConv, SpikingLayer, SpikingLinear
from spikegraph.nn.conv.twin import dense

_OVER_ROWS = ('sum', 'mean', 'cumsum')  # Of one channel each, unless along channels.


def distribute_linear(structure: Structure, signals: set[fx.Node]) -> None:
    r"""Takes :math:`[\mathbf{X}, \mathbf{A} \mathbf{X}] \mathbf{W}` apart into
    :math:`\mathbf{X} \mathbf{W}_1 + \mathbf{A} (\mathbf{X} \mathbf{W}_2)`, and lets
    weights act before running sums over rows.

    Args:
        structure (Structure): The network, whose graph is changed.
        signals (Set[torch.fx.Node]): Values on their way to a membrane; those of
            new nodes are added.
    """
    network, graph = structure.network, structure.network.graph
    calls = count_calls(graph.nodes)
    for node in list(graph.nodes):
        if node not in signals or node.op != 'call_module':
            continue
        layer, joined = module_of(network, node), node.all_input_nodes[:1]
        if type(layer) is not SpikingLinear or calls[str(node.target)] != 1:
            continue
        if not joined or len(joined[0].users) != 1:
            continue
        if _put_ahead(network, node, joined[0], layer, signals):
            continue
        parts = _parts(network, joined[0], layer.in_channels)
        if parts is None or not _gains(network, [p for p, _, _ in parts], calls):
            continue
        out, join = None, torch.sub if _is_difference(joined[0]) else torch.add
        for i, (part, start, stop) in enumerate(parts):
            weight, bias = layer.weight[:, start:stop], layer.bias if i == 0 else None
            part_of = dense(weight, bias)
            path = place_beside(network, f'{node.target}_part_{i}', part_of)
            with graph.inserting_before(node):
                term = graph.call_module(path, (part,))
                term.meta = dict(node.meta)
                signals.add(term)
                if out is not None:
                    term = graph.create_node(
                        'call_function',
                        join,
                        (out, term),
                        name=f'charge_{node.name}',
                    )
                    # A sum that the ANN does not make.
                    term.meta = {**node.meta, 'made': 'charge'}
                    signals.add(term)
            out = term
        assert out is not None
        node.replace_all_uses_with(out)
        graph.erase_node(node)
    graph.eliminate_dead_code()


def _put_ahead(
    network: fx.GraphModule,
    node: fx.Node,
    before: fx.Node,
    layer: SpikingLinear,
    signals: set[fx.Node],
) -> bool:
    """Lets a layer read spikes where it read their running sums over rows."""
    if not is_call(before, 'cumsum') or not _is_over_rows(before):
        return False
    source = before.all_input_nodes[0]
    if not source.meta.get('population'):
        return False
    bias = layer.bias
    layer.set_parameters(layer.weight, None)
    with network.graph.inserting_before(before):
        first = network.graph.call_module(str(node.target), (source,))
    first.meta = {k: v for k, v in node.meta.items() if k != 'example'}
    before.replace_input_with(source, first)
    out = before
    if bias is not None:
        name = keep_value(network, f'values_{node.name}_bias', bias)
        with network.graph.inserting_before(node):
            out = network.graph.call_function(
                torch.add, (before, network.graph.get_attr(name))
            )
    out.meta = dict(node.meta)
    signals.update((first, out))
    node.replace_all_uses_with(out)
    network.graph.erase_node(node)
    return True


def _is_difference(node: fx.Node) -> bool:
    """Whether a node is another less a third one."""
    is_known = is_call(node, 'sub') and not node.kwargs
    return is_known and len(node.all_input_nodes) == len(node.args) == 2


def _is_over_rows(node: fx.Node) -> bool:
    """Whether a node adds up the values of each channel by itself."""
    if not is_call(node, *_OVER_ROWS) or not node.all_input_nodes:
        return False
    rank = rank_of(node.args[0])
    dim: Any = node.kwargs.get('dim', node.args[1] if len(node.args) > 1 else None)
    dims = [dim] if isinstance(dim, int) else dim
    if rank is None or not isinstance(dims, (list, tuple)) or not dims:
        return False
    return all(isinstance(d, int) and d % rank != rank - 1 for d in dims)


def _parts(
    network: fx.GraphModule, node: fx.Node, size: int
) -> list[tuple[fx.Node, int, int]] | None:
    """What a value is made of, and which of the inputs each part is."""
    if is_sum(node) or _is_difference(node):
        parts = [(n, 0, size) for n in node.all_input_nodes]
        same = all(_width(network, n) in (None, size) for n, _, _ in parts)
        return parts if same and _spike(network, node.all_input_nodes) else None
    if not is_call(node, 'cat') or not isinstance(node.args[0], (list, tuple)):
        return None
    dim = node.kwargs.get('dim', node.args[1] if len(node.args) > 1 else 0)
    given: list[Any] = list(node.args[0])
    if dim != -1 and (dim != 1 or rank_of(node) not in (None, 2)):
        return None
    if not all(isinstance(part, fx.Node) for part in given):
        return None
    widths = [_width(network, part) for part in given]
    if None in widths:  # All that are not known must be as wide.
        roots = {_root(network, p) for p, w in zip(given, widths, strict=True) if not w}
        rest, num = size - sum(w or 0 for w in widths), widths.count(None)
        if len(roots) != 1 or rest % num:
            return None
        widths = [rest // num if w is None else w for w in widths]
    ends = [sum(widths[:i]) for i in range(len(widths) + 1)]  # type: ignore[arg-type]
    if ends[-1] != size:
        return None
    return list(zip(given, ends[:-1], ends[1:], strict=True))


def _width(network: fx.GraphModule, node: fx.Node) -> int | None:
    """The channels of a value, if something tells."""
    shape = shape_of(node)
    if shape:
        return shape[-1]
    root = _root(network, node)
    if root.op != 'call_module':
        return None
    layer: Any = module_of(network, root)
    known = isinstance(layer, SpikingLayer) and layer.weight is not None
    return (
        int(layer.num_channels)
        if known and not isinstance(layer, SpikingConv)
        else None
    )


def _root(network: fx.GraphModule, node: fx.Node) -> fx.Node:
    """The value that has as many channels, for it is only summed up or fires."""
    while node.op == 'call_module' and node.all_input_nodes:
        layer: Any = module_of(network, node)
        plain = isinstance(layer, GraphFilter) and layer.weight is None
        if not plain and not node.meta.get('population'):
            break
        node = node.all_input_nodes[0]
    return node


def _spike(network: fx.GraphModule, parts: list[fx.Node]) -> bool:
    """Whether all parts are spikes, or sums of them over neighbours or rows."""
    found = []
    for part in parts:
        is_filter = part.op == 'call_module' and is_plain_filter(
            module_of(network, part)
        )
        is_filter |= _is_over_rows(part)
        source = part.all_input_nodes[0] if is_filter else part
        found.append(bool(source.meta.get('population')))
    return all(found)


def _gains(
    network: fx.GraphModule, parts: list[fx.Node], calls: dict[str, int]
) -> bool:
    """Whether a part sums up spikes, and may take weights or read sums of them."""
    for part in parts:
        if _is_over_rows(part):
            return True
        if part.op != 'call_module' or len(part.users) != 1:
            continue
        alone = calls[str(part.target)] == 1
        if alone and is_plain_filter(module_of(network, part)):
            if part.all_input_nodes[0].meta.get('population'):
                return True
    return False
