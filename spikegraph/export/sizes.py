"""Which dimensions of the inputs of a network may differ from call to call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim

from spikegraph.calls.inputs import Leaf
from spikegraph.network.graph import Node
from spikegraph.network.network import Network
from spikegraph.network.roles import Role
from spikegraph.nn import GraphFilter
from spikegraph.nn.shift import MatrixShift

_MOST = 1 << 40  # Rows, where the smallest number is given.
_INTEGERS = (torch.int64, torch.int32)


def dynamic_sizes(
    network: Network,
    inputs: Mapping[str, Any],
    leaves: Mapping[str, Leaf],
    least: int = 0,
) -> dict[str, Any]:
    """Names the sizes that may differ: those of edges are the columns of edge indices,
    and the rows of what is as long and named after edges; the rows of all other tensors
    are nodes, images or whatever :obj:`x` holds, and one size where they are as many.

    Args:
        network (Network): The network.
        inputs (Mapping[str, Any]): Its inputs on the example, by name.
        leaves (Mapping[str, Leaf]): Where these are in the arguments of ``forward``.
        least (int, optional): The smallest size. (default: :obj:`0`)

    Returns:
        Dict[str, Any]: What ``dynamic_shapes`` of :func:`torch.export.export` takes.
    """
    matrices = _matrices(network)
    found: dict[str, Any] = dict.fromkeys(inputs)
    edges: dict[int, Any] = {}
    indices = [n for n, v in inputs.items() if is_edge_index(_field(n, leaves), v)]
    for name in indices:
        # Two graphs of one size are two sizes, unless edge features tell otherwise.
        dim = _dim('num_edges', edges, least)
        found[name] = {1: edges.setdefault(inputs[name].shape[1], dim)}
    rows: dict[int, Any] = {}
    for name, value in inputs.items():
        if isinstance(value, (bool, float, str)) or name in indices:
            continue
        if isinstance(value, int):
            found[name] = Dim.DYNAMIC
        elif isinstance(value, Tensor) and value.dim() > 0:
            size, is_edge = value.shape[0], _field(name, leaves).startswith('edge')
            if is_edge and size in edges:
                found[name] = {0: edges[size]}
                continue
            dim = _dim(_label(value, bool(indices)), rows, least)
            rows.setdefault(size, dim)
            found[name] = {0: rows[size]}
            if name in matrices and value.shape[1] in rows:
                found[name][1] = rows[value.shape[1]]
    return found


def _dim(label: str, others: Mapping[int, Any], least: int) -> Any:
    """A size, with a number behind its name where there are others of its kind."""
    name = f'{label}_{len(others)}' if others else label
    return Dim(name, min=least, max=_MOST) if least else Dim(name)


def enlarged(inputs: Mapping[str, Any], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """The example, with images or rows twice where there is one alone, as tracers take
    a size of 1 for a constant.

    Raises:
        ValueError: If a graph has a size below 2.
    """
    small: dict[str, tuple[str, int]] = {}
    for name, dims in sizes.items():
        for place, dim in (dims if isinstance(dims, dict) else {}).items():
            if inputs[name].shape[place] < 2:
                small[name] = dim.__name__, inputs[name].shape[place]
    if not small:
        return dict(inputs)
    is_one = all(size == 1 for _, size in small.values())
    if is_one and all(dims is None or set(dims) == {0} for dims in sizes.values()):
        if all(inputs[name].is_floating_point() for name in small):
            return {
                n: v.repeat_interleave(2, 0) if n in small else v
                for n, v in inputs.items()
            }
    name, (label, size) = next(iter(small.items()))
    raise ValueError(
        f"Expected '{name}' of the example to have at least 2 rows or edges, as their "
        f"number may differ ('{label}', got {size}); pass a larger example, or "
        "'dynamic=False'"
    )


def _field(name: str, leaves: Mapping[str, Leaf]) -> str:
    return leaves[name].field if name in leaves else name


def is_edge_index(field: str, value: Any) -> bool:
    """Whether an input, kept under some name, is the ends of edges :math:`(2, E)`."""
    if not isinstance(value, Tensor) or value.dim() != 2 or value.shape[0] != 2:
        return False
    return value.dtype in _INTEGERS and 'index' in field


def _label(value: Tensor, has_graph: bool) -> str:
    if value.dim() == 4:
        return 'num_images'
    return 'num_nodes' if has_graph else 'num_rows'


def _matrices(network: Network) -> set[str]:
    """The inputs that layers multiply by, whose columns are the rows of others."""
    found: set[str] = set()
    for node in network.nodes:
        layer: Any = network.operation(node)
        if isinstance(layer, GraphFilter) and isinstance(layer.shift, MatrixShift):
            found.update(n.target for n in node.all_input_nodes if _is_input(n))
    return found


def _is_input(node: Node) -> bool:
    return node.role is Role.INPUT
