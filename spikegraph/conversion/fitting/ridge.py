"""Ridge regression over the rows of all batches."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from spikegraph.conversion.fitting.equations import Equations, Rows, Sums
from spikegraph.conversion.ranks import Ranks


def find_change(
    doing: str,
    take: Callable[[], list[Rows] | None],
    ranks: Ranks,
    may_shift: bool = True,
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
        doing (str): What is being done, for messages.
        take (Callable): Gives the rows of each batch of this process, or :obj:`None` if
            they cannot be corrected.
        ranks (Ranks): The processes.
        may_shift (bool, optional): Whether the bias is corrected, too.
            (default: :obj:`True`)

    Returns:
        Tuple[torch.Tensor, torch.Tensor], optional: What is to be added to the
        weight :math:`\Delta` :math:`(F_{out}, F_{in})` and to the bias
        :math:`\delta` :math:`(F_{out})`, or :obj:`None` if that would not
        lower the error on held-out rows; in float64.
    """
    found = Equations.over(doing, take, ranks, may_shift)
    change = None if found is None else found.merged(doing, ranks, _solve)
    if change is None:
        return None
    weight, bias = change
    return (weight if weight.size(1) else None), bias


def gram_of(
    doing: str,
    take: Callable[[], list[Rows] | None],
    ranks: Ranks,
    may_shift: bool = True,
) -> Tensor | None:
    r"""What an error of the weights costs: the matrix of which it is a quadratic form.

    .. math::
        \sum_i \frac{\| \Delta \phi_i + \delta \|^2}
        {\| y_i \|^2 + \eta \, \overline{\| y \|^2}}

    Args:
        doing (str): What is being done, for messages.
        take (Callable): Gives the rows of each batch, as for :func:`find_change`.
        ranks (Ranks): The processes.
        may_shift (bool, optional): Whether there is a bias; without one, its column is
            zero. (default: :obj:`True`)

    Returns:
        torch.Tensor, optional: One for each group of outputs, the bias being the last
        column :math:`(G, F_{in} + 1, F_{in} + 1)`, in float64; :obj:`None` if there are
        no rows.
    """
    found = Equations.over(doing, take, ranks, may_shift, always=True)
    if found is None:
        return None
    return found.merged(doing, ranks, lambda sums: (sums.kept + sums.judge).gram)


def _solve(sums: Sums) -> tuple[Tensor, Tensor] | None:
    kept, judge = sums.kept, sums.judge
    if not judge.gain(kept.solve()) > 0:
        return None
    change = (kept + judge).solve()  # [G, F_out / G, F + 1]
    return change[..., :-1].flatten(0, 1), change[..., -1].flatten()
