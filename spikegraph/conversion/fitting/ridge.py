"""Ridge regression over the rows of all batches."""

from __future__ import annotations

from torch import Tensor

from spikegraph.conversion.fitting.equations import Equations, Sums
from spikegraph.conversion.ranks import Ranks


def find_change(
    equations: Equations | None, doing: str, ranks: Ranks
) -> tuple[Tensor | None, Tensor] | None:
    r"""Corrects weights so that coded inputs give the true pre-activation.
    Errors count relative to the size of their row, so that nodes with many
    neighbours do not drown the others.

    .. math::
        \min_{\Delta, \delta} \sum_i \frac{\| \Delta \phi_i + \delta - r_i \|^2}
        {\| y_i \|^2 + \eta \, \overline{\| y \|^2}}
        + \lambda \| \Delta \|^2_{\mathrm{diag}(\Phi^{\top} \Phi)}

    Processes exchange sums over their rows, not the rows. Gram matrices are rounded to
    integers, in units that all have in common, so that their sum has no rounding: it is
    the same however batches are spread over processes.

    Args:
        equations (Equations, optional): Those of the rows of all batches, if they can be
            corrected.
        doing (str): What is being done, for messages.
        ranks (Ranks): The processes.

    Returns:
        Tuple[torch.Tensor, torch.Tensor], optional: What is to be added to the
        weight :math:`\Delta` :math:`(F_{out}, F_{in})` and to the bias
        :math:`\delta` :math:`(F_{out})`, or :obj:`None` if that would not
        lower the error on held-out rows; in float64.
    """
    if equations is None or equations.units.is_needless:
        return None
    change = equations.merged(doing, ranks, _solve)
    if change is None:
        return None
    weight, bias = change
    return (weight if weight.size(1) else None), bias


def _solve(sums: Sums) -> tuple[Tensor, Tensor] | None:
    kept, judge = sums.kept, sums.judge
    if not judge.gain(kept.solve()) > 0:
        return None
    change = (kept + judge).solve()  # [G, F_out / G, F + 1]
    return change[..., :-1].flatten(0, 1), change[..., -1].flatten()
