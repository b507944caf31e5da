from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.utils import add_remaining_self_loops, is_sparse, scatter
from torch_geometric.utils import (
    add_self_loops as add_self_loops_to,
)

from spikegraph.kernels.forms import entries_of, shape_of
from spikegraph.kernels.graph import check_index, edges_of, prepared, version_of
from spikegraph.kernels.sorting import sort_edges

DENSE = 0.5  # Entries that are not zero: with more, a dense product is sooner.


@dataclass(frozen=True, eq=False)
class Adjacency:
    r"""A graph in the form kernels read: edges sorted by destination (CSR),
    normalisation split into one factor per source and one per destination.

    .. math::
        y_i = b_i \sum_{j \in \mathcal{N}(i)} w_{ij} \, (a_j \, x_j)

    What is made of the weights is kept: to change them, make another one.

    Args:
        rowptr (torch.Tensor): Where the in-edges of each node start,
            :math:`(N + 1)`.
        col (torch.Tensor): The source node of each edge, :math:`(E)`.
        weight (torch.Tensor, optional): The weight of each edge :math:`(E)`;
            :obj:`None` if all are 1, so that spikes are purely accumulated.
        source_factor (torch.Tensor, optional): The factor :math:`a_j` of each
            source, such as :math:`d_j^{-1/2}`, of shape :math:`(M, 1)`.
        target_factor (torch.Tensor, optional): The factor :math:`b_i` of each
            destination :math:`(N, 1)`.
        num_sources (int): The number of source nodes :math:`M`.
        matrix (torch.Tensor, optional): All of the edges as a matrix :math:`(N, M)`,
            where so many have weights that a dense product is sooner.

    Raises:
        ValueError: If shapes or types do not fit; when the graph is first used, or
            used after a change in place, if :obj:`rowptr` does not divide the edges
            or :obj:`col` names a node that does not exist. Changes of tensors made
            in inference mode go unnoticed, as PyTorch does not count them.
    """

    rowptr: Tensor
    col: Tensor
    weight: Tensor | None = None
    source_factor: Tensor | None = None
    target_factor: Tensor | None = None
    num_sources: int = 0
    matrix: Tensor | None = None
    _checked: tuple[int | None, ...] = field(default=(), init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ('rowptr', 'col'):
            index = getattr(self, name)
            if index.dim() != 1 or index.dtype not in (torch.int32, torch.int64):
                raise ValueError(
                    f"Expected '{name}' to have one dimension, of int32 or int64 "
                    f'(got shape {list(index.shape)} of {index.dtype})'
                )
        if self.rowptr.numel() == 0:
            raise ValueError("Expected 'rowptr' to start with 0 (got no values)")
        sizes = {
            'weight': (self.num_edges,),
            'source_factor': (self.num_sources, 1),
            'target_factor': (self.num_targets, 1),
            'matrix': (self.num_targets, self.num_sources),
        }
        for name, size in sizes.items():
            factor = getattr(self, name)
            if factor is not None and factor.shape != size:
                raise ValueError(
                    f"Expected '{name}' to have shape {list(size)} (got "
                    f'{list(factor.shape)})'
                )
        for name in ('rowptr', 'col', *sizes):  # Kernels read them without gaps.
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, value.contiguous())

    @property
    def checked(self) -> Adjacency:
        """The graph itself, whose numbers lie in range."""
        if self._checked != self._versions():
            bounds, num = self.rowptr, self.num_edges
            ends = int(bounds[0]), int(bounds[-1])
            if ends != (0, num) or bool((bounds.diff() < 0).any()):
                raise ValueError(
                    f"Expected 'rowptr' to grow from 0 to the {num} edges of 'col' "
                    f'(got {ends[0]} to {ends[1]})'
                )
            check_index('col', self.col, self.num_sources)
        return self._trusted()

    def _trusted(self) -> Adjacency:
        object.__setattr__(self, '_checked', self._versions())
        return self

    def _versions(self) -> tuple[int | None, ...]:
        return version_of(self.rowptr), version_of(self.col)

    @property
    def num_targets(self) -> int:
        """The number of destination nodes :math:`N`."""
        return self.rowptr.numel() - 1

    @property
    def num_edges(self) -> int:
        """The number of edges :math:`E`, self-loops included."""
        return self.col.numel()

    @functools.cached_property
    def edge_factor(self) -> Tensor | None:
        """The weight of each edge times the factor of its source :math:`(E)`."""
        if self.weight is None or self.source_factor is None:
            return self.weight
        return self.weight * self.source_factor.view(-1)[self.col]

    def without_factors(self) -> Adjacency:
        """The same edges and weights."""
        if self.source_factor is None and self.target_factor is None:
            return self
        return replace(self.checked, source_factor=None, target_factor=None)._trusted()

    @classmethod
    def from_edges(
        cls,
        source: Tensor,
        target: Tensor,
        weight: Tensor | None,
        num_sources: int,
        num_targets: int,
        source_factor: Tensor | None = None,
        target_factor: Tensor | None = None,
    ) -> Adjacency:
        """Sorts edges by destination, those of one destination as given.

        Raises:
            ValueError: If an edge names a node that does not exist, or shapes or
                types do not fit.
        """
        size = target.shape
        for name, value in {
            'source': source,
            'target': target,
            'weight': weight,
        }.items():
            if value is not None and (value.dim() != 1 or value.shape != size):
                raise ValueError(
                    f"Expected '{name}' to have one dimension, of as many edges as "
                    f"'target' (got shapes {list(value.shape)} and {list(size)})"
                )
        check_index('source', source, num_sources)
        check_index('target', target, num_targets)
        rowptr, col, order = sort_edges(
            *(source, target, num_sources, num_targets), with_order=weight is not None
        )
        return cls(
            rowptr=rowptr,
            col=col,
            weight=None if weight is None else weight.detach()[order],
            source_factor=source_factor,
            target_factor=target_factor,
            num_sources=num_sources,
        )._trusted()


