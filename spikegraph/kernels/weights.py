from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegraph.kernels.backend import are_fast, cpu_kernels
from spikegraph.kernels.memory import flat

_MAX_DEPTH = 4096  # Inputs whose sums of a few rows stay in a cache.


class Weights:
    r"""The weights and bias of a layer, as kernels read them; made for one pass, as
    later changes of the weights go unnoticed.

    Args:
        weight (torch.Tensor): The weights :math:`(F_{out}, F_{in})`.
        bias (torch.Tensor, optional): The bias :math:`(F_{out})`.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight, bias
        self._panels: tuple[Tensor | None, tuple[Any, Any] | None] | None = None

    @property
    def num_outputs(self) -> int:
        """The number of outputs."""
        return self.weight.size(0)

    def panels(self, scale: Tensor | None) -> tuple[Any, Any] | None:
        """The weights, times the scale of each input, in panels of columns, and the
        bias, padded alike; None if kernels cannot read them.
        """
        if self._panels is None or self._panels[0] is not scale:
            self._panels = scale, self._make_panels(scale)
        return self._panels[1]

    def _make_panels(self, scale: Tensor | None) -> tuple[Any, Any] | None:
        cpu, weight, bias = cpu_kernels(), self.weight, self.bias
        if cpu is None or not are_fast(weight, bias) or weight.size(1) > _MAX_DEPTH:
            return None
        unit = cpu.products.TILE_VECTORS * cpu.registers.LANES
        num_outputs, depth = weight.shape
        padded = -(-num_outputs // cpu.registers.LANES) * cpu.registers.LANES
        columns = weight.new_zeros(depth, padded)
        columns[:, :num_outputs] = weight.detach().t()
        if scale is not None:
            columns *= scale.view(-1, 1)
        offset = weight.new_zeros(padded)
        if bias is not None:
            offset[:num_outputs] = bias.detach()
        panels = torch.cat([panel.flatten() for panel in columns.split(unit, dim=1)])
        return flat(panels), flat(offset)
