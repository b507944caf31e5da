"""Sums over edges of what one spike delays of another, for all heads at once."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from spikegraph.coding import Spikes
from spikegraph.kernels.adjacency import Adjacency
from spikegraph.kernels.aggregation import send
from spikegraph.kernels.dispatch import call
from spikegraph.kernels.graph import prepared
from spikegraph.kernels.messages import Messages
from spikegraph.kernels.neurons import decode_spikes
from spikegraph.kernels.preparation import member_adjacency


def send_delayed(
    x: Spikes, coefficients: Spikes, source: Tensor, target: Tensor, num_targets: int
) -> Messages:
    r"""Prepares the sums over in-edges of the spikes of their sources, each head delayed
    by the coefficient of the edge, without a value for each edge and channel:

    .. math::
        y_i^{(h)} = \sum_{e : j \to i} \hat{c}_e^{(h)} \, \hat{x}_j^{(h)}

    Args:
        x (Spikes): The spikes of the sources, with one scale or one for each channel.
        coefficients (Spikes): The spikes that delay them.
        source (torch.Tensor): The source of each edge :math:`(E)`.
        target (torch.Tensor): The destination of each edge :math:`(E)`.
        num_targets (int): The number of destinations :math:`N`.

    Shapes:
        - **input:** spikes :math:`(M, H, C)`, coefficients :math:`(E, H)`
        - **output:** sums :math:`(N, H, C)`
    """
    num_sources, heads, width = x.shape
    members = member_adjacency(target, num_targets, x.dtype)

    def build() -> Adjacency:
        col = source[members.col.long()].to(members.col.dtype)
        return Adjacency(members.rowptr, col, num_sources=num_sources)

    options = ('delayed', num_targets, num_sources)
    edges: Adjacency = prepared(target, source, options, build).checked
    ordered = coefficients.spike_time.index_select(0, members.col)
    weight = decode_spikes(ordered, coefficients.code, coefficients.scale)
    scale = x.scale if x.scale.numel() == 1 else x.scale.expand(heads, width)
    found = call('send_delayed', x.spike_time, edges, x.code, scale, weight)
    if found is NotImplemented:
        return _ByHead(edges, x, scale, weight)
    messages: Messages = found
    return messages


class _ByHead(Messages):
    """One pass over the edges for each head."""

    def __init__(
        self, adjacency: Adjacency, x: Spikes, scale: Tensor, weight: Tensor
    ) -> None:
        super().__init__(adjacency, x.shape, x.dtype)
        self.heads = []
        for head in range(x.shape[1]):
            times = x.spike_time[:, head].contiguous()
            own = scale if scale.numel() == 1 else scale[head]
            spikes = Spikes(times, x.code, own, x.density)
            self.heads.append(send(replace(adjacency, weight=weight[:, head]), spikes))

    def sums(
        self, rows: tuple[int, int] | None = None, out: Tensor | None = None
    ) -> Tensor:
        return torch.stack([each.sums(rows) for each in self.heads], dim=1, out=out)
