"""Matrix products, however they are spelled: which dimensions of what are summed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from string import ascii_letters
from typing import Any

from torch import fx
from torch.utils import _pytree as pytree

from spikegraph.network.ops import op_of


@dataclass(frozen=True)
class Contraction:
    r"""The sum :math:`\sum_k a_{\ldots k \ldots} \, b_{\ldots k \ldots}` over pairs of
    dimensions; those of ``a`` that are left come first, then those of ``b``.

    Args:
        a (torch.fx.Node): The one operand.
        b (torch.fx.Node): The other.
        a_dims (Tuple[int, ...]): The dimensions of ``a`` that are summed over,
            counted from the end.
        b_dims (Tuple[int, ...]): Those of ``b``, in the same order.
        order (Tuple[int, ...], optional): How the dimensions of the result are
            arranged, as by :func:`torch.permute`. (default: :obj:`None`)
        is_matmul (bool, optional): Whether ``a`` is multiplied by each matrix in
            ``b``: what is left of ``a`` comes where the rows were.
            (default: :obj:`False`)
        added (Any, optional): What is added to the product. (default: :obj:`None`)
        beta (Any, optional): The factor of what is added. (default: :obj:`1`)
        alpha (Any, optional): The factor of the product. (default: :obj:`1`)
    """

    a: Any
    b: Any
    a_dims: tuple[int, ...]
    b_dims: tuple[int, ...]
    order: tuple[int, ...] | None = None
    is_matmul: bool = False
    added: Any = None
    beta: Any = 1
    alpha: Any = 1


def contraction_of(node: fx.Node) -> Contraction | None:
    """How a node multiplies two operands, or None if it does not, or otherwise."""
    op = op_of(node)
    if op is None or op.name not in _PARSERS:
        return None
    names, parse = _PARSERS[op.name]
    given = _bound(names, node)
    return None if given is None else parse(given)


def factors_of(node: fx.Node) -> list[fx.Node]:
    """What a node multiplies, each as often as it is there: of the matrix products
    that add something, all but that; of any other node, all that it takes.
    """
    given: tuple[Any, ...] = (node.args, node.kwargs)
    op = op_of(node)
    if op is not None and op.first_factor:
        kwargs = {k: v for k, v in node.kwargs.items() if k != 'input'}
        given = node.args[op.first_factor :], kwargs
    return [n for n in pytree.tree_leaves(given) if isinstance(n, fx.Node)]


def rank_of(node: Any) -> int | None:
    """The number of dimensions on the calibration data, where it is known."""
    shape = shape_of(node)
    return None if shape is None else len(shape)


def shape_of(node: Any) -> tuple[int, ...] | None:
    """The shape on the calibration data, where it is known."""
    if not isinstance(node, fx.Node):
        return None
    shape = getattr(node.meta.get('example'), 'shape', None)
    return None if shape is None else tuple(int(size) for size in shape)


def _bound(names: str, node: fx.Node) -> dict[str, Any] | None:
    """The arguments by name; None if there are others, or some are missing."""
    known = names.split()
    required = [name for name in known if not name.endswith('?')]
    known = [name.rstrip('?') for name in known]
    if len(node.args) > len(known):
        return None
    options = {k: v for k, v in node.kwargs.items() if (k, v) != ('out', None)}
    given = {**dict(zip(known, node.args, strict=False)), **options}
    aliases = {'mat': 'a', 'input': known[0], 'other': 'b', 'mat2': known[1]}
    given = {k if k in known else aliases.get(k, k): v for k, v in given.items()}
    complete = all(name in given for name in required)
    return given if complete and set(given) <= set(known) else None


def _matrices(given: dict[str, Any]) -> Contraction | None:
    """``a @ b``: the last dimension of ``a``, the last but one of ``b``."""
    a, b = given['a'], given['b']
    if given.get('reduce') not in (None, 'sum'):
        return None
    b_dim = -1 if rank_of(b) == 1 else -2
    added = {k: given[k] for k in ('added', 'beta', 'alpha') if k in given}
    return Contraction(a, b, (-1,), (b_dim,), is_matmul=True, **added)


def _vector(given: dict[str, Any]) -> Contraction | None:
    added = {k: given[k] for k in ('added', 'beta', 'alpha') if k in given}
    return Contraction(given['a'], given['b'], (-1,), (-1,), **added)


def _linear(given: dict[str, Any]) -> Contraction | None:
    return Contraction(given['a'], given['b'], (-1,), (-1,), added=given.get('added'))


def _outer(given: dict[str, Any]) -> Contraction | None:
    ranks = rank_of(given['a']), rank_of(given['b'])
    return (
        Contraction(given['a'], given['b'], (), ()) if ranks[0] in (None, 1) else None
    )


def _tensordot(given: dict[str, Any]) -> Contraction | None:
    dims: Any = given.get('dims', 2)
    ranks = rank_of(given['a']), rank_of(given['b'])
    if isinstance(dims, int):
        if ranks[1] is None and dims != 1:
            return None
        first = -1 - dims if ranks[1] is None else -ranks[1]
        pairs: Any = (tuple(range(-dims, 0)), tuple(range(first, first + dims)))
    else:
        if not isinstance(dims, Sequence) or len(dims) != 2:
            return None
        pairs = tuple(
            _from_end([d] if isinstance(d, int) else d, rank)
            for d, rank in zip(dims, ranks, strict=True)
        )
    if None in pairs:
        return None
    return Contraction(given['a'], given['b'], *pairs)


def _from_end(dims: Sequence[int], rank: int | None) -> tuple[int, ...] | None:
    if rank is None and any(d >= 0 for d in dims):
        return None
    return tuple(d if d < 0 else d - (rank or 0) for d in dims)


def _einsum(given: dict[str, Any]) -> Contraction | None:
    equation, operands = given['equation'], given['a']
    if isinstance(operands, (tuple, list)):
        if len(operands) != 2 or 'b' in given:
            return None
        operands = tuple(operands)
    elif 'b' in given:
        operands = (operands, given['b'])
    else:
        return None
    if not isinstance(equation, str):
        return None
    inputs, arrow, out = equation.replace(' ', '').partition('->')
    terms = inputs.split(',')
    if '...' in equation:
        if not arrow or [t.count('...') for t in terms] not in ([1, 0], [0, 1]):
            return None
        dotted = '...' in terms[1]
        rank = rank_of(operands[dotted])
        if rank is None:
            return None
        terms, out = without_dots(terms, out, [rank, rank])
    if len(terms) != 2 or any(len(set(t)) != len(t) for t in terms):
        return None
    a, b = terms
    if not arrow:
        out = left_over(inputs)
    summed = [c for c in a if c in b]
    left = [c for c in a if c not in b] + [c for c in b if c not in a]
    if sorted(left) != sorted(out):  # A batch, or a sum over one operand alone.
        return None
    return Contraction(
        operands[0],
        operands[1],
        tuple(a.index(c) - len(a) for c in summed),
        tuple(b.index(c) - len(b) for c in summed),
        tuple(left.index(c) for c in out),
    )


def left_over(inputs: str) -> str:
    """What is left if an equation does not say: the letters that are there once."""
    letters = sorted(set(inputs) - {',', '.'})
    return ''.join(c for c in letters if inputs.count(c) == 1)


def without_dots(
    terms: list[str], out: str, ranks: Sequence[int]
) -> tuple[list[str], str]:
    """Letters for the dimensions that dots stand for, from the last one on."""
    free = [c for c in ascii_letters if c not in ''.join(terms) + out]
    numbers = [
        rank - len(term) + 3 if '...' in term else 0
        for term, rank in zip(terms, ranks, strict=True)
    ]
    most = ''.join(free[: max(numbers)])
    terms = [
        term.replace('...', most[len(most) - number :])
        for term, number in zip(terms, numbers, strict=True)
    ]
    return terms, out.replace('...', most)


# The arguments of each operation, and what they are to it.
_Parse = Callable[[dict[str, Any]], 'Contraction | None']
_PARSERS: dict[str, tuple[str, _Parse]] = {
    'matmul': ('a b', _matrices),
    'mm': ('a b reduce?', _matrices),  # torch.sparse.mm
    'addmm': ('added a b beta? alpha?', _matrices),
    'mv': ('a b', _vector),
    'addmv': ('added a b beta? alpha?', _vector),
    'linear': ('a b added?', _linear),
    'outer': ('a b', _outer),
    'tensordot': ('a b dims?', _tensordot),
    'einsum': ('equation a b?', _einsum),
}
