from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn import ClusterGCNConv
from torch_geometric.utils import add_self_loops, remove_self_loops, scatter

from spikegraph.kernels import Adjacency, neighbor_adjacency
from spikegraph.kernels.forms import is_foreign, is_sparse
from spikegraph.kernels.graph import edges_of, prepared
from spikegraph.nn.conv.twin import SpikingTwin, check_sum, dense
from spikegraph.nn.filter import GraphFilter


class SpikingClusterGCNConv(SpikingTwin):
    r"""The ClusterGCN operator from the `"Cluster-GCN"
    <https://arxiv.org/abs/1905.07953>`_ paper on spikes.

    .. math::
        \mathbf{V} = (\mathbf{\hat{A}} + \lambda \, \mathrm{diag}
        (\mathbf{\hat{A}})) \hat{\mathbf{X}} \mathbf{W}_1 + \hat{\mathbf{X}}
        \mathbf{W}_2 + \mathbf{b}, \qquad \mathbf{\hat{A}} = (\mathbf{D} +
        \mathbf{I})^{-1} (\mathbf{A} + \mathbf{I})

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.ClusterGCNConv`; features may be spikes.
    """

    ann_type = ClusterGCNConv

    def build(self, conv: Any) -> None:
        check_sum(conv)
        shift = ClusterShift(conv.diag_lambda, conv.add_self_loops, conv.flow)
        lin = conv.lin_out
        self.lin_out = GraphFilter(shift, weight=lin.weight, bias=lin.bias)
        self.lin_root = dense(conv.lin_root.weight)

    def forward(self, x: Any, edge_index: Tensor) -> Tensor:
        return self.lin_out(x, edge_index) + self.lin_root(x)


@dataclass(frozen=True)
class ClusterShift:
    """Row-normalised adjacency with an enlarged diagonal."""

    diag_lambda: float = 0.0
    add_self_loops: bool = True
    flow: str = 'source_to_target'

    def __call__(self, x: Any, edge_index: Tensor) -> Adjacency:
        """Prepares a graph, as PyG does."""
        num_nodes = x.shape[0]

        def build() -> Adjacency:
            flow = self.flow if is_sparse(edge_index) else 'source_to_target'
            source, target, value = edges_of(
                edge_index, None, num_nodes, num_nodes, flow
            )
            if not is_foreign(edge_index):  # PyG counts the others' entries.
                value = None
            if self.add_self_loops:
                edges, value = remove_self_loops(torch.stack([source, target]), value)
                edges, value = add_self_loops(edges, value, 1.0, num_nodes)
                source, target = edges
            if value is None:
                value = torch.ones(len(target), device=target.device)
            total = scatter(value.float(), target, dim_size=num_nodes)
            weight = (1 / total.clamp(min=1))[target]  # In float32, as PyG.
            weight = weight + (source == target) * self.diag_lambda * weight
            return neighbor_adjacency(
                torch.stack([source, target]),
                weight,
                num_nodes,
                num_nodes,
                x.dtype,
                flow=self.flow,
            )

        return prepared(edge_index, None, (self, num_nodes, x.dtype), build)
