"""Edges sorted by destination."""

from __future__ import annotations

import torch
from torch import Tensor

from spikegraph.kernels.dispatch import call


def sort_edges(
    source: Tensor,
    target: Tensor,
    num_sources: int,
    num_targets: int,
    *,
    loops: bool = False,
    with_order: bool = True,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Sorts edges by destination, those of one destination as given.

    Args:
        source (torch.Tensor): The source of each edge :math:`(E)`.
        target (torch.Tensor): The destination of each edge :math:`(E)`.
        num_sources (int): The number of sources :math:`M`.
        num_targets (int): The number of destinations :math:`N`.
        loops (bool, optional): If set to :obj:`True`, the last edge of every node is
            one from itself, in place of those there are. (default: :obj:`False`)
        with_order (bool, optional): Whether positions are returned, :obj:`None`
            with :obj:`loops`. (default: :obj:`True`)

    Returns:
        Tuple[torch.Tensor, torch.Tensor, torch.Tensor]: Where the edges of each
        destination start :math:`(N + 1)`, their sources, int32 where that is
        enough, and their positions before :math:`(E)`.
    """
    with_order &= not loops
    return call(
        'sort_edges', target, source, num_sources, num_targets, loops, with_order
    )


def integers_for(num: int) -> torch.dtype:
    """What numbers below ``num`` are stored as."""
    return torch.int32 if num <= torch.iinfo(torch.int32).max else torch.int64
