from __future__ import annotations

from typing import Any

from torch_geometric.nn import LGConv

from spikegraph.nn.conv.twin import FilterTwin, check_sum
from spikegraph.nn.filter import GraphFilter
from spikegraph.nn.shift import GCNShift


class SpikingLGConv(FilterTwin):
    r"""The light graph convolution from the `"LightGCN" <https://arxiv.org/abs/
    2002.02126>`_ paper on spikes.

    .. math::
        \mathbf{v}_i = \sum_{j \in \mathcal{N}(i)}
        \frac{e_{ji}}{\sqrt{d_i d_j}} \hat{\mathbf{x}}_j

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.LGConv`; features may be spikes.
    """

    ann_type = LGConv

    def build(self, conv: Any) -> None:
        check_sum(conv)
        shift = GCNShift(add_self_loops=False, normalize=conv.normalize, flow=conv.flow)
        self.filter = GraphFilter(shift)
