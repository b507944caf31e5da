"""Firing and decoding a range of a dense block of memory. Channels either come in
runs of equal ones (images) or repeat with a period (features last).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types

from spikegraph.kernels.cpu.compiled.bisection import search
from spikegraph.kernels.cpu.compiled.compilation import chosen_by_type, compiled, part
from spikegraph.kernels.cpu.compiled.operands import Limits
from spikegraph.kernels.cpu.compiled.registers import (
    LANES,
    WORD,
    can_select,
    differing,
    largest,
    lowest,
    select_lanes,
)

GROUP = 8  # Thresholds are padded with not-a-number to a multiple of it, or with
# minus infinity to 16 or 32 for a search.
SHORT = 128  # So many values are searched whether they are silent or not.
BLOCK = 2048  # Values that stay in the first cache over several passes.
COLUMNS = 256  # Columns whose thresholds stay in the first cache.
STRIDES = tuple(np.uintp(k * COLUMNS) for k in range(GROUP))
FEW = 4  # One of so many,
PROBE = 256  # as told by the first ones.
ROWS = 8  # Rows that share them before the next columns are read.


@compiled
def encode_runs(
    potential, spike_time, limits, scales, num_channels, length, start, stop
):
    """Fires values ``start`` to ``stop``, where ``length`` neighbours share a
    channel: thresholds ``[C or 1, K]`` times scales ``[C or 1]``, searched in
    registers, or compared one by one where ``limits.searched`` is None.
    """
    thresholds, num_steps, signed = limits.thresholds, limits.num_steps, limits.signed
    size = min(BLOCK, stop - start)
    index, found = np.empty(size, np.int64), np.empty(size, potential.dtype)
    times = np.empty(size, np.uint8)
    run = start // length
    while start < stop:
        channel = run % num_channels
        table = thresholds[channel if thresholds.shape[0] > 1 else 0]
        scale = scales[channel if scales.shape[0] > 1 else 0]
        run += 1
        end = min(run * length, stop)
        for low in range(start, end, BLOCK):
            high = min(low + BLOCK, end)
            value, out = potential[low:high], spike_time[low:high]
            if value.size <= SHORT and limits.searched is not None:
                encode_block(value, out, table, scale, limits)
                continue
            last = table[num_steps - 1] * scale
            num = mark(value[:PROBE], out[:PROBE], last, num_steps, signed)
            is_dense = num * FEW > min(PROBE, value.size)
            if not is_dense:
                num = mark(value, out, last, num_steps, signed)
                is_dense = num * FEW > value.size
            if is_dense:
                encode_block(value, out, table, scale, limits)
            elif num > 0:
                collect(value, out, num_steps, index, found)
                encode_block(found[:num], times, table, scale, limits)
                for k in range(num):
                    out[index[k]] = times[k]
        start = end


def _block_by_type(*arguments: Any) -> Any:
    searched = arguments[-1].types[Limits._fields.index('searched')]
    if not isinstance(searched, types.NoneType):
        return _search
    return _compare_scaled if isinstance(arguments[3], types.Array) else _compare


@chosen_by_type(_block_by_type)
def encode_block(value, out, table, scale, limits):
    """Fires values by thresholds ``[K]`` times one scale or one for each value."""
    raise NotImplementedError


def _search(value, out, table, scale, limits):
    given = limits.num_steps, limits.signed, limits.buckets
    search(value, out, table, scale, *given)


def _compare(value, out, table, scale, limits):
    num_steps, signed = limits.num_steps, limits.signed
    out[:] = num_steps
    for first in range(0, table.size, GROUP):
        near = _take(table, first, scale)
        if signed:
            for j in range(value.size):
                out[j] -= _reached(abs(value[j]), near)
        else:
            for j in range(value.size):
                out[j] -= _reached(value[j], near)
    if signed:
        _turn_off(value, out, num_steps)


def _compare_scaled(value, out, table, scale, limits):
    one, num_steps, signed = scale.dtype.type(1), limits.num_steps, limits.signed
    out[:] = num_steps
    for first in range(0, table.size, GROUP):
        near = _take(table, first, one)
        if signed:
            for j in range(value.size):
                out[j] -= _reached_scaled(abs(value[j]), near, scale[j])
        else:
            for j in range(value.size):
                out[j] -= _reached_scaled(value[j], near, scale[j])
    if signed:
        _turn_off(value, out, num_steps)


@part
def mark(value, out, last, num_steps, signed):
    """Writes ``num_steps`` for what stays silent, another time for what reaches the
    last threshold, and returns how many do.
    """
    num, silent = 0, np.uint8(num_steps)
    if signed:
        for j in range(value.size):
            out[j] = silent - np.uint8(abs(value[j]) >= last)
    else:
        for j in range(value.size):
            out[j] = silent - np.uint8(value[j] >= last)
    for j in range(value.size):
        num += out[j] != silent
    return num


@part
def collect(value, times, num_steps, index, found):
    """Lists the positions and values of all that fire, and returns their number."""
    num, silent = 0, np.uint8(num_steps)
    whole = times.size - times.size % WORD
    for first in range(0, whole, WORD):
        bits = differing(times, first, silent)
        while bits != 0:
            j = first + lowest(bits)
            index[num], found[num] = j, value[j]
            num += 1
            bits &= bits - np.uint64(1)
    for j in range(whole, times.size):
        if times[j] != silent:
            index[num], found[num] = j, value[j]
            num += 1
    return num


@part
def select(value, times, last, num_steps, signed, index, found):
    """Lists the positions and values of all that reach the last threshold, in lists
    with room for some more, and returns their number.
    """
    if not can_select(value):
        mark(value, times, last, num_steps, signed)
        return collect(value, times, num_steps, index, found)
    num, whole = 0, value.size - value.size % LANES
    for j in range(0, whole, LANES):
        num = select_lanes(value, j, last, signed, index, found, num)
    for j in range(whole, value.size):
        if (abs(value[j]) if signed else value[j]) >= last:
            index[num], found[num] = j, value[j]
            num += 1
    return num


@compiled
def encode_columns(potential, spike_time, limits, scales, start, stop):
    """Fires rows ``start`` to ``stop`` of as many values as there are scales, by
    the first thresholds times the scale of the column. The last row may be shorter.
    """
    table = limits.thresholds[0]
    for row in range(start, stop):
        end = min((row + 1) * scales.size, potential.size)
        for low in range(row * scales.size, end, BLOCK):
            high, column = min(low + BLOCK, end), low - row * scales.size
            value, out = potential[low:high], spike_time[low:high]
            scale = scales[column : column + value.size]
            encode_block(value, out, table, scale, limits)


@compiled
def encode_table(
    potential, spike_time, thresholds, period, num_steps, signed, factors, start, stop
):
    """Fires rows ``start`` to ``stop`` of ``period`` values, each column with
    thresholds of its own: ``[period / COLUMNS, K * COLUMNS]``, times the factor of each
    value where ``factors`` is not None. The last row may be shorter.
    """
    for first_row in range(start, stop, ROWS):
        for block in range(thresholds.shape[0]):
            table = thresholds[block]
            for row in range(first_row, min(first_row + ROWS, stop)):
                low = row * period + block * COLUMNS
                high = min(low + COLUMNS, (row + 1) * period, potential.size)
                value, out = potential[low:high], spike_time[low:high]
                out[:] = num_steps
                for first in range(0, table.size, GROUP * COLUMNS):
                    near = table[first : first + GROUP * COLUMNS]
                    if factors is not None:
                        for j in range(value.size):
                            x = abs(value[j]) if signed else value[j]
                            out[j] -= _moved_at(x, near, np.uintp(j), factors[low + j])
                    elif signed:
                        for j in range(value.size):
                            out[j] -= _reached_at(abs(value[j]), near, np.uintp(j))
                    else:
                        for j in range(value.size):
                            out[j] -= _reached_at(value[j], near, np.uintp(j))
                if signed:
                    _turn_off(value, out, num_steps)


@compiled
def peaks(x, width, scale, out, start, stop):
    """Writes the largest size in each row, 1 for zeros, times a scale."""
    for i in range(start, stop):
        first, last = i * width, (i + 1) * width
        whole = last - width % WORD
        size = largest(x, first, whole)
        for j in range(whole, last):
            size = abs(x[j]) if abs(x[j]) > size else size
        out[i] = scale * (size if size > 0 else x.dtype.type(1))


@compiled
def encode_rows(x, width, limits, scales, spike_time, factors, start, stop):
    """Fires rows relative to their largest size times a scale, which is written, and
    returns whether all of these are positive and finite.
    """
    peaks(x, width, scales[0], factors, start, stop)
    are_valid = True
    for i in range(start, stop):
        are_valid &= (factors[i] > 0) & (factors[i] < np.inf)
    first, last = start * width, stop * width
    encode_runs(x, spike_time, limits, factors, factors.size, width, first, last)
    return are_valid


@part
def _take(t, k, scale):
    # A tuple stays in registers; an array may share memory with the output.
    return (
        t[k] * scale,
        t[k + 1] * scale,
        t[k + 2] * scale,
        t[k + 3] * scale,
        t[k + 4] * scale,
        t[k + 5] * scale,
        t[k + 6] * scale,
        t[k + 7] * scale,
    )


@part
def _reached(x, t):
    return np.uint8(
        np.uint8(x >= t[0])
        + np.uint8(x >= t[1])
        + np.uint8(x >= t[2])
        + np.uint8(x >= t[3])
        + np.uint8(x >= t[4])
        + np.uint8(x >= t[5])
        + np.uint8(x >= t[6])
        + np.uint8(x >= t[7])
    )


@part
def _reached_scaled(x, t, scale):
    return np.uint8(
        np.uint8(x >= t[0] * scale)
        + np.uint8(x >= t[1] * scale)
        + np.uint8(x >= t[2] * scale)
        + np.uint8(x >= t[3] * scale)
        + np.uint8(x >= t[4] * scale)
        + np.uint8(x >= t[5] * scale)
        + np.uint8(x >= t[6] * scale)
        + np.uint8(x >= t[7] * scale)
    )


@part
def _reached_at(x, t, k):
    return np.uint8(
        np.uint8(x >= t[k])
        + np.uint8(x >= t[k + STRIDES[1]])
        + np.uint8(x >= t[k + STRIDES[2]])
        + np.uint8(x >= t[k + STRIDES[3]])
        + np.uint8(x >= t[k + STRIDES[4]])
        + np.uint8(x >= t[k + STRIDES[5]])
        + np.uint8(x >= t[k + STRIDES[6]])
        + np.uint8(x >= t[k + STRIDES[7]])
    )


@part
def _moved_at(x, t, k, factor):
    return np.uint8(
        np.uint8(x >= t[k] * factor)
        + np.uint8(x >= t[k + STRIDES[1]] * factor)
        + np.uint8(x >= t[k + STRIDES[2]] * factor)
        + np.uint8(x >= t[k + STRIDES[3]] * factor)
        + np.uint8(x >= t[k + STRIDES[4]] * factor)
        + np.uint8(x >= t[k + STRIDES[5]] * factor)
        + np.uint8(x >= t[k + STRIDES[6]] * factor)
        + np.uint8(x >= t[k + STRIDES[7]] * factor)
    )


@part
def _turn_off(value, out, num_steps):
    silent, shift = np.uint8(num_steps), np.uint8(num_steps + 1)
    for j in range(value.size):
        is_off = (value[j] < 0) & (out[j] != silent)
        out[j] += shift if is_off else np.uint8(0)
