"""Sixteen values at a time, looked up in tables, or searched for in tables, that are
held in registers. What Numba cannot say is written in LLVM's language, which
compiles for any processor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types

from spikegraph.kernels.cpu.compiled.compilation import HAS_AVX512, intrinsic, part
from spikegraph.kernels.cpu.compiled.operands import (
    FOUR,
    LOADED,
    ONE,
    PERMUTED,
    TWO,
    One,
    Packed,
    num_registers,
)
from spikegraph.kernels.cpu.compiled.vectors import (
    FLOATS,
    HALF,
    I8,
    I32,
    I64,
    INTEGERS,
    LANES,
    OCTETS,
    access,
    function,
    load,
    name_of,
    shuffle,
    splat,
    spread,
    store,
)

WORD = 64  # Values compared at once.
_PAIR = I64(0), I64(LANES)


class Levels:
    """Looks sixteen spike times up."""

    def __init__(self, context: Any, builder: Any, table: Any, real: Any, way: Any):
        self.builder, self.table = builder, table
        self.real = context.get_value_type(real)
        self.registers: list[Any] = []
        if real == types.float32 and num_registers(way) > 0:
            kind = FLOATS if HAS_AVX512 else HALF
            num = num_registers(way) * (LANES // kind.count)
            for k in range(num):
                start = builder.gep(table, [I64(k * kind.count)])
                self.registers.append(load(builder, start, kind))

    def __call__(self, index: Any) -> Any:
        builder = self.builder
        if not self.registers:
            found = ir.Constant(ir.VectorType(self.real, LANES), ir.Undefined)
            for lane in range(LANES):
                time = builder.extract_element(index, I32(lane))
                level = builder.load(builder.gep(self.table, [time]))
                found = builder.insert_element(found, level, I32(lane))
            return found
        return choose(builder, self.registers, index)


def choose(builder: Any, tables: list[Any], index: Any) -> Any:
    """Sixteen values out of one, two or four registers."""
    if not HAS_AVX512:
        return _by_halves(builder, tables, index)
    if len(tables) == 1:
        permute = function(
            builder, 'x86.avx512.permvar.sf.512', FLOATS, [FLOATS, INTEGERS]
        )
        return builder.call(permute, [tables[0], index])
    arguments = [FLOATS, INTEGERS, FLOATS]
    permute = function(builder, 'x86.avx512.vpermi2var.ps.512', FLOATS, arguments)
    # The lowest five bits count.
    found = builder.call(permute, [tables[0], index, tables[1]])
    if len(tables) == 2:
        return found
    far = builder.call(permute, [tables[2], index, tables[3]])
    is_near = builder.icmp_unsigned('<', index, splat(INTEGERS, 2 * LANES))
    return builder.select(is_near, found, far)


def _by_halves(builder: Any, tables: list[Any], index: Any) -> Any:
    integers = ir.VectorType(I32, LANES // 2)
    permute = function(builder, 'x86.avx2.permps', HALF, [HALF, integers])
    halves = []
    for first in (0, LANES // 2):
        part = shuffle(builder, index, index, list(range(first, first + LANES // 2)))
        found, bit = [builder.call(permute, [t, part]) for t in tables], LANES // 2
        while len(found) > 1:
            chosen = builder.and_(part, splat(integers, bit))
            is_near = builder.icmp_unsigned('==', chosen, splat(integers, 0))
            found = [
                builder.select(is_near, near, far)
                for near, far in zip(found[::2], found[1::2], strict=True)
            ]
            bit *= 2
        halves += found
    return shuffle(builder, halves[0], halves[1], list(range(LANES)))


class Planes:
    """Looks thirty-two spike times up, where bytes are what a processor can choose by
    others: each of the four bytes of a level by itself.

    Calls return four vectors of eight levels: of the spike times 4k to 4k + 3, and of
    those sixteen later.
    """

    BYTES = ir.VectorType(I8, LOADED)

    def __init__(self, context: Any, builder: Any, table: Any, way: Any):
        self.builder = builder
        self.is_nibble = way in (One, Packed)  # All indices are below sixteen.
        self.tables = []
        for k in range(num_registers(way)):
            start = builder.gep(table, [I64(k * LANES)])
            levels = load(builder, start, ir.VectorType(I8, 4 * LANES))
            planes = []
            for byte in range(4):
                lanes = list(range(byte, 4 * LANES, 4))
                planes.append(shuffle(builder, levels, levels, 2 * lanes))
            self.tables.append(planes)

    def __call__(self, index: Any) -> list[Any]:
        planes = [self._plane(k, index) for k in range(4)]
        pairs = [self._zip(planes[k], planes[k + 1], ir.IntType(16)) for k in (0, 2)]
        found = []
        for k in range(2):
            found += self._zip(pairs[0][k], pairs[1][k], I32)
        return [self.builder.bitcast(values, HALF) for values in found]

    def _plane(self, byte: int, index: Any) -> Any:
        """One byte of each level. What has its highest bit set finds nothing."""
        builder = self.builder
        if self.is_nibble:
            return self._choose(self.tables[0][byte], index)
        name, kinds = f'uadd.sat.v{LOADED}i8', [self.BYTES] * 2
        add = function(builder, name, self.BYTES, kinds)
        near = builder.call(add, [index, splat(self.BYTES, 128 - LANES)])
        found = self._choose(self.tables[0][byte], near)
        for table in self.tables[1:]:
            far = builder.sub(index, splat(self.BYTES, LANES))
            found = builder.or_(found, self._choose(table[byte], far))
        return found

    def _choose(self, table: Any, index: Any) -> Any:
        builder = self.builder
        choose = function(builder, 'x86.avx2.pshuf.b', self.BYTES, [self.BYTES] * 2)
        return builder.call(choose, [table, index])

    def _zip(self, low: Any, high: Any, wide: Any) -> list[Any]:
        """What takes twice the bits, in the first and second half of either lane of
        128 bits.
        """
        num = low.type.count
        found = []
        for first in (0, num // 4):
            lanes = []
            for start in (first, num // 2 + first):
                for lane in range(start, start + num // 4):
                    lanes += [lane, num + lane]
            both = shuffle(self.builder, low, high, lanes)
            found.append(self.builder.bitcast(both, ir.VectorType(wide, num // 2)))
        return found


@intrinsic
def _look_up_lanes(typing, time, out, table, j, way):
    """Looks values ``j`` to ``j + 15`` up."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = access(context, builder, signature, arguments)
        real, kind = signature.args[1].dtype, way.instance_class
        levels = Levels(context, builder, data(2), real, kind)
        octets = load(builder, builder.gep(data(0), [arguments[3]]), OCTETS)
        found = levels(builder.zext(octets, INTEGERS))
        store(builder, found, builder.gep(data(1), [arguments[3]]))
        return context.get_dummy_value()

    return types.void(time, out, table, j, way), generate


