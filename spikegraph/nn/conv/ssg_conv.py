from __future__ import annotations

from typing import Any

from torch_geometric.nn import SSGConv

from spikegraph.nn.conv.twin import FilterTwin, check_sum
from spikegraph.nn.filter import GraphFilter
from spikegraph.nn.shift import GCNShift


class SpikingSSGConv(FilterTwin):
    r"""The simple spectral graph convolution from the `"Simple Spectral Graph
    Convolution" <https://openreview.net/forum?id=CYO5T-YjWZV>`_ paper on spikes.

    .. math::
        \mathbf{V} = \Big( \alpha \hat{\mathbf{X}} + \frac{1 - \alpha}{K}
        \sum_{k=1}^{K} \mathbf{S}^k \hat{\mathbf{X}} \Big) \mathbf{\Theta}
        + \mathbf{b}

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.SSGConv`; features may be spikes.
    :obj:`cached` has no effect: the features are those given.
    """

    ann_type = SSGConv

    def build(self, conv: Any) -> None:
        check_sum(conv)
        powers = [conv.alpha, *[(1 - conv.alpha) / conv.K] * conv.K]
        shift = GCNShift(add_self_loops=conv.add_self_loops, flow=conv.flow)
        self.filter = GraphFilter(shift, [powers], conv.lin.weight, conv.lin.bias)
