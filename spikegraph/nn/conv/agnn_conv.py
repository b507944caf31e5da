from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn import AGNNConv

from spikegraph.nn.conv.attention import (
    AttentionCoefficients,
    AttentionSum,
    AttentionTwin,
    merge_heads,
)
from spikegraph.nn.conv.twin import check_sum, ends
from spikegraph.nn.layer import values_of
from spikegraph.nn.routing import with_self_loops


class SpikingAGNNConv(AttentionTwin):
    r"""The attentional propagation from the `"Attention-based Graph Neural Network
    for Semi-Supervised Learning" <https://arxiv.org/abs/1803.03735>`_ paper, with
    spiking values.

    .. math::
        \mathbf{v}_i = \sum_{j \in \mathcal{N}(i)} \alpha_{ji}
        \hat{\mathbf{x}}_j, \qquad \alpha_{ji} = \mathrm{softmax}_j (\beta
        \cos(\hat{\mathbf{x}}_i, \hat{\mathbf{x}}_j))

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.AGNNConv`. The values
    :math:`\mathbf{W} \hat{\mathbf{x}}_j` come as spikes; the coefficients
    are computed in analog and multiply what each edge carries.
    """

    ann_type = AGNNConv

    def build(self, conv: Any) -> None:
        check_sum(conv)
        self.loops, self.flow = conv.add_self_loops, conv.flow
        self.coefficients = CosineCoefficients(conv)
        self.sum = AttentionSum(1)

    def forward(self, x: Any, edge_index: Tensor) -> Tensor:
        num = x.size(0)
        if self.loops:
            edge_index = with_self_loops(edge_index, None, num, num, 1.0)[0]
        j, i = ends(edge_index, self.flow)
        alpha = self.coefficients(j, i, num, values_of(x))
        return merge_heads(self.sum(x, alpha, j, i, num), 1, True)


class CosineCoefficients(AttentionCoefficients):
    """Scores by the cosine of source and destination."""

    def __init__(self, conv: Any) -> None:
        super().__init__()
        self.beta = conv.beta

    def score(self, x: Tensor, *, source: Tensor, target: Tensor) -> Tensor:
        """See AGNN."""
        unit = F.normalize(x, p=2.0, dim=-1)
        return self.beta * (unit[target] * unit[source]).sum(-1, keepdim=True)

    def macs_per_score(self, *features: Any) -> int:
        """A dot product and two norms, at most once for each edge."""
        return 3 * features[0].size(1)
