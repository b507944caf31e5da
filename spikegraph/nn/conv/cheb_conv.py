from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from numpy.polynomial import chebyshev
from torch import Tensor
from torch_geometric.nn import ChebConv
from torch_geometric.utils import get_laplacian, remove_self_loops

from spikegraph.kernels import Adjacency, neighbor_adjacency
from spikegraph.kernels.forms import is_sparse
from spikegraph.kernels.graph import edges_of
from spikegraph.nn.conv.twin import SpikingTwin, check_sum
from spikegraph.nn.filter import GraphFilter


class SpikingChebConv(SpikingTwin):
    r"""The Chebyshev convolution from the `"Convolutional Neural Networks on
    Graphs with Fast Localized Spectral Filtering"
    <https://arxiv.org/abs/1606.09375>`_ paper on spikes.

    .. math::
        \mathbf{V} = \sum_{k=0}^{K-1} T_k(\mathbf{\hat{L}}) \,
        \hat{\mathbf{X}} \mathbf{W}_k^{\top} + \mathbf{b}, \qquad
        \mathbf{\hat{L}} = \frac{2 \mathbf{L}}{\lambda_{\max}} - \mathbf{I}

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.ChebConv`; features may be spikes. The
    polynomials :math:`T_k` are expanded into powers of :math:`\mathbf{\hat{L}}`.
    """

    ann_type = ChebConv

    def build(self, conv: Any) -> None:
        check_sum(conv)
        weight = torch.cat([lin.weight for lin in conv.lins], dim=1)
        powers = [
            chebyshev.cheb2poly([*[0.0] * k, 1.0]).tolist()
            for k in range(len(conv.lins))
        ]
        shift = LaplacianShift(conv.normalization, conv.flow)
        self.filter = GraphFilter(shift, powers, weight, conv.bias)

    def forward(
        self,
        x: Any,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        batch: Tensor | None = None,
        lambda_max: Any = None,
    ) -> Tensor:
        return self.filter(x, edge_index, edge_weight, batch, lambda_max)


@dataclass(frozen=True)
class LaplacianShift:
    """The Laplacian, scaled to eigenvalues from -1 to 1."""

    normalization: str | None = 'sym'
    flow: str = 'source_to_target'

    def __call__(
        self,
        x: Any,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        batch: Tensor | None = None,
        lambda_max: Any = None,
    ) -> Adjacency:
        """Prepares a graph, as PyG does, which takes edge indices only."""
        if is_sparse(edge_index):
            sizes = (x.shape[0], x.shape[0])
            source, target, value = edges_of(edge_index, edge_weight, *sizes, self.flow)
            edge_index = torch.stack([source, target]).long()
            edge_weight = None if value is None else value.to(x.dtype)
        edge_index, weight = get_laplacian(
            *remove_self_loops(edge_index, edge_weight),
            self.normalization,
            x.dtype,
            x.shape[0],
        )
        if lambda_max is None:
            lambda_max = 2.0 * weight.max() if weight.numel() > 0 else 2.0
        lambda_max = torch.as_tensor(lambda_max, dtype=x.dtype, device=x.device)
        if batch is not None and lambda_max.numel() > 1:
            lambda_max = lambda_max[batch[edge_index[0]]]
        weight = 2.0 * weight / lambda_max
        weight = weight.masked_fill(weight == float('inf'), 0)
        loops = edge_index[0] == edge_index[1]
        weight = torch.where(loops, weight - 1, weight)
        num_nodes = x.shape[0]
        return neighbor_adjacency(
            edge_index, weight, num_nodes, num_nodes, x.dtype, flow=self.flow
        )
