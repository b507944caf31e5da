"""Products of several signals, summed over some dimensions, however they are written:
a product of matrices, or of numbers, with dimensions in other places.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from string import ascii_letters
from typing import Any

from spikegraph.conversion.passes.known import shape_known
from spikegraph.conversion.passes.products import left_over, without_dots


def einsum(equation: Any, *operands: Any) -> Any:
    """``torch.einsum``."""
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    if not isinstance(equation, str):
        raise NotImplementedError
    inputs, arrow, out = equation.replace(' ', '').partition('->')
    terms = inputs.split(',')
    if '...' in equation:
        out = out if arrow else '...' + left_over(inputs)
        terms, out = without_dots(terms, out, [len(shape_known(x)) for x in operands])
    elif not arrow:
        out = left_over(inputs)
    if any(len(set(term)) < len(term) for term in terms):  # Diagonals.
        raise NotImplementedError
    term, value = terms[0], operands[0]
    for i in range(1, len(terms)):
        needed = set(out).union(*terms[i + 1 :])
        value, term = _multiplied((value, term), (operands[i], terms[i]), needed)
    value, term = _summed(value, term, set(out))
    return _arranged(value, term, out)


def _multiplied(
    first: tuple[Any, str], second: tuple[Any, str], needed: set[str]
) -> tuple[Any, str]:
    """Two operands, and what their product is then a letter of."""
    (a, a_term), (b, b_term) = first, second
    a, a_term = _summed(a, a_term, needed | set(b_term))
    b, b_term = _summed(b, b_term, needed | set(a_term))
    both = [c for c in a_term if c in b_term]
    batch = ''.join(c for c in both if c in needed)
    inner = ''.join(c for c in both if c not in needed)
    left = ''.join(c for c in a_term if c not in b_term)
    right = ''.join(c for c in b_term if c not in a_term)
    term = batch + left + right
    if not inner or not (left or right):
        a = _arranged(a, a_term, batch + left + inner)
        b = _arranged(b, b_term, batch + right + inner)
        for _ in right:
            a = a.unsqueeze(len(batch) + len(left))
        for _ in left:
            b = b.unsqueeze(len(batch))
        dims = tuple(range(-len(inner), 0))
        return (a * b).sum(dims) if inner else a * b, term
    sizes = [a.size(a_term.index(c)) for c in left]
    sizes += [b.size(b_term.index(c)) for c in right]
    a = _arranged(a, a_term, batch + left + inner)
    b = _arranged(b, b_term, batch + inner + right)
    start, middle = len(batch), len(batch) + 1
    a = _merged(_merged(a, start, len(left)), middle, len(inner))
    b = _merged(_merged(b, start, len(inner)), middle, len(right))
    out = _taken_apart(a @ b, middle, sizes[len(left) :])
    return _taken_apart(out, start, sizes[: len(left)]), term


def _summed(x: Any, term: str, needed: set[str]) -> tuple[Any, str]:
    """Without the dimensions that nobody needs."""
    dims = tuple(i for i, c in enumerate(term) if c not in needed)
    rest = ''.join(c for c in term if c in needed)
    return (x.sum(dims), rest) if dims else (x, rest)


def _arranged(x: Any, term: str, order: str) -> Any:
    if sorted(term) != sorted(order):
        raise NotImplementedError
    return x if term == order else x.permute([term.index(c) for c in order])


def _merged(x: Any, start: int, number: int) -> Any:
    """Several dimensions as one, none as one of a single value."""
    if number == 1:
        return x
    return x.flatten(start, start + number - 1) if number else x.unsqueeze(start)


def _taken_apart(x: Any, dim: int, sizes: Sequence[Any]) -> Any:
    if len(sizes) == 1:
        return x
    return x.unflatten(dim, tuple(sizes)) if sizes else x.squeeze(dim)


def inner(x: Any, other: Any) -> Any:
    """``torch.inner``, ``torch.mv`` and ``torch.dot``: over the last dimensions."""
    letters, k = ascii_letters[1:], ascii_letters[0]
    ranks = len(shape_known(x)), len(shape_known(other))
    a, b = letters[: ranks[0] - 1], letters[ranks[0] : ranks[0] + ranks[1] - 1]
    return einsum(f'{a}{k},{b}{k}->{a}{b}', x, other)


def vecdot(x: Any, y: Any, dim: int = -1) -> Any:
    """``torch.linalg.vecdot``, of real numbers."""
    return (x * y).sum(dim)


def outer(x: Any, other: Any) -> Any:
    """``torch.outer``."""
    return einsum('a,b->ab', x, other)


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """``F.linear``."""
    out = inner(x, weight)
    return out if bias is None else out + bias


def tensordot(x: Any, other: Any, dims: Any = 2) -> Any:
    """``torch.tensordot``."""
    a, b = len(shape_known(x)), len(shape_known(other))
    if isinstance(dims, int):
        dims = range(a - dims, a), range(dims)
    x_dims, other_dims = ([d] if isinstance(d, int) else list(d) for d in dims)
    first, second = list(ascii_letters[:a]), list(ascii_letters[a : a + b])
    for i, j in zip(x_dims, other_dims, strict=True):
        second[j] = first[i]
    left = [c for c in first if c not in second] + [c for c in second if c not in first]
    return einsum(f'{"".join(first)},{"".join(second)}->{"".join(left)}', x, other)


def kron(x: Any, other: Any) -> Any:
    """``torch.kron``."""
    rank = len(shape_known(x))
    if rank != len(shape_known(other)):
        raise NotImplementedError
    for dim in range(rank):
        x, other = x.unsqueeze(2 * dim + 1), other.unsqueeze(2 * dim)
    out = x * other
    for dim in range(rank):
        out = out.flatten(dim, dim + 1)
    return out


def multi_dot(*matrices: Any) -> Any:
    """``torch.linalg.multi_dot`` and ``torch.chain_matmul``."""
    if len(matrices) == 1:
        matrices = tuple(matrices[0])
    if any(len(shape_known(x)) != 2 for x in matrices):
        raise NotImplementedError
    return reduce(lambda x, y: x @ y, matrices)


def _added(multiply: Callable[..., Any]) -> Callable[..., Any]:
    """A product that is added to something."""

    def function(x: Any, a: Any, b: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
        out = multiply(a, b)
        out = out if alpha == 1 else out * alpha
        return out if beta == 0 else out + (x if beta == 1 else x * beta)

    return function


def _product(a: Any, b: Any) -> Any:
    return a @ b


def _sum_of_products(a: Any, b: Any) -> Any:
    return einsum('abc,acd->bd', a, b)


#: By the first name of the operation.
CONTRACTIONS: dict[str, Callable[..., Any]] = {
    'einsum': einsum,
    'mv': inner,
    'vecdot': vecdot,
    'outer': outer,
    'linear': linear,
    'tensordot': tensordot,
    'kron': kron,
    'multi_dot': multi_dot,
    **dict.fromkeys(('addmm', 'baddbmm'), _added(_product)),
    'addmv': _added(inner),
    'addbmm': _added(_sum_of_products),
    'addr': _added(outer),
}
