"""The spiking twins of PyG's aggregation modules."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import aggr
from torch_geometric.utils import softmax

from spikegraph.nn.conv.twin import SpikingTwin
from spikegraph.nn.filter import GraphFilter
from spikegraph.nn.gate import EarliestMember
from spikegraph.nn.layer import values_of
from spikegraph.nn.members import ProductMember, RankedMember
from spikegraph.nn.routing import degree_factor, gather_rows, quantile_share
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
        """Returns what is made of each group."""
        if ptr is not None or dim not in (-2, 0):  # Channels come behind.
            raise NotImplementedError(
                "Expected groups by 'index' along dimension -2 (got 'ptr' or dimension "
                f'{dim})'
            )
        return self.grouped(x, index, dim_size)

    def grouped(self, x: Any, index: Tensor | None, dim_size: int | None) -> Any:
        """The sums of groups that are given by an index of rows."""
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


class SpikingMulAggregation(SpikingSumAggregation):
    """Like :class:`SpikingSumAggregation`, for the product: spike times add up."""

    ann_type = aggr.MulAggregation

    def build(self, conv: Any) -> None:
        """Makes the gate."""
        self.reduce = ProductMember()


class SpikingQuantileAggregation(SpikingSumAggregation):
    """Like :class:`SpikingSumAggregation`, for quantiles: the spikes that leave a share
    of their group behind, and what lies between two.
    """

    ann_type = aggr.QuantileAggregation

    def build(self, conv: Any) -> None:
        """Makes the gates."""
        if conv.fill_value != 0:
            raise NotImplementedError(
                "Expected 'fill_value' to be 0 (got "
                f'{conv.fill_value}), as a group without members is silent'
            )
        self.quantiles = conv.q.flatten().tolist()
        self.how = conv.interpolation
        between = self.how in ('linear', 'midpoint')
        ways = ('lower', 'higher') if between else (self.how,)
        self.gates = nn.ModuleList(
            RankedMember(q, how) for q in self.quantiles for how in ways
        )

    def grouped(self, x: Any, index: Tensor | None, dim_size: int | None) -> Any:
        """The quantiles of each group, side by side."""
        index = _given(index)
        outs, num = [], len(self.gates) // len(self.quantiles)
        for i, q in enumerate(self.quantiles):
            gates = self.gates[i * num : (i + 1) * num]
            ends = [gate(x, index, dim_size) for gate in gates]
            if self.how in ('linear', 'midpoint'):
                low, high = map(values_of, ends)
                share: Any = 0.5
                if self.how == 'linear':
                    share = quantile_share(low, index, q)
                ends = [low + (high - low) * share]
            outs += ends
        return outs[0] if len(outs) == 1 else torch.cat(list(map(values_of, outs)), -1)


class SpikingMedianAggregation(SpikingQuantileAggregation):
    """Like :class:`SpikingSumAggregation`, for the median."""

    ann_type = aggr.MedianAggregation


class SpikingSet2Set(SpikingSumAggregation):
    """Attention to the members of each group, several times, by a query that a
    recurrent layer keeps. The first one is the same for all groups, and a constant.
    """

    ann_type = aggr.Set2Set

    @torch.no_grad()
    def build(self, conv: Any) -> None:
        """Takes the recurrent layer, and what it says without an input."""
        super().build(conv)
        self.lstm, self.num_steps = conv.lstm, conv.processing_steps
        nothing = conv.lstm.weight_ih_l0.new_zeros(1, 1, conv.out_channels)
        query, (hidden, cell) = conv.lstm(nothing)
        self.register_buffer('query', query[0])
        self.register_buffer('hidden', hidden)
        self.register_buffer('cell', cell)

    def grouped(self, x: Any, index: Tensor | None, dim_size: int | None) -> Any:
        """The last query of each group and what it found."""
        index = _given(index)
        query: Any = self.query
        found = self._find(x, query, index, dim_size)
        query = query.expand(found.size(0), -1)
        both: Any = self.hidden, self.cell
        state = tuple(each.expand(-1, found.size(0), -1) for each in both)
        for _ in range(self.num_steps - 1):
            told = torch.cat([query, found], dim=-1)
            query, state = self.lstm(told.unsqueeze(0), state)
            query = query.squeeze(0)
            found = self._find(x, gather_rows(query, index), index, dim_size)
        return torch.cat([query, found], dim=-1)

    def _find(self, x: Any, query: Any, index: Tensor, dim_size: int | None) -> Any:
        """What members say, weighed by how they answer the query."""
        score = (x * query).sum(dim=-1, keepdim=True)
        share = softmax(score, index, num_nodes=dim_size)
        return self.reduce(share * x, index, dim_size)


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
        index = _given(index)
        out = values_of(self.aggr(x, index, ptr, dim_size, dim))
        scaled = []
        for scaler in self.scaler:
            factor = degree_factor(
                out, index, scaler, self.avg_deg_lin, self.avg_deg_log
            )
            scaled.append(out if scaler == 'identity' else out * factor)
        return torch.cat(scaled, dim=-1) if len(scaled) > 1 else scaled[0]


def _given(index: Tensor | None) -> Tensor:
    if index is None:
        raise ValueError("Expected 'index' to hold the group of each row (got None)")
    return index
