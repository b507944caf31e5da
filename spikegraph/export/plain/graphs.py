"""Graphs as sources, destinations and factors of edges, all computed in the program
from what it is given, so that it fits any graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikegraph.export.plain.segments import (
    by_rows,
    counts_of,
    ends_of,
    number_of,
    sums_of,
)
from spikegraph.kernels.forms import is_sparse
from spikegraph.nn.conv.cheb_conv import LaplacianShift
from spikegraph.nn.conv.cluster_gcn_conv import ClusterShift
from spikegraph.nn.conv.hypergraph_conv import HyperedgeShift
from spikegraph.nn.conv.rgcn_conv import RelationShift
from spikegraph.nn.shift import GCNShift, MatrixShift, MemberShift, NeighborShift


@dataclass(frozen=True, eq=False)
class PlainGraph:
    r"""Edges as they were given.

    .. math::
        y_i = b_i \Big( \sum_{j \in \mathcal{N}(i)} w_{ij} \, (a_j \, x_j) + c_i
        \, (a_i \, x_i) \Big)

    Args:
        source (torch.Tensor, optional): The source of each edge :math:`(E)`;
            :obj:`None` if each row is an edge of its own.
        target (torch.Tensor): The destination of each edge :math:`(E)`.
        num_targets (int): The number of destinations :math:`N`.
        weight (torch.Tensor, optional): The weight of each edge :math:`(E)`.
        own (torch.Tensor, optional): The weight of a self-loop of each node :math:`(N)`.
        source_factor (torch.Tensor, optional): The factor of each source :math:`(M)`.
        target_factor (torch.Tensor, optional): That of each destination :math:`(N)`.
    """

    source: Tensor | None
    target: Tensor
    num_targets: Any
    weight: Tensor | None = None
    own: Tensor | None = None
    source_factor: Tensor | None = None
    target_factor: Tensor | None = None

    def propagate(self, x: Tensor) -> Tensor:
        """The sums :math:`(N, *)` of values :math:`(M, *)`."""
        sent = x if self.source_factor is None else by_rows(self.source_factor, x) * x
        out = self._sums(sent)
        if self.own is not None:
            out = out + by_rows(self.own, x) * sent
        return (
            out if self.target_factor is None else by_rows(self.target_factor, x) * out
        )

    def _sums(self, sent: Tensor) -> Tensor:
        messages = sent
        if self.source is not None:
            messages = sent.index_select(0, self.source)
        if self.weight is not None:
            messages = by_rows(self.weight, sent) * messages
        return sums_of(messages, self.target, self.num_targets)


@dataclass(frozen=True, eq=False)
class PlainMatrix:
    """A dense matrix in the place of a graph.

    Args:
        matrix (torch.Tensor): The matrix :math:`(N, M)`.
    """

    matrix: Tensor

    @property
    def num_targets(self) -> Any:
        """The number of destinations."""
        return self.matrix.shape[0]

    def propagate(self, x: Tensor) -> Tensor:
        """The products :math:`(N, *)` with values :math:`(M, *)`."""
        found = self.matrix.to(x.dtype) @ x.flatten(1)
        return found.view(self.matrix.shape[0], *x.shape[1:])


class Graphs:
    """What is made of graphs, once for all layers of a pass.

    Layers that read the same edges share degrees, and groups without a number of their
    own share it.
    """

    def __init__(self) -> None:
        self._made: dict[Any, Any] = {}
        self._kept: list[Any] = []  # No other tensor gets their address.

    def of(self, shift: Any, x: Any, graph: tuple[Any, ...]) -> Any:
        """The graph that a layer reads.

        Raises:
            NotImplementedError: If the program cannot make it.
        """
        build = _BUILDERS.get(type(shift))
        if build is None:
            raise NotImplementedError(
                f'edges as {type(shift).__name__} prepares them, which has no plain form'
            )
        key = (shift, x.dtype, *map(self._key, (x.shape[0], *graph)))
        if key not in self._made:
            self._made[key] = build(self, shift, x, *graph)
        return self._made[key]

    def groups(self, x: Any, index: Any, num_groups: Any) -> tuple[Tensor, Any]:
        """The group of each row and how many there are."""
        if index is None:
            zeros = torch.zeros(x.shape[0], dtype=torch.int64, device=x.device)
            return zeros, 1
        if num_groups is None:
            key = ('number', self._key(index))
            if key not in self._made:
                self._made[key] = number_of(index)
            num_groups = self._made[key]
        return index, num_groups

    def _key(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            self._kept.append(value)
            return id(value)
        return str(value)  # Of a symbol, comparing would ask for its value.


def _gcn(
    graphs: Graphs, shift: GCNShift, x: Any, edge_index: Any, edge_weight: Any = None
) -> PlainGraph:
    source, target = ends_of(edge_index, shift.flow)
    num, dtype = x.shape[0], x.dtype
    weight = None if edge_weight is None else edge_weight.view(-1).to(dtype)
    own = None
    if shift.normalize and shift.add_self_loops:
        is_loop = source == target
        own = torch.ones(num, dtype=dtype, device=target.device)
        if weight is not None:
            own = _remaining(
                weight, is_loop, target, num, 2.0 if shift.improved else 1.0
            )
        weight = torch.where(is_loop, 0.0, 1.0 if weight is None else weight).to(dtype)
    factor = None
    if shift.normalize:
        counts = weight
        if counts is None:
            counts = torch.ones(target.shape[0], dtype=dtype, device=target.device)
        degree = sums_of(counts, target, num)
        degree = degree if own is None else degree + own
        factor = _inverse_root(degree)
    return PlainGraph(source, target, num, weight, own, factor, factor)


def _inverse_root(degree: Tensor) -> Tensor:
    """The reciprocal of the root, or zero."""
    factor = degree.pow(-0.5)
    return torch.where(factor == float('inf'), 0.0, factor)


def _remaining(
    weight: Tensor, is_loop: Tensor, node: Tensor, num_nodes: Any, value: float
) -> Tensor:
    """The weight of each node's self-loop: of the last that is given, or a value."""
    place = torch.arange(1, node.shape[0] + 1, device=node.device)
    place = torch.where(is_loop, place, 0)
    last = place.new_zeros(num_nodes).scatter_reduce(0, node.long(), place, 'amax')
    return torch.cat([weight.new_full((1,), value), weight])[last]


