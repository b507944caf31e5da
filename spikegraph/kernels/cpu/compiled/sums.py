"""Weighted sums of rows of values or spike times, in registers."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from spikegraph.kernels.cpu.compiled.compilation import HAS_AVX512, intrinsic
from spikegraph.kernels.cpu.compiled.operands import Near, Packed, Values
from spikegraph.kernels.cpu.compiled.registers import Levels
from spikegraph.kernels.cpu.compiled.vectors import (
    I64,
    INTEGERS,
    LANES,
    OCTETS,
    access,
    fetch,
    lanes_before,
    load,
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
        self.out = data(11)
        self.stride, self.by_edge, self.by_source = (arguments[k] for k in (1, 5, 6))
        self.first, self.last, end, self.position, self.width = (
            arguments[k] for k in (7, 8, 9, 12, 13)
        )
        self.final = builder.sub(end, I64(1))
        # Of heads that lie in whole vectors, all are added up at once.
        self.num_heads, self.span = None, self.width
        if not isinstance(signature.args[15], types.NoneType):
            self.num_heads = arguments[15]
            self.per_head = builder.sdiv(self.width, self.num_heads)
            rest = builder.srem(self.per_head, I64(LANES))
            fits = builder.icmp_signed('==', rest, I64(0))
            self.span = builder.select(fits, self.width, self.per_head)
        way, real = signature.args[14].instance_class, signature.args[11].dtype
        self.is_far, self.is_packed = way is not Near, way is Packed
        has_values = way in (Values, Near)
        self.vector = ir.VectorType(context.get_value_type(real), LANES)
        self.load_size = LANES * real.bitwidth // 8 if has_values else LANES
        self.per_load = 2 if self.is_packed else 1
        self.levels: Any = None
        if not has_values:
            self.levels = Levels(context, builder, data(10), real, way)

    def columns(self, column: Any, rest: Any, num_loads: int) -> None:
        """Writes ``rest`` columns from one on, read by so many vectors."""
        builder, num_sums = self.builder, self.per_load * num_loads
        start = builder.udiv(column, I64(self.per_load))
        masks = [lanes_before(builder, rest, k * LANES) for k in range(num_sums)]
        zero = ir.Constant(self.vector, [0.0] * LANES)
        sums = [cgutils.alloca_once(builder, self.vector) for _ in range(num_sums)]
        heads = [I64(0)] * num_sums
        if self.num_heads is not None:
            places = [builder.add(column, I64(k * LANES)) for k in range(num_sums)]
            heads = [builder.sdiv(place, self.per_head) for place in places]
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
                self._add(e, start, heads, num_loads, sums, masks)
            row = builder.mul(builder.sub(i, self.first), self.width)
            begin = builder.add(builder.add(self.position, column), row)
            for k, total in enumerate(sums):
                at = builder.gep(self.out, [builder.add(begin, I64(k * LANES))])
                mask = masks[k] if k >= num_sums - self.per_load else None
                store(builder, builder.load(total), at, mask)

    def _add(
        self,
        edge: Any,
        start: Any,
        heads: list[Any],
        num_loads: int,
        sums: list[Any],
        masks: list[Any],
    ) -> None:
        builder, source = self.builder, self._integer(self.col, edge)
        factors, begin = self._factor(edge, source), self._row(source, start)
        alike = heads[:1] if self.num_heads is None else heads
        weights = [
            spread(builder, builder.load(builder.gep(factors, [head])), self.vector)
            for head in alike
        ] * (len(heads) // len(alike))
        for k in range(num_loads):
            at = builder.gep(begin, [I64(k * LANES)])
            # Packed rows are padded.
            mask = None if k < num_loads - 1 or self.is_packed else masks[k]
            if self.levels is None:
                found = [load(builder, at, self.vector, mask)]
            else:
                times = builder.zext(load(builder, at, OCTETS, mask), INTEGERS)
                found = [self.levels(times)]
                if self.is_packed:  # The lowest four bits count.
                    high = builder.lshr(times, splat(INTEGERS, 4))
                    found.append(self.levels(high))
            for n, value in enumerate(found, self.per_load * k):
                total, term = sums[n], builder.fmul(value, weights[n])
                builder.store(builder.fadd(builder.load(total), term), total)

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
    and rows are not packed.
    """
    signature = types.void(
        *(x, types.int64, rowptr, col, coefficient, types.int64, types.int64),
        *(types.int64, types.int64, types.int64, table, out, types.int64, types.int64),
        *(way, heads),
    )

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, width = _Sums(context, builder, signature, arguments), arguments[13]
        unit = LANES * sums.per_load
        most = I64(LOADS * unit)
        rest = builder.srem(sums.span, most)
        spans = cgutils.for_range_slice(builder, I64(0), width, sums.span, inc=True)
        with spans as (begin, _):
            full = builder.sub(builder.add(begin, sums.span), rest)
            whole = cgutils.for_range_slice(builder, begin, full, most, inc=True)
            with whole as (at, _):
                sums.columns(at, most, LOADS)
            num_loads = builder.udiv(builder.add(rest, I64(unit - 1)), I64(unit))
            done = builder.append_basic_block('done')
            ways = builder.switch(num_loads, done)
            for num in range(1, LOADS + 1):
                block = builder.append_basic_block(f'loads_{num}')
                ways.add_case(I64(num), block)
                with builder.goto_block(block):
                    sums.columns(full, rest, num)
                    builder.branch(done)
            builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, generate
