"""Weighted sums of rows of values or spike times, in registers."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from spikegraph.kernels.cpu.compiled.compilation import HAS_AVX512, intrinsic
from spikegraph.kernels.cpu.compiled.operands import (
    HAS_PLANES,
    LOADED,
    Near,
    Packed,
    Values,
    num_registers,
)
from spikegraph.kernels.cpu.compiled.registers import Levels, Planes
from spikegraph.kernels.cpu.compiled.vectors import (
    HALF,
    I8,
    I64,
    INTEGERS,
    LANES,
    OCTETS,
    access,
    fetch,
    lanes_before,
    load,
    shuffle,
    splat,
    spread,
    store,
)

LOADS = 8 if HAS_AVX512 else 2  # Vectors of a row read at once.
_FETCHED = 4096  # Bytes of rows to come, with their factors, that are fetched ahead.


class _Sums:
    """Adds up the rows of ``x`` that the edges of each row come from."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any):
        self.builder = builder
        data = access(context, builder, signature, arguments)
        self.x, self.rowptr, self.col, self.factors = (data(k) for k in (0, 2, 3, 4))
        self.targets, self.by_target, self.out = data(10), arguments[11], data(13)
        self.stride, self.by_edge, self.by_source = (arguments[k] for k in (1, 5, 6))
        self.first, self.last, end, self.position, self.width = (
            arguments[k] for k in (7, 8, 9, 14, 15)
        )
        self.final = builder.sub(end, I64(1))
        # Of heads that lie in whole vectors, all are added up at once.
        self.num_heads, self.span = None, self.width
        if not isinstance(signature.args[17], types.NoneType):
            self.num_heads = arguments[17]
            self.per_head = builder.sdiv(self.width, self.num_heads)
            rest = builder.srem(self.per_head, I64(LANES))
            fits = builder.icmp_signed('==', rest, I64(0))
            self.span = builder.select(fits, self.width, self.per_head)
        way, real = signature.args[16].instance_class, signature.args[13].dtype
        self.is_far, self.is_packed = way is not Near, way is Packed
        element, self.num_lanes = context.get_value_type(real), LANES
        self.levels: Any = None
        self.planes: Any = None
        # The columns of a load, in vectors of sums, of which some are of several pieces.
        self.pieces, self.loaded = [[0]], LANES
        if self.is_packed:
            self.pieces.append([LANES])
        if way in (Values, Near):
            self.load_size = LANES * real.bitwidth // 8
        elif HAS_PLANES and num_registers(way) > 0:
            self.planes, self.num_lanes = (
                Planes(context, builder, data(12), way),
                HALF.count,
            )
            self.pieces = [[k, LANES + k] for k in range(0, LANES, 4)]
            self.loaded = self.load_size = LANES if self.is_packed else LOADED
            self.span = self.width
        else:
            self.levels = Levels(context, builder, data(12), real, way)
            self.load_size = LANES
        self.vector = ir.VectorType(element, self.num_lanes)
        self.unit = len(self.pieces) * self.num_lanes  # Columns of a load.

    def columns(self, column: Any, rest: Any, num_loads: int) -> None:
        """Writes ``rest`` columns from one on, read by so many loads."""
        builder = self.builder
        start = builder.udiv(column, I64(self.unit // self.loaded))
        places = [
            [self.unit * k + first for first in pieces]
            for k in range(num_loads)
            for pieces in self.pieces
        ]
        zero = ir.Constant(self.vector, [0.0] * self.num_lanes)
        sums = [cgutils.alloca_once(builder, self.vector) for _ in places]
        heads = None
        if self.num_heads is not None:
            heads = [[self._head(column, place) for place in each] for each in places]
        rows = cgutils.for_range_slice(builder, self.first, self.last, I64(1), inc=True)
        with rows as (i, _):
            for total in sums:
                builder.store(zero, total)
            first = self._integer(self.rowptr, i)
            last = self._integer(self.rowptr, builder.add(i, I64(1)))
            edges = cgutils.for_range_slice(builder, first, last, I64(1), inc=True)
            with edges as (e, _):
                if self.is_far:
                    self._fetch(e, start, num_loads)
                self._add(e, start, heads, num_loads, sums, rest)
            chosen = builder.gep(self.targets, [builder.and_(i, self.by_target)])
            factor = spread(builder, builder.load(chosen), self.vector)
            row = builder.mul(builder.sub(i, self.first), self.width)
            begin = builder.add(builder.add(self.position, column), row)
            last = (num_loads - 1) * self.unit  # All columns before are there.
            for total, each in zip(sums, places, strict=True):
                until = rest if each[0] >= last else None
                product = builder.fmul(builder.load(total), factor)
                self._write(product, begin, each, until)

    def _head(self, column: Any, place: int) -> Any:
        return self.builder.sdiv(self.builder.add(column, I64(place)), self.per_head)

    def _write(self, total: Any, begin: Any, places: list[int], rest: Any) -> None:
        """Writes sums to their columns, as far as these are among the rest, if any."""
        builder, num = self.builder, self.num_lanes // len(places)
        for k, place in enumerate(places):
            lanes = list(range(k * num, (k + 1) * num))
            part = shuffle(builder, total, total, lanes) if len(places) > 1 else total
            at = builder.gep(self.out, [builder.add(begin, I64(place))])
            mask = None if rest is None else lanes_before(builder, rest, place, num)
            store(builder, part, at, mask)

    def _add(
        self,
        edge: Any,
        start: Any,
        heads: list[list[Any]] | None,
        num_loads: int,
        sums: list[Any],
        rest: Any,
    ) -> None:
        builder, source = self.builder, self._integer(self.col, edge)
        factors, begin = self._factor(edge, source), self._row(source, start)
        if heads is None:
            weight = spread(builder, builder.load(factors), self.vector)
            weights = [weight] * len(sums)
        else:
            weights = [self._weight(factors, each) for each in heads]
        found: list[Any] = []
        for k in range(num_loads):
            at = builder.gep(begin, [I64(k * self.loaded)])
            mask = None  # Packed rows are padded.
            if k == num_loads - 1 and not self.is_packed and self.planes is None:
                mask = lanes_before(builder, rest, k * LANES)
            found += self._values(at, mask)
        for value, weight, total in zip(found, weights, sums, strict=True):
            term = builder.fmul(value, weight)
            builder.store(builder.fadd(builder.load(total), term), total)

    def _weight(self, factors: Any, heads: list[Any]) -> Any:
        """The weight of each lane, whose pieces are of some heads."""
        builder = self.builder
        alike = [
            spread(builder, builder.load(builder.gep(factors, [head])), self.vector)
            for head in heads
        ]
        if len(alike) == 1:
            return alike[0]
        half, num = self.num_lanes // 2, self.num_lanes
        lanes = [*range(half), *range(num + half, 2 * num)]
        return shuffle(builder, alike[0], alike[1], lanes)

    def _values(self, at: Any, mask: Any) -> list[Any]:
        """What a load of a row finds."""
        builder = self.builder
        if self.planes is not None:  # Rows are padded, or as wide.
            octets = load(builder, at, ir.VectorType(I8, self.loaded))
            if self.is_packed:
                octets = self._nibbles(octets)
            return self.planes(octets)
        if self.levels is None:
            return [load(builder, at, self.vector, mask)]
        times = builder.zext(load(builder, at, OCTETS, mask), INTEGERS)
        found = [self.levels(times)]
        if self.is_packed:  # The lowest four bits count.
            high = builder.lshr(times, splat(INTEGERS, 4))
            found.append(self.levels(high))
        return found

    def _nibbles(self, octets: Any) -> Any:
        """The lower halves of bytes, and the higher ones behind them."""
        builder = self.builder
        high = builder.lshr(octets, splat(OCTETS, 4))
        both = shuffle(builder, octets, high, list(range(2 * LANES)))
        return builder.and_(both, splat(both.type, LANES - 1))

    def _fetch(self, edge: Any, start: Any, num_loads: int) -> None:
        builder, size = self.builder, num_loads * self.load_size
        later = builder.add(edge, I64(max(4, _FETCHED // size)))
        is_there = builder.icmp_signed('<', later, self.final)
        later = builder.select(is_there, later, self.final)
        source = self._integer(self.col, later)
        fetch(builder, self._row(source, start), size)
        fetch(builder, self._factor(later, source), 1)

    def _factor(self, edge: Any, source: Any) -> Any:
        builder = self.builder
        if self.num_heads is not None:
            return builder.gep(self.factors, [builder.mul(edge, self.num_heads)])
        chosen = builder.or_(
            builder.and_(edge, self.by_edge), builder.and_(source, self.by_source)
        )
        return builder.gep(self.factors, [chosen])

    def _row(self, source: Any, start: Any) -> Any:
        at = self.builder.add(self.builder.mul(source, self.stride), start)
        return self.builder.gep(self.x, [at])

    def _integer(self, array: Any, index: Any) -> Any:
        value = self.builder.load(self.builder.gep(array, [index]))
        return value if value.type == I64 else self.builder.sext(value, I64)


@intrinsic
def sum_rows(
    typing,
    x,
    stride,
    rowptr,
    col,
    coefficient,
    by_edge,
    by_source,
    first_row,
    last_row,
    end,
    target,
    by_target,
    table,
    out,
    position,
    width,
    way,
    heads,
):
    """Writes the weighted sums of the rows of ``x``, one every ``stride``, that the
    edges of some rows come from: ``width`` values each, from ``position`` on. While
    it adds, it fetches the rows of edges to come, up to ``end``.

    The weight of an edge is ``coefficient[edge & by_edge | source & by_source]``; where
    ``heads`` is not None, ``coefficient[edge * heads + head]`` in the columns of a head,
    and rows are not packed. Where levels are looked up byte by byte, rows of less than
    ``LOADED`` spike times are padded, and heads are multiples of 4 columns wide. Sums are
    multiplied by ``target[row & by_target]``.
    """
    signature = types.void(
        *(x, types.int64, rowptr, col, coefficient, types.int64, types.int64),
        *(types.int64, types.int64, types.int64, target, types.int64, table, out),
        *(types.int64, types.int64, way, heads),
    )

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, width = _Sums(context, builder, signature, arguments), arguments[15]
        loads = 1 if sums.planes is not None else LOADS
        most = I64(loads * sums.unit)
        spans = cgutils.for_range_slice(builder, I64(0), width, sums.span, inc=True)
        with spans as (begin, _):
            end, rest = builder.add(begin, sums.span), builder.srem(sums.span, most)
            full = builder.sub(end, rest)
            whole = cgutils.for_range_slice(builder, begin, full, most, inc=True)
            with whole as (at, _):
                sums.columns(at, most, loads)
            if sums.planes is None or sums.is_packed:
                _by_number(builder, sums, full, rest, loads)
            else:
                _at_the_end(builder, sums, begin, end, rest)
        return context.get_dummy_value()

    return signature, generate


def _by_number(builder: Any, sums: _Sums, full: Any, rest: Any, loads: int) -> None:
    """Writes the last columns of a row by as many loads as they take."""
    unit = sums.unit
    num_loads = builder.udiv(builder.add(rest, I64(unit - 1)), I64(unit))
    done = builder.append_basic_block('done')
    ways = builder.switch(num_loads, done)
    for num in range(1, loads + 1):
        block = builder.append_basic_block(f'loads_{num}')
        ways.add_case(I64(num), block)
        with builder.goto_block(block):
            sums.columns(full, rest, num)
            builder.branch(done)
    builder.position_at_end(done)


def _at_the_end(builder: Any, sums: _Sums, begin: Any, end: Any, rest: Any) -> None:
    """Writes the last columns of a row by a whole load that ends there, if the row is so
    wide; a narrow one is padded.
    """
    unit = I64(sums.unit)
    with builder.if_then(builder.icmp_signed('>', rest, I64(0))):
        is_wide = builder.icmp_signed('>=', builder.sub(end, begin), unit)
        with builder.if_else(is_wide) as (wide, narrow):
            with wide:
                sums.columns(builder.sub(end, unit), unit, 1)
            with narrow:
                sums.columns(begin, rest, 1)
