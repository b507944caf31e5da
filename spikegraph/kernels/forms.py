"""The forms in which users give graphs and matrices: tensors of :mod:`torch.sparse`,
``torch_sparse.SparseTensor``, PyG's ``EdgeIndex``, dense matrices.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch_geometric import EdgeIndex, Index

_LAYOUTS = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc)


class Entries(NamedTuple):
    """What a matrix is made of.

    Args:
        row (torch.Tensor): The row of each entry :math:`(E)`.
        col (torch.Tensor): The column of each entry :math:`(E)`.
        value (torch.Tensor, optional): The value of each entry :math:`(E)`,
            :obj:`None` if all are 1.
        shape (Tuple[int, int]): Rows and columns of the matrix.
    """

    row: Tensor
    col: Tensor
    value: Tensor | None
    shape: tuple[int, int]


def is_foreign(graph: Any) -> bool:
    """Whether it is a ``torch_sparse.SparseTensor``, told by its methods, as the
    package need not be installed.
    """
    methods = ('coo', 'sparse_sizes')
    return not isinstance(graph, Tensor) and all(hasattr(graph, m) for m in methods)


def is_sparse(graph: Any) -> bool:
    """Whether a graph is a sparse matrix, with destinations in its rows."""
    if isinstance(graph, Tensor):
        return graph.layout != torch.strided
    return is_foreign(graph)


def shape_of(matrix: Any, name: str = 'matrix') -> tuple[int, int]:
    """The rows and columns of a matrix.

    Raises:
        ValueError: If it is no matrix.
    """
    if is_foreign(matrix):
        num_rows, num_columns = matrix.sparse_sizes()
        return int(num_rows), int(num_columns)
    if isinstance(matrix, EdgeIndex):
        return matrix.get_sparse_size(0), matrix.get_sparse_size(1)
    if not isinstance(matrix, Tensor):
        raise ValueError(
            f"Expected '{name}' to be a matrix, dense, of torch.sparse, or a "
            f'SparseTensor (got {type(matrix).__name__})'
        )
    check_layout(matrix, name)
    if matrix.dim() != 2:
        raise ValueError(
            f"Expected '{name}' to have two dimensions (got shape "
            f'{list(matrix.shape)}); multiply a batch matrix by matrix'
        )
    return matrix.size(0), matrix.size(1)


def check_layout(graph: Any, name: str) -> None:
    """Raises ``ValueError`` if a graph has a layout without single entries."""
    layout = getattr(graph, 'layout', torch.strided)
    if layout not in (torch.strided, *_LAYOUTS):
        raise ValueError(
            f"Expected a sparse '{name}' to have COO, CSR or CSC layout "
            f"(got {layout}); use 'adj.to_sparse_coo()'"
        )


def plain(x: Tensor) -> Tensor:
    """The tensor that PyG's ``EdgeIndex`` and ``Index`` wrap, others as they are."""
    return x.as_tensor() if isinstance(x, (EdgeIndex, Index)) else x


def parts_of(graph: Any) -> tuple[Tensor, ...]:
    """The tensors that hold what a graph or a matrix is made of."""
    if type(graph) is Tensor and graph.layout == torch.strided:
        return (graph,)
    if is_foreign(graph):
        return tuple(part for part in graph.coo() if part is not None)
    graph = plain(graph)
    if graph.layout == torch.sparse_coo:
        return graph._indices(), graph._values()
    if graph.layout == torch.sparse_csr:
        return graph.crow_indices(), graph.col_indices(), graph.values()
    if graph.layout == torch.sparse_csc:
        return graph.ccol_indices(), graph.row_indices(), graph.values()
    return (graph,)


def entries_of(matrix: Any, name: str = 'matrix') -> Entries:
    """The entries of a matrix: row by row, but for CSC, which is column by column,
    and an ``EdgeIndex``, which is in its own order. Twins of COO are added up, zeros
    of a dense matrix left out.

    Raises:
        ValueError: If it is no matrix, or of a layout without single entries.
    """
    shape = shape_of(matrix, name)
    if is_foreign(matrix):
        row, col, value = matrix.coo()
        return _entries(name, row, col, value, shape)
    if isinstance(matrix, EdgeIndex):
        row, col = matrix.as_tensor()
        return Entries(row, col, None, shape)
    matrix = matrix.detach()
    if matrix.layout == torch.strided:
        row, col = matrix.nonzero(as_tuple=True)
        return _entries(name, row, col, matrix[row, col], shape)
    if matrix.layout == torch.sparse_coo:
        matrix = matrix.coalesce()
        row, col = matrix.indices()
    elif matrix.layout == torch.sparse_csr:
        row, col = _expanded(matrix.crow_indices()), matrix.col_indices()
    else:
        row, col = matrix.row_indices(), _expanded(matrix.ccol_indices())
    return _entries(name, row, col, matrix.values(), shape)


def _entries(
    name: str, row: Tensor, col: Tensor, value: Tensor | None, shape: tuple[int, int]
) -> Entries:
    if value is None:
        return Entries(row, col, None, shape)
    value = value.detach()
    if value.dim() != 1 or value.is_complex():
        raise ValueError(
            f"Expected '{name}' to have one real value per entry (got values of shape "
            f'{list(value.shape)}, {value.dtype})'
        )
    if not bool(value.isfinite().all()):
        bad = value[~value.isfinite()][0].item()
        raise ValueError(f"Expected the values of '{name}' to be finite (got {bad})")
    return Entries(row, col, None if bool((value == 1).all()) else value, shape)


def _expanded(pointer: Tensor) -> Tensor:
    """The row (column) of each entry, from where those of each start."""
    index = torch.arange(pointer.numel() - 1, device=pointer.device)
    return index.repeat_interleave(pointer.diff())
