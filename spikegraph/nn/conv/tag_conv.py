from __future__ import annotations

from typing import Any

import torch
from torch_geometric.nn import TAGConv

from spikegraph.nn.conv.twin import FilterTwin, check_sum
from spikegraph.nn.filter import GraphFilter
from spikegraph.nn.shift import GCNShift


class SpikingTAGConv(FilterTwin):
    r"""The topology adaptive graph convolution from the `"Topology Adaptive Graph
    Convolutional Networks" <https://arxiv.org/abs/1710.10370>`_ paper on spikes.

    .. math::
        \mathbf{V} = \sum_{k=0}^{K} \left( \mathbf{D}^{-1/2} \mathbf{A}
        \mathbf{D}^{-1/2} \right)^k \hat{\mathbf{X}} \mathbf{W}_k^{\top}
        + \mathbf{b}

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.TAGConv`; features may be spikes.
    """

    ann_type = TAGConv

    def build(self, conv: Any) -> None:
        check_sum(conv)
        shift = GCNShift(add_self_loops=False, normalize=conv.normalize, flow=conv.flow)
        weight = torch.cat([lin.weight for lin in conv.lins], dim=1)
        powers = torch.eye(conv.K + 1).tolist()
        self.filter = GraphFilter(shift, powers, weight, conv.bias)
