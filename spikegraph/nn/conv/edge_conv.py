from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn import EdgeConv

from spikegraph.nn.conv.twin import SpikingTwin, ends, pair
from spikegraph.nn.layer import values_of
from spikegraph.nn.routing import gather_rows


class SpikingEdgeConv(SpikingTwin):
    r"""The edge convolution from the `"Dynamic Graph CNN for Learning on Point
    Clouds" <https://arxiv.org/abs/1801.07829>`_ paper on spikes.

    .. math::
        \mathbf{v}_i = \mathrm{aggr}_{j \in \mathcal{N}(i)}
        h_{\mathbf{\Theta}}(\hat{\mathbf{x}}_i \, \Vert \, \hat{\mathbf{x}}_j -
        \hat{\mathbf{x}}_i)

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.EdgeConv`; features may be spikes. Every
    edge holds the populations of :math:`h_{\mathbf{\Theta}}`; the maximum over
    edges is the earliest spike.
    """

    ann_type = EdgeConv

    def build(self, conv: Any) -> None:
        self.nn, self.flow = conv.nn, conv.flow
        self.aggr = conv.aggr_module

    def forward(self, x: Any, edge_index: Tensor) -> Tensor:
        source, target = pair(x)
        j, i = ends(edge_index, self.flow)
        x_i = values_of(gather_rows(target, i))
        x_j = values_of(gather_rows(source, j))
        messages = self.nn(torch.cat([x_i, x_j - x_i], dim=-1))
        return self.aggr(messages, i, dim_size=target.size(0))