def own_adjacency(num_nodes: int, device: torch.device) -> Adjacency:
    """Every node as its only neighbour."""
    rowptr = torch.arange(num_nodes + 1, device=device)
    return Adjacency(rowptr, rowptr[:-1].int(), num_sources=num_nodes)._trusted()


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
    adds_loops = normalize and add_self_loops
    fill_value = 2.0 if improved else 1.0

    def build() -> Adjacency:
        edges, weights = edge_index, edge_weight
        given = edges_of(edges, weights, num_nodes, num_nodes, flow)  # Checks them.
        if given[2] is None and not is_sparse(edges) and not improved:
            return _unweighted(*given[:2], num_nodes, dtype, adds_loops, normalize)
        if is_sparse(edges):
            if adds_loops:
                edges = edges.coalesce() if edges.is_sparse else edges
                edges, _ = add_self_loops_to(edges, None, fill_value, num_nodes)
        elif adds_loops:
            edges, weights = add_remaining_self_loops(
                edges, weights, fill_value, num_nodes
            )
        source, target, weight = edges_of(edges, weights, num_nodes, num_nodes, flow)
        weight = None if weight is None else weight.detach().view(-1).to(dtype)
        factor = None
        if normalize:
            ones = torch.ones(target.numel(), dtype=dtype, device=target.device)
            factor = _gcn_factor(
                scatter(ones if weight is None else weight, target, dim_size=num_nodes)
            )
        return Adjacency.from_edges(
            source, target, weight, num_nodes, num_nodes, factor, factor
        )

    options = ('gcn', num_nodes, dtype, normalize, improved, add_self_loops, flow)
    return prepared(edge_index, edge_weight, options, build)


def _unweighted(
    source: Tensor,
    target: Tensor,
    num_nodes: int,
    dtype: torch.dtype,
    loops: bool,
    normalize: bool,
) -> Adjacency:
    """The graph of a GCN whose edges all weigh 1, and are counted when sorted."""
    rowptr, col, _ = sort_edges(
        source, target, num_nodes, num_nodes, loops=loops, with_order=False
    )
    factor = _gcn_factor(rowptr.diff().to(dtype)) if normalize else None
    return Adjacency(rowptr, col, None, factor, factor, num_nodes)._trusted()


def _gcn_factor(degree: Tensor) -> Tensor:
    factor = degree.pow(-0.5)
    return factor.masked_fill(factor == float('inf'), 0.0).view(-1, 1)