def _neighbors(
    graphs: Graphs,
    shift: NeighborShift,
    x: Any,
    edge_index: Any,
    edge_weight: Any = None,
    num_targets: Any = None,
) -> PlainGraph:
    source, target = ends_of(edge_index, shift.flow)
    num = x.shape[0] if num_targets is None else num_targets
    weight = None if edge_weight is None else edge_weight.view(-1).to(x.dtype)
    own = factor = None
    if shift.add_self_loops:
        own = torch.ones(num, dtype=x.dtype, device=target.device)
    if shift.mean:
        counts = counts_of(target, num, x.dtype)
        counts = counts if own is None else counts + own
        factor = counts.clamp(min=1).reciprocal()
    return PlainGraph(source, target, num, weight, own, None, factor)


def _members(
    graphs: Graphs, shift: MemberShift, x: Any, index: Any = None, num: Any = None
) -> PlainGraph:
    index, num = graphs.groups(x, index, num)
    factor = None
    if shift.mean:
        factor = counts_of(index, num, x.dtype).clamp(min=1).reciprocal()
    return PlainGraph(None, index, num, target_factor=factor)


def _relation(
    graphs: Graphs,
    shift: RelationShift,
    x: Any,
    edge_index: Any,
    edge_type: Tensor,
    num_targets: Any = None,
) -> PlainGraph:
    source, target = ends_of(edge_index, shift.flow)
    num = x.shape[0] if num_targets is None else num_targets
    weight, factor = (edge_type == shift.relation).to(x.dtype), None
    if shift.mean:
        factor = sums_of(weight, target, num).clamp(min=1).reciprocal()
    return PlainGraph(source, target, num, weight, target_factor=factor)


