"""The spiking twins of norms, and of layers that are one function of what they get."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikegraph.nn.conv.twin import SpikingTwin
from spikegraph.nn.filter import GraphFilter
from spikegraph.nn.routing import gather_rows
from spikegraph.nn.shift import MemberShift

_BATCH_NORMS = (
    (nn.InstanceNorm1d, nn.BatchNorm1d, 3),
    (nn.InstanceNorm2d, nn.BatchNorm2d, 4),
    (nn.InstanceNorm3d, nn.BatchNorm3d, 5),
)


class SpikingInstanceNorm(SpikingTwin):
    r"""An instance norm, PyTorch's or PyG's:

    .. math::
        \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \gamma + \beta

    With statistics that training tracked, it is affine, and a batch norm; else mean and
    variance are those of each input, and move the thresholds behind it.
    """

    def build(self, norm: Any) -> None:
        """Takes parameters and statistics."""
        kind: Any = nn.BatchNorm1d
        self.rank = 2  # Nodes times channels, in PyG.
        for base, batch_norm, with_batch in _BATCH_NORMS:
            if isinstance(norm, base):
                kind, self.rank = batch_norm, with_batch
        self.norm: nn.Module | None = None
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.mean = GraphFilter(MemberShift(mean=True))
        if norm.running_mean is not None:
            affine = norm.weight is not None
            self.norm = kind(norm.running_mean.numel(), norm.eps, affine=affine)
            self.norm.to(norm.running_mean)
            self.norm.load_state_dict(norm.state_dict(), strict=False)

    def forward(
        self, x: Tensor, batch: Tensor | None = None, batch_size: int | None = None
    ) -> Any:
        """Normalises features, of one input also without a dimension for more."""
        if self.norm is None and self.rank == 2:
            return self._of_graphs(x, batch, batch_size)
        if x.dim() == self.rank:
            return self._of_inputs(x)
        return self._of_inputs(x.unsqueeze(0)).squeeze(0)

    def _of_inputs(self, x: Tensor) -> Any:
        if self.norm is not None:
            return self.norm(x)
        return _by_own_statistics(x, self.weight, self.bias, self.eps)

    def _of_graphs(self, x: Any, batch: Any, batch_size: Any) -> Any:
        """Rows by the statistics of those that are in one graph."""
        if batch is None:
            rows = x.t().unsqueeze(0)
            out = _by_own_statistics(rows, self.weight, self.bias, self.eps)
            return out.squeeze(0).t()
        difference = x - gather_rows(self.mean(x, batch, batch_size), batch)
        square = self.mean(difference * difference, batch, batch_size)
        out = difference / gather_rows(torch.sqrt(square + self.eps), batch)
        return out if self.weight is None else out * self.weight + self.bias


def _by_own_statistics(x: Any, weight: Any, bias: Any, eps: float) -> Any:
    return F.instance_norm(x, None, None, weight, bias, True, 0.0, eps)
