from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from spikegraph.kernels.adjacency import Adjacency


def aggregate(adjacency: Adjacency, x: Tensor) -> Tensor:
    r"""Sums the (weighted) values of all in-neighbours, normalisation
    factors left out.

    .. math::
        y_i = \sum_{j \in \mathcal{N}(i)} w_{ij} \, x_j

    Edges are summed in the order of the adjacency, whatever the number of
    threads.

    Args:
        adjacency (Adjacency): The prepared graph.
        x (torch.Tensor): The values of the source nodes.

    Returns:
        torch.Tensor: The sums.

    Raises:
        ValueError: If :obj:`x` has another number of rows than sources.

    Shapes:
        - **input:** values :math:`(M, *)`
        - **output:** sums :math:`(N, *)`
    """
    if x.size(0) != adjacency.num_sources:
        raise ValueError(
            f"Expected 'x' to have {adjacency.num_sources} rows, one for each source of "
            f'the graph (got {x.size(0)})'
        )
    shape = (adjacency.num_targets, *x.shape[1:])
    if adjacency.col.numel() == 0:
        return x.new_zeros(shape)
    weight = adjacency.weight
    out = F.embedding_bag(
        adjacency.col,
        x.flatten(1),
        adjacency.rowptr,
        mode='sum',
        per_sample_weights=None if weight is None else weight.to(x.dtype),
        include_last_offset=True,
    )
    return out.view(shape)


def propagate(adjacency: Adjacency, x: Tensor) -> Tensor:
    """Like :func:`aggregate`, with the factors of sources and destinations."""
    shape = (-1, *[1] * (x.dim() - 1))
    if adjacency.source_factor is not None:
        x = adjacency.source_factor.to(x.dtype).view(shape) * x
    out = aggregate(adjacency, x)
    if adjacency.target_factor is not None:
        out = adjacency.target_factor.to(x.dtype).view(shape) * out
    return out
