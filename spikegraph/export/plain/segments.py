"""Sums and extremes of rows in groups, and edges with or without self-loops."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegraph.kernels.forms import is_sparse


def by_rows(factor: Tensor, x: Tensor) -> Tensor:
    """A factor of each row, to be multiplied with rows of any shape."""
    return factor.to(x.dtype).view(-1, *[1] * (x.dim() - 1))


def sums_of(x: Tensor, index: Tensor, num_groups: Any) -> Tensor:
    """The sum of the rows in each group."""
    zeros = x.new_zeros(num_groups, *x.shape[1:])
    return zeros.index_add(0, index.long(), x)


def extremes_of(x: Tensor, index: Tensor, num_groups: Any, largest: bool) -> Tensor:
    """The smallest or largest of the rows in each group; the largest or smallest number
    of the data type where there is none.
    """
    info = torch.finfo(x.dtype) if x.is_floating_point() else torch.iinfo(x.dtype)
    flat = x.flatten(1) if x.dim() > 1 else x.unsqueeze(1)
    out = flat.new_full((num_groups, flat.shape[1]), info.min if largest else info.max)
    places = index.long().view(-1, 1).expand(flat.shape)
    out = out.scatter_reduce(0, places, flat, 'amax' if largest else 'amin')
    return out.view(num_groups, *x.shape[1:])


def counts_of(index: Tensor, num_groups: Any, dtype: torch.dtype) -> Tensor:
    """How many members each group has."""
    ones = torch.ones(index.shape[0], dtype=dtype, device=index.device)
    return sums_of(ones, index, num_groups)


def ends_of(edge_index: Any, flow: str = 'source_to_target') -> tuple[Tensor, Tensor]:
    """The source and the destination of each edge.

    Raises:
        NotImplementedError: If the graph is a sparse matrix.
    """
    if is_sparse(edge_index):
        raise NotImplementedError(
            'a sparse adjacency, of which the layers read the entries; convert and '
            "export with an 'edge_index' [2, E]"
        )
    j, i = (0, 1) if flow == 'source_to_target' else (1, 0)
    return edge_index[j], edge_index[i]


def without_loops(edge_index: Tensor, edge_attr: Any = None) -> tuple[Tensor, Any]:
    """The edges between different nodes, as PyG's ``remove_self_loops``."""
    kept = (edge_index[0] != edge_index[1]).nonzero().view(-1)
    edges = edge_index.index_select(1, kept)
    return edges, None if edge_attr is None else edge_attr.index_select(0, kept)


def with_loops(
    edge_index: Tensor,
    edge_attr: Any = None,
    fill_value: Any = None,
    num_nodes: Any = None,
) -> tuple[Tensor, Any]:
    """The edges and a self-loop of each node, as PyG's ``add_self_loops``."""
    if isinstance(num_nodes, (tuple, list)):
        raise NotImplementedError('self-loops of a bipartite graph')
    if num_nodes is None:
        num_nodes = number_of(edge_index)
    loops = torch.arange(num_nodes, device=edge_index.device, dtype=edge_index.dtype)
    edges = torch.cat([edge_index, loops.view(1, -1).expand(2, -1)], dim=1)
    if edge_attr is None:
        return edges, None
    shape = (num_nodes, *edge_attr.shape[1:])
    if fill_value is None:
        fill_value = 1.0
    if isinstance(fill_value, str):
        own = reduced(edge_attr, edge_index[1], num_nodes, fill_value)
    elif isinstance(fill_value, Tensor):
        own = fill_value.to(edge_attr).view(-1, *edge_attr.shape[1:]).expand(shape)
    else:
        own = edge_attr.new_full(shape, float(fill_value))
    return edges, torch.cat([edge_attr, own])


def reduced(x: Tensor, index: Tensor, num_groups: Any, how: str) -> Tensor:
    """What PyG's ``scatter`` makes of the rows in each group.

    Raises:
        NotImplementedError: For anything but sums, means and extremes.
    """
    if how in ('sum', 'add'):
        return sums_of(x, index, num_groups)
    if how == 'mean':
        counts = counts_of(index, num_groups, x.dtype).clamp(min=1)
        return sums_of(x, index, num_groups) / by_rows(counts, x)
    if how in ('max', 'min'):
        found = extremes_of(x, index, num_groups, how == 'max')
        counts = counts_of(index, num_groups, x.dtype)
        return torch.where(by_rows(counts, x) > 0, found, torch.zeros_like(found))
    raise NotImplementedError(f"groups that are reduced by '{how}'")


def number_of(index: Tensor) -> Any:
    """How many groups, or nodes, an index names: one more than the largest."""
    number = index.max().item() + 1
    torch._check(number >= 1)
    return number
