from __future__ import annotations

from typing import Any

from torch_geometric.nn import SGConv

from spikegraph.nn.conv.twin import FilterTwin, check_sum
from spikegraph.nn.filter import GraphFilter
from spikegraph.nn.shift import GCNShift


class SpikingSGConv(FilterTwin):
    r"""The simple graph convolution from the `"Simplifying Graph Convolutional
    Networks" <https://arxiv.org/abs/1902.07153>`_ paper on spikes.

    .. math::
        \mathbf{V} = \left( \mathbf{\hat{D}}^{-1/2} \mathbf{\hat{A}}
        \mathbf{\hat{D}}^{-1/2} \right)^K \hat{\mathbf{X}} \mathbf{\Theta}
        + \mathbf{b}

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.SGConv`; features may be spikes.
    :obj:`cached` has no effect: the features are those given.
    """

    ann_type = SGConv

    def build(self, conv: Any) -> None:
        check_sum(conv)
        powers = [*[0.0] * conv.K, 1.0]
        shift = GCNShift(add_self_loops=conv.add_self_loops, flow=conv.flow)
        self.filter = GraphFilter(shift, [powers], conv.lin.weight, conv.lin.bias)
