"""Transforms that only look at the weights of neurons that fire."""

from __future__ import annotations

import numpy as np

from spikegraph.kernels.cpu.compilation import compiled
from spikegraph.kernels.cpu.neurons import fire_runs, peaks
from spikegraph.kernels.cpu.registers import VALUES, WORD, differing, lowest, sum_rows


@compiled
def transform(
    spike_time: np.ndarray,
    num_inputs: int,
    silent: int,
    table: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    out: np.ndarray,
    width: int,
    start: int,
    stop: int,
) -> None:
    """Writes the sums of the rows of weights ``[num_inputs, width]`` of all inputs
    that fire, times their levels, plus the bias.
    """
    index, level = np.empty(num_inputs, np.int64), np.empty(num_inputs, table.dtype)
    rowptr = np.zeros(2, np.int64)
    for i in range(start, stop):
        times = spike_time[i * num_inputs : (i + 1) * num_inputs]
        num = _events(times, silent, table, index, level)
        _add_up(rowptr, index, level, num, weight, bias, out, width, i)


@compiled
def encode_transform(
    x: np.ndarray,
    num_inputs: int,
    is_relative: bool,
    scales: np.ndarray,
    thresholds: np.ndarray,
    num_steps: int,
    signed: bool,
    table: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    out: np.ndarray,
    width: int,
    start: int,
    stop: int,
) -> None:
    """:func:`transform` of values, encoded row by row with one scale, relative to
    the largest of the row or not; spike times are stored nowhere.
    """
    index, level = np.empty(num_inputs, np.int64), np.empty(num_inputs, table.dtype)
    rowptr = np.zeros(2, np.int64)
    times, scale = np.empty(num_inputs, np.uint8), scales.copy()
    for i in range(start, stop):
        row = x[i * num_inputs : (i + 1) * num_inputs]
        if is_relative:
            peaks(row, num_inputs, scales[0], scale, 0, 1)
        fire_runs(
            *(row, times, thresholds, scale, 1, num_inputs, num_steps, signed),
            *(0, num_inputs),
        )
        num = _events(times, num_steps, table, index, level)
        for e in range(num):
            level[e] *= scale[0]
        _add_up(rowptr, index, level, num, weight, bias, out, width, i)


@compiled
def _events(
    times: np.ndarray,
    silent: int,
    table: np.ndarray,
    index: np.ndarray,
    level: np.ndarray,
) -> int:
    """Lists who fires in a row, and the levels of their spikes."""
    num = 0
    whole = times.size - times.size % WORD
    for first in range(0, whole, WORD):
        bits = differing(times, first, np.uint8(silent))  # type: ignore[call-arg]
        while bits != 0:
            j = first + lowest(bits)  # type: ignore[call-arg]
            index[num] = j
            level[num] = table[times[j]]
            num += 1
            bits &= bits - np.uint64(1)
    for j in range(whole, times.size):
        if times[j] != silent:
            index[num] = j
            level[num] = table[times[j]]
            num += 1
    return num


@compiled
def _add_up(
    rowptr: np.ndarray,
    index: np.ndarray,
    level: np.ndarray,
    num: int,
    weight: np.ndarray,
    bias: np.ndarray,
    out: np.ndarray,
    width: int,
    i: int,
) -> None:
    rowptr[1] = num
    sum_rows(
        *(weight, width, rowptr, index, level, -1, 0, 0, 1, num, level, out),
        *(i * width, width, VALUES),
    )
    if bias.size > 0:
        row = out[i * width : (i + 1) * width]
        for j in range(width):
            row[j] += bias[j]
