from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn import GCN2Conv

from spikegraph.nn.conv.twin import SpikingTwin, check_sum, dense
from spikegraph.nn.filter import GraphFilter
from spikegraph.nn.shift import GCNShift


class SpikingGCN2Conv(SpikingTwin):
    r"""The convolution with initial residual and identity mapping from the
    `"Simple and Deep Graph Convolutional Networks"
    <https://arxiv.org/abs/2007.02133>`_ paper on spikes.

    .. math::
        \mathbf{V} = (1 - \alpha) \mathbf{S} \hat{\mathbf{X}} \left( (1 -
        \beta) \mathbf{I} + \beta \mathbf{\Theta}_1 \right) + \alpha
        \hat{\mathbf{X}}_0 \left( (1 - \beta) \mathbf{I} + \beta
        \mathbf{\Theta}_2 \right)

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.GCN2Conv`; features may be spikes. Both
    :math:`\mathbf{X}` and :math:`\mathbf{X}_0` are sent.
    """

    ann_type = GCN2Conv

    def build(self, conv: Any) -> None:
        check_sum(conv)
        shift = GCNShift(
            add_self_loops=conv.add_self_loops, normalize=conv.normalize, flow=conv.flow
        )
        weight2 = conv.weight1 if conv.weight2 is None else conv.weight2
        identity = (1 - conv.beta) * torch.eye(conv.channels).to(conv.weight1)
        hop = (1 - conv.alpha) * (identity + conv.beta * conv.weight1)
        first = conv.alpha * (identity + conv.beta * weight2)
        self.hop = GraphFilter(shift, weight=hop.t(), cached=conv.cached)
        self.initial = dense(first.t())

    def forward(
        self, x: Any, x_0: Any, edge_index: Tensor, edge_weight: Tensor | None = None
    ) -> Tensor:
        return self.hop(x, edge_index, edge_weight) + self.initial(x_0)
