"""What tensors hold, as told by all of their bits: PyTorch counts no change that is
made through NumPy or ``.data``, and none at all in inference mode.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from torch import Tensor

from spikegraph.kernels.dispatch import call
from spikegraph.kernels.forms import is_foreign, parts_of, plain
from spikegraph.kernels.memory import dense, is_plain
from spikegraph.kernels.tape import current_tape

_Value = TypeVar('_Value')
_WORD = 8  # Bytes that are read at once.


class Pass:
    """What is known of the inputs of a network while it computes one output, in
    which nobody else changes them.
    """

    def __init__(self) -> None:
        self.states: dict[int, tuple[Any, Hashable, Hashable]] = {}
        self.finite: set[Hashable] = set()
        self.kept: dict[tuple[int, str], tuple[Any, Any]] = {}


_PASS: ContextVar[Pass | None] = ContextVar('spikegraph_pass', default=None)


@contextlib.contextmanager
def one_pass() -> Iterator[Pass]:
    """Within it, inputs are read once, however many layers ask what they hold; what
    PyTorch sees change is read again.
    """
    current = Pass()
    token = _PASS.set(current)
    try:
        yield current
    finally:
        _PASS.reset(token)


def once_per_pass(owner: Any, name: str, compute: Callable[[], _Value]) -> _Value:
    """What ``compute`` gives: within a pass computed once for a prepared object, which
    no network writes to.
    """
    current = _PASS.get()
    if current is None:
        return compute()
    key = id(owner), name
    if key not in current.kept:
        current.kept[key] = owner, compute()
    return current.kept[key][1]


def trust(prepared: Any) -> bool:
    """Whether it is known, for the rest of this pass, that an object is right: one
    that is made within a pass is only read in it.
    """
    current = _PASS.get()
    if current is not None:
        current.kept[id(prepared), 'trusted'] = prepared, True
    return current is not None


def is_trusted(prepared: Any) -> bool:
    """Whether an object has been made within this pass."""
    current = _PASS.get()
    return current is not None and (id(prepared), 'trusted') in current.kept


def state_of(graph: Any) -> Hashable:
    """What a graph, an index or weights hold: equal states, equal contents.

    Args:
        graph (torch.Tensor, optional): A tensor, dense or sparse, a
            ``torch_sparse.SparseTensor`` or :obj:`None`.
    """
    if graph is None:
        return None
    parts, current = parts_of(graph), _PASS.get()
    if current is None or any(part.is_inference() for part in parts):
        return _state(graph, parts)
    versions = tuple((part.data_ptr(), part._version) for part in parts)
    known = current.states.get(id(graph))
    if known is None or known[0]() is not graph or known[1] != versions:
        known = (weakref.ref(graph), versions, _state(graph, parts))
        current.states[id(graph)] = known
    return known[2]


def _state(graph: Any, parts: tuple[Tensor, ...]) -> Hashable:
    shape = graph.sparse_sizes() if is_foreign(graph) else graph.shape
    layout = getattr(graph, 'layout', None)
    return (type(graph), layout, tuple(shape), *map(digest, parts))


def digest(x: Tensor) -> Hashable:
    """64 bits that change with any bit of a tensor, and with its shape, type, place
    and order in memory. One word that changes always changes them; of other changes,
    permutations among them, one in :math:`2^{64}` does not.
    """
    x = _readable(x)
    kind = (x.dtype, x.shape, x.stride(), x.device)
    num_bytes = x.numel() * x.element_size()
    num_words = num_bytes // _WORD
    total = call('digest', x, num_words) if num_words > 0 else 0
    if num_bytes % _WORD == 0:
        return *kind, total, b''
    last = x.as_strided((x.numel(),), (1,)).view(torch.uint8)[_WORD * num_words :]
    return *kind, total, bytes(last.tolist())


def _readable(x: Tensor) -> Tensor:
    """The tensor without gaps, as it lies in memory; what it holds decides what is done
    next.
    """
    tape = current_tape()
    if tape is not None:
        tape.decide_by(x)
    if type(x) is Tensor and x.is_contiguous() and not x.is_neg():
        return x  # In most cases, and soon.
    x = plain(x).detach()
    if not is_plain(x):
        x = x.resolve_conj().resolve_neg()
    return x if x.is_contiguous() else dense(x)


def are_finite(x: Tensor) -> bool:
    """Whether all values of a tensor are finite, in one pass over it."""
    x = _readable(x)
    if x.numel() == 0 or not x.is_floating_point():
        return True
    return bool(call('is_finite', x))


def note_finite(x: Tensor) -> None:
    """Says that a kernel has read all values of a tensor, and found them finite."""
    current = _PASS.get()
    if current is not None:
        current.finite.add(_place(x))


def is_noted(current: Pass, x: Tensor) -> bool:
    """Whether a kernel has found a tensor to be finite in this pass."""
    return x.layout == torch.strided and _place(x) in current.finite


def _place(x: Tensor) -> Hashable:
    return x.data_ptr(), x.dtype, tuple(x.shape), x.stride()
