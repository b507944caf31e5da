"""Weights of edges that are a factor of the source times one of the destination."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_ROUNDINGS = 8  # Of the operations that a normalisation takes.
_SOME = 1024  # Edges that are looked at first.


class Factors(NamedTuple):
    """What weights are made of.

    Args:
        source (torch.Tensor, optional): The factor of each source :math:`(M, 1)`.
        target (torch.Tensor, optional): That of each destination :math:`(N, 1)`.
    """

    source: Tensor | None
    target: Tensor | None


def factors_of(
    source: Tensor, target: Tensor, weight: Tensor, num_sources: int, num_targets: int
) -> Factors | None:
    r"""Finds factors of nodes that weights of edges are the products of, up to
    rounding:

    .. math::
        w_{ij} = b_i \, a_j

    so that spikes are only added up along the edges. Tried are a factor for each
    destination, as in a mean over neighbours, one for each source, and roots of degrees
    in either direction, or of the weights of self-loops, at both ends, as in
    :math:`\mathbf{D}^{-1/2} \mathbf{A} \mathbf{D}^{-1/2}`, times a constant.

    Args:
        source (torch.Tensor): The source of each edge :math:`(E)`.
        target (torch.Tensor): The destination of each edge :math:`(E)`.
        weight (torch.Tensor): The weight of each edge :math:`(E)`.
        num_sources (int): The number of sources :math:`M`.
        num_targets (int): The number of destinations :math:`N`.

    Returns:
        Factors, optional: The factors, or :obj:`None` if there are no such ones.
    """
    if weight.numel() == 0 or not bool(weight.all()):
        return None
    by_target = weight.new_ones(num_targets).scatter_(0, target, weight)
    if torch.equal(by_target[target], weight):
        return Factors(None, by_target.view(-1, 1))
    by_source = weight.new_ones(num_sources).scatter_(0, source.long(), weight)
    if torch.equal(by_source[source], weight):
        return Factors(by_source.view(-1, 1), None)
    num_in = torch.bincount(target, minlength=num_targets).clamp(min=1)
    num_out = torch.bincount(source, minlength=num_sources).clamp(min=1)
    num_in, num_out = num_in.double().rsqrt(), num_out.double().rsqrt()
    candidates = [(num_out, num_in)]
    if num_sources == num_targets:
        candidates += [(num_in, num_in), (num_out, num_out), (num_in, num_out)]
    loops = source == target
    if num_sources == num_targets and bool(loops.any()):
        root = torch.ones(num_sources, dtype=torch.float64, device=weight.device)
        root[source[loops]] = weight[loops].double().abs().sqrt()
        candidates.append((root, root))
    limit = _ROUNDINGS * torch.finfo(weight.dtype).eps
    for a, b in candidates:
        some = slice(0, _SOME)  # Most fail on few edges.
        first = weight[some].double() / (b[target[some]] * a[source[some]])
        if bool(((first - first[0]).abs() > limit * first[0].abs()).any()):
            continue
        ratio = weight.double() / (b[target] * a[source])
        constant = ratio[0]
        if bool(((ratio - constant).abs() <= limit * constant.abs()).all()):
            if (constant - 1).abs() > limit:
                b = constant * b
            factors = (f.to(weight.dtype).view(-1, 1) for f in (a, b))
            return Factors(*factors)
    return None