@part
def look_up(time, out, table, num_levels):
    """Looks spike times up in a table of 256 entries, and returns the largest."""
    largest = np.uint8(0)
    for j in range(time.size):
        largest = max(largest, time[j])
    first = time.size - time.size % LANES
    if num_levels <= LANES:
        for j in range(0, first, LANES):
            _look_up_lanes(time, out, table, j, ONE)
    elif num_levels <= 2 * LANES:
        for j in range(0, first, LANES):
            _look_up_lanes(time, out, table, j, TWO)
    elif num_levels <= PERMUTED and HAS_AVX512:
        for j in range(0, first, LANES):
            _look_up_lanes(time, out, table, j, FOUR)
    else:
        first = 0
    for j in range(first, time.size):
        out[j] = table[time[j]]
    return largest


@intrinsic
def pack_lanes(typing, time, start, packed, position):
    """Writes sixteen spike times and the sixteen behind them as two a byte."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = access(context, builder, signature, arguments)
        at = builder.gep(data(0), [arguments[1]])
        low, high = (load(builder, builder.gep(at, [k]), OCTETS) for k in _PAIR)
        both = builder.or_(low, builder.shl(high, splat(OCTETS, 4)))
        store(builder, both, builder.gep(data(2), [arguments[3]]))
        return context.get_dummy_value()

    return types.void(time, types.int64, packed, types.int64), generate


@intrinsic
def can_select(typing, value):
    """Whether there is an instruction for :func:`select_lanes`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        is_there = HAS_AVX512 and signature.args[0].dtype == types.float32
        return context.get_constant(types.boolean, is_there)

    return types.boolean(value), generate


