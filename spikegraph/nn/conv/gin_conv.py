from __future__ import annotations

from typing import Any

from torch import Tensor
from torch_geometric.nn import GINConv

from spikegraph.nn.conv.twin import SpikingTwin, check_sum, num_targets, pair
from spikegraph.nn.filter import GraphFilter
from spikegraph.nn.gate import EarliestNeighbor
from spikegraph.nn.layer import values_of
from spikegraph.nn.shift import NeighborShift


class SpikingGINConv(SpikingTwin):
    r"""The graph isomorphism operator from the `"How Powerful are Graph Neural
    Networks?" <https://arxiv.org/abs/1810.00826>`_ paper on spikes.

    .. math::
        \mathbf{v}_i = h_{\mathbf{\Theta}} \Big( (1 + \epsilon) \,
        \hat{\mathbf{x}}_i + \sum_{j \in \mathcal{N}(i)} \hat{\mathbf{x}}_j \Big)

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.GINConv`; features may be spikes. The
    activations of :math:`h_{\mathbf{\Theta}}` become populations.
    """

    ann_type = GINConv

    def build(self, conv: Any) -> None:
        self.eps = conv.eps.item()
        self.nn = conv.nn
        self.max = None
        if conv.aggr == 'max':
            self.max = EarliestNeighbor(conv.flow, keeps_values=False)
            return
        check_sum(conv, 'mean')
        shift = NeighborShift(
            mean=conv.aggr == 'mean', flow=conv.flow, keeps_values=False
        )
        self.sum = GraphFilter(shift, [[1 + self.eps, 1]])  # One graph.
        self.sum_neighbors = GraphFilter(shift)  # Bipartite.

    def forward(self, x: Any, edge_index: Tensor, size: Any = None) -> Tensor:
        if self.max is None and not isinstance(x, (tuple, list)):
            return self.nn(self.sum(x, edge_index))
        source, target = pair(x)
        num = num_targets(x, size)
        if self.max is not None:
            out = self.max(source, edge_index, num)
        else:
            out = self.sum_neighbors(source, edge_index, None, num)
        out = values_of(out)
        if target is not None:
            out = out + (1 + self.eps) * values_of(target)
        return self.nn(out)
