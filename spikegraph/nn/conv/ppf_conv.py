from __future__ import annotations

from typing import Any

from torch import Tensor
from torch_geometric.nn import PPFConv

from spikegraph.nn.conv.pointnet_conv import SpikingPointNetConv
from spikegraph.nn.conv.twin import pair
from spikegraph.nn.routing import pair_features


class SpikingPPFConv(SpikingPointNetConv):
    r"""The point pair features from the `"PPFNet"
    <https://arxiv.org/abs/1802.02669>`_ paper on spikes: like
    :class:`SpikingPointNetConv`, with distances and angles between normals in
    place of offsets.

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.PPFConv`; features may be spikes.
    Distances and angles enter the populations on the edges as analog currents.
    """

    ann_type = PPFConv

    def forward(  # type: ignore[override]
        self, x: Any, pos: Any, normal: Any, edge_index: Tensor
    ) -> Tensor:
        return self.collect(x, edge_index, pair(pos), pair(normal))

    def offset(self, *ends: Any) -> Any:
        """The point pair features."""
        pos_j, pos_i, normal_j, normal_i = ends
        return pair_features(pos_i, pos_j, normal_i, normal_j)
