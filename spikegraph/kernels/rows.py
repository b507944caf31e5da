"""Rows times weights, with the same bits whatever rows are computed together."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from spikegraph.kernels.dispatch import call
from spikegraph.kernels.memory import is_plain, needs_gradient


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


def multiply_rows(x: Any, weights: Weights, out: Tensor | None = None) -> Tensor:
    r"""Multiplies rows by weights, and adds a bias.

    .. math::
        \mathbf{y}_i = \mathbf{W} \mathbf{x}_i + \mathbf{b}

    A row is the same bit by bit, whatever other rows are computed with it, how many
    there are, where it lies among them and how many threads run: parts of a graph are
    computed as the whole is. :func:`torch.nn.functional.linear` does not do that; it
    is what is called where gradients are needed, in a graph that is traced, on CUDA,
    and for types other than float32 and float64, none of which keep that promise.

    Args:
        x (torch.Tensor): The rows.
        weights (Weights): The weights :math:`(F_{out}, F_{in})` and the bias.
        out (torch.Tensor, optional): Where the result may be written, if it has that
            shape and no gaps.

    Shapes:
        - **input:** values :math:`(*, F_{in})`
        - **output:** values :math:`(*, F_{out})`
    """
    weight, bias = weights.weight, weights.bias
    is_known = is_plain(x) and is_plain(weight) and not needs_gradient(x, weight, bias)
    if not is_known or x.numel() * weight.numel() == 0 or x.size(-1) != weight.size(1):
        return F.linear(x, weight, bias)  # Which refuses what does not fit.
    shape = *x.shape[:-1], len(weight)
    if out is not None:
        is_room = out.shape == shape and out.is_contiguous()
        out = out.view(-1, len(weight)) if is_room else None
    found: Tensor = call('multiply_rows', x.reshape(-1, x.size(-1)), weights, out)
    return found.view(shape)
