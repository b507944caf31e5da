from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn import SimpleConv

from spikegraph.nn.conv.twin import SpikingTwin, check_sum, num_targets, pair
from spikegraph.nn.filter import GraphFilter
from spikegraph.nn.gate import EarliestNeighbor
from spikegraph.nn.layer import values_of
from spikegraph.nn.shift import NeighborShift


class SpikingSimpleConv(SpikingTwin):
    r"""A convolution without weights on spikes.

    .. math::
        \mathbf{v}_i = \mathrm{aggr}_{j \in \mathcal{N}(i)} \; e_{ji}
        \hat{\mathbf{x}}_j

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.SimpleConv`; features may be spikes. The
    maximum is the earliest spike, without edge weights.
    """

    ann_type = SimpleConv

    def build(self, conv: Any) -> None:
        self.combine_root = conv.combine_root
        loops = conv.combine_root == 'self_loop'
        self.max = None
        if conv.aggr in ('max', 'min') and not loops:
            self.max = EarliestNeighbor(conv.flow, smallest=conv.aggr == 'min')
            return
        check_sum(conv, 'mean')
        shift = NeighborShift(conv.aggr == 'mean', loops, conv.flow)
        self.filter = GraphFilter(shift)

    def forward(
        self,
        x: Any,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        size: Any = None,
    ) -> Tensor:
        source, target = pair(x)
        num = num_targets(x, size)
        if self.max is None:
            out = self.filter(source, edge_index, edge_weight, num)
        elif edge_weight is None:
            out = self.max(source, edge_index, num)
        else:
            raise NotImplementedError(
                "Expected no 'edge_weight' with 'aggr' = 'max': weighted spikes do not "
                'compare by time'
            )
        if target is None or self.combine_root in (None, 'self_loop'):
            return out
        out, target = values_of(out), values_of(target)
        if self.combine_root == 'sum':
            return out + target
        return torch.cat([target, out], dim=-1)
