"""Thresholds found by the bits of a value rather than by bisection."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from spikegraph.kernels.cpu.compiled.registers import choose
from spikegraph.kernels.cpu.compiled.vectors import (
    FLOATS,
    I64,
    INTEGERS,
    LANES,
    function,
    load,
    splat,
    spread,
)

NUM = 2 * LANES  # Buckets.
MOST = 2  # Thresholds in one of them.
FIRST, SHIFT = (MOST + 1) * NUM, (MOST + 1) * NUM + 1


class Places:
    """Thresholds in buckets, times a scale, if there is only one.

    A table holds the larger threshold of each bucket, the smaller one, and the spike
    time of what reaches neither; then the bits of the least number in the first bucket,
    and in how many of their last bits numbers in a bucket differ. Not-a-number stands
    for no threshold. What lies below all buckets is looked up in the first, and what
    lies above in the last.
    """

    def __init__(self, builder: Any, table: Any, num: int, scale: Any | None):
        self.builder = builder
        floats = builder.bitcast(table, ir.FloatType().as_pointer())

        def row(k: int) -> list[Any]:
            starts = (I64(k * NUM), I64(k * NUM + LANES))
            return [load(builder, builder.gep(floats, [j]), FLOATS) for j in starts]

        self.thresholds, self.times = [row(k) for k in range(num)], row(MOST)
        self.first, self.shift = (
            spread(builder, builder.load(builder.gep(table, [I64(k)])), INTEGERS)
            for k in (FIRST, SHIFT)
        )
        self.inverse: Any = None
        if scale is not None:
            gain = spread(builder, scale, FLOATS)
            self.inverse = self._inverse(gain)
            self.thresholds = [
                [builder.fmul(part, gain) for part in parts]
                for parts in self.thresholds
            ]

    def passed(self, size: Any, gain: Any | None) -> Any:
        """How many thresholds each of sixteen values does not reach."""
        builder = self.builder
        inverse = self.inverse if gain is None else self._inverse(gain)
        level, least = builder.fmul(size, inverse), builder.bitcast(self.first, FLOATS)
        is_above = builder.fcmp_ordered('>', level, least)  # So that it is a number.
        bits = builder.bitcast(builder.select(is_above, level, least), INTEGERS)
        place = builder.lshr(builder.sub(bits, self.first), self.shift)
        last = splat(INTEGERS, NUM - 1)
        is_last = builder.icmp_unsigned('>', place, last)
        place = builder.select(is_last, last, place)
        time = builder.bitcast(choose(builder, self.times, place), INTEGERS)
        for parts in self.thresholds:
            threshold = choose(builder, parts, place)
            if gain is not None:
                threshold = builder.fmul(threshold, gain)
            reached = builder.fcmp_ordered('>=', size, threshold)
            time = builder.add(time, builder.sext(reached, INTEGERS))
        return time

    def _inverse(self, gain: Any) -> Any:
        """Inverses, give or take a 2 ** -14th."""
        mask, zero = ir.IntType(LANES), ir.Constant(FLOATS, [0.0] * LANES)
        name, kinds = 'x86.avx512.rcp14.ps.512', [FLOATS, FLOATS, mask]
        invert = function(self.builder, name, FLOATS, kinds)
        return self.builder.call(invert, [gain, zero, ir.Constant(mask, -1)])
