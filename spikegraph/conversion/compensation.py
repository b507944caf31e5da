"""Closed-form correction of a layer for the coding error of its inputs."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

RIDGE = 1e-3  # Relative to the diagonal of the Gram matrix.
NEGLIGIBLE = 1e-10  # Squared error, relative: float32 rounding, no coding error.
SMALLEST = 0.1  # Rows count alike down to this share of the mean square.
HELD_OUT = 5  # Every fifth row judges, the others fit.


def compensate(
    features: Tensor,
    target: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    method: Literal['bias', 'ridge'],
) -> tuple[Tensor, Tensor] | None:
    r"""Corrects weights so that coded inputs give the true pre-activation.
    Errors count relative to the size of their row, so that nodes with many
    neighbours do not drown the others.

    .. math::
        \min_{\Delta} \sum_i \frac{\| \phi_i (W + \Delta)^{\top} + b - y_i \|^2}
        {\| y_i \|^2 + \eta \, \overline{\| y \|^2}}
        + \lambda \| \Delta \|^2_{\mathrm{diag}(\Phi^{\top} \Phi)}

    Args:
        features (torch.Tensor): The coded inputs :math:`\Phi` that the
            weights see :math:`(n, F_{in})`.
        target (torch.Tensor): The ANN's pre-activation :math:`Y`
            :math:`(n, F_{out})`.
        weight (torch.Tensor): The weights :math:`W` :math:`(F_{out}, F_{in})`.
        bias (torch.Tensor, optional): The bias :math:`b` :math:`(F_{out})`.
        method (str): :obj:`"bias"` or :obj:`"ridge"`.

    Returns:
        Tuple[torch.Tensor, torch.Tensor], optional: The new weight and bias,
        or :obj:`None` if they would not lower the error on held-out rows.
    """
    phi, goal = features.double(), target.double()
    old = torch.zeros_like(target[0]) if bias is None else bias
    residual = goal - (phi @ weight.double().t() + old.double())
    ones = _row_weights(goal).sqrt().view(-1, 1)
    phi, residual = ones * phi, ones * residual
    held_out = torch.arange(len(phi), device=phi.device) % HELD_OUT == 0
    exact = bool(residual.square().sum() <= NEGLIGIBLE * goal.square().sum())
    num_fit = int((~held_out).sum())
    underdetermined = method == 'ridge' and num_fit <= phi.size(1)
    if exact or num_fit < 2 or underdetermined:
        return None
    change = _solve(phi[~held_out], residual[~held_out], ones[~held_out], method)
    before = residual[held_out].square().sum()
    after = (
        (residual[held_out] - _apply(phi[held_out], ones[held_out], change))
        .square()
        .sum()
    )
    if not bool(after < before):
        return None
    delta, shift = _solve(phi, residual, ones, method)
    return (weight + delta.to(weight)).detach(), (old + shift.to(weight)).detach()


def _row_weights(goal: Tensor) -> Tensor:
    """The reciprocal of each row's mean square :math:`(n)`, on average 1."""
    size = goal.square().mean(dim=1)
    weight = (size + SMALLEST * size.mean().clamp(min=1e-300)).reciprocal()
    return weight / weight.mean()


def _solve(
    phi: Tensor, residual: Tensor, ones: Tensor, method: str
) -> tuple[Tensor, Tensor]:
    if method == 'bias':
        return phi.new_zeros(residual.size(1), phi.size(1)), (ones * residual).sum(
            0
        ) / ones.square().sum()
    phi = torch.cat([phi, ones], dim=1)
    gram = phi.t() @ phi
    diagonal = gram.diagonal().clamp(min=1e-12)
    solution = torch.linalg.solve(
        gram + torch.diag(RIDGE * diagonal), phi.t() @ residual
    )
    return solution[:-1].t(), solution[-1]


def _apply(phi: Tensor, ones: Tensor, change: tuple[Tensor, Tensor]) -> Tensor:
    delta, shift = change
    return phi @ delta.t() + ones * shift
