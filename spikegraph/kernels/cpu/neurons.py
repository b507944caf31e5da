"""Encoding and decoding a dense block of memory."""

from __future__ import annotations

import functools
import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from spikegraph.coding import PhaseCode
from spikegraph.kernels.cpu.compiled import bisection, decoding, neurons
from spikegraph.kernels.cpu.compiled.compilation import HAS_AVX2, HAS_AVX512
from spikegraph.kernels.cpu.compiled.operands import LANES, Limits
from spikegraph.kernels.cpu.placing import least_scale, place, scales_fit
from spikegraph.kernels.memory import (
    FLOATS,
    columns_of,
    dense,
    empty_like,
    flat,
    needs_gradient,
    padded_table,
    runs_of,
)
from spikegraph.kernels.threads import share

_MIN_RUN = 128  # Shorter runs of a channel are read by columns,
_MIN_ONLY_RUN = 48  # or those of a channel that has no other.
_MIN_ROWS = 32  # What rows have to share for a table of their columns.


def encode(x: Tensor, code: PhaseCode, scale: Tensor) -> Tensor:
    """See :func:`spikegraph.kernels.encode_spikes`."""
    if x.dtype not in FLOATS:
        return NotImplemented
    x = dense(x)
    runs = runs_of(scale.shape, x)
    if runs is None:
        return NotImplemented
    return _encode(x, limits_for(code, x.dtype, scale), scale, *runs)


def encode_rows(x: Tensor, code: PhaseCode, scale: Tensor) -> tuple[Tensor, Tensor]:
    """See :func:`spikegraph.kernels.encode_rows`."""
    if x.dtype not in FLOATS or x.dim() != 2 or scale.numel() != 1:
        return NotImplemented
    if scale.dtype != x.dtype or needs_gradient(x, scale):
        return NotImplemented
    x = x.detach().contiguous()
    out, factors = empty_like(x, torch.uint8), x.new_empty(x.size(0), 1)
    work = partial(
        neurons.encode_rows,
        *(flat(x), x.size(1), limits_of(code, x.dtype), flat(scale)),
        *(flat(out), flat(factors)),
    )
    are_valid = all(share(work, x.size(0), x.numel(), 1))
    return (out, factors) if are_valid else NotImplemented


def first_spike(
    potential: Tensor, thresholds: Tensor, signed: bool, factor: Tensor | None = None
) -> Tensor:
    """See :func:`spikegraph.kernels.first_spike`."""
    if potential.dtype not in FLOATS:
        return NotImplemented
    x, thresholds = dense(potential), thresholds.detach()
    if factor is not None and thresholds.dim() > 1:
        return _first_of_columns(x, thresholds, signed, factor)
    if factor is not None:
        runs = runs_of(factor.shape, x) or _rows_of(factor, x)
        factor = factor.contiguous()
        limits = limits_from(thresholds, signed)
        return NotImplemented if runs is None else _encode(x, limits, factor, *runs)
    runs = runs_of(thresholds.shape[1:], x)
    if runs is None:
        return NotImplemented
    (num_channels, length), size, num_steps = runs, x.numel(), len(thresholds)
    per_channel = thresholds.reshape(num_steps, -1)
    is_table = thresholds.dim() > 1 and _is_short(num_channels, length, size)
    if not is_table or size < _MIN_ROWS * length * num_channels:
        limits = _limits(per_channel.t(), signed)
        return _encode(x, limits, thresholds.new_ones(()), num_channels, length)
    rows = columns_of(per_channel, length, size)
    return _encode_table(x, rows, signed)


def _first_of_columns(
    x: Tensor, thresholds: Tensor, signed: bool, factor: Tensor
) -> Tensor:
    """Compares with thresholds of each column, times a factor of each value."""
    is_last = thresholds.dim() == 2 and x.dim() > 1 and x.is_contiguous()
    if not is_last or thresholds.size(1) != x.size(-1):
        return NotImplemented
    return _encode_table(
        x, thresholds, signed, flat(factor.expand(x.shape).contiguous())
    )


