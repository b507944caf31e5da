from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import SAGEConv

from spikegraph.nn.conv.twin import (
    SpikingTwin,
    dense,
    dense_of,
    ends,
    neighbors,
    num_targets,
    pair,
)
from spikegraph.nn.gate import EarliestNeighbor
from spikegraph.nn.layer import values_of
from spikegraph.nn.routing import gather_rows


class SpikingSAGEConv(SpikingTwin):
    r"""The GraphSAGE operator from the `"Inductive Representation Learning on
    Large Graphs" <https://arxiv.org/abs/1706.02216>`_ paper on spikes.

    .. math::
        \mathbf{v}_i = \mathbf{W}_1 \, \mathrm{aggr}_{j \in \mathcal{N}(i)}
        \hat{\mathbf{x}}_j + \mathbf{W}_2 \hat{\mathbf{x}}_i + \mathbf{b}

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.SAGEConv`; features may be spikes. The
    maximum is the earliest spike, exactly; :obj:`project` adds a population,
    and :obj:`normalize` divides by a norm, which only a last layer may.
    """

    ann_type = SAGEConv
    lin_l: nn.Module

    def build(self, conv: Any) -> None:
        self.normalize = conv.normalize
        self.project = dense_of(conv.lin if conv.project else None)
        self.max, self.aggr, self.flow = None, None, conv.flow
        if conv.aggr in ('max', 'min'):
            self.max = EarliestNeighbor(
                conv.flow, conv.aggr == 'min', keeps_values=False
            )
            self.lin_l = dense(conv.lin_l.weight, conv.lin_l.bias)
        elif conv.aggr not in ('add', 'sum', 'mean'):
            self.aggr = conv.aggr_module
            self.lin_l = dense(conv.lin_l.weight, conv.lin_l.bias)
        else:
            self.lin_l = neighbors(
                conv, conv.lin_l.weight, conv.lin_l.bias, keeps_values=False
            )
        self.lin_r = dense(conv.lin_r.weight) if conv.root_weight else None

    def forward(self, x: Any, edge_index: Tensor, size: Any = None) -> Tensor:
        source, target = pair(x)
        num = num_targets(x, size)
        if self.project is not None:
            source = self.project(source).relu()
        if self.max is not None:
            out = self.lin_l(self.max(source, edge_index, num))
        elif self.aggr is not None:
            j, i = ends(edge_index, self.flow)
            size = source.size(0) if num is None else num
            messages = values_of(gather_rows(source, j))
            out = self.lin_l(values_of(self.aggr(messages, i, dim_size=size)))
        else:
            out = self.lin_l(source, edge_index, None, num)
        if self.lin_r is not None and target is not None:
            out = out + self.lin_r(target)
        return F.normalize(out, p=2.0, dim=-1) if self.normalize else out
