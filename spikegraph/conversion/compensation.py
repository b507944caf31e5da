"""Closed-form correction of a layer for the coding error of its inputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

RIDGE = 1e-3  # Relative to the diagonal of the Gram matrix.
NEGLIGIBLE = 1e-10  # Squared error, relative: float32 rounding, no coding error.
SMALLEST = 0.1  # Rows count alike down to this share of the mean square.
HELD_OUT = 5  # Every fifth row judges, the others fit.


def compensate(
    features: Tensor | None,
    residual: Tensor,
    goal: Tensor,
) -> tuple[Tensor | None, Tensor] | None:
    r"""Corrects weights so that coded inputs give the true pre-activation.
    Errors count relative to the size of their row, so that nodes with many
    neighbours do not drown the others.

    .. math::
        \min_{\Delta, \delta} \sum_i \frac{\| \Delta \phi_i + \delta - r_i \|^2}
        {\| y_i \|^2 + \eta \, \overline{\| y \|^2}}
        + \lambda \| \Delta \|^2_{\mathrm{diag}(\Phi^{\top} \Phi)}

    Args:
        features (torch.Tensor, optional): The coded inputs :math:`\Phi` that
            the weights see :math:`(n, F_{in})`, or :math:`(n, G, F_{in})` where
            each group of outputs sees inputs of its own. Without them, only
            the bias is corrected.
        residual (torch.Tensor): What is missing :math:`R`: the ANN's
            pre-activation minus that of the spiking network
            :math:`(n, F_{out})`.
        goal (torch.Tensor): The ANN's pre-activation :math:`Y`
            :math:`(n, F_{out})`.

    Returns:
        Tuple[torch.Tensor, torch.Tensor], optional: What is to be added to the
        weight :math:`\Delta` :math:`(F_{out}, F_{in})` and to the bias
        :math:`\delta` :math:`(F_{out})`, or :obj:`None` if that would not
        lower the error on held-out rows.
    """
    like = residual
    residual, goal = residual.double(), goal.double()
    ones = _row_weights(goal).sqrt().view(-1, 1)
    residual = ones * residual
    columns = ones.unsqueeze(1)  # [n, G, F]
    if features is not None:
        phi = (
            features.double() if features.dim() == 3 else features.double().unsqueeze(1)
        )
        columns = torch.cat([columns * phi, columns.expand(-1, phi.size(1), 1)], dim=-1)
    exact = bool(residual.square().sum() <= NEGLIGIBLE * goal.square().sum())
    held_out = torch.arange(len(columns), device=columns.device) % HELD_OUT == 0
    num_fit = int((~held_out).sum())
    if exact or num_fit < 1 + columns.size(-1):
        return None
    kept = _Normal.of(columns[~held_out], residual[~held_out])
    judge = _Normal.of(columns[held_out], residual[held_out])
    if not judge.gain(kept.solve()) > 0:
        return None
    both = _Normal(kept.gram + judge.gram, kept.cross + judge.cross)
    change = both.solve().to(like)  # [G, F_out / G, F + 1]
    shift = change[..., -1].flatten()
    return None if features is None else change[..., :-1].flatten(0, 1), shift


def _row_weights(goal: Tensor) -> Tensor:
    """The reciprocal of each row's mean square :math:`(n)`, on average 1."""
    size = goal.square().mean(dim=1)
    weight = (size + SMALLEST * size.mean().clamp(min=1e-300)).reciprocal()
    return weight / weight.mean()


@dataclass(frozen=True)
class _Normal:
    """The normal equations of each group; the last column is the bias."""

    gram: Tensor  # [G, F, F]
    cross: Tensor  # [G, F, F_out / G]

    @classmethod
    def of(cls, columns: Tensor, residual: Tensor) -> _Normal:
        """Of columns :math:`(n, G, F)` and residuals :math:`(n, F_{out})`."""
        phi = columns.transpose(0, 1)
        wanted = residual.unflatten(1, (columns.size(1), -1)).transpose(0, 1)
        return cls(phi.mT @ phi, phi.mT @ wanted)

    def solve(self) -> Tensor:
        """The change of weights :math:`(G, F_{out} / G, F)`, by ridge regression."""
        diagonal = self.gram.diagonal(dim1=-2, dim2=-1).clamp(min=1e-12)
        ridge = torch.diag_embed(RIDGE * diagonal)
        if diagonal.size(-1) == 1:  # The mean error needs none.
            ridge.zero_()
        return torch.linalg.solve(self.gram + ridge, self.cross).mT

    def gain(self, change: Tensor) -> float:
        """By how much a change lowers the sum of squares."""
        removed = 2 * self.cross - self.gram @ change.mT
        return float((removed * change.mT).sum())
