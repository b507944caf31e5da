from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import FastRGCNConv, RGCNConv

from spikegraph.kernels import Adjacency, neighbor_adjacency
from spikegraph.kernels.graph import prepared
from spikegraph.nn.conv.twin import SpikingTwin, check_sum, dense, num_targets, pair
from spikegraph.nn.filter import GraphFilter


class SpikingRGCNConv(SpikingTwin):
    r"""The relational graph convolution from the `"Modeling Relational Data with
    Graph Convolutional Networks" <https://arxiv.org/abs/1703.06103>`_ paper on
    spikes.

    .. math::
        \mathbf{v}_i = \sum_{r} \mathbf{W}_r \, \mathrm{aggr}_{j \in
        \mathcal{N}_r(i)} \hat{\mathbf{x}}_j + \mathbf{W}_0 \hat{\mathbf{x}}_i
        + \mathbf{b}

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.RGCNConv`; features may be spikes, but not
    node indices. Bases and blocks are multiplied out.
    """

    ann_type = RGCNConv

    def build(self, conv: Any) -> None:
        check_sum(conv, 'mean')
        mean = conv.aggr == 'mean'
        self.relations = nn.ModuleList(
            GraphFilter(RelationShift(r, mean, conv.flow), weight=weight.t())
            for r, weight in enumerate(_dense_weights(conv))
        )
        root, bias = conv.root, conv.bias
        self.root = None
        if root is not None:
            self.root, bias = dense(root.t(), bias), None
        self.bias = bias

    def forward(
        self, x: Any, edge_index: Tensor, edge_type: Tensor | None = None
    ) -> Tensor:
        source, target = pair(x)
        num = num_targets(x)
        out: Any = None if self.root is None else self.root(target)
        for relation in self.relations:
            term = relation(source, edge_index, edge_type, num)
            out = term if out is None else out + term
        return out if self.bias is None else out + self.bias


class SpikingFastRGCNConv(SpikingRGCNConv):
    """Like :class:`SpikingRGCNConv`, for PyG's
    :class:`~torch_geometric.nn.conv.FastRGCNConv`.
    """

    ann_type = FastRGCNConv


def _dense_weights(conv: Any) -> Tensor:
    """The weights of each relation :math:`(R, F_{in}, F_{out})`."""
    if conv.num_bases is not None:
        return torch.einsum('rb,bio->rio', conv.comp, conv.weight)
    if conv.num_blocks is not None:
        return torch.stack([torch.block_diag(*blocks) for blocks in conv.weight])
    return conv.weight


@dataclass(frozen=True)
class RelationShift:
    """The sum, or the mean, over the in-neighbours of one relation."""

    relation: int
    mean: bool = False
    flow: str = 'source_to_target'

    def __call__(
        self,
        x: Any,
        edge_index: Tensor,
        edge_type: Tensor,
        num_targets: int | None = None,
    ) -> Adjacency:
        """Prepares the edges of the relation."""
        num_targets = x.shape[0] if num_targets is None else num_targets

        def build() -> Adjacency:
            return neighbor_adjacency(
                edge_index[:, edge_type == self.relation],
                None,
                x.shape[0],
                num_targets,
                x.dtype,
                mean=self.mean,
                flow=self.flow,
            )

        options = (self, x.shape[0], num_targets, x.dtype)
        return prepared(edge_index, edge_type, options, build)