def neighbor_adjacency(
    edge_index: Tensor,
    edge_weight: Tensor | None,
    num_sources: int,
    num_targets: int,
    dtype: torch.dtype,
    *,
    mean: bool = False,
    flow: str = 'source_to_target',
) -> Adjacency:
    r"""Prepares a graph, bipartite or not, for the sum or the mean over
    in-neighbours; kept like that of :func:`gcn_adjacency`.

    Args:
        edge_index (torch.Tensor): Edge indices :math:`(2, E)`, or the
            transposed adjacency as a :obj:`torch.sparse` CSR or COO tensor.
        edge_weight (torch.Tensor, optional): Edge weights :math:`(E)`.
        num_sources (int): The number of source nodes :math:`M`.
        num_targets (int): The number of destination nodes :math:`N`.
        dtype (torch.dtype): The data type of weights and factors.
        mean (bool, optional): Whether to divide by the number of in-edges.
        flow (str, optional): Which row of :obj:`edge_index` is the source.

    Raises:
        ValueError: As :func:`gcn_adjacency`.
    """

    def build() -> Adjacency:
        source, target, weight = edges_of(
            edge_index, edge_weight, num_sources, num_targets, flow
        )
        weight = None if weight is None else weight.view(-1).to(dtype)
        factor = _mean_factor(target, num_targets, dtype) if mean else None
        return Adjacency.from_edges(
            source, target, weight, num_sources, num_targets, None, factor
        )

    options = ('neighbor', num_sources, num_targets, dtype, mean, flow)
    return prepared(edge_index, edge_weight, options, build)


def matrix_adjacency(matrix: Any, num_sources: int, dtype: torch.dtype) -> Adjacency:
    r"""Prepares a matrix :math:`\mathbf{A}` for the product :math:`\mathbf{A} \,
    \mathbf{X}`: its columns are sources, its rows destinations, its entries
    weighted edges. Kept like the graph of :func:`gcn_adjacency`.

    A dense matrix is taken as a sparse one where at most half of its entries are not
    zero, else multiplied as it is, which is sooner then.

    Args:
        matrix (torch.Tensor): The matrix :math:`(N, M)`, dense or as a
            :obj:`torch.sparse` COO, CSR or CSC tensor, a
            ``torch_sparse.SparseTensor`` or an ``EdgeIndex``, whose first row are
            rows.
        num_sources (int): The number of source nodes :math:`M`.
        dtype (torch.dtype): The data type of weights.

    Raises:
        ValueError: If it is no matrix, has another number of columns or values
            that are not finite.
    """
    shape = shape_of(matrix)
    if shape[1] != num_sources:
        raise ValueError(
            f"Expected 'matrix' to have {num_sources} columns, one for each row of "
            f"'x' (got shape {list(shape)})"
        )

    def build() -> Adjacency:
        row, col, value, (num_rows, _) = entries_of(matrix)
        value = None if value is None else value.to(dtype)
        found = Adjacency.from_edges(col, row, value, num_sources, num_rows)
        is_dense = isinstance(matrix, Tensor) and matrix.layout == torch.strided
        is_dense &= not isinstance(matrix, EdgeIndex)
        if is_dense and found.num_edges > DENSE * num_rows * num_sources:
            given = matrix.detach().to(dtype, copy=True).contiguous()
            return replace(found, matrix=given)._trusted()
        return found

    return prepared(matrix, None, ('matrix', num_sources, dtype), build)


def member_adjacency(
    index: Tensor,
    num_groups: int,
    dtype: torch.dtype,
    *,
    mean: bool = False,
) -> Adjacency:
    r"""Prepares the sum or the mean over the members of each group, such as
    the nodes of a graph in a batch, or the edges that end in a node.

    Args:
        index (torch.Tensor): The group of each member :math:`(M)`.
        num_groups (int): The number of groups :math:`N`.
        dtype (torch.dtype): The data type of the factors.
        mean (bool, optional): Whether to divide by the size of the group.

    Raises:
        ValueError: If the index has another shape or type, or names a group
            that does not exist.
    """
    if index.dim() != 1:
        raise ValueError(
            "Expected 'index' to have one dimension, a group per row "
            f'(got shape {list(index.shape)})'
        )

    def build() -> Adjacency:
        check_index('index', index, num_groups)
        members = torch.arange(index.numel(), device=index.device)
        factor = _mean_factor(index, num_groups, dtype) if mean else None
        return Adjacency.from_edges(
            members, index, None, index.numel(), num_groups, None, factor
        )

    return prepared(index, None, ('member', num_groups, dtype, mean), build)


def _mean_factor(target: Tensor, num_targets: int, dtype: torch.dtype) -> Tensor:
    counts = torch.bincount(target, minlength=num_targets).clamp(min=1)
    return counts.to(dtype).reciprocal().view(-1, 1)
