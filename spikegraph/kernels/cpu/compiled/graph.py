"""Sums and maxima over a range of rows of a graph."""

import numpy as np

from spikegraph.kernels.cpu.compiled.compilation import compiled, part
from spikegraph.kernels.cpu.compiled.neurons import (
    encode_block,
    encode_columns,
    encode_runs,
)
from spikegraph.kernels.cpu.compiled.registers import pack_lanes
from spikegraph.kernels.cpu.compiled.sums import sum_rows
from spikegraph.kernels.cpu.compiled.vectors import LANES

ROWS = 32  # Rows whose sums stay in the first cache.


@compiled
def aggregate(csr, sent, out, offset, width, start, stop):
    """Writes the sums of rows ``start`` to ``stop``, times the factor of each if
    there are any; the first row of ``out`` is row ``offset``. Edges have weights, one
    or one for each head, sources have factors, or all share the only one.
    """
    end, by_target = csr.rowptr[stop], -1 if csr.target_factor.size > 0 else 0
    target = csr.target_factor if by_target else np.ones(1, sent.table.dtype)
    by_edge = -1 if csr.weight.size > 0 else 0
    by_source = -1 if by_edge == 0 and csr.source_factor.size > 1 else 0
    coefficient = csr.weight if csr.weight.size > 0 else csr.source_factor
    edges = (csr.rowptr, csr.col, coefficient, by_edge, by_source)
    for low in range(start, stop, ROWS):
        high = min(low + ROWS, stop)
        position = (low - offset) * width
        sum_rows(
            *(sent.x, sent.stride, *edges, low, high, end, target, by_target),
            *(sent.table, out, position, width, sent.way, sent.heads),
        )


@compiled
def pack(spike_time, width, packed, stride, start, stop):
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
    csr, sent, bias, limits, scales, by_column, spike_time, width, start, stop
):
    """Fires the sums of :func:`aggregate` plus a bias, see :func:`encode_rows`."""
    potential = np.empty(ROWS * width, sent.table.dtype)
    for low in range(start, stop, ROWS):
        high = min(low + ROWS, stop)
        aggregate(csr, sent, potential, low, width, low, high)
        num = (high - low) * width
        if bias.size > 0:
            for i in range(0, num, width):
                row = potential[i : i + width]
                for j in range(width):
                    row[j] += bias[j]
        out = spike_time[low * width : high * width]
        encode_rows(potential[:num], out, limits, scales, by_column)


@compiled
def aggregate_encode_moved(
    csr, sent, channel, bias, divisor, on, off, spike_time, width, start, stop
):
    """Fires the sums of :func:`aggregate`, times the scale of each channel, plus a bias
    times the divisor of each head, by thresholds times that divisor; where ``off`` is
    not None, also negative ones.
    """
    dtype, num_heads = sent.table.dtype, sent.heads
    potential, gain = np.empty(ROWS * width, dtype), np.empty(ROWS * width, dtype)
    times, per_head = np.empty(ROWS * width, np.uint8), width // num_heads
    silent, shift = np.uint8(on.num_steps), np.uint8(on.num_steps + 1)
    for low in range(start, stop, ROWS):
        num = (min(low + ROWS, stop) - low) * width
        aggregate(csr, sent, potential, low, width, low, min(low + ROWS, stop))
        for k in range(num // per_head):
            factor, first = divisor[low * num_heads + k], k * per_head
            gain[first : first + per_head] = factor
            column, row = first % width, potential[first : first + per_head]
            if channel.size > 0:
                for j in range(per_head):
                    row[j] *= channel[column + j]
            if bias.size > 0:
                for j in range(per_head):
                    row[j] += bias[column + j] * factor
        value, scale = potential[:num], gain[:num]
        out = spike_time[low * width : low * width + num]
        encode_block(value, out, on.thresholds[0], scale, on)
        if off is not None:
            for j in range(num):
                value[j] = -value[j]
            encode_block(value, times[:num], off.thresholds[0], scale, off)
            for j in range(num):
                out[j] = times[j] + shift if times[j] != silent else out[j]


@part
def encode_rows(potential, spike_time, limits, scales, by_column):
    """Fires whole rows, by thresholds ``[1, K]`` times one scale where ``by_column``
    is None, else times one for each column of a few rows; only one is compiled.
    """
    num = potential.size
    if by_column is None:
        encode_runs(potential, spike_time, limits, scales, 1, num, 0, num)
    else:
        num_rows = (num + scales.size - 1) // scales.size
        encode_columns(potential, spike_time, limits, scales, 0, num_rows)


@compiled
def earliest(csr, rank, width, silent, latest, out, start, stop):
    """Writes the smallest (largest) rank among in-neighbours, by columns."""
    rowptr, col = csr.rowptr, csr.col
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


@compiled
def late(csr, time, width, silent, num_steps, out, start, stop):
    """Writes how much later the spike of each member of a group comes than its first
    one; ``num_steps`` if that is so late, or it is silent.
    """
    rowptr, col, first = csr.rowptr, csr.col, np.empty(width, np.uint8)
    latest = np.uint8(num_steps)
    for i in range(start, stop):
        first[:] = silent
        for e in range(rowptr[i], rowptr[i + 1]):
            row = time[col[e] * width : (col[e] + 1) * width]
            for j in range(width):
                first[j] = min(first[j], row[j])
        for e in range(rowptr[i], rowptr[i + 1]):
            row = time[col[e] * width : (col[e] + 1) * width]
            to = out[col[e] * width : (col[e] + 1) * width]
            for j in range(width):
                after = min(np.uint8(row[j] - first[j]), latest)
                to[j] = after if row[j] < silent else latest
