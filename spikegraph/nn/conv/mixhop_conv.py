from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import MixHopConv

from spikegraph.nn.conv.twin import SpikingTwin, check_sum
from spikegraph.nn.filter import GraphFilter
from spikegraph.nn.shift import GCNShift


class SpikingMixHopConv(SpikingTwin):
    r"""The convolution from the `"MixHop" <https://arxiv.org/abs/1905.00067>`_
    paper on spikes.

    .. math::
        \mathbf{V} = \big\Vert_{p \in P} \left( \mathbf{\hat{D}}^{-1/2}
        \mathbf{\hat{A}} \mathbf{\hat{D}}^{-1/2} \right)^p \hat{\mathbf{X}}
        \mathbf{\Theta}_p + \mathbf{b}

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.MixHopConv`; features may be spikes.
    """

    ann_type = MixHopConv

    def build(self, conv: Any) -> None:
        check_sum(conv)
        shift = GCNShift(add_self_loops=conv.add_self_loops, flow=conv.flow)
        self.filters = nn.ModuleList()
        for i, power in enumerate(conv.powers):
            first = i * conv.out_channels
            bias = conv.bias
            if bias is not None:
                bias = bias[first : first + conv.out_channels]
            powers = [*[0.0] * power, 1.0]
            weight = conv.lins[power].weight
            self.filters.append(GraphFilter(shift, [powers], weight, bias))

    def forward(
        self, x: Any, edge_index: Tensor, edge_weight: Tensor | None = None
    ) -> Tensor:
        outs = [each(x, edge_index, edge_weight) for each in self.filters]
        return torch.cat(outs, dim=-1)
