"""Sums over neighbours by PyTorch, where there is no kernel or a dense product is
sooner.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from spikegraph.kernels.adjacency import Adjacency


def sum_rows(adjacency: Adjacency, x: Tensor, start: int, stop: int) -> Tensor:
    """Rows ``start`` to ``stop`` of the sums of values :math:`(M, F)`, without the
    factor of sources.
    """
    if adjacency.matrix is not None:
        out = adjacency.matrix[start:stop].to(x.dtype) @ x
    else:
        out = _sum_edges(adjacency, x, start, stop)
    if adjacency.target_factor is None:
        return out
    return adjacency.target_factor[start:stop].to(x.dtype).view(-1, 1) * out


def _sum_edges(adjacency: Adjacency, x: Tensor, start: int, stop: int) -> Tensor:
    rowptr = adjacency.rowptr[start : stop + 1]
    first, last = int(rowptr[0]), int(rowptr[-1])
    if last == first or x.size(1) == 0:
        return x.new_zeros(stop - start, x.size(1))
    weight, col = adjacency.weight, adjacency.col[first:last]
    if weight is not None:
        weight = weight[first:last].to(x.dtype)
    return F.embedding_bag(
        col,
        x,
        (rowptr - first).to(col.dtype),
        mode='sum',
        per_sample_weights=weight,
        include_last_offset=True,
    )