@intrinsic
def select_lanes(typing, value, j, last, signed, index, found, num):
    """Lists which of the values ``j`` to ``j + 15`` reach a threshold, and those
    values, from place ``num`` on, and returns the next free place.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if not HAS_AVX512 or value.dtype != types.float32:
            return arguments[6]
        data = access(context, builder, signature, arguments)
        j, num = arguments[1], arguments[6]
        floats = load(builder, builder.gep(data(0), [j]), FLOATS)
        absolute = function(builder, f'fabs.{name_of(FLOATS)}', FLOATS, [FLOATS])
        is_signed = builder.trunc(arguments[3], ir.IntType(1))
        size = builder.select(is_signed, builder.call(absolute, [floats]), floats)
        mask = builder.fcmp_ordered('>=', size, spread(builder, arguments[2], FLOATS))
        lanes = ir.Constant(INTEGERS, list(range(LANES)))
        first = spread(builder, builder.trunc(j, I32), INTEGERS)
        for values, out in ((floats, data(5)), (builder.add(first, lanes), data(4))):
            kind = values.type
            name = 'f32' if kind == FLOATS else 'i32'
            compress = function(
                builder,
                f'x86.avx512.mask.compress.v{LANES}{name}',
                kind,
                [kind, kind, mask.type],
            )
            packed = builder.call(compress, [values, values, mask])
            store(builder, packed, builder.gep(out, [num]))
        bits = builder.zext(builder.bitcast(mask, ir.IntType(LANES)), I64)
        return builder.add(num, builder.ctpop(bits))

    arguments = (value, types.int64, last, signed, index, found, types.int64)
    return types.int64(*arguments), generate


@intrinsic
def largest(typing, x, start, stop):
    """The largest size of values from ``start`` on, by 64, before ``stop``."""
    real, num = x.dtype, 4

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = access(context, builder, signature, arguments)
        vector = ir.VectorType(context.get_value_type(real), LANES)
        zero = ir.Constant(vector, [0.0] * LANES)
        best = [cgutils.alloca_once_value(builder, zero) for _ in range(num)]
        absolute = function(builder, f'fabs.{name_of(vector)}', vector, [vector])
        steps = cgutils.for_range_slice(
            builder, arguments[1], arguments[2], I64(num * LANES), inc=True
        )

        def keep(size: Any, place: Any) -> None:
            before = builder.load(place)
            is_larger = builder.fcmp_ordered('>', size, before)
            builder.store(builder.select(is_larger, size, before), place)

        with steps as (j, _):
            for k, place in enumerate(best):
                at = builder.gep(data(0), [builder.add(j, I64(k * LANES))])
                keep(builder.call(absolute, [load(builder, at, vector)]), place)
        for place in best[1:]:
            keep(builder.load(place), best[0])
        result = cgutils.alloca_once_value(builder, ir.Constant(vector.element, 0.0))
        sizes = builder.load(best[0])
        for lane in range(LANES):
            keep(builder.extract_element(sizes, I32(lane)), result)
        return builder.load(result)

    return real(x, types.int64, types.int64), generate


@intrinsic
def differing(typing, x, start, value):
    """Which of 64 values from ``start`` on differ from one, a bit each."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = access(context, builder, signature, arguments)
        vector = ir.VectorType(context.get_value_type(x.dtype), WORD)
        at = builder.bitcast(builder.gep(data(0), [arguments[1]]), vector.as_pointer())
        same = spread(builder, arguments[2], vector)
        found = builder.icmp_unsigned('!=', builder.load(at, align=1), same)
        return builder.bitcast(found, I64)

    return types.uint64(x, start, value), generate


@intrinsic
def lowest(typing, bits):
    """The position of the lowest bit that is set."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(bits), generate
