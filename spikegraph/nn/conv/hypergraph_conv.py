from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn import HypergraphConv
from torch_geometric.utils import scatter

from spikegraph.kernels import Adjacency
from spikegraph.nn.conv.twin import SignalsMeet, SpikingTwin
from spikegraph.nn.filter import GraphFilter


class SpikingHypergraphConv(SpikingTwin):
    r"""The hypergraph convolution from the `"Hypergraph Convolution and Hypergraph
    Attention" <https://arxiv.org/abs/1901.08150>`_ paper on spikes.

    .. math::
        \mathbf{V} = \mathbf{D}^{-1} \mathbf{H} \mathbf{W} \mathbf{B}^{-1}
        \mathbf{H}^{\top} \hat{\mathbf{X}} \mathbf{\Theta} + \mathbf{b}

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.HypergraphConv`; features may be spikes. Attention
    has no twin: :func:`spikegraph.convert` looks into the layer itself.
    """

    ann_type = HypergraphConv

    def build(self, conv: Any) -> None:
        if conv.use_attention:
            raise SignalsMeet(
                "Expected 'use_attention' to be False (got True): coefficients that "
                'depend on the features are not affine'
            )
        to_edges, to_nodes = HyperedgeShift(True), HyperedgeShift(False)
        self.gather = GraphFilter(to_edges, weight=conv.lin.weight)
        self.scatter = GraphFilter(to_nodes)
        self.bias = conv.bias

    def forward(
        self,
        x: Any,
        hyperedge_index: Tensor,
        hyperedge_weight: Tensor | None = None,
        hyperedge_attr: Tensor | None = None,
        num_edges: int | None = None,
    ) -> Tensor:
        num_nodes = x.size(0)
        sums = self.gather(x, hyperedge_index, None, num_edges)
        out = self.scatter(sums, hyperedge_index, hyperedge_weight, num_nodes)
        return out if self.bias is None else out + self.bias


@dataclass(frozen=True)
class HyperedgeShift:
    """The mean over the nodes of each hyperedge, or, back at the nodes, the sum
    over their hyperedges, divided by the weight of these.
    """

    to_edges: bool

    def __call__(
        self,
        x: Any,
        hyperedge_index: Tensor,
        hyperedge_weight: Tensor | None = None,
        num_targets: int | None = None,
    ) -> Adjacency:
        """Prepares a hypergraph, as PyG does."""
        node, edge = hyperedge_index
        source, target = (node, edge) if self.to_edges else (edge, node)
        if num_targets is None:
            num_targets = int(target.max()) + 1 if target.numel() > 0 else 0
        total = torch.ones(source.numel(), dtype=x.dtype, device=x.device)
        if hyperedge_weight is not None:
            total = hyperedge_weight[edge].to(x.dtype)
        total = scatter(total, target, dim=0, dim_size=num_targets)
        factor = (1 / total).masked_fill(total == 0, 0).view(-1, 1)
        return Adjacency.from_edges(
            source, target, None, x.shape[0], num_targets, None, factor
        )
