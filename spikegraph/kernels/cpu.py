"""Numba kernels over a range of a dense block of memory; they release the
interpreter lock, so that threads share the range. Channels either come in runs
of equal ones (images) or repeat with a period (features last).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

GROUP = 8  # Thresholds are padded with not-a-number to a multiple of it.
BLOCK = 2048  # Values that stay in the first cache over several passes.
COLUMNS = 256  # Columns whose thresholds stay in the first cache.
STRIDES = tuple(np.uintp(k * COLUMNS) for k in range(GROUP))
ROWS = 8  # Rows that share them before the next columns are read.
PERMUTED = 64  # Levels that fit into the registers of AVX-512,
LANES = 16  # from which one instruction takes so many.
FEATURES = cpu_target.target_context.codegen().magic_tuple()[2].split(',')


def compiled(function: Callable[..., Any]) -> Any:
    """Compiles on first use, kept on disk where a folder can be written."""
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # No folder for the cache.
        return numba.njit(nogil=True)(function)


@compiled
def fire_runs(
    potential: np.ndarray,
    spike_time: np.ndarray,
    thresholds: np.ndarray,
    scales: np.ndarray,
    num_channels: int,
    length: int,
    num_steps: int,
    signed: bool,
    start: int,
    stop: int,
) -> None:
    """Fires values ``start`` to ``stop``, where ``length`` neighbours share a
    channel: thresholds ``[C or 1, K]`` times scales ``[C or 1]``.
    """
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
        start = end


@compiled
def fire_columns(
    potential: np.ndarray,
    spike_time: np.ndarray,
    thresholds: np.ndarray,
    scales: np.ndarray,
    num_steps: int,
    signed: bool,
    start: int,
    stop: int,
) -> None:
    """Fires rows ``start`` to ``stop`` of as many values as there are scales, by
    thresholds ``[K]`` times the scale of the column. The last row may be shorter.
    """
    one = scales.dtype.type(1)
    for row in range(start, stop):
        end = min((row + 1) * scales.size, potential.size)
        for low in range(row * scales.size, end, BLOCK):
            high, column = min(low + BLOCK, end), low - row * scales.size
            value, out = potential[low:high], spike_time[low:high]
            scale = scales[column : column + value.size]
            out[:] = num_steps
            for first in range(0, thresholds.size, GROUP):
                table = _take(thresholds, first, one)
                if signed:
                    for j in range(value.size):
                        out[j] -= _reached_scaled(abs(value[j]), table, scale[j])
                else:
                    for j in range(value.size):
                        out[j] -= _reached_scaled(value[j], table, scale[j])
            if signed:
                _turn_off(value, out, num_steps)


@compiled
def fire_table(
    potential: np.ndarray,
    spike_time: np.ndarray,
    thresholds: np.ndarray,
    period: int,
    num_steps: int,
    signed: bool,
    start: int,
    stop: int,
) -> None:
    """Fires rows ``start`` to ``stop`` of ``period`` values, each column with
    thresholds of its own: ``[period / COLUMNS, K * COLUMNS]``. The last row may
    be shorter.
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
                    if signed:
                        for j in range(value.size):
                            out[j] -= _reached_at(abs(value[j]), near, np.uintp(j))
                    else:
                        for j in range(value.size):
                            out[j] -= _reached_at(value[j], near, np.uintp(j))
                if signed:
                    _turn_off(value, out, num_steps)


@compiled
def decode_runs(
    spike_time: np.ndarray,
    value: np.ndarray,
    table: np.ndarray,
    num_levels: int,
    scales: np.ndarray,
    num_channels: int,
    length: int,
    start: int,
    stop: int,
) -> int:
    """Decodes values ``start`` to ``stop`` as :func:`fire_runs` has fired them
    by a table of 256 entries, and returns the largest spike time.
    """
    largest = np.uint8(0)
    run = start // length
    while start < stop:
        scale = scales[run % num_channels if scales.shape[0] > 1 else 0]
        run += 1
        end = min(run * length, stop)
        for low in range(start, end, BLOCK):
            high = min(low + BLOCK, end)
            time, out = spike_time[low:high], value[low:high]
            largest = max(largest, _look_up(time, out, table, num_levels))
            if scale != 1:
                for j in range(out.size):
                    out[j] *= scale
        start = end
    return largest


