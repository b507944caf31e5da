from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch_geometric.nn import GraphConv

from spikegraph.nn.conv.twin import (
    SpikingTwin,
    dense,
    ends,
    neighbors,
    num_targets,
    pair,
)
from spikegraph.nn.gate import EarliestMember, EarliestNeighbor
from spikegraph.nn.layer import values_of
from spikegraph.nn.routing import gather_rows


class SpikingGraphConv(SpikingTwin):
    r"""The operator from the `"Weisfeiler and Leman Go Neural"
    <https://arxiv.org/abs/1810.02244>`_ paper on spikes.

    .. math::
        \mathbf{v}_i = \mathbf{W}_1 \, \mathrm{aggr}_{j \in \mathcal{N}(i)}
        e_{ji} \hat{\mathbf{x}}_j + \mathbf{W}_2 \hat{\mathbf{x}}_i + \mathbf{b}

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.GraphConv`; features may be spikes. The
    maximum is the earliest spike; with edge weights, populations on the edges
    are compared.
    """

    ann_type = GraphConv
    lin_rel: nn.Module

    def build(self, conv: Any) -> None:
        self.flow = conv.flow
        self.by_order = conv.aggr in ('max', 'min')
        if self.by_order:
            smallest = conv.aggr == 'min'
            self.max = EarliestNeighbor(conv.flow, smallest)
            self.max_edge = EarliestMember(smallest)
            self.lin_rel = dense(conv.lin_rel.weight, conv.lin_rel.bias)
        else:
            self.lin_rel = neighbors(conv, conv.lin_rel.weight, conv.lin_rel.bias)
        self.lin_root = dense(conv.lin_root.weight)

    def forward(
        self,
        x: Any,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        size: Any = None,
    ) -> Tensor:
        source, target = pair(x)
        num = num_targets(x, size)
        if not self.by_order:
            out = self.lin_rel(source, edge_index, edge_weight, num)
        elif edge_weight is None:
            out = self.lin_rel(self.max(source, edge_index, num))
        else:
            j, i = ends(edge_index, self.flow)
            messages = edge_weight.view(-1, 1) * values_of(gather_rows(source, j))
            num = source.size(0) if num is None else num
            out = self.lin_rel(self.max_edge(messages, i, num))
        return out if target is None else out + self.lin_root(target)
