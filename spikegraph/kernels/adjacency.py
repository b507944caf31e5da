from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary
from torch_geometric.utils import (
    add_remaining_self_loops,
    is_sparse,
    scatter,
    to_edge_index,
)
from torch_geometric.utils import (
    add_self_loops as add_self_loops_to,
)


@dataclass(frozen=True, eq=False)
class Adjacency:
    r"""A graph in the form kernels read: edges sorted by destination (CSR),
    normalisation split into one factor per source and one per destination.

    .. math::
        y_i = c_i \sum_{j \in \mathcal{N}(i)} w_{ij} \, (c_j \, x_j)

    Args:
        rowptr (torch.Tensor): Where the in-edges of each node start,
            :math:`(N + 1)`.
        col (torch.Tensor): The source node of each edge, :math:`(E)`.
        weight (torch.Tensor, optional): The weight of each edge :math:`(E)`;
            :obj:`None` if all are 1, so that spikes are purely accumulated.
        factor (torch.Tensor, optional): The factor :math:`c_i = d_i^{-1/2}`
            of each node, :math:`(N, 1)`; :obj:`None` without normalisation.
    """

    rowptr: Tensor
    col: Tensor
    weight: Tensor | None
    factor: Tensor | None

    @property
    def num_nodes(self) -> int:
        """The number of nodes :math:`N`."""
        return self.rowptr.numel() - 1

    @property
    def num_edges(self) -> int:
        """The number of edges :math:`E`, self-loops included."""
        return self.col.numel()


def gcn_adjacency(
    edge_index: Tensor,
    edge_weight: Tensor | None,
    num_nodes: int,
    dtype: torch.dtype,
    *,
    normalize: bool = True,
    improved: bool = False,
    add_self_loops: bool = True,
    flow: str = 'source_to_target',
) -> Adjacency:
    r"""Prepares a graph for GCN aggregation, with the meaning of PyG's
    :class:`~torch_geometric.nn.conv.GCNConv`.

    The result is kept for as long as :obj:`edge_index` lives and is made anew
    when :obj:`edge_index` or :obj:`edge_weight` change, in place or not.

    Args:
        edge_index (torch.Tensor): Edge indices :math:`(2, E)`, or the
            transposed adjacency as a :obj:`torch.sparse` CSR or COO tensor.
        edge_weight (torch.Tensor, optional): Edge weights :math:`(E)`.
        num_nodes (int): The number of nodes :math:`N`.
        dtype (torch.dtype): The data type of weights and factors.
        normalize (bool, optional): Whether to normalise by degree.
        improved (bool, optional): Whether self-loops weigh 2, as in PyG.
        add_self_loops (bool, optional): Whether to add missing self-loops.
        flow (str, optional): Which row of :obj:`edge_index` is the source.

    Raises:
        ValueError: If :obj:`edge_index` has the wrong type or shape or names
            a node that does not exist, or if the weights do not fit.
    """
    options = (num_nodes, dtype, normalize, improved, add_self_loops, flow)
    cached = _lookup(edge_index, edge_weight, options)
    if cached is not None:
        return cached
    fill_value = 2.0 if improved else 1.0
    if is_sparse(edge_index):
        _check_sparse(edge_index, num_nodes)
        adj = edge_index
        if adj.layout == torch.sparse_coo:
            adj = adj.coalesce()
        if normalize and add_self_loops:
            adj, _ = add_self_loops_to(adj, None, fill_value, num_nodes)
        (target, source), weight = to_edge_index(adj)  # Rows are destinations.
        if bool((weight == 1).all()):
            weight = None
    else:
        _check_edge_index(edge_index, num_nodes)
        weight = edge_weight
        if weight is not None:
            _check_edge_weight(weight, edge_index)
        edges = edge_index
        if normalize and add_self_loops:
            edges, weight = add_remaining_self_loops(
                edges, weight, fill_value, num_nodes
            )
        source, target = edges if flow == 'source_to_target' else edges.flip(0)
    if weight is not None:
        weight = weight.detach().to(dtype)
    factor = None
    if normalize:
        ones = torch.ones(target.numel(), dtype=dtype, device=target.device)
        degree = scatter(
            ones if weight is None else weight, target, dim=0, dim_size=num_nodes
        )
        factor = degree.pow(-0.5)
        factor = factor.masked_fill(factor == float('inf'), 0.0).view(-1, 1)
    order = target.sort(stable=True).indices
    counts = torch.bincount(target, minlength=num_nodes)
    adjacency = Adjacency(
        rowptr=torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
        col=source[order].contiguous(),
        weight=None if weight is None else weight[order],
        factor=factor,
    )
    _store(edge_index, edge_weight, options, adjacency)
    return adjacency


# One entry per living graph: its version, its weights (held, so that their
# identity stays theirs) and the adjacency for each set of options.
_CACHE = WeakTensorKeyDictionary()


def _version(tensor: Tensor | None) -> int | None:
    if tensor is None:
        return 0
    return None if tensor.is_inference() else tensor._version


def _lookup(
    edge_index: Tensor, edge_weight: Tensor | None, options: tuple[Any, ...]
) -> Adjacency | None:
    if not isinstance(edge_index, Tensor):
        raise ValueError(
            "Expected 'edge_index' to be a tensor of edge indices [2, E] or a "
            f'torch.sparse CSR or COO adjacency (got {type(edge_index).__name__})'
        )
    entry = _CACHE.get(edge_index)
    if entry is None or _version(edge_index) is None or _version(edge_weight) is None:
        return None
    versions, weight, prepared = entry
    if weight is not edge_weight:
        return None
    if versions != (_version(edge_index), _version(edge_weight)):
        return None
    return prepared.get(options)


def _store(
    edge_index: Tensor,
    edge_weight: Tensor | None,
    options: tuple[Any, ...],
    adjacency: Adjacency,
) -> None:
    versions = (_version(edge_index), _version(edge_weight))
    if None in versions:
        return
    entry = _CACHE.get(edge_index)
    if entry is None or entry[0] != versions or entry[1] is not edge_weight:
        entry = (versions, edge_weight, {})
        _CACHE[edge_index] = entry
    entry[2][options] = adjacency


def _check_edge_index(edge_index: Tensor, num_nodes: int) -> None:
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(
            "Expected 'edge_index' to have shape [2, num_edges] "
            f'(got {list(edge_index.shape)})'
        )
    if edge_index.dtype not in (torch.int64, torch.int32):
        raise ValueError(
            "Expected 'edge_index' to hold integers, int64 or int32 "
            f"(got {edge_index.dtype}); use 'edge_index.long()'"
        )
    if edge_index.numel() == 0:
        return
    low, high = int(edge_index.min()), int(edge_index.max())
    if low < 0 or high >= num_nodes:
        raise ValueError(
            f"Expected 'edge_index' to hold nodes 0 to {num_nodes - 1}, as 'x' has "
            f'{num_nodes} rows (got node {low if low < 0 else high})'
        )


def _check_edge_weight(weight: Tensor, edge_index: Tensor) -> None:
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


def _check_sparse(adj: Tensor, num_nodes: int) -> None:
    if adj.layout not in (torch.sparse_csr, torch.sparse_coo):
        raise ValueError(
            "Expected a sparse 'edge_index' to have CSR or COO layout "
            f"(got {adj.layout}); use 'adj.to_sparse_csr()'"
        )
    if tuple(adj.shape) != (num_nodes, num_nodes):
        raise ValueError(
            f'Expected the sparse adjacency to have shape {[num_nodes, num_nodes]}, as '
            f"'x' has {num_nodes} rows (got {list(adj.shape)})"
        )
