"""The spiking twins of PyG's aggregation modules."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import aggr

from spikegraph.nn.conv.twin import SpikingTwin
from spikegraph.nn.filter import GraphFilter
from spikegraph.nn.gate import EarliestMember
from spikegraph.nn.layer import values_of
from spikegraph.nn.routing import degree_factor
from spikegraph.nn.shift import MemberShift


class SpikingSumAggregation(SpikingTwin):
    r"""The sum over the members of each group, on spikes.

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.aggr.SumAggregation`; groups come by
    :obj:`index`, not by :obj:`ptr`.
    """

    ann_type = aggr.SumAggregation
    kind = 'sum'

    def build(self, conv: Any) -> None:
        if self.kind in ('sum', 'mean'):
            self.reduce: nn.Module = GraphFilter(MemberShift(self.kind == 'mean'))
        else:
            self.reduce = EarliestMember(smallest=self.kind == 'min')

    def forward(
        self,
        x: Any,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
    ) -> Any:
        """Returns the sums of each group."""
        if ptr is not None or dim not in (-2, 0):  # Channels come behind.
            raise NotImplementedError(
                "Expected groups by 'index' along dimension -2 (got 'ptr' or dimension "
                f'{dim})'
            )
        return self.reduce(x, index, dim_size)


class SpikingMeanAggregation(SpikingSumAggregation):
    """Like :class:`SpikingSumAggregation`, for the mean."""

    ann_type, kind = aggr.MeanAggregation, 'mean'


class SpikingMaxAggregation(SpikingSumAggregation):
    """Like :class:`SpikingSumAggregation`, for the maximum: the earliest spike."""

    ann_type, kind = aggr.MaxAggregation, 'max'


class SpikingMinAggregation(SpikingSumAggregation):
    """Like :class:`SpikingSumAggregation`, for the minimum."""

    ann_type, kind = aggr.MinAggregation, 'min'


class SpikingMultiAggregation(SpikingTwin):
    """Several aggregations side by side, or their sum or mean."""

    ann_type = aggr.MultiAggregation

    def build(self, conv: Any) -> None:
        """Takes the aggregations."""
        if conv.mode not in ('cat', 'sum', 'mean'):
            raise NotImplementedError(
                f"Expected 'mode' to be 'cat', 'sum' or 'mean' (got {conv.mode!r})"
            )
        self.mode = conv.mode
        self.aggrs = conv.aggrs

    def forward(
        self,
        x: Any,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
    ) -> Any:
        """Returns the combined aggregations."""
        outs = [each(x, index, ptr, dim_size, dim) for each in self.aggrs]
        outs = [values_of(out) for out in outs]
        if self.mode == 'cat':
            return torch.cat(outs, dim=-1)
        total = outs[0]
        for out in outs[1:]:
            total = total + out
        return total if self.mode == 'sum' else total / len(outs)


class SpikingDegreeScalerAggregation(SpikingTwin):
    """Aggregations scaled by powers and logarithms of the degree, as in PNA."""

    ann_type = aggr.DegreeScalerAggregation

    def build(self, conv: Any) -> None:
        """Takes the aggregation and the scalers."""
        self.aggr, self.scaler = conv.aggr, conv.scaler
        self.avg_deg_lin, self.avg_deg_log = conv.avg_deg_lin, conv.avg_deg_log

    def forward(
        self,
        x: Any,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
    ) -> Any:
        """Returns the scaled aggregations."""
        if index is None:
            raise ValueError(
                "Expected 'index' to hold the group of each row (got None)"
            )
        out = values_of(self.aggr(x, index, ptr, dim_size, dim))
        scaled = []
        for scaler in self.scaler:
            factor = degree_factor(
                out, index, scaler, self.avg_deg_lin, self.avg_deg_log
            )
            scaled.append(out if scaler == 'identity' else out * factor)
        return torch.cat(scaled, dim=-1) if len(scaled) > 1 else scaled[0]
