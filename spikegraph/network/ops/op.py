"""A row of the table of operations, and the spellings that lead to it."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg_nn
import torch_geometric.utils as pyg_utils
from torch import Tensor, nn

from spikegraph.network.ops.counting import COUNTS, FACTORS, Count

ARRANGED = 0  # Instead of a number of places: dimensions are moved, made or merged.


class Meaning(Enum):
    """What an operation is to whoever converts or runs a network."""

    AFFINE = auto()  # In what it is given, and stays between populations.
    PICK = auto()  # Affine in its first argument, the others say where it takes.
    PRODUCT = auto()  # Affine in either factor while the other is fixed.
    CONTRACTION = auto()  # The same, with matrices.
    QUOTIENT = auto()  # Affine while what it divides by is fixed.
    GROUPS = auto()  # Sums or takes the largest over groups of rows, if it is told to.
    BATCH_NORM = auto()  # Affine with statistics that are given.
    NORM = auto()  # Affine, and folded into the layer before it where possible.
    MAXIMUM = auto()  # The earliest spike, or the latest.
    POOL = auto()  # The earliest spike of each window.
    ACTIVATION = auto()  # Becomes a population.
    IDENTITY = auto()  # Is removed.
    READOUT = auto()  # May follow the last segment.
    SIZE = auto()  # Answers a question about shape or type.
    LIKE = auto()  # Makes a tensor of a shape, of no value of it.
    FILL = auto()  # The same, with a value that is given.
    ATTRIBUTE = auto()  # Takes what is not known.
    FACTORY = auto()  # Makes a tensor of numbers.
    SOURCE = auto()  # Makes currents of indices.
    ATTENTION = auto()  # Weighs by analog coefficients.
    REFUSED = auto()  # Has no spiking counterpart.
    OPEN = auto()  # What it is in a network is found out by calling it.


#: Products, whatever is multiplied.
BILINEAR = {
    *(Meaning.PRODUCT, Meaning.CONTRACTION, Meaning.QUOTIENT, Meaning.BATCH_NORM)
}


@dataclass(frozen=True, eq=False)
class Op:
    """One operation, whatever it is called.

    Args:
        name (str): The first of its spellings.
        meaning (Meaning): What it is.
        channels (int, optional): How many places come behind the channels of what it
            makes, :obj:`ARRANGED` if it moves dimensions. (default: :obj:`None`,
            they are where they were)
        by_rows (bool, optional): Whether it acts on each row by itself.
            (default: :obj:`False`)
        along (Tuple[int, int], optional): Where the dimension is given that alone it
            mixes, and the default of that. (default: :obj:`None`)
        count (Count, optional): How it is counted. (default: :obj:`None`, as what
            it is made of)
        smallest (bool, optional): Whether a maximum is a minimum.
            (default: :obj:`False`)
        first_factor (int, optional): The first argument that a product multiplies.
            (default: :obj:`0`)
        bounds (Tuple[str, ...], optional): The bounds that it is given, of a clamp.
            (default: :obj:`()`)
        why (str, optional): Why it has no spiking counterpart, a key of the refusals.
            (default: :obj:`""`)
        spellings (Tuple[Any, ...], optional): All functions, names of methods, and
            types of modules. (default: :obj:`()`)
    """

    name: str
    meaning: Meaning
    channels: int | None = None
    by_rows: bool = False
    along: tuple[int, int | None] | None = None
    count: Count | None = None
    smallest: bool = False
    first_factor: int = 0
    bounds: tuple[str, ...] = ()
    why: str = ''
    spellings: tuple[Any, ...] = ()

    @property
    def is_bilinear(self) -> bool:
        """Whether it multiplies what it is given."""
        return self.meaning in BILINEAR

    @property
    def module(self) -> type[nn.Module] | None:
        """The type of module that computes the same, if there is one."""
        return next((s for s in self.spellings if _is_module_type(s)), None)


@dataclass(frozen=True)
class _Attribute:
    """The spelling of what is read with ``getattr``."""

    name: str


_OPS: dict[Any, Op] = {}
_NAMED: dict[str, Op] = {}  # In small letters.
_CALLED: dict[str, Op] = {}  # By the dispatcher.
# Of the names that reach the dispatcher, by where functions are.
_PREFIXES = {'': '', 'torch': '', 'F': '', 'linalg': 'linalg_', 'special': 'special_'}
_FUNCTIONS: Any = torch._C._VariableFunctions  # Also those that others have replaced.
_PLACES: dict[str, tuple[Any, ...]] = {
    **{'torch': (torch,), 'F': (F,), 'nn': (nn,), 'operator': (operator,)},
    **{'linalg': (torch.linalg,), 'sparse': (torch.sparse,)},
    **{'special': (torch.special,), 'utils': (pyg_utils,)},
    'pyg': (pyg_nn, pyg_nn.aggr, pyg_nn.norm),
}


def add_ops(rows: str, meaning: Meaning, targets: Any = (), **columns: Any) -> list[Op]:
    """Adds rows to the table.

    Args:
        rows (str): The names of operations, separated by blanks; several of one
            operation by slashes. A name stands for the functions of PyTorch, of
            :obj:`torch.nn.functional` and of :obj:`operator` that are called so,
            methods included, and for what writes in place; one with a dot, such as
            ``F.batch_norm``, for nothing else; ``@T`` for an attribute.
        meaning (Meaning): What they are.
        targets (Sequence[Any], optional): More spellings of the one operation, if
            PyTorch does not know it. (default: :obj:`()`)
        **columns: See :class:`Op`.

    Returns:
        List[Op]: The rows. What this version of PyTorch or PyG does not have is left
        out.
    """
    added = []
    for row in rows.split():
        names = row.split('/')
        found = [s for name in names for s in _spellings(name)] + list(targets)
        if not found:
            continue
        plain = [name.rpartition('.')[2].lstrip('@') for name in names]
        op = Op(plain[0], meaning, spellings=tuple(dict.fromkeys(found)), **columns)
        _OPS.update(dict.fromkeys(op.spellings, op))
        for name in plain:
            _NAMED.setdefault(name.lower(), op)
        for name in names:
            place, _, own = name.rpartition('.')
            if not name.startswith('@') and place in _PREFIXES:
                _CALLED.setdefault(_PREFIXES[place] + own, op)
        added.append(op)
    return added


def remove_op(op: Op) -> None:
    """Takes a row out again."""
    known: dict[Any, Op]
    for known in (_OPS, _NAMED, _CALLED):
        for key in [key for key, value in known.items() if value is op]:
            del known[key]


def op_for(target: Any) -> Op | None:
    """The row of a module, of its type, of a function or of the name of a method."""
    kind = type(target) if isinstance(target, nn.Module) else target
    if _is_module_type(kind):
        return next((_OPS[base] for base in kind.__mro__ if base in _OPS), None)
    return _OPS.get(target)


def op_of(node: Any) -> Op | None:
    """The row of what a node of a graph calls, unless that is a module."""
    if getattr(node, 'op', None) not in ('call_function', 'call_method'):
        return None
    if node.target is getattr:
        return _OPS.get(_Attribute(str(node.args[1])), _OPS.get(getattr))
    return _OPS.get(node.target)


def op_named(name: str) -> Op | None:
    """The row of which one of the names is this, whatever its case."""
    return _NAMED.get(name.strip('_').lower())


def is_call(node: Any, *names: str) -> bool:
    """Whether a node calls one of some operations, by their first names."""
    op = op_of(node)
    return op is not None and op.name in names


def count_of(name: str) -> Count | None:
    """How an operation is counted.

    Args:
        name (str): Its name, without the underscore of those that write in place.
    """
    if name in COUNTS:
        return COUNTS[name]
    op = _CALLED.get(name)
    return None if op is None else op.count


def factors_of_product(name: str) -> tuple[int, int]:
    """Where the operands of a product of matrices are."""
    if name in FACTORS:
        return FACTORS[name]
    op = _CALLED.get(name)
    assert op is not None
    return op.first_factor, op.first_factor + 1


def means(node: Any, *meanings: Meaning) -> bool:
    """Whether a node calls an operation of one of some meanings."""
    op = op_of(node)
    return op is not None and op.meaning in meanings


def all_ops() -> Collection[Op]:
    """All rows, in order."""
    return dict.fromkeys(_OPS.values()).keys()


def _is_module_type(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, nn.Module)


def _spellings(name: str) -> Iterator[Any]:
    place, dot, own = name.rpartition('.')
    if name.startswith('@'):
        yield _Attribute(name[1:])
    elif dot and not place:
        yield own
    elif dot:
        yield from (getattr(p, own) for p in _PLACES[place] if hasattr(p, own))
    else:
        yield from _plain_spellings(name)


def _plain_spellings(name: str) -> Iterator[Any]:
    """``add`` is ``torch.add``, ``Tensor.add_``, ``operator.iadd``, and so on."""
    for spelled in (name, f'{name}_'):
        for place in (torch, _FUNCTIONS, F):
            if callable(getattr(place, spelled, None)):
                yield getattr(place, spelled)
        method = getattr(Tensor, spelled, None)
        if callable(method):
            yield from (spelled, method)
    if hasattr(Tensor, f'__{name}__'):
        for spelled in (name, f'i{name}'):
            if hasattr(operator, spelled):
                yield getattr(operator, spelled)
        yield f'__{name}__'
