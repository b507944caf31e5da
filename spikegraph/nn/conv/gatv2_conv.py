from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn import GATv2Conv

from spikegraph.nn.conv.attention import AttentionCoefficients
from spikegraph.nn.conv.gat_conv import SpikingGATConv


class SpikingGATv2Conv(SpikingGATConv):
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
        self.take(conv, conv.lin_l, None if conv.share_weights else conv.lin_r)
        self.coefficients = GATv2Coefficients(conv)

    def forward(  # type: ignore[override]
        self,
        x: Any,
        edge_index: Tensor,
        edge_attr: Tensor | None = None,
        return_attention_weights: bool | None = None,
    ) -> Tensor:
        return super().forward(x, edge_index, edge_attr, None, return_attention_weights)


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

    def macs_per_score(self, *features: Any) -> int:
        """A dot product of a head's width, and its leaky ReLU."""
        return 2 * self.att.size(-1)
