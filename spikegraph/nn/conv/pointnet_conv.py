from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn import PointNetConv

from spikegraph.nn.conv.twin import SpikingTwin, ends, pair
from spikegraph.nn.layer import values_of
from spikegraph.nn.routing import gather_rows, with_self_loops


class SpikingPointNetConv(SpikingTwin):
    r"""The set layer from the `"PointNet++" <https://arxiv.org/abs/1706.02413>`_
    paper on spikes.

    .. math::
        \mathbf{v}_i = \gamma_{\mathbf{\Theta}} \Big( \mathrm{aggr}_{j \in
        \mathcal{N}(i) \cup \{ i \}} h_{\mathbf{\Theta}} (\hat{\mathbf{x}}_j,
        \mathbf{p}_j - \mathbf{p}_i) \Big)

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.PointNetConv`; features may be spikes.
    Positions enter the populations on the edges as analog currents.
    """

    ann_type = PointNetConv

    def build(self, conv: Any) -> None:
        self.local_nn, self.global_nn = conv.local_nn, conv.global_nn
        self.loops, self.flow = conv.add_self_loops, conv.flow
        self.aggr = conv.aggr_module

    def forward(self, x: Any, pos: Any, edge_index: Tensor) -> Tensor:
        return self.collect(x, edge_index, pair(pos))

    def collect(self, x: Any, edge_index: Tensor, *pairs: Any) -> Tensor:
        """Aggregates the messages along the edges."""
        source, target = pairs[0]
        num = target.size(0)
        if self.loops:
            edge_index = with_self_loops(edge_index, None, source.size(0), num, 1.0)[0]
        j, i = ends(edge_index, self.flow)
        lifted = [
            gather_rows(value, index)
            for pair in pairs
            for value, index in zip(pair, (j, i), strict=True)
        ]
        out = self.offset(*lifted)
        x = x[0] if isinstance(x, (tuple, list)) else x
        if x is not None:
            out = torch.cat([values_of(gather_rows(x, j)), out], dim=1)
        out = out if self.local_nn is None else self.local_nn(out)
        out = self.aggr(out, i, dim_size=num)
        return out if self.global_nn is None else self.global_nn(out)

    def offset(self, source: Any, target: Any) -> Any:
        """What an edge knows of the places of its ends."""
        return source - target
