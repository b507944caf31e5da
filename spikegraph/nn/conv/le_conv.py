from __future__ import annotations

from typing import Any

from torch import Tensor
from torch_geometric.nn import LEConv
from torch_geometric.utils import scatter

from spikegraph.nn.conv.twin import (
    SpikingTwin,
    check_sum,
    dense,
    ends,
    num_targets,
    pair,
)
from spikegraph.nn.filter import GraphFilter
from spikegraph.nn.routing import edge_weights
from spikegraph.nn.shift import NeighborShift


class SpikingLEConv(SpikingTwin):
    r"""The local extremum operator from the `"ASAP"
    <https://arxiv.org/abs/1911.07979>`_ paper on spikes.

    .. math::
        \mathbf{v}_i = \sum_{j \in \mathcal{N}(i)} e_{ji} (\mathbf{W}_1
        \hat{\mathbf{x}}_j - \mathbf{W}_2 \hat{\mathbf{x}}_i) + \mathbf{W}_3
        \hat{\mathbf{x}}_i + \mathbf{b}

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.LEConv`; features may be spikes.
    """

    ann_type = LEConv

    def build(self, conv: Any) -> None:
        check_sum(conv)
        self.lin1 = dense(conv.lin1.weight, conv.lin1.bias)
        self.lin2 = dense(conv.lin2.weight)
        self.lin3 = dense(conv.lin3.weight, conv.lin3.bias)
        self.flow = conv.flow
        self.sum = GraphFilter(NeighborShift(flow=conv.flow))

    def forward(
        self, x: Any, edge_index: Tensor, edge_weight: Tensor | None = None
    ) -> Tensor:
        source, target = pair(x)
        num = num_targets(x)
        out = self.sum(self.lin1(source), edge_index, edge_weight, num)
        # How often an edge subtracts the node's own value: its in-degree.
        i = ends(edge_index, self.flow)[1]
        weight = edge_weights(edge_index, edge_weight)
        degree = scatter(weight, i, dim=0, dim_size=target.size(0))
        return out - degree.view(-1, 1) * self.lin2(target) + self.lin3(target)
