"""Sums and maxima over a range of rows of a graph."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types

from spikegraph.kernels.cpu.compilation import chosen_by_type, compiled
from spikegraph.kernels.cpu.neurons import encode_columns, encode_runs
from spikegraph.kernels.cpu.registers import pack_lanes
from spikegraph.kernels.cpu.sums import sum_rows
from spikegraph.kernels.cpu.vectors import LANES

ROWS = 32  # Rows whose sums stay in the first cache.


@compiled
def aggregate(
    rowptr: np.ndarray,
    col: np.ndarray,
    coefficient: np.ndarray,
    by_edge: int,
    by_source: int,
    target_factor: np.ndarray,
    x: np.ndarray,
    stride: int,
    table: np.ndarray,
    out: np.ndarray,
    offset: int,
    width: int,
    way: tuple[int, ...],
    start: int,
    stop: int,
) -> None:
    """Writes the sums of rows ``start`` to ``stop``, times the factor of each if
    there are any; the first row of ``out`` is row ``offset``.
    """
    end = rowptr[stop]
    edges = (rowptr, col, coefficient, by_edge, by_source)
    for low in range(start, stop, ROWS):
        high = min(low + ROWS, stop)
        position = (low - offset) * width
        sum_rows(*(x, stride, *edges, low, high, end, table, out, position, width, way))
        if target_factor.size > 0:
            for i in range(low, high):
                factor, position = target_factor[i], (i - offset) * width
                row = out[position : position + width]
                for j in range(width):
                    row[j] *= factor


@compiled
def pack(
    spike_time: np.ndarray,
    width: int,
    packed: np.ndarray,
    stride: int,
    start: int,
    stop: int,
) -> None:
    """Writes rows of spike times below 16 as two a byte, 16 columns apart, a row
    every ``stride`` bytes.
    """
    full = width // (2 * LANES)  # Bytes that hold two spike times, by sixteen.
    for i in range(start, stop):
        for k in range(full):
            pack_lanes(
                spike_time, i * width + 2 * k * LANES, packed, i * stride + k * LANES
            )
        rest = spike_time[i * width + 2 * full * LANES : (i + 1) * width]
        out = packed[i * stride + full * LANES : (i + 1) * stride]
        out[:] = 0
        for j in range(rest.size):
            shift = np.uint8(4 if j >= LANES else 0)
            out[j % LANES] |= rest[j] << shift


@compiled
def aggregate_encode(
    rowptr: np.ndarray,
    col: np.ndarray,
    coefficient: np.ndarray,
    by_edge: int,
    by_source: int,
    target_factor: np.ndarray,
    x: np.ndarray,
    stride: int,
    table: np.ndarray,
    bias: np.ndarray,
    thresholds: np.ndarray,
    scales: np.ndarray,
    spike_time: np.ndarray,
    width: int,
    way: tuple[int, ...],
    num_steps: int,
    signed: bool,
    searched: bool | None,
    by_column: bool | None,
    start: int,
    stop: int,
) -> None:
    """Fires the sums of :func:`aggregate` plus a bias, see :func:`encode_rows`."""
    potential = np.empty(ROWS * width, table.dtype)
    for low in range(start, stop, ROWS):
        high = min(low + ROWS, stop)
        aggregate(
            *(rowptr, col, coefficient, by_edge, by_source, target_factor),
            *(x, stride, table, potential, low, width, way, low, high),
        )
        num = (high - low) * width
        if bias.size > 0:
            for i in range(0, num, width):
                row = potential[i : i + width]
                for j in range(width):
                    row[j] += bias[j]
        out = spike_time[low * width : high * width]
        encode_rows(
            *(potential[:num], out, thresholds, scales),
            *(num_steps, signed, searched, by_column),
        )


def _rows_by_type(*arguments: Any) -> Any:
    return _by_run if isinstance(arguments[-1], types.NoneType) else _by_column


@chosen_by_type(_rows_by_type)
def encode_rows(
    potential: np.ndarray,
    spike_time: np.ndarray,
    thresholds: np.ndarray,
    scales: np.ndarray,
    num_steps: int,
    signed: bool,
    searched: bool | None,
    by_column: bool | None,
) -> None:
    """Fires whole rows, by thresholds ``[1, K]`` times one scale where ``by_column``
    is None, else times one for each column of a few rows.
    """
    raise NotImplementedError


def _by_run(
    potential: np.ndarray,
    spike_time: np.ndarray,
    thresholds: np.ndarray,
    scales: np.ndarray,
    num_steps: int,
    signed: bool,
    searched: bool | None,
    by_column: bool | None,
) -> None:
    num = potential.size
    encode_runs(
        *(potential, spike_time, thresholds, scales, 1, num),
        *(num_steps, signed, searched, 0, num),
    )


def _by_column(
    potential: np.ndarray,
    spike_time: np.ndarray,
    thresholds: np.ndarray,
    scales: np.ndarray,
    num_steps: int,
    signed: bool,
    searched: bool | None,
    by_column: bool | None,
) -> None:
    num_rows = (potential.size + scales.size - 1) // scales.size
    encode_columns(
        *(potential, spike_time, thresholds[0], scales),
        *(num_steps, signed, searched, 0, num_rows),
    )


@compiled
def earliest(
    rowptr: np.ndarray,
    col: np.ndarray,
    rank: np.ndarray,
    width: int,
    silent: int,
    latest: bool,
    out: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """Writes the smallest (largest) rank among in-neighbours, by columns."""
    for i in range(start, stop):
        best = out[i * width : (i + 1) * width]
        first, last = rowptr[i], rowptr[i + 1]
        best[:] = silent
        for e in range(first, last):
            row = rank[col[e] * width : (col[e] + 1) * width]
            if e == first:
                best[:] = row
            elif latest:
                for j in range(width):
                    best[j] = max(best[j], row[j])
            else:
                for j in range(width):
                    best[j] = min(best[j], row[j])
