"""The spiking twins of PyG's aggregation modules."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch_geometric.nn import aggr

from spikegraph.nn.conv.twin import SpikingTwin
from spikegraph.nn.filter import GraphFilter
from spikegraph.nn.gate import EarliestMember
from spikegraph.nn.shift import MemberShift


class SpikingSumAggregation(SpikingTwin):
    r"""The sum over the members of each group, on spikes.

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.aggr.SumAggregation`; groups come by
    :obj:`index`, not by :obj:`ptr`.
    """

    ann_type = aggr.SumAggregation

    def build(self, conv: Any) -> None:
        """Makes the filter."""
        self.reduce: nn.Module = GraphFilter(MemberShift())

    def forward(
        self,
        x: Any,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
    ) -> Any:
        """Returns the sums of each group."""
        if ptr is not None or dim not in (-2, 0):
            raise NotImplementedError(
                "Expected groups by 'index' along dimension -2 (got 'ptr' or dimension "
                f'{dim})'
            )
        return self.reduce(x, index, dim_size)


class SpikingMeanAggregation(SpikingSumAggregation):
    """Like :class:`SpikingSumAggregation`, for the mean."""

    ann_type = aggr.MeanAggregation

    def build(self, conv: Any) -> None:
        """Makes the filter."""
        self.reduce = GraphFilter(MemberShift(mean=True))


class SpikingMaxAggregation(SpikingSumAggregation):
    """Like :class:`SpikingSumAggregation`, for the maximum: the earliest spike."""

    ann_type = aggr.MaxAggregation

    def build(self, conv: Any) -> None:
        """Makes the gate."""
        self.reduce = EarliestMember()


class SpikingMinAggregation(SpikingSumAggregation):
    """Like :class:`SpikingSumAggregation`, for the minimum."""

    ann_type = aggr.MinAggregation

    def build(self, conv: Any) -> None:
        """Makes the gate."""
        self.reduce = EarliestMember(smallest=True)


AGGREGATION_TWINS = (
    SpikingSumAggregation,
    SpikingMeanAggregation,
    SpikingMaxAggregation,
    SpikingMinAggregation,
)
