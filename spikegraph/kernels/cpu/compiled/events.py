"""Transforms that only look at the weights of neurons that fire."""

import numpy as np

from spikegraph.kernels.cpu.compiled.compilation import compiled, part
from spikegraph.kernels.cpu.compiled.contents import are_finite
from spikegraph.kernels.cpu.compiled.neurons import collect, encode_block, peaks, select
from spikegraph.kernels.cpu.compiled.operands import NEAR
from spikegraph.kernels.cpu.compiled.registers import look_up
from spikegraph.kernels.cpu.compiled.sums import sum_rows
from spikegraph.kernels.cpu.compiled.vectors import LANES

ROWS = 16  # Rows added up together: one goes on while the last one waits.


@compiled
def transform(
    spike_time, num_inputs, silent, table, weight, bias, out, width, start, stop
):
    """Writes the sums of the rows of weights ``[num_inputs, width]`` of all inputs
    that fire, times their levels, plus the bias.
    """
    size = ROWS * num_inputs + LANES
    index, level = np.empty(size, np.int32), np.empty(size, table.dtype)
    rowptr = np.zeros(ROWS + 1, np.int64)
    for low in range(start, stop, ROWS):
        high, total = min(low + ROWS, stop), 0
        for i in range(low, high):
            times = spike_time[i * num_inputs : (i + 1) * num_inputs]
            where = index[total:]
            num = collect(times, times, silent, where, level[total:])
            for e in range(num):
                level[total + e] = table[times[where[e]]]
            total += num
            rowptr[i - low + 1] = total
        _add_up(rowptr, index, level, weight, bias, out, width, low, high)


@compiled
def encode_transform(
    x,
    num_inputs,
    is_relative,
    scales,
    limits,
    table,
    weight,
    bias,
    out,
    width,
    start,
    stop,
):
    """:func:`transform` of values, encoded row by row with one scale, relative to
    the largest of the row or not; spike times are kept for a few rows only. Returns
    whether all values are finite.
    """
    thresholds, num_steps, signed = limits.thresholds, limits.num_steps, limits.signed
    size, num_times = ROWS * num_inputs + LANES, num_steps * (1 + signed) + 1
    index, level = np.empty(size, np.int32), np.empty(size, table.dtype)
    times, rowptr = np.empty(num_inputs, np.uint8), np.zeros(ROWS + 1, np.int64)
    scale, finite = scales.copy(), True
    for low in range(start, stop, ROWS):
        high, total = min(low + ROWS, stop), 0
        for i in range(low, high):
            finite &= are_finite(x, i * num_inputs, (i + 1) * num_inputs)
            row = x[i * num_inputs : (i + 1) * num_inputs]
            if is_relative:
                peaks(row, num_inputs, scales[0], scale, 0, 1)
            last = thresholds[0, num_steps - 1] * scale[0]
            num = select(
                row, times, last, num_steps, signed, index[total:], level[total:]
            )
            found, fired = level[total : total + num], times[:num]
            encode_block(found, times, thresholds[0], scale[0], limits)
            look_up(fired, found, table, num_times)
            for e in range(num):
                found[e] *= scale[0]
            total += num
            rowptr[i - low + 1] = total
        _add_up(rowptr, index, level, weight, bias, out, width, low, high)
    return finite


@part
def _add_up(rowptr, index, level, weight, bias, out, width, low, high):
    end, one = rowptr[high - low], np.ones(1, level.dtype)
    sum_rows(
        *(weight, width, rowptr, index, level, -1, 0, 0, high - low, end, one, 0),
        *(level, out, low * width, width, NEAR, None),
    )
    if bias.size > 0:
        for i in range(low, high):
            row = out[i * width : (i + 1) * width]
            for j in range(width):
                row[j] += bias[j]
