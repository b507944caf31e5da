"""Firing by decreasing thresholds that are held in registers, which bisection or the
bits of a value find.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from spikegraph.kernels.cpu.compiled.buckets import Places
from spikegraph.kernels.cpu.compiled.compilation import HAS_AVX512, intrinsic, part
from spikegraph.kernels.cpu.compiled.operands import ENDED, NUM_TABLES, ONE, TWO, Ended
from spikegraph.kernels.cpu.compiled.registers import Levels, choose
from spikegraph.kernels.cpu.compiled.vectors import (
    FLOATS,
    HALF,
    I32,
    I64,
    INTEGERS,
    LANES,
    OCTETS,
    access,
    function,
    lanes_before,
    load,
    name_of,
    splat,
    spread,
    store,
)

_BIT = ir.IntType(1)
_PART = FLOATS if HAS_AVX512 else HALF  # A register.


def order(num: int) -> list[int]:
    """The places of decreasing thresholds in the order in which a bisection asks for
    them: the one in the middle, the two in the middle of either half, and so on, in
    registers of their own. They are counted backwards from the first, as comparisons
    that hold are -1.
    """
    found: list[int] = []
    step = num // 2
    while step > 0:
        places = list(range(step - 1, num, 2 * step))
        num_lanes = max(len(places), _PART.count)
        found += [places[-lane % len(places)] for lane in range(num_lanes)]
        step //= 2
    return found


class _Thresholds:
    """Thresholds in that order, behind all of them in a row; times a scale, if there is
    only one. The last of sixteen is no part of the order.
    """

    def __init__(
        self, builder: Any, table: Any, way: Any, scale: Any | None, most: Any
    ):
        self.builder, self.tables, self.most = builder, [], most
        num, self.last = LANES * NUM_TABLES[way], None
        if way is Ended:
            last = builder.load(builder.gep(table, [I64(LANES - 1)]))
            last = last if scale is None else builder.fmul(last, scale)
            self.last = spread(builder, last, FLOATS)
        start, step = num, num // 2
        while step > 0:
            found = []
            for _ in range(max(1, num // (2 * step * _PART.count))):
                part = load(builder, builder.gep(table, [I64(start)]), _PART)
                if scale is not None:
                    part = builder.fmul(part, spread(builder, scale, _PART))
                found.append(part)
                start += _PART.count
            self.tables.append(found)
            step //= 2

    def passed(self, size: Any, gain: Any | None) -> Any:
        """How many of them each of sixteen values does not reach."""
        builder, place = self.builder, splat(INTEGERS, 0)
        for table in self.tables:
            threshold = choose(builder, table, place)
            if gain is not None:
                threshold = builder.fmul(threshold, gain)
            waits = builder.fcmp_unordered('<', size, threshold)
            place = builder.add(place, place)
            place = builder.add(place, builder.sext(waits, INTEGERS))
        place = builder.sub(splat(INTEGERS, 0), place)
        if self.last is not None:
            last = self.last if gain is None else builder.fmul(self.last, gain)
            waits = builder.fcmp_unordered('<', size, last)
            return builder.sub(place, builder.sext(waits, INTEGERS))
        are_all = builder.icmp_signed('>', place, self.most)
        return builder.select(are_all, self.most, place)


@intrinsic
def _search(
    typing, value, other, out, table, levels, scale, num_steps, signed, ways, buckets
):
    """Fires values, plus others if there are any, by a table of decreasing thresholds,
    times one scale or one for each value; writes spike times, or what they stand for
    where there are levels.
    """
    by, heard = (way.instance_class for way in ways)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = access(context, builder, signature, arguments)
        _, given, _, _, read, factor, *_, placed = signature.args
        gain = None if isinstance(factor, types.Array) else arguments[5]
        silent = spread(builder, builder.trunc(arguments[6], I32), INTEGERS)
        found: Any
        if isinstance(placed, types.NoneType):
            found = _Thresholds(builder, data(3), by, gain, silent)
        else:
            kind, most = placed.types
            places = builder.extract_value(arguments[9], 0)
            places = context.make_array(kind)(context, builder, places).data
            found = Places(builder, places, NUM_TABLES[most.instance_class], gain)
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        size = builder.extract_value(array.shape, 0)
        rest = builder.srem(size, I64(LANES))
        whole = builder.sub(size, rest)
        decoded: Any = None
        if isinstance(read, types.Array):
            decoded = Levels(context, builder, data(4), read.dtype, heard)

        def fire(j: Any, mask: Any, is_signed: bool) -> None:
            def at(k: int) -> Any:
                return load(builder, builder.gep(data(k), [j]), FLOATS, mask)

            floats, gains = at(0), at(5) if gain is None else None
            if isinstance(given, types.Array):
                floats = builder.fadd(floats, at(1))
            time = _times(builder, found, floats, gains, silent, is_signed)
            made = builder.trunc(time, OCTETS)
            if decoded is not None:
                gain_of = spread(builder, gain, FLOATS) if gains is None else gains
                level = decoded(time)
                if heard is Ended:  # Silence stands for zero.
                    is_silent = builder.icmp_signed('==', time, silent)
                    none = ir.Constant(FLOATS, [0.0] * LANES)
                    level = builder.select(is_silent, none, level)
                made = builder.fmul(level, gain_of)
            store(builder, made, builder.gep(data(2), [j]), mask)

        def all_of_them(is_signed: bool) -> None:
            steps = cgutils.for_range_slice(
                builder, I64(0), whole, I64(LANES), inc=True
            )
            with steps as (j, _):
                fire(j, None, is_signed)
            with builder.if_then(builder.icmp_signed('>', rest, I64(0))):
                fire(whole, lanes_before(builder, rest, 0), is_signed)

        with builder.if_else(builder.trunc(arguments[7], _BIT)) as (two, one):
            with two:
                all_of_them(True)
            with one:
                all_of_them(False)
        return context.get_dummy_value()

    given = (value, other, out, table, levels, scale, num_steps, signed, ways, buckets)
    return types.void(*given), generate


def _times(
    builder: Any, thresholds: Any, floats: Any, gain: Any, silent: Any, is_signed: bool
) -> Any:
    absolute = function(builder, f'fabs.{name_of(FLOATS)}', FLOATS, [FLOATS])
    size = builder.call(absolute, [floats]) if is_signed else floats
    time = thresholds.passed(size, gain)
    if not is_signed:
        return time
    is_off = builder.fcmp_ordered('<', floats, ir.Constant(FLOATS, [0.0] * LANES))
    is_off = builder.and_(is_off, builder.icmp_signed('!=', time, silent))
    off = builder.add(time, builder.add(silent, splat(INTEGERS, 1)))
    return builder.select(is_off, off, time)


@part
def search(value, out, table, scale, num_steps, signed, buckets):
    """Fires values by a table of less than 16, 16, or less than 32 decreasing
    thresholds, minus infinity behind them, followed by the same in the :func:`order` of
    a bisection; by buckets, if there are any.
    """
    given = (value, None, out, table, None, scale, num_steps, signed)
    if num_steps < LANES or buckets is not None:
        _search(*given, (ONE, ONE), buckets)
    elif num_steps == LANES:
        _search(*given, (ENDED, ONE), buckets)
    else:
        _search(*given, (TWO, ONE), buckets)


@part
def search_levels(value, other, out, table, levels, scale, num_steps, signed, buckets):
    """Writes what the spikes of :func:`search` stand for, given values plus others if
    there are any: levels of a table, times the scale.
    """
    given = (value, other, out, table, levels, scale, num_steps, signed)
    if num_steps < LANES and not signed:
        _search(*given, (ONE, ONE), buckets)
    elif num_steps < LANES or buckets is not None:
        _search(*given, (ONE, TWO), buckets)
    elif num_steps == LANES:
        _search(*given, (ENDED, ENDED), buckets)
    else:
        _search(*given, (TWO, TWO), buckets)
