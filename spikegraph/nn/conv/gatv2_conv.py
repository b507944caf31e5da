from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn import GATv2Conv

from spikegraph.nn.conv.attention import (
    AttentionCoefficients,
    AttentionSum,
    merge_heads,
)
from spikegraph.nn.conv.twin import (
    SpikingTwin,
    as_columns,
    check_no_weights,
    check_sum,
    dense,
    ends,
    num_targets,
    pair,
)
from spikegraph.nn.routing import with_self_loops


class SpikingGATv2Conv(SpikingTwin):
    r"""The attentional operator from the `"How Attentive are Graph Attention
    Networks?" <https://arxiv.org/abs/2105.14491>`_ paper, with spiking values.

    .. math::
        \mathbf{v}_i = \sum_{j \in \mathcal{N}(i)} \alpha_{ji} \mathbf{W}
        \hat{\mathbf{x}}_j + \mathbf{b}

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.GATv2Conv`. The values
    :math:`\mathbf{W} \hat{\mathbf{x}}_j` come as spikes; the coefficients
    are computed in analog and multiply what each edge carries.
    """

    ann_type = GATv2Conv

    def build(self, conv: Any) -> None:
        """Takes the parts of PyG's layer."""
        check_sum(conv)
        self.lin_l = dense(conv.lin_l.weight, conv.lin_l.bias)
        self.lin_r = None
        if not conv.share_weights:
            self.lin_r = dense(conv.lin_r.weight, conv.lin_r.bias)
        self.lin_edge = None if conv.lin_edge is None else dense(conv.lin_edge.weight)
        self.res = None if conv.res is None else dense(conv.res.weight)
        self.loops = conv.add_self_loops
        self.fill_value = conv.fill_value
        self.flow = conv.flow
        self.coefficients = GATv2Coefficients(conv)
        self.heads, self.concat, self.bias = conv.heads, conv.concat, conv.bias
        self.sum = AttentionSum(conv.heads)

    def forward(
        self,
        x: Any,
        edge_index: Tensor,
        edge_attr: Tensor | None = None,
        return_attention_weights: bool | None = None,
    ) -> Tensor:
        """Returns the potentials that the input leaves behind."""
        check_no_weights(return_attention_weights)
        source, target = pair(x)
        values = self.lin_l(source)
        is_pair = isinstance(x, (tuple, list))
        # PyG shares the weights within one graph only.
        other = target if is_pair and self.lin_r is None else values
        if self.lin_r is not None:
            other = self.lin_r(target)
        num = num_targets(x)
        num = source.size(0) if num is None else num
        if self.loops:
            loops = with_self_loops(
                edge_index, edge_attr, source.size(0), num, self.fill_value
            )
            edge_index = loops[0]
            edge_attr = None if edge_attr is None else loops[1]
        j, i = ends(edge_index, self.flow)
        edge = None
        if edge_attr is not None:
            assert self.lin_edge is not None
            edge = self.lin_edge(as_columns(edge_attr))
        alpha = self.coefficients(j, i, num, values, other, edge)
        out = merge_heads(self.sum(values, alpha, j, i, num), self.heads, self.concat)
        if self.res is not None:
            out = out + self.res(target)
        return out if self.bias is None else out + self.bias


class GATv2Coefficients(AttentionCoefficients):
    """Scores by a weight vector behind a leaky ReLU."""

    def __init__(self, conv: Any) -> None:
        super().__init__()
        self.att = conv.att
        self.negative_slope = conv.negative_slope

    def score(
        self,
        values: Tensor,
        other: Tensor,
        edge: Tensor | None,
        *,
        source: Tensor,
        target: Tensor,
    ) -> Tensor:
        """See GATv2."""
        total = values[source] + other[target]
        total = total if edge is None else total + edge
        total = F.leaky_relu(total, self.negative_slope)
        return (total.view(-1, *self.att.shape[1:]) * self.att).sum(-1)

    def macs_per_score(self) -> int:
        """A dot product of a head's width, and its leaky ReLU."""
        return 2 * self.att.size(-1)
