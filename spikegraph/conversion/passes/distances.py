"""Moments, lengths and distances, spelled out in squares, sums and roots."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from spikegraph.conversion.passes.known import dims_of, number_of, shape_known

# What is added to lengths, where PyTorch takes the larger one.
_SMALL = 1e-7


def variance(
    x: Any,
    dim: Any = None,
    unbiased: Any = True,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> Any:
    """``torch.var``."""
    if isinstance(dim, bool):  # The first of its two signatures.
        dim, unbiased = None, dim
    dims = dims_of(x, dim)
    difference = x - x.mean(dims, keepdim=True)
    square = difference * difference
    if correction is None:
        correction = int(unbiased)
    total = square.sum(dims, keepdim=keepdim)
    return total / (number_of(x, dims) - correction)


def deviation(*args: Any, **kwargs: Any) -> Any:
    """``torch.std``."""
    return torch.sqrt(variance(*args, **kwargs))


def _with_mean(function: Callable[..., Any]) -> Callable[..., Any]:
    """A moment, and the mean."""

    def both(
        x: Any,
        dim: Any = None,
        unbiased: Any = True,
        keepdim: bool = False,
        *,
        correction: Any = None,
    ) -> Any:
        dims = None if isinstance(dim, bool) else dim
        mean = x.mean(dims_of(x, dims), keepdim=keepdim)
        return function(x, dim, unbiased, keepdim, correction=correction), mean

    return both


def covariance(
    x: Any, *, correction: Any = 1, fweights: Any = None, aweights: Any = None
) -> Any:
    """``torch.cov`` of rows."""
    if not (fweights is None and aweights is None) or len(shape_known(x)) != 2:
        raise NotImplementedError
    difference = x - x.mean(1, keepdim=True)
    product = difference @ difference.transpose(0, 1)
    return product / (x.size(1) - correction)


def correlation(x: Any) -> Any:
    """``torch.corrcoef`` of rows."""
    if len(shape_known(x)) != 2:
        raise NotImplementedError
    difference = normalize(x - x.mean(1, keepdim=True), dim=1)
    return difference @ difference.transpose(0, 1)


def norm(
    x: Any,
    p: Any = 2,
    dim: Any = None,
    keepdim: bool = False,
    dtype: Any = None,
    *,
    ord: Any = None,  # noqa: A002
) -> Any:
    """``torch.norm`` and ``torch.linalg.vector_norm``, of vectors."""
    p = p if ord is None else ord
    p = 2 if p in ('fro', None) else p
    if not isinstance(p, (int, float)) or p <= 0:
        raise NotImplementedError
    if p == math.inf:
        return _largest(torch.abs(x), dims_of(x, dim), keepdim)
    dims = dims_of(x, dim)
    if p == 2:
        return torch.sqrt((x * x).sum(dims, keepdim=keepdim))
    power = torch.abs(x) if p == 1 else torch.pow(torch.abs(x), p)
    total = power.sum(dims, keepdim=keepdim)
    return total if p == 1 else torch.pow(total, 1 / p)


def linear_norm(
    x: Any,
    ord: Any = None,  # noqa: A002
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
) -> Any:
    """``torch.linalg.norm``, of matrices where each entry counts alike."""
    is_matrix = len(dims_of(x, dim)) == 2
    if is_matrix and ord not in ('fro', None):
        raise NotImplementedError
    return norm(x, ord, dim, keepdim, dtype)


def _largest(x: Any, dims: Sequence[int], keepdim: bool) -> Any:
    """One dimension after the other."""
    for dim in dims:
        x = torch.amax(x, dim, keepdim=True)
    if keepdim:
        return x
    return x.squeeze(dims[0]) if len(dims) == 1 else x.squeeze(tuple(dims))


def normalize(x: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Any:
    """``F.normalize``."""
    length = norm(x, p, dim, keepdim=True)
    return x / (length + eps if eps < _SMALL else length.clamp(min=eps))


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """``F.cosine_similarity``, of vectors that have the same length."""
    ranks = len(shape_known(x1)), len(shape_known(x2))
    dim = dim - max(ranks) if dim >= 0 else dim
    if -dim > min(ranks) or shape_known(x1)[dim] != shape_known(x2)[dim]:
        raise NotImplementedError
    eps = min(eps, 1e-12) if eps < _SMALL else eps
    return (normalize(x1, dim=dim, eps=eps) * normalize(x2, dim=dim, eps=eps)).sum(dim)


def pairwise_distance(
    x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Any:
    """``F.pairwise_distance``."""
    return norm(x1 - x2 + eps, p, -1, keepdim)


def all_distances(x1: Any, x2: Any, p: float = 2.0, compute_mode: Any = None) -> Any:
    """``torch.cdist``: of each row with each."""
    return norm(x1.unsqueeze(-2) - x2.unsqueeze(-3), p, -1)


def distance(x: Any, other: Any, p: float = 2.0) -> Any:
    """``torch.dist``."""
    return norm(x - other, p, tuple(range(-_rank(x, other), 0)))


def hypotenuse(x: Any, other: Any) -> Any:
    """``torch.hypot``."""
    return torch.sqrt(x * x + other * other)


def _rank(*values: Any) -> int:
    return max(len(shape_known(value)) for value in values)


def _loss(function: Callable[[Any], Any]) -> Callable[..., Any]:
    """A function of differences, and what is made of all of them."""

    def loss(
        x: Any,
        target: Any,
        size_average: Any = None,
        reduce: Any = None,
        reduction: str = 'mean',
        weight: Any = None,
    ) -> Any:
        if any(given is not None for given in (size_average, reduce, weight)):
            raise NotImplementedError
        out = function(x - target)
        dims = tuple(range(-_rank(x, target), 0))
        return out if reduction == 'none' else getattr(out, reduction)(dims)

    return loss


def _square(x: Any) -> Any:
    return x * x


#: By the first name of the operation, or the function that it does not tell apart.
DISTANCES: dict[Any, Callable[..., Any]] = {
    'var': variance,
    'std': deviation,
    'var_mean': _with_mean(variance),
    'std_mean': _with_mean(deviation),
    'cov': covariance,
    'corrcoef': correlation,
    **dict.fromkeys(('norm', 'vector_norm'), norm),
    torch.linalg.norm: linear_norm,
    'normalize': normalize,
    'cosine_similarity': cosine_similarity,
    'pairwise_distance': pairwise_distance,
    'cdist': all_distances,
    'dist': distance,
    'hypot': hypotenuse,
    'mse_loss': _loss(_square),
    'l1_loss': _loss(torch.abs),
}
