"""Words of LLVM's language: vectors of sixteen lanes, loaded, stored and masked."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from spikegraph.kernels.cpu.compiled.operands import LANES

I8, I32, I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
OCTETS, INTEGERS = ir.VectorType(I8, LANES), ir.VectorType(I32, LANES)
FLOATS = ir.VectorType(ir.FloatType(), LANES)
HALF = ir.VectorType(ir.FloatType(), LANES // 2)
_LINE = 64  # Bytes of a line of the cache.


def access(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    def of(k: int) -> Any:
        array = context.make_array(signature.args[k])(context, builder, arguments[k])
        return array.data

    return of


def function(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    kind = ir.FunctionType(result, arguments)
    return cgutils.get_or_insert_function(builder.module, kind, f'llvm.{name}')


def name_of(vector: Any) -> str:
    kinds = {'float': 'f32', 'double': 'f64', 'i8': 'i8'}
    return f'v{vector.count}{kinds[str(vector.element)]}'


def load(builder: Any, start: Any, vector: Any, mask: Any = None) -> Any:
    at = builder.bitcast(start, vector.as_pointer())
    align = _alignment(vector)
    if mask is None:
        return builder.load(at, align=align)
    name = f'masked.load.{name_of(vector)}.p0{name_of(vector)}'
    arguments = [at.type, I32, mask.type, vector]
    masked = function(builder, name, vector, arguments)
    zero = ir.Constant(vector, [0] * vector.count)
    return builder.call(masked, [at, I32(align), mask, zero])


def store(builder: Any, value: Any, start: Any, mask: Any = None) -> None:
    at = builder.bitcast(start, value.type.as_pointer())
    if mask is None:
        builder.store(value, at, align=_alignment(value.type))
        return
    name = f'masked.store.{name_of(value.type)}.p0{name_of(value.type)}'
    arguments = [value.type, at.type, I32, mask.type]
    masked = function(builder, name, ir.VoidType(), arguments)
    builder.call(masked, [value, at, I32(_alignment(value.type)), mask])


def _alignment(vector: Any) -> int:
    return 1 if vector.element == I8 else 4


def lanes_before(builder: Any, width: Any, first: int, num: int = LANES) -> Any:
    """The lanes of a vector of which less than ``width`` come before them."""
    integers = ir.VectorType(I32, num)
    lanes = ir.Constant(integers, list(range(first, first + num)))
    width = spread(builder, builder.trunc(width, I32), integers)
    return builder.icmp_signed('<', lanes, width)


def fetch(builder: Any, start: Any, size: int) -> None:
    """Asks for memory to be brought into the second cache, for which more lines can
    be on their way than for the first.
    """
    start = builder.bitcast(start, I8.as_pointer())
    prefetch = function(
        builder, 'prefetch.p0i8', ir.VoidType(), [start.type, I32, I32, I32]
    )
    for line in range(0, size, _LINE):
        at = builder.gep(start, [I64(line)])
        builder.call(prefetch, [at, I32(0), I32(2), I32(1)])


def spread(builder: Any, value: Any, vector: Any) -> Any:
    unknown = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(unknown, value, I32(0))
    lanes = ir.Constant(ir.VectorType(I32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, unknown, lanes)


def shuffle(builder: Any, first: Any, second: Any, lanes: list[int]) -> Any:
    """Lanes of two vectors, those of the second counted on."""
    chosen = ir.Constant(ir.VectorType(I32, len(lanes)), lanes)
    return builder.shuffle_vector(first, second, chosen)


def splat(vector: Any, value: int) -> Any:
    return ir.Constant(vector, [value] * vector.count)
