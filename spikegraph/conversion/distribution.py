"""A linear layer on a sum, or on parts side by side, becomes one for each part, where
that lets it act on spikes before these are summed up over neighbours.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from spikegraph.conversion.passes import (
    Structure,
    count_calls,
    is_plain_filter,
    is_sum,
)
from spikegraph.conversion.products import rank_of, shape_of
from spikegraph.conversion.tracing import module_of
from spikegraph.nn import GraphFilter, SpikingConv, SpikingLayer, SpikingLinear
from spikegraph.nn.conv.twin import dense

SUM = 'charge'  # Names sums that the ANN does not make.
_JOINS = (torch.cat, torch.concat, torch.concatenate)


def distribute_linear(structure: Structure, signals: set[fx.Node]) -> None:
    r"""Takes :math:`[\mathbf{X}, \mathbf{A} \mathbf{X}] \mathbf{W}` apart into
    :math:`\mathbf{X} \mathbf{W}_1 + \mathbf{A} (\mathbf{X} \mathbf{W}_2)`.

    Args:
        structure (Structure): The network, whose graph is changed.
        signals (Set[torch.fx.Node]): Values on their way to a membrane; those of
            new nodes are added.
    """
    network, graph = structure.network, structure.network.graph
    calls = count_calls(graph)
    for node in list(graph.nodes):
        if node not in signals or node.op != 'call_module':
            continue
        layer, joined = module_of(network, node), node.all_input_nodes[:1]
        if type(layer) is not SpikingLinear or calls[str(node.target)] != 1:
            continue
        if not joined or len(joined[0].users) != 1:
            continue
        parts = _parts(network, joined[0], layer.in_channels)
        if parts is None or not _gains(network, [p for p, _, _ in parts], calls):
            continue
        out = None
        for i, (part, start, stop) in enumerate(parts):
            path = f'{node.target}_part_{i}'
            weight, bias = layer.weight[:, start:stop], layer.bias if i == 0 else None
            network.add_submodule(path, dense(weight, bias))
            with graph.inserting_before(node):
                term = graph.call_module(path, (part,))
                term.meta = dict(node.meta)
                signals.add(term)
                if out is not None:
                    term = graph.create_node(
                        'call_function',
                        torch.add,
                        (out, term),
                        name=f'{SUM}_{node.name}',
                    )
                    term.meta = dict(node.meta)
                    signals.add(term)
            out = term
        assert out is not None
        node.replace_all_uses_with(out)
        graph.erase_node(node)
    graph.eliminate_dead_code()


def _parts(
    network: fx.GraphModule, node: fx.Node, size: int
) -> list[tuple[fx.Node, int, int]] | None:
    """What a value is made of, and which of the inputs each part is."""
    if is_sum(node):
        parts = [(n, 0, size) for n in node.all_input_nodes]
        same = all(_width(network, n) in (None, size) for n, _, _ in parts)
        return parts if same and _spike(network, node.all_input_nodes) else None
    if node.target not in _JOINS or not isinstance(node.args[0], (list, tuple)):
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
    """Whether all parts are spikes, or sums of them over neighbours."""
    found = []
    for part in parts:
        is_filter = part.op == 'call_module' and is_plain_filter(
            module_of(network, part)
        )
        source = part.all_input_nodes[0] if is_filter else part
        found.append(bool(source.meta.get('population')))
    return all(found)


def _gains(
    network: fx.GraphModule, parts: list[fx.Node], calls: dict[str, int]
) -> bool:
    """Whether a part sums up spikes over neighbours, and may take weights."""
    for part in parts:
        if part.op != 'call_module' or len(part.users) != 1:
            continue
        alone = calls[str(part.target)] == 1
        if alone and is_plain_filter(module_of(network, part)):
            if part.all_input_nodes[0].meta.get('population'):
                return True
    return False
