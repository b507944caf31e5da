"""Sums and maxima over neighbours."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from spikegraph.coding import Spikes
from spikegraph.kernels.adjacency import Adjacency
from spikegraph.kernels.dispatch import call
from spikegraph.kernels.memory import FLOATS, is_single, needs_gradient
from spikegraph.kernels.messages import Messages
from spikegraph.kernels.neurons import decode_spikes


def aggregate(adjacency: Adjacency, x: Tensor | Spikes) -> Tensor:
    r"""Sums the (weighted) values of all in-neighbours, normalisation
    factors left out.

    .. math::
        y_i = \sum_{j \in \mathcal{N}(i)} w_{ij} \, x_j

    Edges are summed in the order of the adjacency, whatever the number of
    threads.

    Args:
        adjacency (Adjacency): The prepared graph.
        x (torch.Tensor or Spikes): The values of the source nodes. Bytes that are no
            spike time of the code give undefined sums.

    Returns:
        torch.Tensor: The sums.

    Raises:
        ValueError: If :obj:`x` has another number of rows than sources.

    Shapes:
        - **input:** values :math:`(M, *)`
        - **output:** sums :math:`(N, *)`
    """
    return propagate(adjacency.without_factors(), x)


def propagate(adjacency: Adjacency, x: Tensor | Spikes) -> Tensor:
    """Like :func:`aggregate`, with the factors of sources and destinations."""
    return send(adjacency, x).sums()


def send(adjacency: Adjacency, x: Tensor | Spikes) -> Messages:
    r"""Prepares what nodes send along the edges, to be summed in blocks of rows.

    Args:
        adjacency (Adjacency): The prepared graph.
        x (torch.Tensor or Spikes): The values of the source nodes
            :math:`(M, *)`.

    Raises:
        ValueError: If :obj:`x` has another number of rows than sources.
    """
    if x.shape[0] != adjacency.num_sources:
        raise ValueError(
            f"Expected 'x' to have {adjacency.num_sources} rows, one for each source "
            f'of the graph (got {x.shape[0]})'
        )
    adjacency = adjacency.checked
    if isinstance(x, Spikes):
        if _can_be_sent(adjacency, x):
            found = call('send_spikes', x.spike_time, adjacency, x.code, x.scale)
            if found is not NotImplemented:
                return found
        x = decode_spikes(x.spike_time, x.code, x.scale)
    return call('send', x, adjacency)


def _can_be_sent(adjacency: Adjacency, x: Spikes) -> bool:
    """Whether spikes have one scale, or one for each node or channel."""
    scale, (num_rows, *width) = x.scale, x.shape
    fits = is_single(scale) or scale.shape in ((num_rows, 1), tuple(width))
    fits &= len(width) == 1 and not needs_gradient(scale)
    return fits and are_summed_by_kernels(adjacency, x.dtype)


def are_summed_by_kernels(adjacency: Adjacency, dtype: torch.dtype) -> bool:
    """Whether all factors are of one data type, that of the sums, and constant."""
    factors = (adjacency.weight, adjacency.source_factor, adjacency.target_factor)
    if adjacency.matrix is not None or needs_gradient(*factors):
        return False
    return dtype in FLOATS and all(f is None or f.dtype == dtype for f in factors)


def sent_size(x: Any, adjacency: Adjacency) -> float:
    """The bytes of a value as it is sent along the edges: half a one for a spike
    time that is packed.
    """
    if isinstance(x, Tensor):
        return x.dtype.itemsize
    return call('sent_size', adjacency.rowptr, x, adjacency)


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
    width, out_shape = math.prod(rank.shape[1:]), rank.shape[1:]
    ranks = rank.reshape(rank.size(0), width)
    found: Tensor = call('earliest', ranks, adjacency.csr, silent, latest)
    return found.view(adjacency.num_targets, *out_shape)


def late(
    adjacency: Adjacency, time: Tensor, index: Tensor, silent: int, num_steps: int
) -> Tensor:
    """How much later the spike of each member of a group comes than its first one.

    Args:
        adjacency (Adjacency): The members of each group, see
            :func:`~spikegraph.kernels.member_adjacency`.
        time (torch.Tensor): The spike times of members, uint8.
        index (torch.Tensor): The group of each member :math:`(M)`.
        silent (int): The time that stands for silence.
        num_steps (int): What is as late as this, or later, is silent, and written so.

    Shapes:
        - **input:** spike times :math:`(M, *)`
        - **output:** spike times :math:`(M, *)`
    """
    flat = time.reshape(len(time), math.prod(time.shape[1:]))
    found = call('late', flat, adjacency.checked.csr, silent, num_steps)
    if found is NotImplemented:
        first = earliest(adjacency, flat, silent)[index]
        after = (flat - first).clamp(max=num_steps)
        found = torch.where(flat < silent, after, num_steps).to(torch.uint8)
    times: Tensor = found
    return times.view(time.shape)