@compiled
def decode_columns(
    spike_time: np.ndarray,
    value: np.ndarray,
    table: np.ndarray,
    num_levels: int,
    scales: np.ndarray,
    start: int,
    stop: int,
) -> int:
    """Decodes rows ``start`` to ``stop`` of as many values as there are scales,
    and returns the largest spike time.
    """
    largest = np.uint8(0)
    for row in range(start, stop):
        end = min((row + 1) * scales.size, spike_time.size)
        for low in range(row * scales.size, end, BLOCK):
            high, column = min(low + BLOCK, end), low - row * scales.size
            time, out = spike_time[low:high], value[low:high]
            scale = scales[column : column + out.size]
            largest = max(largest, _look_up(time, out, table, num_levels))
            for j in range(out.size):
                out[j] *= scale[j]
    return largest


@compiled
def _look_up(
    time: np.ndarray, out: np.ndarray, table: np.ndarray, num_levels: int
) -> int:
    largest = np.uint8(0)
    for j in range(time.size):
        largest = max(largest, time[j])
    first = 0
    if num_levels <= PERMUTED and _can_permute(out):  # type: ignore[call-arg]
        first = time.size - time.size % LANES
        for j in range(0, first, LANES):
            _permute(time, out, table, j)
    for j in range(first, time.size):
        out[j] = table[time[j]]
    return largest


@intrinsic
def _can_permute(typing: Any, out: Any) -> Any:
    """Whether there is an instruction for :func:`_permute`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.get_constant(types.boolean, _has_permute(out))

    return types.boolean(out), generate


@intrinsic
def _permute(typing: Any, time: Any, out: Any, table: Any, j: Any) -> Any:
    """Looks values ``j`` to ``j + 15`` up in a table held in four registers."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if not _has_permute(out):
            return context.get_dummy_value()
        floats = ir.VectorType(ir.FloatType(), LANES)
        integers = ir.VectorType(ir.IntType(32), LANES)
        octets = ir.VectorType(ir.IntType(8), LANES)

        def address(k: int, index: Any, vector: Any) -> Any:
            array = context.make_array(signature.args[k])(
                context, builder, arguments[k]
            )
            start = builder.gep(array.data, [index])
            return builder.bitcast(start, vector.as_pointer())

        def level(k: int) -> Any:
            index = ir.Constant(ir.IntType(64), k * LANES)
            return builder.load(address(2, index, floats), align=4)

        permute = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(floats, [floats, integers, floats]),
            'llvm.x86.avx512.vpermi2var.ps.512',
        )
        index = builder.load(address(0, arguments[3], octets), align=1)
        index = builder.zext(index, integers)  # The lowest five bits count.
        near = builder.call(permute, [level(0), index, level(1)])
        far = builder.call(permute, [level(2), index, level(3)])
        is_near = builder.icmp_unsigned('<', index, integers([2 * LANES] * LANES))
        found = builder.select(is_near, near, far)
        builder.store(found, address(1, arguments[3], floats), align=4)
        return context.get_dummy_value()

    return types.void(time, out, table, j), generate


def _has_permute(out: Any) -> bool:
    return '+avx512f' in FEATURES and out.dtype == types.float32


@compiled
def _take(t: np.ndarray, k: int, scale: float) -> tuple[float, ...]:
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


@compiled
def _reached(x: float, t: tuple[float, ...]) -> int:
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


@compiled
def _reached_scaled(x: float, t: tuple[float, ...], scale: float) -> int:
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


@compiled
def _reached_at(x: float, t: np.ndarray, k: int) -> int:
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


@compiled
def _turn_off(value: np.ndarray, out: np.ndarray, num_steps: int) -> None:
    silent, shift = np.uint8(num_steps), np.uint8(num_steps + 1)
    for j in range(value.size):
        is_off = (value[j] < 0) & (out[j] != silent)
        out[j] += shift if is_off else np.uint8(0)