def _hyperedges(
    graphs: Graphs,
    shift: HyperedgeShift,
    x: Any,
    hyperedge_index: Tensor,
    hyperedge_weight: Any = None,
    num_targets: Any = None,
) -> PlainGraph:
    node, edge = hyperedge_index[0], hyperedge_index[1]
    source, target = (node, edge) if shift.to_edges else (edge, node)
    _, num = graphs.groups(x, target, num_targets)
    total = torch.ones(source.shape[0], dtype=x.dtype, device=x.device)
    if hyperedge_weight is not None:
        total = hyperedge_weight[edge].to(x.dtype)
    total = sums_of(total, target, num)
    factor = torch.where(total == 0, 0.0, 1 / total)
    return PlainGraph(source, target, num, target_factor=factor)


def _cluster(
    graphs: Graphs, shift: ClusterShift, x: Any, edge_index: Any
) -> PlainGraph:
    source, target = ends_of(edge_index)
    num, is_loop = x.shape[0], source == target
    keep = torch.ones(target.shape[0], dtype=torch.float32, device=target.device)
    own = None
    if shift.add_self_loops:
        keep = torch.where(is_loop, 0.0, keep)
        own = torch.ones(num, dtype=torch.float32, device=target.device)
    total = sums_of(keep, target, num)
    total = 1 / (total if own is None else total + own).clamp(min=1)
    weight = total[target] * keep
    weight = weight + is_loop * shift.diag_lambda * weight
    own = None if own is None else (total + shift.diag_lambda * total).to(x.dtype)
    if shift.flow != 'source_to_target':
        source, target = target, source
    return PlainGraph(source, target, num, weight.to(x.dtype), own)


def _laplacian(
    graphs: Graphs,
    shift: LaplacianShift,
    x: Any,
    edge_index: Any,
    edge_weight: Any = None,
    batch: Any = None,
    lambda_max: Any = None,
) -> PlainGraph:
    row, col = ends_of(edge_index)
    num, keep = x.shape[0], row != col
    weight = torch.ones((), dtype=x.dtype, device=row.device)
    weight = weight if edge_weight is None else edge_weight.view(-1).to(x.dtype)
    weight = torch.where(keep, weight, 0.0)
    degree = sums_of(weight, row, num)
    own = torch.ones_like(degree)
    if shift.normalization is None:
        weight, own = -weight, degree
    elif shift.normalization == 'sym':
        factor = _inverse_root(degree)
        weight = -(factor[row] * weight * factor[col])
    else:
        weight = -(torch.where(degree == 0, 0.0, 1 / degree)[row] * weight)
    of_edge = of_node = lambda_max
    if lambda_max is None:
        largest = torch.where(keep, weight, -float('inf'))
        of_edge = of_node = 2.0 * torch.cat([largest, own]).max()
    elif batch is not None and isinstance(lambda_max, Tensor) and lambda_max.dim() > 0:
        of_node = lambda_max.to(x.dtype)[batch]
        of_edge = of_node[row]
    weight, own = 2.0 * weight / of_edge, 2.0 * own / of_node
    weight, own = (torch.where(v == float('inf'), 0.0, v) for v in (weight, own))
    source, target = (row, col) if shift.flow == 'source_to_target' else (col, row)
    return PlainGraph(source, target, num, weight, own - 1)


def _matrix(graphs: Graphs, shift: MatrixShift, x: Any, matrix: Any) -> PlainMatrix:
    if is_sparse(matrix):
        raise NotImplementedError(
            'a sparse matrix, of which the layers read the entries; convert and export '
            "with a dense one, or with an 'edge_index' [2, E]"
        )
    return PlainMatrix(matrix)


_BUILDERS: dict[type, Callable[..., Any]] = {
    GCNShift: _gcn,
    NeighborShift: _neighbors,
    MemberShift: _members,
    RelationShift: _relation,
    HyperedgeShift: _hyperedges,
    ClusterShift: _cluster,
    LaplacianShift: _laplacian,
    MatrixShift: _matrix,
}
