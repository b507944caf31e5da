"""Maxima over groups of rows by hand, and over the rows of dense batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import fx, nn
from torch_geometric.utils import to_dense_batch

from spikegraph.conversion.operations import refusals
from spikegraph.conversion.passes.gates import origin_of
from spikegraph.conversion.passes.messages import before_expansion, rows_of, zero_rows
from spikegraph.network.naming import called, module_of, place
from spikegraph.network.ops import is_call
from spikegraph.nn import EarliestMember, PhaseNeuron, SpikeGate

REDUCTIONS = ('scatter_reduce', 'index_reduce')
_NAMES = ('input', 'dim', 'index', 'src', 'reduce')
_NOT_NEGATIVE = (nn.ReLU, nn.ReLU6, nn.Sigmoid)

Moving = Callable[[Any], list[fx.Node]]


def replace_reduction(
    network: fx.GraphModule, node: fx.Node, moving: Moving
) -> list[fx.Node]:
    """``zeros.scatter_reduce(0, index, src, 'amax')`` and ``index_reduce`` alike
    become a gate; with the zeros among what is compared, a ReLU of one.

    Args:
        network (torch.fx.GraphModule): The network.
        node (torch.fx.Node): Such an operation, which is changed.
        moving (Callable): Finds the signals in an argument.

    Returns:
        List[torch.fx.Node]: The nodes that were put in front of it.
    """
    given = _arguments(node)
    if refusal_of(node, moving) or not moving(given['src']):
        return []
    if given['reduce'] not in ('amax', 'amin'):
        return []
    index, src = given['index'], given['src']
    if is_call(node, 'scatter_reduce'):
        index = before_expansion(index, src)
    zeros = zero_rows(given['input'])
    assert zeros is not None
    module = EarliestMember(given['reduce'] == 'amin')
    path = place(network, f'pools.{node.name}', module)
    node.meta['ann_type'] = getattr(node.target, '__name__', str(node.target))
    with network.graph.inserting_before(node):
        rows, is_asked = zeros
        if is_asked:
            rows = network.graph.call_method('size', (rows, 0))
        args = (src, index, rows)
        if not given['include_self'] or is_not_negative(network, src):
            node.op, node.target, node.args = 'call_module', path, args
            node.kwargs, node.meta['made'] = {}, 'pool'
            return []
        gate = network.graph.call_module(path, args)
    gate.meta = {k: v for k, v in node.meta.items() if k != 'ann_type'}
    gate.meta['made'] = 'pool'
    node.op, node.target, node.args = 'call_function', F.relu, (gate,)
    node.kwargs = {}
    return [gate]


def refusal_of(node: fx.Node, moving: Moving) -> str:
    """Why a reduction of rows is no gate; nothing if it is one, or something else."""
    if not is_call(node, *REDUCTIONS):
        return ''
    given = _arguments(node)
    index, src = given.get('index'), given.get('src')
    if given.get('reduce') in ('sum', 'mean') or moving((index,)):
        return ''
    if given.get('reduce') not in ('amax', 'amin'):
        return refusals.PRODUCTS
    if given.get('dim') not in rows_of(src):
        return refusals.DIMENSION
    if is_call(node, 'scatter_reduce') and before_expansion(index, src) is None:
        return refusals.COLUMNS
    if zero_rows(given.get('input')) is None:
        return refusals.START
    if given['include_self'] and given['reduce'] == 'amin':
        return refusals.ZEROS
    return ''


def _arguments(node: fx.Node) -> dict[str, Any]:
    given = {**dict(zip(_NAMES, node.args, strict=False)), **node.kwargs}
    given.setdefault('include_self', True)
    return {'src' if k == 'source' else k: v for k, v in given.items()}


def is_not_negative(network: fx.GraphModule, value: Any) -> bool:
    """Whether a value holds spikes of populations that have no OFF spikes."""
    if not isinstance(value, fx.Node):
        return False
    source = origin_of(value)
    if source.op != 'call_module':
        return False
    module = module_of(network, source)
    if isinstance(module, PhaseNeuron):
        is_relu = isinstance(module.activation, _NOT_NEGATIVE)
        return is_relu or module.activation == 'relu'
    if isinstance(module, SpikeGate):
        first: Any = source.args[0]
        parts = first if isinstance(first, (list, tuple)) else [first]
        return all(is_not_negative(network, part) for part in parts)
    return False


def dense_batch_of(
    network: fx.GraphModule, value: fx.Node, dim: int
) -> tuple[Any, ...] | None:
    """The rows and the groups that a dense batch was made of, whose largest value is
    asked for: what was filled in is silent, zeros and negative numbers alike, as
    long as spikes are not.
    """
    number: Any = 0
    if is_call(value, 'masked_fill') and len(value.args) == 3:
        number, value = value.args[2], value.args[0]  # type: ignore[assignment]
    if not isinstance(number, (int, float)) or number > 0 or dim != -2:
        return None
    made: Any = value.args[0] if value.args and value.args[1:] == (0,) else None
    if not isinstance(made, fx.Node) or called(made) is not to_dense_batch:
        return None
    names = ('x', 'batch')
    given = {**dict(zip(names, made.args, strict=False)), **made.kwargs}
    if len(made.args) > 2 or set(given) != set(names) or given['batch'] is None:
        return None
    rows = given['x']
    return (rows, given['batch']) if is_not_negative(network, rows) else None
