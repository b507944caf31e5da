"""Sums over edges of what one spike delays of another, head by head."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from spikegraph.coding import Spikes
from spikegraph.kernels.adjacency import Adjacency
from spikegraph.kernels.aggregation import aggregate
from spikegraph.kernels.graph import prepared
from spikegraph.kernels.preparation import member_adjacency


def delayed_sums(
    x: Spikes, coefficients: Tensor, source: Tensor, target: Tensor, num_targets: int
) -> Tensor:
    r"""The sum over in-edges of the spikes of their sources, each head delayed by the
    coefficient of the edge, without a value for each edge and channel:

    .. math::
        y_i^{(h)} = \sum_{e : j \to i} c_e^{(h)} \, \hat{x}_j^{(h)}

    Args:
        x (Spikes): The spikes of the sources.
        coefficients (torch.Tensor): What the delaying spikes stand for.
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
    edges: Adjacency = prepared(target, source, options, build)
    order = members.col.long()
    scale = x.scale if x.scale.dim() == 2 else x.scale.expand(heads, width)
    is_plain = x.scale.numel() == 1
    out = coefficients.new_empty(num_targets, heads, width)
    for head in range(heads):
        times = x.spike_time[:, head].contiguous()
        own = x.scale if is_plain else scale[head]
        weight = coefficients[:, head][order]
        graph = replace(edges, weight=weight)
        out[:, head] = aggregate(graph, Spikes(times, x.code, own, x.density))
    return out
