"""Compiled kernels as native code, with their arguments written down once: called again
and again without the interpreter, which threads would take in turn.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
from collections.abc import Hashable
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from llvmlite import ir
from numba.core import types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from spikegraph.kernels import openmp

_WORD = ir.IntType(64)
_NEXT, _NUM, _FAILED, _KERNEL, _GIVEN = range(5)  # Words of a list of arguments.
_NAMES = itertools.count()
_TASK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_NO_RESULT, _OK = -2, 0  # What a kernel of Numba returns if it does not raise.


class _Found(NamedTuple):
    """A kernel that is compiled for arguments of some types."""

    task: Any  # Takes piece after piece.
    address: int
    returned: int  # The bits of what it returns.


_KNOWN: dict[Hashable, _Found] = {}


class Bound:
    """A kernel, and the pieces of its work. It does not keep its arguments.

    Args:
        found (_Found): The kernel.
        words (List[int]): Its arguments but for the last two, as Numba passes them on.
        bounds (List[int]): Where pieces start, and where the last one ends.
    """

    def __init__(self, found: _Found, words: list[int], bounds: list[int]) -> None:
        self.num = len(bounds) - 1
        given = [0, self.num, 0, found.address, *words, *bounds]
        self._list = np.array(given + [0] * self.num, np.int64)
        self._address = self._list.ctypes.data
        self._task, self._returned = found.task, found.returned

    def __call__(self) -> list[Any]:
        """What the pieces return, in order."""
        words = self._list
        words[_NEXT] = words[_FAILED] = 0
        if self.num > 1 and torch.get_num_threads() > 1 and openmp.is_available():
            openmp.run_native(self._task, self._address)
        else:
            self._task(self._address)
        if words[_FAILED] != 0:
            raise RuntimeError('a kernel raised')
        if self._returned == 0:
            return [None] * self.num
        found = words[-self.num :].tolist()
        if self._returned == 1:
            return [bool(word & 1) for word in found]
        return [word & ((1 << self._returned) - 1) for word in found]


def bind(kernel: Any, args: tuple[Any, ...], bounds: list[int]) -> Bound | None:
    """The pieces of a kernel that has been called with such arguments before; None where
    it cannot be called as native code.
    """
    words: list[int] = []
    kinds: list[Hashable] = [kernel]
    try:
        for value in args:
            _write_down(value, words, kinds)
        key = tuple(kinds)
        found = _KNOWN.get(key) or _find(kernel, (*args, *bounds[:2]), len(words))
    except (TypeError, AttributeError, NotImplementedError):
        return None
    if found is None:
        return None
    _KNOWN[key] = found
    return Bound(found, words, bounds)


def _write_down(value: Any, words: list[int], kinds: list[Hashable]) -> None:
    """Adds an argument as the words in which Numba passes it on, and what tells its type
    from others.
    """
    kind: Any = type(value)
    if kind is np.ndarray:
        data = value.__array_interface__['data'][0]
        words += (0, 0, value.size, value.itemsize, data)  # Nobody counts references.
        words += value.shape
        words += value.strides
        kinds.append((value.dtype, value.ndim, value.flags.num))
        return
    kinds.append(kind)
    if kind in (int, bool):
        words.append(int(value))
    elif value is None:
        words.append(0)
    elif kind is float:
        words.append(int(np.float64(value).view(np.int64)))
    elif isinstance(value, tuple):
        for each in value:
            _write_down(each, words, kinds)
    else:
        raise TypeError(f'{kind} is not passed on')


def _find(kernel: Any, args: tuple[Any, ...], num_words: int) -> _Found | None:
    """The kernel that is compiled for arguments; None if there is none yet, or it
    returns something else than nothing, an answer or a small number.
    """
    found = kernel.overloads.get(tuple(map(numba.typeof, args)))
    sizes = {types.none: 0, types.boolean: 1, types.uint8: 8}
    if found is None or found.fndesc.restype not in sizes:
        return None
    convention, descriptor = found.target_context.call_conv, found.fndesc
    type_ = convention.get_function_type(descriptor.restype, descriptor.argtypes)
    if len(type_.args) != num_words + 4:  # Two for results, two for a piece.
        return None
    address = found.library.get_pointer_to_function(descriptor.llvm_func_name)
    task = _TASK(_entry(str(type_), type_))
    return _Found(task, address, sizes[descriptor.restype])


@functools.cache
@global_compiler_lock
def _entry(name: str, type_: Any) -> int:
    """Where code begins that takes one piece after another, given a list of arguments,
    until none is left: what a thread does.
    """
    codegen = cpu_target.target_context.codegen()
    label = f'spikegraph_pieces_{next(_NAMES)}'
    library = codegen.create_library(label)
    module = library.create_ir_module(label)
    kind = ir.FunctionType(ir.VoidType(), [_WORD.as_pointer()])
    body = ir.Function(module, kind, label)
    words = body.args[0]
    builder = ir.IRBuilder(body.append_basic_block('entry'))

    def at(place: Any) -> Any:
        return builder.gep(
            words, [place if isinstance(place, ir.Value) else _WORD(place)]
        )

    num, first = builder.load(at(_NUM)), _GIVEN + len(type_.args) - 4
    kernel = builder.inttoptr(builder.load(at(_KERNEL)), type_.as_pointer())
    given = [
        _as(builder, builder.load(at(_GIVEN + k)), wanted)
        for k, wanted in enumerate(type_.args[2:-2])
    ]
    error = builder.alloca(type_.args[1].pointee)
    again, work, done = (body.append_basic_block(n) for n in ('again', 'work', 'done'))
    builder.branch(again)
    builder.position_at_end(again)
    piece = builder.atomic_rmw('add', at(_NEXT), _WORD(1), 'monotonic')
    builder.cbranch(builder.icmp_signed('<', piece, num), work, done)
    builder.position_at_end(work)
    place = builder.add(piece, _WORD(first))
    start, stop = (builder.load(at(builder.add(place, _WORD(k)))) for k in (0, 1))
    result = builder.add(builder.add(place, num), _WORD(1))
    result = builder.bitcast(at(result), type_.args[0])
    status = builder.call(kernel, [result, error, *given, start, stop])
    is_fine = builder.or_(
        builder.icmp_signed('==', status, status.type(_OK)),
        builder.icmp_signed('==', status, status.type(_NO_RESULT)),
    )
    failed = builder.select(is_fine, _WORD(0), _WORD(1))
    builder.atomic_rmw('or', at(_FAILED), failed, 'monotonic')
    builder.branch(again)
    builder.position_at_end(done)
    builder.ret_void()
    library.add_ir_module(module)
    library.finalize()
    _entry_libraries.append(library)
    address: int = library.get_pointer_to_function(label)
    return address


_entry_libraries: list[Any] = []  # Kept, as code goes with them.


def _as(builder: Any, word: Any, wanted: Any) -> Any:
    """A word as an argument of another type."""
    if isinstance(wanted, ir.PointerType):
        return builder.inttoptr(word, wanted)
    if isinstance(wanted, ir.DoubleType):
        return builder.bitcast(word, wanted)
    if isinstance(wanted, ir.IntType):
        return word if wanted == _WORD else builder.trunc(word, wanted)
    raise NotImplementedError(f'{wanted} is not passed on')
