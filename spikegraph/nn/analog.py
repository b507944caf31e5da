from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from spikegraph.coding import Spikes
from spikegraph.nn.layer import Operation, SpikingLayer, values_of


class Analog(nn.Module):
    """Base of what a spiking network computes in analog, such as attention
    coefficients: it is given real values and is billed as MACs.
    """

    def macs(self, *args: Any) -> int:
        """The multiply-accumulates of one call."""
        raise NotImplementedError


class SpikingAffine(SpikingLayer):
    r"""A layer that was found to be affine in its features, kept as it is:
    spikes are decoded, and the layer is applied.

    Args:
        module (torch.nn.Module): The layer. Affinity is checked by
            :func:`spikegraph.convert`, on the calibration data.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.weight = self.bias = None

    def forward(self, x: Any, *args: Any, **kwargs: Any) -> Tensor:
        """What the layer makes of the decoded input."""
        decoded = tuple(values_of(v) for v in x) if _is_pair(x) else values_of(x)
        return self.module(decoded, *args, **kwargs)

    def features(self, x: Spikes | Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The output itself: its weights are not known apart."""
        return self.forward(x, *args, **kwargs)

    def operations(
        self, x: Spikes | Tensor, *args: Any, **kwargs: Any
    ) -> list[Operation]:
        """Every edge times the output's width, weighted, and all weights at
        every node: an upper estimate; without any, every input value once.
        """
        parts: Any = x if _is_pair(x) else (x,)
        num_values = sum(part.shape.numel() for part in parts if part is not None)
        out = self.forward(x, *args, **kwargs)
        num_weights = sum(p.numel() for p in self.parameters() if p.dim() > 1)
        num_edges = max([0, *(v.size(-1) for v in args if is_edge_index(v))])
        num = out.size(0) * num_weights + num_edges * out.shape[1:].numel()
        return [Operation('weighted aggregation', max(num, num_values))]


def _is_pair(x: Any) -> bool:
    return isinstance(x, (tuple, list))


def is_edge_index(value: Any) -> bool:
    """Whether a value looks like the edges of a graph :math:`(2, E)`."""
    is_index = isinstance(value, Tensor) and value.dtype == torch.long
    return is_index and value.dim() == 2 and value.size(0) == 2
