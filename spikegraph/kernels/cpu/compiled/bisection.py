"""Firing by bisection of decreasing thresholds that are held in registers."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from spikegraph.kernels.cpu.compiled.compilation import HAS_AVX512, intrinsic, part
from spikegraph.kernels.cpu.compiled.operands import NUM_TABLES, ONE, TWO
from spikegraph.kernels.cpu.compiled.registers import choose
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


class _Thresholds:
    """Thresholds in the order in which a bisection of them asks: the one in the middle,
    the two in the middle of either half, and so on; times a scale, if there is only one.
    """

    def __init__(self, builder: Any, table: Any, num: int, scale: Any | None):
        self.builder, self.tables = builder, []
        step = num // 2
        while step > 0:
            places = list(range(step - 1, num, 2 * step))
            places += places[-1:] * (-len(places) % _PART.count)
            found = []
            for first in range(0, len(places), _PART.count):
                part = ir.Constant(_PART, ir.Undefined)
                for lane, place in enumerate(places[first : first + _PART.count]):
                    threshold = builder.load(builder.gep(table, [I64(place)]))
                    part = builder.insert_element(part, threshold, I32(lane))
                if scale is not None:
                    part = builder.fmul(part, spread(builder, scale, _PART))
                found.append(part)
            self.tables.append(found)
            step //= 2

    def passed(self, size: Any, gain: Any | None) -> Any:
        """How many of them each of sixteen values does not reach."""
        builder, time = self.builder, splat(INTEGERS, 0)
        for table in self.tables:
            threshold = choose(builder, table, time)
            if gain is not None:
                threshold = builder.fmul(threshold, gain)
            waits = builder.fcmp_unordered('<', size, threshold)
            time = builder.add(time, time)
            time = builder.sub(time, builder.sext(waits, INTEGERS))
        return time


@intrinsic
def _search(typing, value, out, table, scale, num_steps, signed, way):
    """Fires values by a table of decreasing thresholds, times one scale or one for each
    value.
    """
    num = LANES * NUM_TABLES[way.instance_class]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = access(context, builder, signature, arguments)
        is_scaled = isinstance(signature.args[3], types.Array)
        found = _Thresholds(builder, data(2), num, None if is_scaled else arguments[3])
        last = spread(builder, builder.trunc(arguments[4], I32), INTEGERS)
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        size = builder.extract_value(array.shape, 0)
        rest = builder.srem(size, I64(LANES))
        whole = builder.sub(size, rest)

        def fire(j: Any, mask: Any, is_signed: bool) -> None:
            gain = None
            if is_scaled:
                gain = load(builder, builder.gep(data(3), [j]), FLOATS, mask)
            floats = load(builder, builder.gep(data(0), [j]), FLOATS, mask)
            time = _times(builder, found, floats, gain, last, is_signed)
            octets = builder.trunc(time, OCTETS)
            store(builder, octets, builder.gep(data(1), [j]), mask)

        def all_of_them(is_signed: bool) -> None:
            steps = cgutils.for_range_slice(
                builder, I64(0), whole, I64(LANES), inc=True
            )
            with steps as (j, _):
                fire(j, None, is_signed)
            with builder.if_then(builder.icmp_signed('>', rest, I64(0))):
                fire(whole, lanes_before(builder, rest, 0), is_signed)

        with builder.if_else(builder.trunc(arguments[5], _BIT)) as (two, one):
            with two:
                all_of_them(True)
            with one:
                all_of_them(False)
        return context.get_dummy_value()

    arguments = (value, out, table, scale, num_steps, signed, way)
    return types.void(*arguments), generate


def _times(
    builder: Any, thresholds: Any, floats: Any, gain: Any, last: Any, is_signed: bool
) -> Any:
    absolute = function(builder, f'fabs.{name_of(FLOATS)}', FLOATS, [FLOATS])
    size = builder.call(absolute, [floats]) if is_signed else floats
    time = thresholds.passed(size, gain)
    time = builder.select(builder.icmp_signed('>', time, last), last, time)
    if not is_signed:
        return time
    is_off = builder.fcmp_ordered('<', floats, ir.Constant(FLOATS, [0.0] * LANES))
    is_off = builder.and_(is_off, builder.icmp_signed('!=', time, last))
    off = builder.add(time, builder.add(last, splat(INTEGERS, 1)))
    return builder.select(is_off, off, time)


@part
def search(value, out, table, scale, num_steps, signed):
    """Fires values by a table of decreasing thresholds, in one or two registers."""
    if table.size == LANES:
        _search(value, out, table, scale, num_steps, signed, ONE)
    else:
        _search(value, out, table, scale, num_steps, signed, TWO)
