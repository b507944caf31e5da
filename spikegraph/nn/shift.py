"""Graph shift operators: which edges, weights and factors a filter uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikegraph.coding import Spikes
from spikegraph.kernels import (
    Adjacency,
    gcn_adjacency,
    matrix_adjacency,
    member_adjacency,
    neighbor_adjacency,
)


@dataclass(frozen=True)
class GCNShift:
    r"""The symmetric normalisation :math:`\mathbf{\hat{D}}^{-1/2}
    \mathbf{\hat{A}} \mathbf{\hat{D}}^{-1/2}` of PyG's
    :class:`~torch_geometric.nn.conv.GCNConv`, or the plain adjacency if
    :obj:`normalize` is :obj:`False`.
    """

    improved: bool = False
    add_self_loops: bool = True
    normalize: bool = True
    flow: str = 'source_to_target'

    def __call__(
        self, x: Spikes | Tensor, edge_index: Any, edge_weight: Tensor | None = None
    ) -> Adjacency:
        """Prepares a graph; see :func:`spikegraph.kernels.gcn_adjacency`."""
        return gcn_adjacency(
            edge_index,
            edge_weight,
            x.shape[0],
            x.dtype,
            normalize=self.normalize,
            improved=self.improved,
            add_self_loops=self.add_self_loops,
            flow=self.flow,
        )


@dataclass(frozen=True)
class NeighborShift:
    """The sum, or the mean, over in-neighbours, in bipartite graphs too. Without
    :obj:`keeps_values`, those of a ``SparseTensor`` are no weights.
    """

    mean: bool = False
    add_self_loops: bool = False
    flow: str = 'source_to_target'
    keeps_values: bool = True

    def __call__(
        self,
        x: Spikes | Tensor,
        edge_index: Any,
        edge_weight: Tensor | None = None,
        num_targets: int | None = None,
    ) -> Adjacency:
        """Prepares a graph; see :func:`spikegraph.kernels.neighbor_adjacency`."""
        num_sources = x.shape[0]
        if num_targets is None:
            num_targets = num_sources
        return neighbor_adjacency(
            edge_index,
            edge_weight,
            num_sources,
            num_targets,
            x.dtype,
            mean=self.mean,
            add_self_loops=self.add_self_loops,
            keeps_values=self.keeps_values,
            flow=self.flow,
        )


@dataclass(frozen=True)
class MemberShift:
    """The sum, or the mean, over the members of each group: the nodes of a
    graph, or the edges that end in a node. Without an index, all are one group.
    """

    mean: bool = False

    def __call__(
        self,
        x: Spikes | Tensor,
        index: Tensor | None = None,
        num_groups: int | None = None,
    ) -> Adjacency:
        """Prepares an index; see :func:`spikegraph.kernels.member_adjacency`."""
        index, num_groups = groups_of(x, index, num_groups)
        num_members = x.shape[0]
        if index.numel() != num_members:
            raise ValueError(
                f"Expected 'index' to have {num_members} entries, one for each row of 'x' "
                f'(got {index.numel()})'
            )
        return member_adjacency(index, num_groups, x.dtype, mean=self.mean)


@dataclass(frozen=True)
class MatrixShift:
    """A matrix given by hand, sparse or dense, square or not: what
    ``torch.spmm(matrix, x)``, ``matrix @ x`` and ``matrix.matmul(x)`` multiply by.
    """

    def __call__(self, x: Spikes | Tensor, matrix: Any) -> Adjacency:
        """Prepares a matrix; see :func:`spikegraph.kernels.matrix_adjacency`."""
        return matrix_adjacency(matrix, x.shape[0], x.dtype)


def groups_of(
    x: Spikes | Tensor, index: Tensor | None, num_groups: int | None
) -> tuple[Tensor, int]:
    """The group of each row of ``x``, and how many there are: as many as are
    named if none is given, one group of all rows without an index.
    """
    if index is None:
        return torch.zeros(x.shape[0], dtype=torch.long, device=x.device), 1
    if num_groups is None:
        num_groups = int(index.max()) + 1 if index.numel() > 0 else 0
    return index, num_groups
