"""The product of two matrices of spikes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spikegraph.coding import Spikes
from spikegraph.nn.layer import values_of
from spikegraph.nn.products import product_code, product_window


class DelayedSum(nn.Module):
    r"""The product of two matrices of spikes: pairs are delayed, and summed up where
    they arrive.

    .. math::
        v_{ij} = \sum_k \pm s_a s_b \, Q^{-(t_{ik} + t_{kj})}

    Raises:
        ValueError: If the codes are not geometric, or differ in their base.

    Shapes:
        - **input:** spikes :math:`(*, N, K)` and :math:`(*, K, M)`
        - **output:** potentials :math:`(*, N, M)`
    """

    def forward(self, x: Spikes | Tensor, other: Spikes | Tensor) -> Tensor:
        """The potentials that all pairs leave behind."""
        if isinstance(x, Spikes) and isinstance(other, Spikes):
            product_code(x.code, other.code)
        return self.analog(values_of(x), values_of(other))

    def num_pairs(self, x: Tensor, other: Tensor) -> Tensor:
        """How many pairs of spikes arrive at each potential.

        Args:
            x (torch.Tensor): Ones where the one population fires :math:`(*, N, K)`.
            other (torch.Tensor): Ones where the other one does :math:`(*, K, M)`.
        """
        return torch.matmul(x, other)

    def analog(self, x: Tensor, other: Tensor) -> Tensor:
        """The product of real values."""
        return torch.matmul(x, other)

    def window(self, lengths: Sequence[int]) -> int:
        """The latest of one after the latest of the other."""
        return product_window(lengths)


class Arriving:
    """What pairs of spikes deliver, at the steps at which one is delayed by the other.

    Args:
        layer (DelayedSum): What sums them up.
        a (Spikes): The one population.
        b (Spikes): The other one.
    """

    def __init__(self, layer: DelayedSum, a: Spikes, b: Spikes) -> None:
        self.layer, self.a, self.b = layer, a, b
        self.code = product_code(a.code, b.code)

    def current(self, step: int) -> Tensor:
        """What arrives at one step: all pairs whose times add up to it."""
        total: Tensor | None = None
        for first in range(max(0, step - self.b.code.num_steps + 1), step + 1):
            if first < self.a.code.num_steps:
                pair = self.a.current(first), self.b.current(step - first)
                part = self.layer.analog(*pair)
                total = part if total is None else total + part
        assert total is not None
        return total

    def decode(self) -> Tensor:
        """All that arrives."""
        out: Tensor = self.layer(self.a, self.b)
        return out
