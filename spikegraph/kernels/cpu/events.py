"""Transforms that only look at the weights of neurons that fire."""

from __future__ import annotations

import numpy as np

from spikegraph.kernels.cpu.compilation import compiled, part
from spikegraph.kernels.cpu.neurons import collect, fire_block, peaks, select
from spikegraph.kernels.cpu.registers import NEAR
from spikegraph.kernels.cpu.sums import sum_rows
from spikegraph.kernels.cpu.vectors import LANES


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
    size = num_inputs + LANES
    index, level = np.empty(size, np.int32), np.empty(size, table.dtype)
    rowptr = np.zeros(2, np.int64)
    for i in range(start, stop):
        times = spike_time[i * num_inputs : (i + 1) * num_inputs]
        num = collect(times, times, silent, index, level)
        for e in range(num):
            level[e] = table[times[index[e]]]
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
    searched: bool | None,
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
    size = num_inputs + LANES
    index, level = np.empty(size, np.int32), np.empty(size, table.dtype)
    times, rowptr = np.empty(num_inputs, np.uint8), np.zeros(2, np.int64)
    scale = scales.copy()
    for i in range(start, stop):
        row = x[i * num_inputs : (i + 1) * num_inputs]
        if is_relative:
            peaks(row, num_inputs, scales[0], scale, 0, 1)
        last = thresholds[0, num_steps - 1] * scale[0]
        num = select(row, times, last, num_steps, signed, index, level)
        fire_block(
            *(level[:num], times, thresholds[0], scale[0]),
            *(num_steps, signed, searched),
        )
        for e in range(num):
            level[e] = table[times[e]] * scale[0]
        _add_up(rowptr, index, level, num, weight, bias, out, width, i)


@part
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
        *(i * width, width, NEAR),
    )
    if bias.size > 0:
        row = out[i * width : (i + 1) * width]
        for j in range(width):
            row[j] += bias[j]
