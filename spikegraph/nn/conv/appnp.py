from __future__ import annotations

from typing import Any

from torch_geometric.nn import APPNP

from spikegraph.nn.conv.twin import FilterTwin, check_sum
from spikegraph.nn.filter import GraphFilter
from spikegraph.nn.shift import GCNShift


class SpikingAPPNP(FilterTwin):
    r"""The personalised propagation from the `"Predict then Propagate"
    <https://arxiv.org/abs/1810.05997>`_ paper on spikes.

    .. math::
        \mathbf{V} = (1 - \alpha)^K \mathbf{S}^K \hat{\mathbf{X}} + \alpha
        \sum_{k=0}^{K-1} (1 - \alpha)^k \mathbf{S}^k \hat{\mathbf{X}}

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.APPNP`; features may be spikes.
    """

    ann_type = APPNP

    def build(self, conv: Any) -> None:
        check_sum(conv)
        keep = 1 - conv.alpha
        powers = [conv.alpha * keep**k for k in range(conv.K)]
        shift = GCNShift(
            add_self_loops=conv.add_self_loops, normalize=conv.normalize, flow=conv.flow
        )
        self.filter = GraphFilter(shift, [[*powers, keep**conv.K]], cached=conv.cached)
