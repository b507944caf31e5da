from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn import GATConv

from spikegraph.nn.conv.attention import (
    AttentionCoefficients,
    AttentionSum,
    AttentionTwin,
    merge_heads,
)
from spikegraph.nn.conv.twin import (
    check_no_weights,
    check_sum,
    dense,
    dense_of,
    ends,
    num_targets,
    pair,
)
from spikegraph.nn.routing import edge_columns, with_self_loops


class SpikingGATConv(AttentionTwin):
    r"""The graph attentional operator from the `"Graph Attention Networks"
    <https://arxiv.org/abs/1710.10903>`_ paper, with spiking values.

    .. math::
        \mathbf{v}_i = \sum_{j \in \mathcal{N}(i)} \alpha_{ji} \mathbf{W}
        \hat{\mathbf{x}}_j + \mathbf{b}

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.GATConv`. The values
    :math:`\mathbf{W} \hat{\mathbf{x}}_j` come as spikes; the coefficients
    are computed in analog and multiply what each edge carries.
    """

    ann_type = GATConv

    def build(self, conv: Any) -> None:
        shared = conv.lin is not None
        source = conv.lin if shared else conv.lin_src
        self.take(conv, source, None if shared else conv.lin_dst)
        self.coefficients: AttentionCoefficients = GATCoefficients(conv)

    def take(self, conv: Any, lin_src: Any, lin_dst: Any) -> None:
        """Takes what the variants of the layer share; without :obj:`lin_dst`,
        sources and destinations share their weights.
        """
        check_sum(conv)
        self.lin_src = dense(lin_src.weight, lin_src.bias)
        self.lin_dst, self.lin_edge = dense_of(lin_dst), dense_of(conv.lin_edge)
        self.res = dense_of(conv.res)
        self.loops, self.fill_value = conv.add_self_loops, conv.fill_value
        self.flow = conv.flow
        self.heads, self.concat, self.bias = conv.heads, conv.concat, conv.bias
        self.sum = AttentionSum(conv.heads)

    def forward(
        self,
        x: Any,
        edge_index: Tensor,
        edge_attr: Tensor | None = None,
        size: Any = None,
        return_attention_weights: bool | None = None,
    ) -> Tensor:
        check_no_weights(return_attention_weights)
        source, target = pair(x)
        values, other = self.lin_src(source), None
        if self.lin_dst is not None and target is not None:
            other = self.lin_dst(target)
        elif target is not None:
            other = self.lin_src(target) if isinstance(x, (tuple, list)) else values
        num = num_targets(x, size)
        num = source.size(0) if num is None else num
        if self.loops:
            loops = with_self_loops(
                edge_index, edge_attr, source.size(0), num, self.fill_value
            )
            edge_index = loops[0]
            edge_attr = None if edge_attr is None else loops[1]
        j, i = ends(edge_index, self.flow)
        edge = None
        if edge_attr is not None and self.lin_edge is not None:
            edge = self.lin_edge(edge_columns(edge_attr))
        alpha = self.coefficients(j, i, num, values, other, edge)
        out = merge_heads(self.sum(values, alpha, j, i, num), self.heads, self.concat)
        if self.res is not None and target is not None:
            out = out + self.res(target)
        return out if self.bias is None else out + self.bias


class GATCoefficients(AttentionCoefficients):
    """Scores by a weight vector for the source and one for the destination."""

    def __init__(self, conv: Any) -> None:
        super().__init__()
        self.att_src, self.att_dst = conv.att_src, conv.att_dst
        self.att_edge = conv.att_edge
        self.negative_slope = conv.negative_slope

    def score(
        self,
        values: Tensor,
        other: Tensor | None,
        edge: Tensor | None,
        *,
        source: Tensor,
        target: Tensor,
    ) -> Tensor:
        """See GAT."""
        shape = (-1, *self.att_src.shape[1:])
        score = (values.view(shape) * self.att_src).sum(-1)[source]
        if other is not None:
            score = score + (other.view(shape) * self.att_dst).sum(-1)[target]
        if edge is not None:
            score = score + (edge.view(shape) * self.att_edge).sum(-1)
        return F.leaky_relu(score, self.negative_slope)

    def macs_per_score(self, *features: Any) -> int:
        """Two dot products of a head's width, at most once for each edge."""
        return 2 * self.att_src.size(-1)
