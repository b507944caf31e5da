from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import MFConv
from torch_geometric.utils import scatter

from spikegraph.coding import Spikes
from spikegraph.nn.conv.twin import (
    SpikingTwin,
    check_sum,
    dense,
    ends,
    num_targets,
    pair,
)
from spikegraph.nn.filter import GraphFilter
from spikegraph.nn.layer import Operation, SpikingLayer, values_of
from spikegraph.nn.shift import NeighborShift


class SpikingMFConv(SpikingTwin):
    r"""The graph neural network operator from the `"Convolutional Networks on
    Graphs for Learning Molecular Fingerprints"
    <https://arxiv.org/abs/1509.09292>`_ paper on spikes.

    .. math::
        \mathbf{v}_i = \mathbf{W}^{(\deg(i))}_1 \sum_{j \in \mathcal{N}(i)}
        \hat{\mathbf{x}}_j + \mathbf{W}^{(\deg(i))}_2 \hat{\mathbf{x}}_i +
        \mathbf{b}^{(\deg(i))}

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.MFConv`; features may be spikes. A
    node's degree picks its weights.
    """

    ann_type = MFConv

    def build(self, conv: Any) -> None:
        check_sum(conv)
        self.flow = conv.flow
        self.sum = GraphFilter(NeighborShift(flow=conv.flow, keeps_values=False))
        left = [(lin.weight, lin.bias) for lin in conv.lins_l]
        self.lin_l = DegreeLinear(left)
        self.lin_r = DegreeLinear([(lin.weight, None) for lin in conv.lins_r])

    def forward(self, x: Any, edge_index: Tensor, size: Any = None) -> Tensor:
        source, target = pair(x)
        sums = self.sum(source, edge_index, None, num_targets(x, size))
        i = ends(edge_index, self.flow)[1]
        degree = scatter(torch.ones_like(i), i, dim=0, dim_size=sums.size(0))
        out = self.lin_l(sums, degree)
        return out if target is None else out + self.lin_r(target, degree)


class DegreeLinear(SpikingLayer):
    """A fully connected synapse whose weights depend on the node's degree.

    Args:
        layers (List[Tuple[torch.Tensor, torch.Tensor]]): Weight and bias for
            the degrees 0, 1, ...; larger degrees share the last.
    """

    def __init__(self, layers: list[tuple[Tensor, Tensor | None]]) -> None:
        super().__init__()
        self.weight = self.bias = None
        self.out_channels = layers[0][0].size(0)
        self.lins = nn.ModuleList(dense(*layer) for layer in layers)

    def forward(self, x: Spikes | Tensor, degree: Tensor) -> Tensor:
        values = self.features(x)
        degree = degree.clamp(max=len(self.lins) - 1)
        out = values.new_empty(values.size(0), self.out_channels)
        for d, lin in enumerate(self.lins):
            rows = (degree == d).nonzero().view(-1)
            out[rows] = lin(values[rows])
        return out

    def features(self, x: Spikes | Tensor, *graph: Any) -> Tensor:
        """The decoded input itself."""
        return values_of(x)

    def operations(self, x: Spikes | Tensor, *graph: Any) -> list[Operation]:
        """One transform."""
        width = self.out_channels
        num_weights = sum(p.numel() for p in self.parameters() if p.dim() > 1)
        num = x.shape.numel() * width
        return [Operation('transform', num, width, num_weights)]
