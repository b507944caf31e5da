"""Graphs, matrices and groups as users give them, prepared for the kernels and kept
for as long as they stay what they are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.utils import add_remaining_self_loops, scatter
from torch_geometric.utils import add_self_loops as add_self_loops_to

from spikegraph.kernels.adjacency import Adjacency
from spikegraph.kernels.forms import entries_of, is_foreign, is_sparse, plain, shape_of
from spikegraph.kernels.graph import check_index, edges_of, prepared
from spikegraph.kernels.scaling import factors_of
from spikegraph.kernels.sorting import sort_edges

DENSE = 0.5  # Entries that are not zero: with more, a dense product is sooner.


def gcn_adjacency(
    edge_index: Any,
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
    when :obj:`edge_index` or :obj:`edge_weight` hold something else, however that
    was written.

    Args:
        edge_index (torch.Tensor): Edge indices :math:`(2, E)`, as a tensor or an
            ``EdgeIndex``, or the transposed adjacency as a :obj:`torch.sparse` COO,
            CSR or CSC tensor or a ``torch_sparse.SparseTensor``.
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
        source, target, weight = edges_of(
            edge_index, edge_weight, num_nodes, num_nodes, flow
        )
        merges = is_sparse(edge_index) and not is_foreign(edge_index)
        if weight is None and not improved and not merges:
            rowptr, col, _ = sort_edges(  # Which counts the edges.
                *(source, target, num_nodes, num_nodes),
                loops=adds_loops,
                with_order=False,
            )
            factor = _gcn_factor(rowptr.diff().to(dtype)) if normalize else None
            return Adjacency(rowptr, col, None, factor, factor, num_nodes)._trusted()
        if adds_loops and is_sparse(edge_index):
            source, target, weight = _with_diagonal(
                source, target, weight, num_nodes, dtype, fill_value, not merges
            )
        elif adds_loops:
            edges, weight = add_remaining_self_loops(
                torch.stack([source, target]), weight, fill_value, num_nodes
            )
            source, target = edges
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


def _with_diagonal(
    source: Tensor,
    target: Tensor,
    weight: Tensor | None,
    num_nodes: int,
    dtype: torch.dtype,
    value: float,
    replaces: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The entries of a sparse adjacency with a diagonal: in place of the one it has,
    as PyG does with a ``SparseTensor``, or added to it, as with :mod:`torch.sparse`.
    """
    if weight is None:
        weight = torch.ones(source.numel(), dtype=dtype, device=source.device)
    if replaces:
        keep = source != target
        source, target, weight = source[keep], target[keep], weight[keep]
    loop = torch.arange(num_nodes, device=source.device)
    index = torch.stack([torch.cat([target, loop]), torch.cat([source, loop])])
    values = torch.cat(
        [weight.to(dtype), weight.new_full((num_nodes,), value, dtype=dtype)]
    )
    full = torch.sparse_coo_tensor(index, values, (num_nodes, num_nodes)).coalesce()
    (target, source), weight = full.indices(), full.values()
    return source, target, None if bool((weight == 1).all()) else weight


def _gcn_factor(degree: Tensor) -> Tensor:
    factor = degree.pow(-0.5)
    return factor.masked_fill(factor == float('inf'), 0.0).view(-1, 1)


def neighbor_adjacency(
    edge_index: Any,
    edge_weight: Tensor | None,
    num_sources: int,
    num_targets: int,
    dtype: torch.dtype,
    *,
    mean: bool = False,
    add_self_loops: bool = False,
    keeps_values: bool = True,
    flow: str = 'source_to_target',
) -> Adjacency:
    r"""Prepares a graph, bipartite or not, for the sum or the mean over
    in-neighbours; kept like that of :func:`gcn_adjacency`. Weights that are products
    of factors of nodes become these; see :func:`~spikegraph.kernels.scaling.factors_of`.

    Args:
        edge_index (torch.Tensor): Edge indices :math:`(2, E)`, as a tensor or an
            ``EdgeIndex``, or the transposed adjacency as a :obj:`torch.sparse` COO,
            CSR or CSC tensor or a ``torch_sparse.SparseTensor``.
        edge_weight (torch.Tensor, optional): Edge weights :math:`(E)`.
        num_sources (int): The number of source nodes :math:`M`.
        num_targets (int): The number of destination nodes :math:`N`.
        dtype (torch.dtype): The data type of weights and factors.
        mean (bool, optional): Whether to divide by the number of in-edges.
        add_self_loops (bool, optional): Whether every node is one of its own
            in-neighbours, once more if it is already.
        keeps_values (bool, optional): Whether the values of a ``SparseTensor`` are
            weights, which some of PyG's layers leave out.
        flow (str, optional): Which row of :obj:`edge_index` is the source.

    Raises:
        ValueError: As :func:`gcn_adjacency`.
    """

    def build() -> Adjacency:
        source, target, weight = edges_of(
            edge_index, edge_weight, num_sources, num_targets, flow
        )
        if is_foreign(edge_index) and not keeps_values:
            weight = None
        if add_self_loops and is_sparse(edge_index):
            source, target, weight = _with_diagonal(
                *(source, target, weight, num_sources, dtype, 1.0),
                replaces=is_foreign(edge_index),
            )
        elif add_self_loops:
            edges, weight = add_self_loops_to(
                torch.stack([source, target]), weight, num_nodes=num_sources
            )
            source, target = edges
        weight = None if weight is None else weight.detach().view(-1).to(dtype)
        sizes = num_sources, num_targets
        if mean:
            factor = _mean_factor(target, num_targets, dtype)
            return Adjacency.from_edges(source, target, weight, *sizes, None, factor)
        factors = None if weight is None else factors_of(source, target, weight, *sizes)
        if factors is not None:
            return Adjacency.from_edges(source, target, None, *sizes, *factors)
        return Adjacency.from_edges(source, target, weight, *sizes)

    sizes, loops = (num_sources, num_targets), add_self_loops
    options = ('neighbor', *sizes, dtype, mean, loops, keeps_values, flow)
    return prepared(edge_index, edge_weight, options, build)


def matrix_adjacency(matrix: Any, num_sources: int, dtype: torch.dtype) -> Adjacency:
    r"""Prepares a matrix :math:`\mathbf{A}` for the product :math:`\mathbf{A} \,
    \mathbf{X}`: its columns are sources, its rows destinations, its entries
    weighted edges, or edges between nodes that have factors; see
    :func:`~spikegraph.kernels.scaling.factors_of`. Kept like the graph of
    :func:`gcn_adjacency`.

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
        sizes = num_sources, num_rows
        is_dense = isinstance(matrix, Tensor) and matrix.layout == torch.strided
        is_dense &= not isinstance(matrix, EdgeIndex)
        if is_dense and col.numel() > DENSE * num_rows * num_sources:
            found = Adjacency.from_edges(col, row, value, *sizes)
            given = matrix.detach().to(dtype, copy=True).contiguous()
            return replace(found, matrix=given)._trusted()
        factors = None if value is None else factors_of(col, row, value, *sizes)
        if factors is not None:
            return Adjacency.from_edges(col, row, None, *sizes, *factors)
        return Adjacency.from_edges(col, row, value, *sizes)

    return prepared(matrix, None, ('matrix', num_sources, dtype), build)


def member_adjacency(
    index: Tensor, num_groups: int, dtype: torch.dtype, *, mean: bool = False
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
    index = plain(index)
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
