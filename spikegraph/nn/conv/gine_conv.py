from __future__ import annotations

from typing import Any

from torch import Tensor
from torch_geometric.nn import GINEConv

from spikegraph.nn.conv.twin import SpikingTwin, check_sum, ends, num_targets, pair
from spikegraph.nn.filter import GraphFilter
from spikegraph.nn.layer import values_of
from spikegraph.nn.routing import gather_rows
from spikegraph.nn.shift import MemberShift


class SpikingGINEConv(SpikingTwin):
    r"""The graph isomorphism operator with edge features from the
    `"Strategies for Pre-training Graph Neural Networks"
    <https://arxiv.org/abs/1905.12265>`_ paper on spikes.

    .. math::
        \mathbf{v}_i = h_{\mathbf{\Theta}} \Big( (1 + \epsilon) \,
        \hat{\mathbf{x}}_i + \sum_{j \in \mathcal{N}(i)} \mathrm{ReLU}
        (\hat{\mathbf{x}}_j + \mathbf{e}_{ji}) \Big)

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.GINEConv`; features may be spikes. Every
    edge holds a population, charged by its source and, as an analog current,
    by its features.
    """

    ann_type = GINEConv

    def build(self, conv: Any) -> None:
        check_sum(conv, 'mean')
        self.eps = conv.eps.item()
        self.nn, self.lin, self.flow = conv.nn, conv.lin, conv.flow
        self.sum = GraphFilter(MemberShift(mean=conv.aggr == 'mean'))

    def forward(
        self,
        x: Any,
        edge_index: Tensor,
        edge_attr: Tensor | None = None,
        size: Any = None,
    ) -> Tensor:
        if edge_attr is None:
            raise ValueError("Expected 'edge_attr' to hold edge features (got None)")
        source, target = pair(x)
        j, i = ends(edge_index, self.flow)
        num = num_targets(x, size)
        num = source.size(0) if num is None else num
        current = edge_attr if self.lin is None else self.lin(edge_attr)
        messages = (values_of(gather_rows(source, j)) + current).relu()
        out = self.sum(messages, i, num)
        if target is not None:
            out = out + (1 + self.eps) * values_of(target)
        return self.nn(out)
