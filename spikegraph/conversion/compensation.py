"""Closed-form correction of a layer for the coding error of its inputs."""

from __future__ import annotations

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
    held_out = torch.arange(len(columns), device=columns.device) % HELD_OUT == 0
    exact = bool(residual.square().sum() <= NEGLIGIBLE * goal.square().sum())
    num_fit = int((~held_out).sum())
    if exact or num_fit < 1 + columns.size(-1):
        return None
    change = _solve(columns[~held_out], residual[~held_out])
    error = residual[held_out] - _apply(columns[held_out], change)
    if not bool(error.square().sum() < residual[held_out].square().sum()):
        return None
    change = _solve(columns, residual).to(like)  # [G, F_out / G, F + 1]
    shift = change[..., -1].flatten()
    return None if features is None else change[..., :-1].flatten(0, 1), shift


def _row_weights(goal: Tensor) -> Tensor:
    """The reciprocal of each row's mean square :math:`(n)`, on average 1."""
    size = goal.square().mean(dim=1)
    weight = (size + SMALLEST * size.mean().clamp(min=1e-300)).reciprocal()
    return weight / weight.mean()


def _solve(columns: Tensor, residual: Tensor) -> Tensor:
    """Ridge regression for each group; the last column, of the bias, is the
    same for all of them.
    """
    num_groups = columns.size(1)
    phi = columns.transpose(0, 1)  # [G, n, F]
    wanted = residual.unflatten(1, (num_groups, -1)).transpose(0, 1)
    gram = phi.mT @ phi
    diagonal = gram.diagonal(dim1=-2, dim2=-1).clamp(min=1e-12)
    ridge = RIDGE * torch.diag_embed(diagonal) if phi.size(-1) > 1 else 0
    return torch.linalg.solve(gram + ridge, phi.mT @ wanted).mT


def _apply(columns: Tensor, change: Tensor) -> Tensor:
    return torch.einsum('ngf,gof->ngo', columns, change).flatten(1)
