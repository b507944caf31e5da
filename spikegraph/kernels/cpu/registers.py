"""Sixteen values at a time: levels looked up in tables that are held in registers,
and weighted sums of rows. What Numba cannot say is written in LLVM's language,
which compiles for any processor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types

from spikegraph.kernels.cpu.compilation import HAS_AVX2, HAS_AVX512, compiled, intrinsic

LANES = 16
LOADS = 8 if HAS_AVX512 else 2  # Vectors of a row read at once.
WORD = 64  # Values compared at once.
PERMUTED = 64  # Levels that fit into registers.
# How rows are read, told by the length of a tuple, so that it is known when compiling:
VALUES = (0,)  # as real values,
PACKED = (0, 0)  # as two spike times of at most 16 levels a byte,
ONE, TWO, FOUR = (0,) * 3, (0,) * 4, (0,) * 5  # by a table in so many registers,
TABLE = (0,) * 6  # or by one in memory.
_NUM_TABLES = {PACKED: 1, ONE: 1, TWO: 2, FOUR: 4}

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_OCTETS, _INTEGERS = ir.VectorType(_I8, LANES), ir.VectorType(_I32, LANES)
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_HALF = ir.VectorType(ir.FloatType(), LANES // 2)
_PAIR = _I64(0), _I64(LANES)
_FETCHED = 1024  # Bytes of rows to come that are fetched ahead,
_LINE = 64  # by lines of the cache.


def way_of(num_levels: int) -> tuple[int, ...]:
    """How rows of spike times with so many levels are read."""
    for way, limit in ((ONE, LANES), (TWO, 2 * LANES), (FOUR, PERMUTED)):
        if num_levels <= limit and _has_permute(types.float32, len(way)):
            return way
    return TABLE


def _has_permute(real: Any, way: int) -> bool:
    if real != types.float32:
        return False
    return HAS_AVX512 or (HAS_AVX2 and _NUM_TABLES.get((0,) * way, 4) == 1)


class _Levels:
    """Looks sixteen spike times up."""

    def __init__(self, context: Any, builder: Any, table: Any, real: Any, way: int):
        self.builder, self.table = builder, table
        self.real = context.get_value_type(real)
        self.registers: list[Any] = []
        if _has_permute(real, way) and way != len(TABLE):
            kind = _FLOATS if HAS_AVX512 else _HALF
            num = _NUM_TABLES[(0,) * way] * (LANES // kind.count)
            for k in range(num):
                start = builder.gep(table, [_I64(k * kind.count)])
                self.registers.append(load(builder, start, kind))

    def __call__(self, index: Any) -> Any:
        builder = self.builder
        if not self.registers:
            found = ir.Constant(ir.VectorType(self.real, LANES), ir.Undefined)
            for lane in range(LANES):
                time = builder.extract_element(index, _I32(lane))
                level = builder.load(builder.gep(self.table, [time]))
                found = builder.insert_element(found, level, _I32(lane))
            return found
        if not HAS_AVX512:
            return self._by_halves(index)
        if len(self.registers) == 1:
            permute = _function(
                builder, 'x86.avx512.permvar.sf.512', _FLOATS, [_FLOATS, _INTEGERS]
            )
            return builder.call(permute, [self.registers[0], index])
        arguments = [_FLOATS, _INTEGERS, _FLOATS]
        permute = _function(builder, 'x86.avx512.vpermi2var.ps.512', _FLOATS, arguments)
        # The lowest five bits count.
        found = builder.call(permute, [self.registers[0], index, self.registers[1]])
        if len(self.registers) == 2:
            return found
        far = builder.call(permute, [self.registers[2], index, self.registers[3]])
        is_near = builder.icmp_unsigned('<', index, _splat(_INTEGERS, 2 * LANES))
        return builder.select(is_near, found, far)

    def _by_halves(self, index: Any) -> Any:
        builder, integers = self.builder, ir.VectorType(_I32, LANES // 2)
        permute = _function(builder, 'x86.avx2.permps', _HALF, [_HALF, integers])
        halves = []
        for first in (0, LANES // 2):
            lanes = ir.Constant(integers, list(range(first, first + LANES // 2)))
            part = builder.shuffle_vector(index, index, lanes)
            near, far = (builder.call(permute, [t, part]) for t in self.registers)
            bit = builder.and_(part, _splat(integers, LANES // 2))
            is_near = builder.icmp_unsigned('==', bit, _splat(integers, 0))
            halves.append(builder.select(is_near, near, far))
        return builder.shuffle_vector(
            *halves, ir.Constant(_INTEGERS, list(range(LANES)))
        )


@intrinsic
def _look_up_lanes(
    typing: Any, time: Any, out: Any, table: Any, j: Any, way: Any
) -> Any:
    """Looks values ``j`` to ``j + 15`` up."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = access(context, builder, signature, arguments)
        levels = _Levels(context, builder, data(2), signature.args[1].dtype, len(way))
        octets = load(builder, builder.gep(data(0), [arguments[3]]), _OCTETS)
        found = levels(builder.zext(octets, _INTEGERS))
        store(builder, found, builder.gep(data(1), [arguments[3]]))
        return context.get_dummy_value()

    return types.void(time, out, table, j, way), generate


