from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from spikegraph.kernels.contents import digest, is_trusted, once_per_pass, trust
from spikegraph.kernels.csr import CSR
from spikegraph.kernels.graph import check_index
from spikegraph.kernels.sorting import sort_edges


@dataclass(frozen=True, eq=False)
class Adjacency:
    r"""A graph in the form kernels read: edges sorted by destination (CSR),
    normalisation split into one factor per source and one per destination.

    .. math::
        y_i = b_i \sum_{j \in \mathcal{N}(i)} w_{ij} \, (a_j \, x_j)

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
            used after a change of its contents, if :obj:`rowptr` does not divide the
            edges or :obj:`col` names a node that does not exist.
    """

    rowptr: Tensor
    col: Tensor
    weight: Tensor | None = None
    source_factor: Tensor | None = None
    target_factor: Tensor | None = None
    num_sources: int = 0
    matrix: Tensor | None = None
    _checked: Hashable = field(default=None, init=False, repr=False)
    _made: list[Any] = field(default_factory=list, init=False, repr=False)

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
        if is_trusted(self):
            return self
        state = self._state()
        if self._checked != state:
            bounds, num = self.rowptr, self.num_edges
            ends = int(bounds[0]), int(bounds[-1])
            if ends != (0, num) or bool((bounds.diff() < 0).any()):
                raise ValueError(
                    f"Expected 'rowptr' to grow from 0 to the {num} edges of 'col' "
                    f'(got {ends[0]} to {ends[1]})'
                )
            check_index('col', self.col, self.num_sources)
            object.__setattr__(self, '_checked', state)
        return self

    def _trusted(self) -> Adjacency:
        if not trust(self):
            object.__setattr__(self, '_checked', self._state())
        return self

    def _state(self) -> Hashable:
        """What the edges are; in a pass read once, also for graphs that share them."""
        return once_per_pass(self.col, f'edges {id(self.rowptr)}', self._read)[1]

    def _read(self) -> tuple[Tensor, Hashable]:
        return self.rowptr, (digest(self.rowptr), digest(self.col))

    @property
    def csr(self) -> CSR:
        """What kernels read of the graph."""
        factors = self.source_factor, self.target_factor
        return CSR(self.rowptr, self.col, self.weight, *factors)

    @property
    def num_targets(self) -> int:
        """The number of destination nodes :math:`N`."""
        return self.rowptr.numel() - 1

    @property
    def num_edges(self) -> int:
        """The number of edges :math:`E`, self-loops included."""
        return self.col.numel()

    @property
    def edge_factor(self) -> Tensor | None:
        """The weight of each edge times the factor of its source :math:`(E)`, kept
        until either changes.
        """
        weight, factor = self.weight, self.source_factor
        if weight is None or factor is None:
            return weight
        return once_per_pass(self, 'edge_factor', self._multiply)

    def _multiply(self) -> Tensor:
        weight, factor = self.weight, self.source_factor
        assert weight is not None and factor is not None
        state = digest(self.col), digest(weight), digest(factor)
        if not self._made or self._made[0] != state:
            self._made[:] = state, weight * factor.view(-1)[self.col]
        return self._made[1]

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
