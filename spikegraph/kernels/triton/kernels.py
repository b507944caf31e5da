"""What Triton compiles. A program sums one row of a graph, or works on one block of memory.

An argument that is None costs nothing: Triton compiles one kernel for each
combination. Rows of a graph are summed edge by edge, in the order of the edges.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_UNROLL = 4  # Edges whose rows are on their way before the first is added.
_MAX_COLUMNS = 256  # Of a row, per program.
_BLOCK = 1024  # Of memory, per program.
_LARGE = 1 << 31  # Places from here on take 64 bits.
OPTIONS = {'enable_fp_fusion': False}  # Products are rounded before they are added.


@triton.jit
def _level(table, time, num_levels):
    """The level of each spike time, not-a-number where the table has none."""
    time = time.to(tl.int32)
    return tl.load(table + time, mask=time < num_levels, other=float('nan'))


@triton.jit
def _spike_times(
    value,
    thresholds,
    scale,
    channel,
    inside,
    num_channels,
    num_steps,
    PER_CHANNEL: tl.constexpr,
    SIGNED: tl.constexpr,
):
    """The spike times of values, by thresholds ``[K]`` or, one column per
    channel, ``[K, C]``, times the scale of the channel ``[C]`` if there is one.
    """
    size = tl.abs(value) if SIGNED else value
    factor = value
    if scale is not None:
        factor = tl.load(scale + channel, mask=inside, other=1)
    num_reached = tl.zeros(value.shape, tl.int32)
    for t in range(num_steps):
        if PER_CHANNEL:
            row = thresholds + t * num_channels
            threshold = tl.load(row + channel, mask=inside, other=0)
        else:
            threshold = tl.load(thresholds + t)
        if scale is not None:
            threshold = factor * threshold
        num_reached += (size >= threshold).to(tl.int32)
    time = num_steps - num_reached
    if SIGNED:
        is_off = (value < 0) & (num_reached > 0)
        time = tl.where(is_off, time + num_steps + 1, time)
    return time.to(tl.uint8)


@triton.jit
def aggregate(
    out,
    rowptr,
    col,
    weight,
    x,
    table,
    source_factor,
    target_factor,
    bias,
    thresholds,
    scale,
    width,
    stride,
    num_levels,
    num_steps,
    PER_CHANNEL: tl.constexpr,
    SIGNED: tl.constexpr,
    UNROLL: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sums a block of columns of one row; writes sums, or spike times if there
    are thresholds.
    """
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    levels = x if table is None else table
    total = tl.zeros([BLOCK], levels.dtype.element_ty)
    last = tl.load(rowptr + row + 1)
    for first in range(tl.load(rowptr + row), last, UNROLL):
        for k in tl.static_range(UNROLL):
            edge = first + k
            is_edge = edge < last
            source = tl.load(col + edge, mask=is_edge, other=0).to(tl.int64)
            is_read = column < tl.where(is_edge, width, 0)
            value = tl.load(x + source * stride + column, mask=is_read, other=0)
            if table is not None:
                value = tl.where(is_read, _level(table, value, num_levels), 0)
            if source_factor is not None:
                factor = tl.load(source_factor + source, mask=is_edge, other=0)
                if weight is not None:
                    factor = tl.load(weight + edge, mask=is_edge, other=0) * factor
                value = factor * value
            elif weight is not None:
                value = tl.load(weight + edge, mask=is_edge, other=0) * value
            total += value
    if target_factor is not None:
        total *= tl.load(target_factor + row)
    if bias is not None:
        total += tl.load(bias + column, mask=inside, other=0)
    place = row * width + column
    if thresholds is None:
        tl.store(out + place, total, mask=inside)
    else:
        time = _spike_times(
            total,
            thresholds,
            scale,
            column,
            inside,
            width,
            num_steps,
            PER_CHANNEL,
            SIGNED,
        )
        tl.store(out + place, time, mask=inside)


@triton.jit
def earliest(
    out,
    rowptr,
    col,
    rank,
    width,
    stride,
    silent,
    LATEST: tl.constexpr,
    UNROLL: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The smallest or largest byte of a block of columns of one row."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    neutral = 0 if LATEST else 255
    found = tl.full([BLOCK], neutral, tl.int32)
    start = tl.load(rowptr + row)
    last = tl.load(rowptr + row + 1)
    for first in range(start, last, UNROLL):
        for k in tl.static_range(UNROLL):
            edge = first + k
            is_edge = edge < last
            source = tl.load(col + edge, mask=is_edge, other=0).to(tl.int64)
            is_read = column < tl.where(is_edge, width, 0)
            address = rank + source * stride + column
            byte = tl.load(address, mask=is_read, other=neutral).to(tl.int32)
            found = tl.maximum(found, byte) if LATEST else tl.minimum(found, byte)
    found = tl.where(start < last, found, silent)
    tl.store(out + row * width + column, found.to(tl.uint8), mask=inside)


@triton.jit
def _places(size, num_channels, length, LARGE: tl.constexpr, BLOCK: tl.constexpr):
    """Where a block of memory lies, and the channel of each of its values."""
    block = tl.program_id(0)
    if LARGE:
        block = block.to(tl.int64)
    place = block * BLOCK + tl.arange(0, BLOCK)
    return place, place < size, (place // length) % num_channels


@triton.jit
def first_spike(
    out,
    potential,
    thresholds,
    scale,
    num_channels,
    length,
    num_steps,
    size,
    PER_CHANNEL: tl.constexpr,
    SIGNED: tl.constexpr,
    LARGE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Fires a block of memory in which ``length`` neighbours share a channel."""
    place, inside, channel = _places(size, num_channels, length, LARGE, BLOCK)
    value = tl.load(potential + place, mask=inside, other=0)
    time = _spike_times(
        value,
        thresholds,
        scale,
        channel,
        inside,
        num_channels,
        num_steps,
        PER_CHANNEL,
        SIGNED,
    )
    tl.store(out + place, time, mask=inside)


@triton.jit
def look_up(
    out,
    spike_time,
    table,
    scale,
    num_channels,
    length,
    num_levels,
    size,
    LARGE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Looks a block of memory up, in which ``length`` neighbours share a channel."""
    place, inside, channel = _places(size, num_channels, length, LARGE, BLOCK)
    time = tl.load(spike_time + place, mask=inside, other=0)
    value = _level(table, time, num_levels)
    if scale is not None:
        value *= tl.load(scale + channel, mask=inside, other=0)
    tl.store(out + place, value, mask=inside)


def launch_rows(kernel: Any, out: Tensor, *args: Any, **flags: Any) -> None:
    """Runs one program for each row and block of columns of the output."""
    block = min(max(1 << (out.size(1) - 1).bit_length(), 32), _MAX_COLUMNS)
    flags.update(UNROLL=_UNROLL, BLOCK=block, num_warps=max(1, block // 128))
    _launch(kernel, (out.size(0), -(-out.size(1) // block)), out, *args, **flags)


def launch_places(kernel: Any, out: Tensor, *args: Any, **flags: Any) -> None:
    """Runs one program for each block of the memory of the output."""
    size = out.numel()
    flags.update(size=size, LARGE=size + _BLOCK > _LARGE, BLOCK=_BLOCK)
    _launch(kernel, (-(-size // _BLOCK),), out, *args, **flags)


def _launch(
    kernel: Any, grid: tuple[int, ...], out: Tensor, *args: Any, **options: Any
) -> None:
    if out.numel() > 0:
        with torch.cuda.device_of(out):
            kernel[grid](out, *args, **options, **OPTIONS)
