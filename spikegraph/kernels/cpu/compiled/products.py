"""Rows times weights, and sums over neighbours times weights, a few rows at a time, so
that real values never leave the caches.

Whatever rows a row is computed with, its products are added up alike: one input after
the other, on the bias, in a lane of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types

from spikegraph.kernels.cpu.compiled.compilation import (
    HAS_AVX512,
    compiled,
    intrinsic,
    part,
)
from spikegraph.kernels.cpu.compiled.graph import aggregate, encode_rows
from spikegraph.kernels.cpu.compiled.vectors import (
    LANES,
    access,
    function,
    load,
    name_of,
    spread,
    store,
)

# Rows whose products are held in registers, and bytes of columns.
TILE_ROWS, TILE_BYTES = (12, 128) if HAS_AVX512 else (6, 64)
CHUNK = 48  # Rows at a time.
BLOCK = 16  # Inputs whose weights are moved at a time.
ONE, TWO = (0,), (0, 0)
WHOLE, HALF = TILE_ROWS * (0,), TILE_ROWS // 2 * (0,)


@intrinsic
def _multiply_tile(
    typing,
    x,
    row,
    places,
    first,
    taps,
    depth,
    panel,
    begin,
    bias,
    column,
    out,
    position,
    stride,
    vectors,
    height,
):
    """Writes a bias plus the products of a few rows of ``x`` and one panel of weights.
    Rows begin at some of the places, counted from ``row``, and consist of ``depth``
    values behind each tap, counted from there.
    """
    signature = types.void(
        *(x, row, places, first, taps, depth, panel, begin, bias, column, out),
        *(position, stride, vectors, height),
    )
    num_vectors, num_rows, real = len(vectors), len(height), out.dtype
    lanes = min(LANES, 8 * TILE_BYTES // real.bitwidth)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = access(context, builder, signature, arguments)
        row, first, depth, begin, column, position, stride = (
            arguments[k] for k in (1, 3, 5, 7, 9, 11, 12)
        )
        array = context.make_array(signature.args[4])(context, builder, arguments[4])
        num_taps = builder.extract_value(array.shape, 0)
        vector = ir.VectorType(context.get_value_type(real), lanes)
        integer = depth.type
        offsets = builder.gep(data(8), [column])
        sums = [
            [cgutils.alloca_once(builder, vector) for _ in range(num_vectors)]
            for _ in range(num_rows)
        ]
        for k in range(num_vectors):
            value = load(builder, builder.gep(offsets, [integer(k * lanes)]), vector)
            for r in range(num_rows):
                builder.store(value, sums[r][k])
        rows = []
        for r in range(num_rows):
            at = builder.gep(data(2), [builder.add(first, integer(r))])
            rows.append(builder.gep(data(0), [builder.add(row, builder.load(at))]))
        weights = builder.gep(data(6), [begin])
        add = function(builder, f'fmuladd.{name_of(vector)}', vector, [vector] * 3)
        with cgutils.for_range(builder, num_taps) as each:
            tap = builder.load(builder.gep(data(4), [each.index]))
            before = builder.mul(each.index, depth)
            with cgutils.for_range(builder, depth) as loop:
                at = builder.add(before, loop.index)
                at = builder.mul(at, integer(num_vectors * lanes))
                start = builder.gep(weights, [at])
                columns = [
                    load(builder, builder.gep(start, [integer(k * lanes)]), vector)
                    for k in range(num_vectors)
                ]
                at = builder.add(tap, loop.index)
                for r in range(num_rows):
                    value = builder.load(builder.gep(rows[r], [at]))
                    value = spread(builder, value, vector)
                    for k, column in enumerate(columns):
                        total = builder.load(sums[r][k])
                        total = builder.call(add, [value, column, total])
                        builder.store(total, sums[r][k])
        for r in range(num_rows):
            for k in range(num_vectors):
                at = builder.add(position, builder.mul(stride, integer(r)))
                at = builder.add(at, integer(k * lanes))
                total = builder.load(sums[r][k])
                store(builder, total, builder.gep(data(10), [at]))
        return context.get_dummy_value()

    return signature, generate


@part
def multiply_places(x, row, places, num_rows, taps, panels, out, to):
    """Writes rows of products, as wide as the bias, in tiles: a few places more are read,
    and rows written, than there are.
    """
    depth, bias = panels.depth, panels.bias
    padded, unit = bias.size, TILE_BYTES // out.itemsize
    lanes = min(LANES, unit)
    for column in range(0, padded, unit):
        is_one = min(unit, padded - column) <= lanes
        begin = column * depth * taps.size
        panel = (taps, depth, panels.weight, begin, bias, column, out)
        i = 0
        while i < num_rows:
            is_whole = num_rows - i > TILE_ROWS // 2
            # Not in a function of its own: called, tiles take longer.
            position = to + i * padded + column
            if is_whole:
                if is_one:
                    _multiply_tile(
                        x, row, places, i, *panel, position, padded, ONE, WHOLE
                    )
                else:
                    _multiply_tile(
                        x, row, places, i, *panel, position, padded, TWO, WHOLE
                    )
                i += TILE_ROWS
            else:
                if is_one:
                    _multiply_tile(
                        x, row, places, i, *panel, position, padded, ONE, HALF
                    )
                else:
                    _multiply_tile(
                        x, row, places, i, *panel, position, padded, TWO, HALF
                    )
                i += TILE_ROWS // 2


@part
def _multiply(x, begin, step, num_rows, panels, out, to):
    """The same for rows that follow each other every ``step``, at most a chunk."""
    places, taps = np.arange(CHUNK) * step, np.zeros(1, np.int64)
    multiply_places(x, begin, places, num_rows, taps, panels, out, to)


@part
def narrow(x, num_rows, padded, width, out):
    """Copies rows without what pads them."""
    for i in range(num_rows):
        source = x[i * padded : i * padded + width]
        target = out[i * width : (i + 1) * width]
        for j in range(width):
            target[j] = source[j]


@compiled
def fill(weight, scale, num_outputs, depth, panels, padded, start, stop):
    """Writes weights ``[num_outputs, depth]`` of inputs ``start`` to ``stop`` into panels
    of columns, times the scale of each input if there are any.
    """
    unit = TILE_BYTES // panels.itemsize
    for column in range(0, padded, unit):
        width = min(unit, padded - column)
        panel = panels[column * depth : (column + width) * depth]
        for low in range(start, stop, BLOCK):
            high = min(low + BLOCK, stop)
            for j in range(width):
                if column + j >= num_outputs:
                    for k in range(low, high):
                        panel[k * width + j] = 0
                    continue
                row = weight[(column + j) * depth : (column + j + 1) * depth]
                if scale.size > 0:
                    for k in range(low, high):
                        panel[k * width + j] = row[k] * scale[k]
                else:
                    for k in range(low, high):
                        panel[k * width + j] = row[k]


@compiled
def multiply(x, step, panels, out, width, start, stop):
    """Writes the products of rows of ``x``, one every ``step``, and weights, plus a
    bias. Rows that do not fill a tile are read from a place where they do.
    """
    depth, padded = panels.depth, panels.bias.size
    few, found = np.zeros(TILE_ROWS * depth, x.dtype), np.empty(CHUNK * padded, x.dtype)
    for low in range(start, stop, CHUNK):
        high = min(low + CHUNK, stop)
        rest = (high - low) % TILE_ROWS
        full = high - rest
        if padded == width:
            _multiply(x, low * step, step, full - low, panels, out, low * width)
        else:
            _multiply(x, low * step, step, full - low, panels, found, 0)
            to = out[low * width : full * width]
            narrow(found, full - low, padded, width, to)
        if rest > 0:
            for i in range(rest):
                row = x[(full + i) * step : (full + i) * step + depth]
                few[i * depth : (i + 1) * depth] = row
            _multiply(few, 0, depth, rest, panels, found, 0)
            narrow(found, rest, padded, width, out[full * width : high * width])


@compiled
def product(csr, sent, panels, out, offset, width, start, stop):
    """Writes the sums of :func:`~spikegraph.kernels.cpu.compiled.graph.aggregate`, times
    weights plus a bias; the first row of ``out`` is row ``offset``.
    """
    depth, bias, dtype = panels.depth, panels.bias, sent.table.dtype
    sums, found = np.zeros(CHUNK * depth, dtype), np.empty(CHUNK * bias.size, dtype)
    for low in range(start, stop, CHUNK):
        high = min(low + CHUNK, stop)
        aggregate(csr, sent, sums, low, depth, low, high)
        _multiply(sums, 0, depth, high - low, panels, found, 0)
        to = out[(low - offset) * width : (high - offset) * width]
        narrow(found, high - low, bias.size, width, to)


@compiled
def product_encode(
    csr, sent, panels, limits, scales, by_column, spike_time, width, start, stop
):
    """Fires what :func:`product` would write, see
    :func:`~spikegraph.kernels.cpu.compiled.graph.encode_rows`.
    """
    depth, bias, dtype = panels.depth, panels.bias, sent.table.dtype
    sums, found = np.zeros(CHUNK * depth, dtype), np.empty(CHUNK * bias.size, dtype)
    potential = found if bias.size == width else np.empty(CHUNK * width, dtype)
    for low in range(start, stop, CHUNK):
        high = min(low + CHUNK, stop)
        aggregate(csr, sent, sums, low, depth, low, high)
        _multiply(sums, 0, depth, high - low, panels, found, 0)
        if bias.size != width:
            narrow(found, high - low, bias.size, width, potential)
        num = (high - low) * width
        out = spike_time[low * width : high * width]
        encode_rows(potential[:num], out, limits, scales, by_column)
