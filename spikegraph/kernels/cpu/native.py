"""Compiled kernels as native code, with their arguments written down once: called again
and again without the interpreter, which threads would take in turn.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba.core import types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from spikegraph.kernels import openmp

_WORD, _BYTE = ir.IntType(64), ir.IntType(8)
_NEXT, _NUM, _FAILED, _KERNEL, _GIVEN = range(5)  # Words of a list of arguments.
_NAMES = itertools.count()
_TASK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_NO_RESULT, _OK = -2, 0  # What a kernel of Numba returns if it does not raise.


class Bound:
    """A kernel, and the pieces of its work.

    Args:
        kernel (Callable): The kernel, compiled for these arguments.
        args (Tuple[Any, ...]): Its arguments but for the last two.
        bounds (List[int]): Where pieces start, and where the last one ends.

    Raises:
        TypeError: If there are arguments of other types than kernels take.
    """

    def __init__(self, kernel: Any, args: tuple[Any, ...], bounds: list[int]) -> None:
        kinds = tuple(map(numba.typeof, (*args, *bounds[:2])))
        found = kernel.overloads.get(kinds)
        words = [
            w for arg, kind in zip(args, kinds, strict=False) for w in _words(arg, kind)
        ]
        if found is None or found.fndesc.restype not in (types.none, types.boolean):
            raise TypeError(f'{kernel.__name__} is not known for these arguments')
        convention, descriptor = found.target_context.call_conv, found.fndesc
        type_ = convention.get_function_type(descriptor.restype, descriptor.argtypes)
        if len(type_.args) != len(words) + 4:  # Two for results, two for a piece.
            raise TypeError(f'{kernel.__name__} takes {len(type_.args) - 4} words')
        address = found.library.get_pointer_to_function(descriptor.llvm_func_name)
        self.num = len(bounds) - 1
        self.is_asked = descriptor.restype == types.boolean
        given = [0, self.num, 0, address, *words, *bounds]
        self._list = np.array(given + [0] * self.num, np.int64)
        self._address = self._list.ctypes.data
        self._task = _TASK(_entry(str(type_), type_))
        self._held = args

    def __call__(self) -> list[Any]:
        """What the pieces return, in order."""
        words = self._list
        words[_NEXT] = 0
        if self.num > 1 and torch.get_num_threads() > 1 and openmp.is_available():
            openmp.run_native(self._task, self._address)
        else:
            self._task(self._address)
        if words[_FAILED] != 0:
            raise RuntimeError('a kernel raised')
        if not self.is_asked:
            return []
        return [bool(word & 1) for word in words[-self.num :].tolist()]


def bind(kernel: Any, args: tuple[Any, ...], bounds: list[int]) -> Bound | None:
    """The pieces of a kernel that has been called with such arguments before; None where
    it cannot be called as native code.
    """
    try:
        return Bound(kernel, args, bounds)
    except (TypeError, AttributeError, NotImplementedError):
        return None


def _words(value: Any, kind: Any) -> list[int]:
    """An argument as the words in which Numba passes it on."""
    if isinstance(kind, types.Array):
        data = value.ctypes.data
        sizes = [value.size, value.itemsize, data, *value.shape, *value.strides]
        return [0, 0, *sizes]  # Nobody counts references.
    if isinstance(kind, types.BaseTuple):
        members: Any = kind
        parts = zip(value, members, strict=True)
        return [word for part in parts for word in _words(*part)]
    if kind == types.none:
        return [0]
    if isinstance(kind, types.Boolean) or kind == types.int64:
        return [int(value)]
    if kind == types.float64:
        return [int(np.float64(value).view(np.int64))]
    raise TypeError(f'{kind} is not passed on')


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
