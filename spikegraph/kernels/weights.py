from __future__ import annotations

from typing import Any

from torch import Tensor


class Weights:
    r"""The weights and bias of a layer, made for one pass, as later changes of the
    weights go unnoticed.

    Args:
        weight (torch.Tensor): The weights :math:`(F_{out}, F_{in})`.
        bias (torch.Tensor, optional): The bias :math:`(F_{out})`.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight, bias
        self.prepared: tuple[Tensor | None, Any] | None = None  # By a backend.

    @property
    def num_outputs(self) -> int:
        """The number of outputs."""
        return self.weight.size(0)
