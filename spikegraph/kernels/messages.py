from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor

from spikegraph.coding import PhaseCode
from spikegraph.kernels.adjacency import Adjacency
from spikegraph.kernels.rows import Weights, multiply_rows


class Messages:
    """What nodes send along the edges, in the form that kernels read, so that it is
    prepared once for all blocks of rows. :func:`~spikegraph.kernels.send` makes it.

    Args:
        adjacency (Adjacency): The prepared graph.
        shape (torch.Size): The shape of what sources send :math:`(M, *)`.
        dtype (torch.dtype): The data type of the sums.
    """

    def __init__(
        self, adjacency: Adjacency, shape: torch.Size, dtype: torch.dtype
    ) -> None:
        self.adjacency = adjacency
        self.shape = (adjacency.num_targets, *shape[1:])
        self.width = math.prod(shape[1:])  # Of a row.
        self.dtype = dtype

    @abstractmethod
    def sums(
        self, rows: tuple[int, int] | None = None, out: Tensor | None = None
    ) -> Tensor:
        """The sums of some rows, written to ``out`` without gaps if it is given."""

    def products(self, weights: Weights, rows: tuple[int, int], out: Tensor) -> Tensor:
        """Weights times the sums of some rows, plus the bias; written to ``out``
        :math:`(n, F_{out})` where there is a kernel for that.
        """
        return multiply_rows(self.sums(rows), weights, out)

    def encode(
        self,
        bias: Tensor | None,
        code: PhaseCode,
        scale: Tensor,
        weights: Weights | None = None,
    ) -> Tensor | None:
        """The spike times of neurons that the sums charge, plus a bias or as
        multiplied by weights, with nothing but bytes written; None where there is no
        kernel for that.
        """
        return None

    def encode_moved(
        self, on: Tensor, off: Tensor | None, divisor: Tensor, bias: Tensor | None
    ) -> Tensor | None:
        """The spike times :math:`(N, H C)` of neurons that the sums :math:`(N, H, C)`
        charge, plus a bias times a divisor, and whose thresholds that divisor moves, with
        nothing but bytes written; None where there is no kernel for that.

        Args:
            on (torch.Tensor): The thresholds of the ON spike :math:`(T)`.
            off (torch.Tensor, optional): Those of the OFF spike, on what is negative.
            divisor (torch.Tensor): A positive number for each head :math:`(N, H, 1)`.
            bias (torch.Tensor, optional): The bias :math:`(H C)`.
        """
        return None

    def can_encode(self, bias: Tensor | None, scale: Tensor, width: int) -> bool:
        """Whether parameters are one for each channel, or one for all."""
        fits = len(self.shape) == 2 and width > 0 and self.shape[0] > 0
        fits &= scale.numel() == 1 or scale.shape == (width,)
        if bias is not None:
            fits &= bias.shape == (width,) and bias.dtype == self.dtype
        return fits
