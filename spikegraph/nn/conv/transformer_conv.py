from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn
from torch_geometric.nn import TransformerConv

from spikegraph.nn.conv.attention import (
    AttentionCoefficients,
    AttentionSum,
    AttentionTwin,
    merge_heads,
)
from spikegraph.nn.conv.twin import check_no_weights, check_sum, dense_of, ends, pair


class SpikingTransformerConv(AttentionTwin):
    r"""The graph transformer operator from the `"Masked Label Prediction"
    <https://arxiv.org/abs/2009.03509>`_ paper, with spiking values.

    .. math::
        \mathbf{v}_i = \mathbf{W}_1 \hat{\mathbf{x}}_i + \sum_{j \in
        \mathcal{N}(i)} \alpha_{ji} (\mathbf{W}_2 \hat{\mathbf{x}}_j +
        \mathbf{W}_6 \mathbf{e}_{ji})

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.TransformerConv`. The values
    :math:`\mathbf{W} \hat{\mathbf{x}}_j` come as spikes; queries
    and keys are charged by spikes, too; the coefficients are computed in analog.
    """

    ann_type = TransformerConv
    query: nn.Module
    key: nn.Module
    value: nn.Module

    def build(self, conv: Any) -> None:
        check_sum(conv)
        if conv.lin_beta is not None:
            raise NotImplementedError(
                "Expected 'beta' to be False (got True): its gate multiplies features by "
                'features'
            )
        for name in ('query', 'key', 'value'):
            setattr(self, name, dense_of(getattr(conv, f'lin_{name}')))
        self.skip = dense_of(conv.lin_skip if conv.root_weight else None)
        self.lin_edge = dense_of(conv.lin_edge)
        self.coefficients = TransformerCoefficients(conv)
        self.heads, self.concat, self.flow = conv.heads, conv.concat, conv.flow
        self.sum = AttentionSum(conv.heads)

    def forward(
        self,
        x: Any,
        edge_index: Tensor,
        edge_attr: Tensor | None = None,
        return_attention_weights: bool | None = None,
    ) -> Tensor:
        check_no_weights(return_attention_weights)
        source, target = pair(x)
        num = target.size(0)
        j, i = ends(edge_index, self.flow)
        edge = None if self.lin_edge is None else self.lin_edge(edge_attr)
        query, key = self.query(target), self.key(source)
        alpha = self.coefficients(j, i, num, query, key, edge)
        out = self.sum(self.value(source), alpha, j, i, num, edge)
        out = merge_heads(out, self.heads, self.concat)
        return out if self.skip is None else out + self.skip(target)


class TransformerCoefficients(AttentionCoefficients):
    """Scores by scaled dot products of queries and keys."""

    def __init__(self, conv: Any) -> None:
        super().__init__()
        self.heads, self.out_channels = conv.heads, conv.out_channels

    def score(
        self,
        query: Tensor,
        key: Tensor,
        edge: Tensor | None,
        *,
        source: Tensor,
        target: Tensor,
    ) -> Tensor:
        """See the graph transformer."""
        keys = key[source] if edge is None else key[source] + edge
        product = (query[target] * keys).view(-1, self.heads, self.out_channels)
        return product.sum(dim=-1) / math.sqrt(self.out_channels)

    def macs_per_score(self, *features: Any) -> int:
        """A dot product of a head's width."""
        return self.out_channels
