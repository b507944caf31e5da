"""Weights as small integers, each error made up for by the weights that follow."""

from __future__ import annotations

import torch
from torch import Tensor

SCALE_BITS = 8  # Of the mantissas of scales, so that sums of products stay exact.
_DAMPING = 1e-2  # Relative to the mean of the diagonal.
_SHARES = tuple(1 - i / 40 for i in range(25))  # Of the largest weight, clipped beyond.
_SMALL = tuple(0.4 * 0.9**i for i in range(1, 200))  # Where that hardly counts.
_BLOCK = 128  # Columns after which all others hear of the errors.


def mantissa(x: Tensor, bits: int) -> Tensor:
    r"""Numbers rounded to a mantissa of some bits: :math:`m \, 2^e` with integers
    :math:`|m| \le 2^{bits}`.

    Example:
        >>> mantissa(torch.tensor([0.1, -3.0, 0.0]), bits=4)
        tensor([ 0.1016, -3.0000,  0.0000])
    """
    fraction, exponent = torch.frexp(x)
    return torch.ldexp((fraction * 2**bits).round(), exponent - bits)


def nearest(weight: Tensor, scale: Tensor, bits: int) -> Tensor:
    """Weights rounded to the nearest multiples of scales that a number of bits allows,
    the largest negative one left out.
    """
    most = 2 ** (bits - 1) - 1
    return (weight / scale).round().clamp(-most, most) * scale


def scales_for(weight: Tensor, bits: int, cost: Tensor | None = None) -> Tensor:
    r"""The scale of each row, one of several shares of its largest weight: that of the
    least error of rounding. Where the largest weight hardly counts, shares are as
    small as the others need.

    Args:
        weight (torch.Tensor): The weights :math:`(F_{out}, F_{in})`.
        bits (int): The bits of an integer.
        cost (torch.Tensor, optional): What the squared error of each weight counts; it
            broadcasts to the weights. (default: :obj:`None`, all alike)

    Returns:
        torch.Tensor: The scales :math:`(F_{out}, 1)`, of :obj:`SCALE_BITS` bits.
    """
    largest = weight.abs().amax(dim=1, keepdim=True)
    full = torch.where(largest > 0, largest / (2 ** (bits - 1) - 1), 1.0)
    best, least = full, torch.full_like(full, torch.inf)

    def total(errors: Tensor) -> Tensor:
        errors = errors.square()
        return (errors if cost is None else errors * cost).sum(dim=1, keepdim=True)

    for share in (*_SHARES, *_SMALL):
        scale = mantissa(share * full, SCALE_BITS)
        if share < _SHARES[-1]:
            # What is clipped is a lower bound, and grows as shares fall.
            beyond = (weight.abs() - scale * (2 ** (bits - 1) - 1)).clamp(min=0)
            if not bool((total(beyond) < least).any()):
                break
        error = total(nearest(weight, scale, bits) - weight)
        best = torch.where(error < least, scale, best)
        least = torch.minimum(error, least)
    return best


def round_nearest(weight: Tensor, bits: int) -> Tensor:
    """Weights as integers times a scale for each row, without data.

    Example:
        >>> round_nearest(torch.tensor([[0.7, -0.3, 0.11]]), bits=4)
        tensor([[ 0.7007, -0.3003,  0.1001]])
    """
    exact = weight.double()
    return nearest(exact, scales_for(exact, bits), bits).to(weight)


def round_weights(
    parts: list[Tensor], bias: Tensor, gram: Tensor, bits: int
) -> tuple[list[Tensor], Tensor]:
    r"""Rounds weights one column after the other, and changes those that are still to be
    rounded, and the bias in the end, so that outputs differ least, as `"GPTQ"
    <https://arxiv.org/abs/2210.17323>`_ does:

    .. math::
        \min_{\hat{W}, \hat{b}} \; \mathrm{tr} \big( [\hat{W} - W, \hat{b} - b] \, G
        \, [\hat{W} - W, \hat{b} - b]^{\top} \big), \qquad
        \hat{W}_{oi} \in q_o \, \mathbb{Z}

    Args:
        parts (List[torch.Tensor]): The weights of layers that are added up, side by side
            :math:`(F_{out}, F_i)`. Each has scales of its own.
        bias (torch.Tensor): Their bias :math:`(F_{out})`.
        gram (torch.Tensor): The Gram matrix of each group of outputs, the bias last
            :math:`(G, \sum_i F_i + 1, \sum_i F_i + 1)`; a bias whose column is zero stays
            as it is.
        bits (int): The bits of an integer, 2 or more.

    Returns:
        Tuple[List[torch.Tensor], torch.Tensor]: The rounded weights and the bias.
    """
    sizes = [part.size(1) for part in parts]
    weight = torch.cat([*parts, bias.view(-1, 1)], dim=1).double()
    rows = weight.unflatten(0, (len(gram), -1))
    found = [
        _round(w, g.double(), sizes, bits) for w, g in zip(rows, gram, strict=True)
    ]
    rounded = torch.cat(found).to(parts[0])
    *columns, last = rounded.split([*sizes, 1], dim=1)
    return columns, last.flatten()


def _round(weight: Tensor, gram: Tensor, sizes: list[int], bits: int) -> Tensor:
    num = weight.size(1) - 1  # The bias is not rounded.
    diagonal = gram.diagonal()
    cost = diagonal[:num].clamp(min=1e-9 * float(diagonal.max()) or 1.0)
    scales = torch.cat(
        [
            scales_for(w, bits, c).expand_as(w)
            for w, c in zip(
                weight[:, :num].split(sizes, 1), cost.split(sizes), strict=True
            )
        ],
        dim=1,
    )
    has_bias = bool(diagonal[num] > 0)
    order = torch.cat(
        [diagonal[:num].argsort(descending=True), diagonal.new_tensor([num]).long()]
    )
    order = order if has_bias else order[:num]
    damping = _DAMPING * float(diagonal[:num].mean()) or 1.0
    damped = gram[order][:, order] + torch.diag(
        torch.where(order < num, damping, 1e-6 * damping)
    )
    inverse = torch.linalg.inv(damped)
    upper = torch.linalg.cholesky((inverse + inverse.mT) / 2, upper=True)
    given = weight[:, order].clone()
    scales = scales[:, order[:num]]
    for start in range(0, num, _BLOCK):
        stop = min(start + _BLOCK, num)
        errors = torch.empty_like(given[:, start:stop])
        for i in range(start, stop):
            rounded = nearest(given[:, i], scales[:, i], bits)
            error = (given[:, i] - rounded) / upper[i, i]
            given[:, i] = rounded
            given[:, i + 1 : stop] -= error.outer(upper[i, i + 1 : stop])
            errors[:, i - start] = error
        given[:, stop:] -= errors @ upper[start:stop, stop:]
    out = weight.clone()
    out[:, order] = given
    return out