@compiled
def look_up(
    time: np.ndarray, out: np.ndarray, table: np.ndarray, num_levels: int
) -> int:
    """Looks spike times up in a table of 256 entries, and returns the largest."""
    largest = np.uint8(0)
    for j in range(time.size):
        largest = max(largest, time[j])
    first = time.size - time.size % LANES
    if num_levels <= LANES:
        for j in range(0, first, LANES):
            _look_up_lanes(time, out, table, j, ONE)
    elif num_levels <= PERMUTED and HAS_AVX512:
        for j in range(0, first, LANES):
            _look_up_lanes(time, out, table, j, FOUR)
    else:
        first = 0
    for j in range(first, time.size):
        out[j] = table[time[j]]
    return largest


@intrinsic
def pack_lanes(typing: Any, time: Any, start: Any, packed: Any, position: Any) -> Any:
    """Writes sixteen spike times and the sixteen behind them as two a byte."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = access(context, builder, signature, arguments)
        at = builder.gep(data(0), [arguments[1]])
        low, high = (load(builder, builder.gep(at, [k]), _OCTETS) for k in _PAIR)
        both = builder.or_(low, builder.shl(high, _splat(_OCTETS, 4)))
        store(builder, both, builder.gep(data(2), [arguments[3]]))
        return context.get_dummy_value()

    return types.void(time, types.int64, packed, types.int64), generate


@intrinsic
def _search_lanes(
    typing: Any,
    value: Any,
    out: Any,
    table: Any,
    scale: Any,
    num_steps: Any,
    signed: Any,
    j: Any,
    way: Any,
) -> Any:
    """Fires values ``j`` to ``j + 15`` by bisection of a table of decreasing
    thresholds, times one scale or one for each value.
    """
    num_levels = LANES * _NUM_TABLES[(0,) * len(way)]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = access(context, builder, signature, arguments)
        j, real = arguments[6], signature.args[0].dtype
        levels = _Levels(context, builder, data(2), real, len(way))
        vector = ir.VectorType(context.get_value_type(real), LANES)
        value = load(builder, builder.gep(data(0), [j]), vector)
        if isinstance(signature.args[3], types.Array):
            gain = load(builder, builder.gep(data(3), [j]), vector)
        else:
            gain = spread(builder, arguments[3], vector)
        is_signed = builder.trunc(arguments[5], ir.IntType(1))
        absolute = _function(builder, f'fabs.{_name(vector)}', vector, [vector])
        size = builder.select(is_signed, builder.call(absolute, [value]), value)
        time, step = _splat(_INTEGERS, 0), num_levels // 2
        while step > 0:  # How many thresholds are not reached.
            index = builder.add(time, _splat(_INTEGERS, step - 1))
            threshold = builder.fmul(levels(index), gain)
            waits = builder.fcmp_unordered('<', size, threshold)
            later = builder.add(time, _splat(_INTEGERS, step))
            time = builder.select(waits, later, time)
            step //= 2
        last = spread(builder, builder.trunc(arguments[4], _I32), _INTEGERS)
        is_late = builder.icmp_signed('>', time, last)
        time = builder.select(is_late, last, time)
        zero = ir.Constant(vector, [0.0] * LANES)
        is_off = builder.fcmp_ordered('<', value, zero)
        is_off = builder.and_(is_off, builder.icmp_signed('!=', time, last))
        off = builder.add(time, builder.add(last, _splat(_INTEGERS, 1)))
        both = builder.select(is_off, off, time)
        time = builder.select(is_signed, both, time)
        store(builder, builder.trunc(time, _OCTETS), builder.gep(data(1), [j]))
        return context.get_dummy_value()

    arguments = (value, out, table, scale, num_steps, signed, j, way)
    return types.void(*arguments), generate


@compiled
def search(
    value: np.ndarray,
    out: np.ndarray,
    table: np.ndarray,
    scale: Any,
    num_steps: int,
    signed: bool,
) -> int:
    """Fires values by a table of decreasing thresholds, as many at a time as there
    are lanes, and returns how many it has fired.
    """
    whole = value.size - value.size % LANES
    if table.size == LANES:
        for j in range(0, whole, LANES):
            _search_lanes(value, out, table, scale, num_steps, signed, j, ONE)
    else:
        for j in range(0, whole, LANES):
            _search_lanes(value, out, table, scale, num_steps, signed, j, TWO)
    return whole


class _Sums:
    """Adds up the rows of ``x`` that the edges of each row come from."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any):
        self.builder = builder
        data = access(context, builder, signature, arguments)
        self.x, self.rowptr, self.col, self.factors = (data(k) for k in (0, 2, 3, 4))
        self.out = data(11)
        self.stride, self.by_edge, self.by_source = (arguments[k] for k in (1, 5, 6))
        self.first, self.last, end, self.position, self.width = (
            arguments[k] for k in (7, 8, 9, 12, 13)
        )
        self.final = builder.sub(end, _I64(1))
        self.way, real = (0,) * len(signature.args[14]), signature.args[11].dtype
        self.vector = ir.VectorType(context.get_value_type(real), LANES)
        self.load_size = LANES * real.bitwidth // 8 if self.way == VALUES else LANES
        self.per_load = 2 if self.way == PACKED else 1
        self.levels: Any = None
        if self.way != VALUES:
            self.levels = _Levels(context, builder, data(10), real, len(self.way))

    def columns(self, column: Any, rest: Any, num_loads: int) -> None:
        """Writes ``rest`` columns from one on, read by so many vectors."""
        builder, num_sums = self.builder, self.per_load * num_loads
        start = builder.udiv(column, _I64(self.per_load))
        masks = [_mask(builder, rest, k * LANES) for k in range(num_sums)]
        zero = ir.Constant(self.vector, [0.0] * LANES)
        sums = [cgutils.alloca_once(builder, self.vector) for _ in range(num_sums)]
        rows = cgutils.for_range_slice(
            builder, self.first, self.last, _I64(1), inc=True
        )
        with rows as (i, _):
            for total in sums:
                builder.store(zero, total)
            first = self._integer(self.rowptr, i)
            last = self._integer(self.rowptr, builder.add(i, _I64(1)))
            edges = cgutils.for_range_slice(builder, first, last, _I64(1), inc=True)
            with edges as (e, _):
                self._fetch(e, start, num_loads)
                self._add(e, start, num_loads, sums, masks)
            row = builder.mul(builder.sub(i, self.first), self.width)
            begin = builder.add(builder.add(self.position, column), row)
            for k, total in enumerate(sums):
                at = builder.gep(self.out, [builder.add(begin, _I64(k * LANES))])
                mask = masks[k] if k >= num_sums - self.per_load else None
                store(builder, builder.load(total), at, mask)

    def _add(
        self, edge: Any, start: Any, num_loads: int, sums: list[Any], masks: list[Any]
    ) -> None:
        builder, source = self.builder, self._integer(self.col, edge)
        chosen = builder.or_(
            builder.and_(edge, self.by_edge), builder.and_(source, self.by_source)
        )
        factor = builder.load(builder.gep(self.factors, [chosen]))
        weight, begin = spread(builder, factor, self.vector), self._row(source, start)
        for k in range(num_loads):
            at = builder.gep(begin, [_I64(k * LANES)])
            # Packed rows are padded.
            mask = None if k < num_loads - 1 or self.way == PACKED else masks[k]
            if self.levels is None:
                found = [load(builder, at, self.vector, mask)]
            else:
                times = builder.zext(load(builder, at, _OCTETS, mask), _INTEGERS)
                found = [self.levels(times)]
                if self.way == PACKED:  # The lowest four bits count.
                    high = builder.lshr(times, _splat(_INTEGERS, 4))
                    found.append(self.levels(high))
            for total, value in zip(sums[self.per_load * k :], found, strict=False):
                term = builder.fmul(value, weight)
                builder.store(builder.fadd(builder.load(total), term), total)

    def _fetch(self, edge: Any, start: Any, num_loads: int) -> None:
        builder, size = self.builder, num_loads * self.load_size
        later = builder.add(edge, _I64(max(4, _FETCHED // size)))
        is_there = builder.icmp_signed('<', later, self.final)
        later = builder.select(is_there, later, self.final)
        _fetch(builder, self._row(self._integer(self.col, later), start), size)

    def _row(self, source: Any, start: Any) -> Any:
        at = self.builder.add(self.builder.mul(source, self.stride), start)
        return self.builder.gep(self.x, [at])

    def _integer(self, array: Any, index: Any) -> Any:
        value = self.builder.load(self.builder.gep(array, [index]))
        return value if value.type == _I64 else self.builder.sext(value, _I64)


@intrinsic
def sum_rows(
    typing: Any,
    x: Any,
    stride: Any,
    rowptr: Any,
    col: Any,
    coefficient: Any,
    by_edge: Any,
    by_source: Any,
    first_row: Any,
    last_row: Any,
    end: Any,
    table: Any,
    out: Any,
    position: Any,
    width: Any,
    way: Any,
) -> Any:
    """Writes the weighted sums of the rows of ``x``, one every ``stride``, that the
    edges of some rows come from: ``width`` values each, from ``position`` on. While
    it adds, it fetches the rows of edges to come, up to ``end``.

    The weight of an edge is ``coefficient[edge & by_edge | source & by_source]``.
    """
    signature = types.void(
        *(x, types.int64, rowptr, col, coefficient, types.int64, types.int64),
        *(types.int64, types.int64, types.int64, table, out, types.int64, types.int64),
        way,
    )

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, width = _Sums(context, builder, signature, arguments), arguments[13]
        unit = LANES * sums.per_load
        most = _I64(LOADS * unit)
        rest = builder.srem(width, most)
        full = builder.sub(width, rest)
        with cgutils.for_range_slice(builder, _I64(0), full, most, inc=True) as (at, _):
            sums.columns(at, most, LOADS)
        num_loads = builder.udiv(builder.add(rest, _I64(unit - 1)), _I64(unit))
        done = builder.append_basic_block('done')
        ways = builder.switch(num_loads, done)
        for num in range(1, LOADS + 1):
            block = builder.append_basic_block(f'loads_{num}')
            ways.add_case(_I64(num), block)
            with builder.goto_block(block):
                sums.columns(full, rest, num)
                builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def differing(typing: Any, x: Any, start: Any, value: Any) -> Any:
    """Which of 64 values from ``start`` on differ from one, a bit each."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = access(context, builder, signature, arguments)
        vector = ir.VectorType(context.get_value_type(x.dtype), WORD)
        at = builder.bitcast(builder.gep(data(0), [arguments[1]]), vector.as_pointer())
        same = spread(builder, arguments[2], vector)
        found = builder.icmp_unsigned('!=', builder.load(at, align=1), same)
        return builder.bitcast(found, _I64)

    return types.uint64(x, start, value), generate


@intrinsic
def lowest(typing: Any, bits: Any) -> Any:
    """The position of the lowest bit that is set."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(bits), generate


def access(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    def of(k: int) -> Any:
        array = context.make_array(signature.args[k])(context, builder, arguments[k])
        return array.data

    return of


def _function(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    kind = ir.FunctionType(result, arguments)
    return cgutils.get_or_insert_function(builder.module, kind, f'llvm.{name}')


def _name(vector: Any) -> str:
    kinds = {'float': 'f32', 'double': 'f64', 'i8': 'i8'}
    return f'v{vector.count}{kinds[str(vector.element)]}'


def load(builder: Any, start: Any, vector: Any, mask: Any = None) -> Any:
    at = builder.bitcast(start, vector.as_pointer())
    align = _alignment(vector)
    if mask is None:
        return builder.load(at, align=align)
    name = f'masked.load.{_name(vector)}.p0{_name(vector)}'
    arguments = [at.type, _I32, mask.type, vector]
    masked = _function(builder, name, vector, arguments)
    zero = ir.Constant(vector, [0] * vector.count)
    return builder.call(masked, [at, _I32(align), mask, zero])


def store(builder: Any, value: Any, start: Any, mask: Any = None) -> None:
    at = builder.bitcast(start, value.type.as_pointer())
    if mask is None:
        builder.store(value, at, align=_alignment(value.type))
        return
    name = f'masked.store.{_name(value.type)}.p0{_name(value.type)}'
    arguments = [value.type, at.type, _I32, mask.type]
    masked = _function(builder, name, ir.VoidType(), arguments)
    builder.call(masked, [value, at, _I32(4), mask])


def _alignment(vector: Any) -> int:
    return 1 if vector.element == _I8 else 4


def _mask(builder: Any, width: Any, first: int) -> Any:
    """The lanes of a vector of which less than ``width`` come before them."""
    lanes = ir.Constant(_INTEGERS, list(range(first, first + LANES)))
    width = spread(builder, builder.trunc(width, _I32), _INTEGERS)
    return builder.icmp_signed('<', lanes, width)


def _fetch(builder: Any, start: Any, size: int) -> None:
    start = builder.bitcast(start, _I8.as_pointer())
    prefetch = _function(
        builder, 'prefetch.p0i8', ir.VoidType(), [start.type, _I32, _I32, _I32]
    )
    for line in range(0, size, _LINE):
        at = builder.gep(start, [_I64(line)])
        builder.call(prefetch, [at, _I32(0), _I32(3), _I32(1)])


def spread(builder: Any, value: Any, vector: Any) -> Any:
    unknown = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(unknown, value, _I32(0))
    lanes = ir.Constant(ir.VectorType(_I32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, unknown, lanes)


def _splat(vector: Any, value: int) -> Any:
    return ir.Constant(vector, [value] * vector.count)