def _encode_table(x: Tensor, rows: Tensor, signed: bool, factors: Any = None) -> Tensor:
    """Fires by a table of thresholds for each column, in blocks :math:`(T, C)`."""
    out, (num_steps, period) = empty_like(x, torch.uint8), rows.shape
    num_padded, num_blocks = _padded_size(num_steps), -(-period // neurons.COLUMNS)
    padded = rows.new_full((num_padded, num_blocks * neurons.COLUMNS), math.nan)
    padded[:num_steps, :period] = rows
    padded = padded.view(num_padded, num_blocks, neurons.COLUMNS).transpose(0, 1)
    blocks = padded.reshape(num_blocks, -1).numpy()
    how = (blocks, period, num_steps, signed, factors)
    work = partial(neurons.encode_table, flat(x), flat(out), *how)
    share(work, -(-x.numel() // period), x.numel(), neurons.ROWS)
    return out


def _rows_of(factor: Tensor, x: Tensor) -> tuple[int, int] | None:
    """How many places have a factor of their own, of leading dimensions, and how many
    neighbours in memory share one.
    """
    shape = factor.shape
    while len(shape) and shape[-1] == 1:
        shape = shape[:-1]
    same = factor.dim() == x.dim() and shape == x.shape[: len(shape)]
    if not same or not x.is_contiguous():
        return None
    return shape.numel(), x.shape[len(shape) :].numel()


def _encode(
    x: Tensor, limits: Limits, scale: Tensor, num_channels: int, length: int
) -> Tensor:
    out, size = empty_like(x, torch.uint8), x.numel()
    factors, to = scale.detach().reshape(1, -1), (flat(x), flat(out), limits)
    is_one, given = len(limits.thresholds) == 1, (num_channels, length, size)
    kernels = neurons.encode_columns, neurons.encode_runs
    _share_channels(kernels, to, factors, *given, is_one and _is_short(*given))
    return out


def encode_decode(
    potential: Tensor,
    code: PhaseCode,
    scale: Tensor,
    other: Tensor | None,
    out: Tensor | None,
) -> Tensor:
    """See :func:`spikegraph.kernels.encode_decode`."""
    limits, x = limits_for(code, potential.dtype, scale), dense(potential)
    runs = runs_of(scale.shape, x)
    fits = limits.searched is not None and code.num_times <= 2 * LANES
    if runs is None or not fits or needs_gradient(potential, other, scale):
        return NotImplemented
    if other is not None:
        other = dense(other)
        if other.dtype != x.dtype or other.stride() != x.stride():
            return NotImplemented
    (num_channels, length), size = runs, x.numel()
    if out is None or out.stride() != x.stride():
        out = empty_like(x, x.dtype)
    table, factors = code.table().to(x.dtype), scale.detach().reshape(1, -1)
    levels = flat(padded_table(table))
    given = flat(x), None if other is None else flat(other), flat(out), limits, levels
    kernels = decoding.encode_decode_columns, decoding.encode_decode_runs
    how = (num_channels, length, size)
    _share_channels(kernels, given, factors, *how, _is_short(*how))
    return out


def look_up(spike_time: Tensor, table: Tensor, scale: float | Tensor) -> Tensor:
    """See :func:`spikegraph.kernels.look_up`."""
    if spike_time.dtype != torch.uint8 or table.device != spike_time.device:
        return NotImplemented
    if table.dtype not in FLOATS or needs_gradient(table, scale):
        return NotImplemented
    x, table, factors = dense(spike_time), table.detach(), table.new_ones(1)
    if not isinstance(scale, Tensor):
        table = scale * table
    elif scale.numel() == 1:
        table = scale.detach().to(table).view(-1) * table
    else:
        factors = scale.detach().to(table)
    runs = runs_of(factors.shape, x)
    if runs is None:
        return NotImplemented
    (num_channels, length), size = runs, x.numel()
    out, factors = empty_like(x, table.dtype), factors.reshape(1, -1)
    to = (flat(x), flat(out), padded_table(table).numpy(), len(table))
    kernels = decoding.decode_columns, decoding.decode_runs
    how = (num_channels, length, size)
    largest = _share_channels(kernels, to, factors, *how, _is_short(*how))
    return out if max(largest) < len(table) else NotImplemented


def decode(
    spike_time: Tensor, code: PhaseCode, scale: float | Tensor, dtype: torch.dtype
) -> Tensor:
    """See :func:`spikegraph.kernels.decode_spikes`."""
    return look_up(spike_time, code.table().to(dtype), scale)


@functools.lru_cache(maxsize=256)
def limits_of(code: PhaseCode, dtype: torch.dtype) -> Limits:
    """The thresholds of a code as kernels read them."""
    return limits_from(code.thresholds.to(dtype), code.signed)


def limits_for(code: PhaseCode, dtype: torch.dtype, scale: Tensor) -> Limits:
    """:func:`limits_of` a code, in buckets if these are exact for some scales."""
    limits, least = _buckets_of(code, dtype)
    is_exact = least is None or scales_fit(scale, least)
    return limits if is_exact else limits_of(code, dtype)


@functools.lru_cache(maxsize=256)
def _buckets_of(code: PhaseCode, dtype: torch.dtype) -> tuple[Limits, float | None]:
    limits = limits_of(code, dtype)
    thresholds = limits.thresholds[0, : limits.num_steps]
    buckets = place(thresholds) if HAS_AVX512 and limits.searched else None
    if buckets is None:
        return limits, None
    return limits._replace(buckets=buckets), least_scale(thresholds)


def limits_from(thresholds: Tensor, signed: bool) -> Limits:
    """Thresholds :math:`(T)` as kernels read them."""
    return _limits(thresholds.detach().view(1, -1), signed)


def _limits(thresholds: Tensor, signed: bool) -> Limits:
    """Thresholds :math:`(C, T)`, followed by minus infinity where they can be
    searched in registers, else by some that are never reached. Whether they are
    searched is True or None, as these are types to a compiler.
    """
    num_steps = thresholds.size(1)
    before, after = thresholds[:, :-1], thresholds[:, 1:]
    decreases = bool(((before >= after) | before.isnan()).all())
    fits = num_steps < 2 * LANES and thresholds.dtype == torch.float32
    searched = True if HAS_AVX2 and fits and decreases else None
    if searched:
        num_more = 0 if num_steps == LANES else num_steps // LANES
        size, value = LANES * (1 + num_more), -math.inf
    else:
        size, value = _padded_size(num_steps), math.nan
    padded = thresholds.new_full((len(thresholds), size), value)
    padded[:, :num_steps] = thresholds
    if searched:
        padded = torch.cat([padded, padded[:, bisection.order(size)]], dim=1)
    return Limits(padded.numpy(), num_steps, signed, searched)


def _share_channels(
    kernels: tuple[Any, Any],
    given: Any,
    factors: Tensor,
    num_channels: int,
    length: int,
    size: int,
    is_short: bool,
) -> list[Any]:
    """Shares values among threads, by a kernel for columns where runs of a channel are
    short, else by one for runs.
    """
    by_columns, by_runs = kernels
    if is_short:
        scales = columns_of(factors, length, size).view(-1).numpy()
        work = partial(by_columns, *given, scales)
        return share(work, -(-size // len(scales)), size, 1)
    scales = factors.view(-1).numpy()
    work = partial(by_runs, *given, scales, num_channels, length)
    return share(work, size, size, 64)


def _padded_size(num_steps: int) -> int:
    return -(-num_steps // neurons.GROUP) * neurons.GROUP


def _is_short(num_channels: int, length: int, size: int) -> bool:
    """Whether scales are laid out in columns rather than read once for each run."""
    is_only = num_channels * length == size
    return num_channels > 1 and length < (_MIN_ONLY_RUN if is_only else _MIN_RUN)
