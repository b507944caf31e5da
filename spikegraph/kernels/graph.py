"""Edges as the user gives them: checked, and prepared once per graph."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from spikegraph.kernels.contents import state_of
from spikegraph.kernels.forms import (
    check_layout,
    entries_of,
    is_foreign,
    is_sparse,
    parts_of,
    plain,
    shape_of,
)

# One entry per living graph: what it held, and for what a companion held what was
# prepared for each set of options.
_CACHE = WeakTensorKeyDictionary()
_MOST_KEPT = 4  # Companions of a graph, such as the edge weights of layers.


def prepared(
    graph: Any, companion: Tensor | None, options: Hashable, build: Callable[[], Any]
) -> Any:
    """Returns what ``build`` makes of a graph, kept for as long as the graph
    lives and made anew when the graph or its companion change, however that is
    done: their contents are looked at each time.

    Args:
        graph (torch.Tensor): Edge indices, an adjacency or an index.
        companion (torch.Tensor, optional): Edge weights or edge types.
        options (Hashable): All else that ``build`` depends on.
        build (Callable): Prepares the graph.

    Raises:
        ValueError: If :obj:`graph` is not a graph.
    """
    if not isinstance(graph, Tensor) and not is_foreign(graph):
        raise ValueError(
            "Expected 'edge_index' to be a tensor of edge indices [2, E] or a sparse "
            f'adjacency (got {type(graph).__name__})'
        )
    check_layout(graph, 'edge_index')
    if torch.compiler.is_compiling():
        return build()
    state, other = state_of(graph), state_of(companion)
    owner = graph if isinstance(graph, Tensor) else parts_of(graph)[-1]
    entry = _CACHE.get(owner)
    if entry is None or entry[0] != state:
        entry = (state, {})
        _CACHE[owner] = entry
    kept = entry[1].pop(other, {})
    if len(entry[1]) >= _MOST_KEPT:
        del entry[1][next(iter(entry[1]))]
    entry[1][other] = kept  # The last in use is the last to go.
    if options not in kept:
        kept[options] = build()
    return kept[options]


def edges_of(
    edge_index: Any,
    edge_weight: Tensor | None,
    num_sources: int,
    num_targets: int,
    flow: str = 'source_to_target',
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Returns sources, targets and weights of checked edges, in whatever form PyG
    takes them; a sparse adjacency holds targets in rows, and its values are the
    weights.
    """
    if is_sparse(edge_index):
        _check_sparse(edge_index, edge_weight, flow, num_sources, num_targets)
        target, source, weight, _ = entries_of(edge_index, 'edge_index')
        return source, target, weight
    edge_index = plain(edge_index)
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(
            "Expected 'edge_index' to have shape [2, num_edges] "
            f'(got {list(edge_index.shape)})'
        )
    if edge_weight is not None:
        _check_edge_weight(edge_weight, edge_index)
    source, target = edge_index if flow == 'source_to_target' else edge_index.flip(0)
    if num_sources == num_targets:
        check_index('edge_index', edge_index, num_sources, "'x' has {} rows")
    else:
        check_index('edge_index', source, num_sources, "'x' has {} rows")
        check_index('edge_index', target, num_targets)
    return source, target, edge_weight


def ends_of(edge_index: Any, flow: str = 'source_to_target') -> tuple[Tensor, Tensor]:
    """The source and the destination of each edge, in whatever form PyG takes them.
    An adjacency is read row by row.
    """
    if not is_sparse(edge_index):
        j, i = (0, 1) if flow == 'source_to_target' else (1, 0)
        return edge_index[j], edge_index[i]
    _check_flow(flow)
    target, source, _, _ = entries_of(edge_index, 'edge_index')
    return source.long(), target.long()


def reversed_of(edge_index: Any) -> Tensor:
    """The same edges the other way round."""
    if not is_sparse(edge_index):
        return edge_index.flip([0])
    row, col, value, shape = entries_of(edge_index, 'edge_index')
    value = torch.ones(row.numel(), device=row.device) if value is None else value
    index = torch.stack([col.long(), row.long()])
    return torch.sparse_coo_tensor(index, value, shape[::-1]).to_sparse_csr()


def weights_of(edge_index: Any, edge_weight: Tensor | None) -> Tensor:
    """The weight of each edge :math:`(E)`, in the order of :func:`ends_of`: given, the
    values of an adjacency, or ones.
    """
    if edge_weight is not None:
        return edge_weight
    if not is_sparse(edge_index):
        return torch.ones_like(edge_index[0])
    row, _, value, _ = entries_of(edge_index, 'edge_index')
    return torch.ones_like(row) if value is None else value


def check_index(
    name: str, index: Tensor, num_rows: int, reason: str = 'there are {}'
) -> None:
    """Raises ``ValueError`` if an index is not of integers from 0 to
    ``num_rows - 1``, with :obj:`reason` to say whose number that is.
    """
    if index.dtype not in (torch.int64, torch.int32):
        raise ValueError(
            f"Expected '{name}' to hold integers, int64 or int32 "
            f"(got {index.dtype}); use '{name}.long()'"
        )
    if index.numel() == 0:
        return
    low, high = int(index.min()), int(index.max())
    if low < 0 or high >= num_rows:
        nodes = f'nodes 0 to {num_rows - 1}' if num_rows > 0 else 'no nodes'
        raise ValueError(
            f"Expected '{name}' to hold {nodes}, as {reason.format(num_rows)} "
            f'(got node {low if low < 0 else high})'
        )


def _check_edge_weight(weight: Tensor, edge_index: Tensor) -> None:
    if weight.dim() == 2 and weight.size(1) == 1:
        weight = weight.view(-1)
    if weight.dim() != 1 or weight.numel() != edge_index.size(1):
        raise ValueError(
            f"Expected 'edge_weight' to have shape [{edge_index.size(1)}], one weight "
            f'per edge (got {list(weight.shape)})'
        )
    if not weight.is_floating_point():
        raise ValueError(
            f"Expected 'edge_weight' to be floating point (got {weight.dtype})"
        )
    if not bool(weight.isfinite().all()):
        bad = weight[~weight.isfinite()][0].item()
        raise ValueError(f"Expected 'edge_weight' to be finite (got {bad})")


def _check_sparse(
    adj: Any, edge_weight: Tensor | None, flow: str, num_sources: int, num_targets: int
) -> None:
    shape = shape_of(adj, 'edge_index')
    if shape != (num_targets, num_sources):
        raise ValueError(
            'Expected the sparse adjacency to have shape '
            f"{[num_targets, num_sources]}, as 'x' has {num_sources} rows "
            f'(got {list(shape)})'
        )
    if edge_weight is not None:
        raise ValueError(
            "Expected 'edge_weight' to be None with a sparse adjacency, whose values "
            f'are the weights (got shape {list(edge_weight.shape)})'
        )
    _check_flow(flow)


def _check_flow(flow: str) -> None:
    if flow != 'source_to_target':
        raise ValueError(
            "Expected 'flow' to be 'source_to_target' with a sparse adjacency, as in PyG "
            f"(got {flow!r}); pass the transposed one, 'adj.t()'"
        )
