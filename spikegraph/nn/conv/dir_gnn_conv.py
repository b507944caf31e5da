from __future__ import annotations

from typing import Any

from torch import Tensor
from torch_geometric.nn import DirGNNConv

from spikegraph.nn.conv.twin import SpikingTwin, dense_of
from spikegraph.nn.layer import values_of
from spikegraph.nn.routing import reversed_edges


class SpikingDirGNNConv(SpikingTwin):
    r"""The wrapper for directed graphs from the `"Edge Directionality Improves
    Learning on Heterophilic Graphs" <https://arxiv.org/abs/2305.10498>`_ paper on
    spikes.

    .. math::
        \mathbf{V} = \alpha \, f_{\rightarrow}(\hat{\mathbf{X}}) + (1 - \alpha)
        \, f_{\leftarrow}(\hat{\mathbf{X}}) + \mathbf{W} \hat{\mathbf{X}} +
        \mathbf{b}

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.DirGNNConv`; the wrapped layer is converted
    by its own rule.
    """

    ann_type = DirGNNConv

    def build(self, conv: Any) -> None:
        self.alpha = conv.alpha
        self.conv_in, self.conv_out = conv.conv_in, conv.conv_out
        self.lin = dense_of(conv.lin)

    def forward(self, x: Any, edge_index: Tensor) -> Tensor:
        x = values_of(x)
        x_in = self.conv_in(x, edge_index)
        x_out = self.conv_out(x, reversed_edges(edge_index))
        out = self.alpha * x_out + (1 - self.alpha) * x_in
        return out if self.lin is None else out + self.lin(x)
