"""Edges as the user gives them: checked, and prepared once per graph."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary
from torch_geometric.utils import is_sparse, to_edge_index

from spikegraph.kernels.forms import is_foreign

# One entry per living graph: its version, its companion (held, so that its
# identity stays its own) and what was prepared for each set of options.
_CACHE = WeakTensorKeyDictionary()


def prepared(
    graph: Tensor,
    companion: Tensor | None,
    options: Hashable,
    build: Callable[[], Any],
) -> Any:
    """Returns what ``build`` makes of a graph, kept for as long as the graph
    lives and made anew when the graph or its companion change, in place or not.
    Writes that PyTorch does not see, through NumPy or ``.data``, go unnoticed.

    Args:
        graph (torch.Tensor): Edge indices, a sparse adjacency or an index.
        companion (torch.Tensor, optional): Edge weights or edge types.
        options (Hashable): All else that ``build`` depends on.
        build (Callable): Prepares the graph.

    Raises:
        ValueError: If :obj:`graph` is not a tensor.
    """
    if is_foreign(graph):
        return build()
    if not isinstance(graph, Tensor):
        raise ValueError(
            "Expected 'edge_index' to be a tensor of edge indices [2, E] or a "
            f'torch.sparse CSR or COO adjacency (got {type(graph).__name__})'
        )
    versions = (version_of(graph), version_of(companion))
    if None in versions:
        return build()
    entry = _CACHE.get(graph)
    if entry is None or entry[0] != versions or entry[1] is not companion:
        entry = (versions, companion, {})
        _CACHE[graph] = entry
    if options not in entry[2]:
        entry[2][options] = build()
    return entry[2][options]


def version_of(tensor: Tensor | None) -> int | None:
    """How often PyTorch has seen a tensor change; None if it does not count."""
    if tensor is None:
        return 0
    return None if tensor.is_inference() else tensor._version


def edges_of(
    edge_index: Tensor,
    edge_weight: Tensor | None,
    num_sources: int,
    num_targets: int,
    flow: str = 'source_to_target',
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Returns sources, targets and weights of checked edges; a sparse
    adjacency holds targets in rows, and its values are the weights.
    """
    if is_sparse(edge_index):
        _check_sparse(edge_index, num_sources, num_targets)
        adj = edge_index.coalesce() if edge_index.is_sparse else edge_index
        (target, source), weight = to_edge_index(adj)
        return source, target, None if bool((weight == 1).all()) else weight
    _check_shape(edge_index)
    if edge_weight is not None:
        _check_edge_weight(edge_weight, edge_index)
    source, target = edge_index if flow == 'source_to_target' else edge_index.flip(0)
    if num_sources == num_targets:
        check_index('edge_index', edge_index, num_sources, "'x' has {} rows")
    else:
        check_index('edge_index', source, num_sources, "'x' has {} rows")
        check_index('edge_index', target, num_targets)
    return source, target, edge_weight


def _check_shape(edge_index: Tensor) -> None:
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(
            "Expected 'edge_index' to have shape [2, num_edges] "
            f'(got {list(edge_index.shape)})'
        )


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


def _check_sparse(adj: Tensor, num_sources: int, num_targets: int) -> None:
    if adj.layout not in (torch.sparse_csr, torch.sparse_coo):
        raise ValueError(
            "Expected a sparse 'edge_index' to have CSR or COO layout "
            f"(got {adj.layout}); use 'adj.to_sparse_csr()'"
        )
    if tuple(adj.shape) != (num_targets, num_sources):
        raise ValueError(
            'Expected the sparse adjacency to have shape '
            f"{[num_targets, num_sources]}, as 'x' has {num_sources} rows "
            f'(got {list(adj.shape)})'
        )
