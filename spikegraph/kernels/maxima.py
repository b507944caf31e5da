"""Maxima over neighbours: on the CPU by Numba, on CUDA by Triton, elsewhere by
PyTorch.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from spikegraph.kernels import triton
from spikegraph.kernels.adjacency import Adjacency
from spikegraph.kernels.backend import cpu_kernels, is_fast
from spikegraph.kernels.memory import empty, flat
from spikegraph.kernels.threads import share_rows


def earliest(
    adjacency: Adjacency, rank: Tensor, silent: int, latest: bool = False
) -> Tensor:
    """The smallest rank among the in-neighbours of each node.

    Args:
        adjacency (Adjacency): The prepared graph; its weights are not used.
        rank (torch.Tensor): The ranks of spikes, by time, uint8.
        silent (int): The rank where there are no neighbours.
        latest (bool, optional): Whether the largest rank passes.
            (default: :obj:`False`)

    Raises:
        ValueError: If there is not one row of ranks for each source, or
            :obj:`silent` is no byte.

    Shapes:
        - **input:** ranks :math:`(M, *)`
        - **output:** ranks :math:`(N, *)`
    """
    adjacency = adjacency.checked
    if rank.dim() == 0 or rank.size(0) != adjacency.num_sources:
        raise ValueError(
            f"Expected 'rank' to have {adjacency.num_sources} rows, one for each source "
            f'of the graph (got shape {list(rank.shape)})'
        )
    if not 0 <= silent <= 255:
        raise ValueError(f"Expected 'silent' to be a byte, 0 to 255 (got {silent})")
    num_rows, width = adjacency.num_targets, math.prod(rank.shape[1:])
    out_shape = (num_rows, *rank.shape[1:])
    if rank.numel() > 0 and triton.is_available(rank):
        ranks = rank.reshape(rank.size(0), width)
        found = triton.earliest(adjacency.rowptr, adjacency.col, ranks, silent, latest)
        return found.view(out_shape)
    cpu = cpu_kernels()
    if cpu is None or not is_fast(rank, torch.uint8) or num_rows == 0:
        counts = adjacency.rowptr.diff()
        index = torch.arange(num_rows, device=counts.device).repeat_interleave(counts)
        rows = rank.reshape(rank.shape[0], width)
        picked = rows.index_select(0, adjacency.col)
        out = rank.new_full((num_rows, width), silent)
        index, how = index.view(-1, 1).expand_as(picked), 'amax' if latest else 'amin'
        out = out.scatter_reduce(0, index, picked, reduce=how, include_self=False)
        return out.view(out_shape)
    out = empty(out_shape, torch.uint8)
    times = flat(rank.contiguous())
    edges = (flat(adjacency.rowptr), flat(adjacency.col))
    work = partial(cpu.graph.earliest, *edges, times, width, silent, latest, flat(out))
    share_rows(work, adjacency.rowptr, (0, num_rows), width)
    return out
