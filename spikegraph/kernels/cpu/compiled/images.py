"""Convolutions over images whose channels are neighbours, a few rows of pixels at a
time: what they leave behind is fired where it is, in the caches.

Products are added up as those of rows are: one after the other, on the bias, whatever
else is computed with them.
"""

import numpy as np

from spikegraph.kernels.cpu.compiled.bisection import search_levels
from spikegraph.kernels.cpu.compiled.compilation import compiled, part
from spikegraph.kernels.cpu.compiled.products import (
    TILE_ROWS,
    multiply_places,
    narrow,
)


@part
def _frame(x, around, windows, image, top, num_rows):
    """Copies rows of an image; what is left and right of them is zero already."""
    height, size = windows.size[0], windows.size[1] * windows.channels
    left = windows.padding[1] * windows.channels
    line = size + 2 * left
    for i in range(num_rows):
        y, to = top + i, around[i * line + left : i * line + left + size]
        if y < 0 or y >= height:
            for j in range(size):
                to[j] = 0
        else:
            start = (image * height + y) * size
            row = x[start : start + size]
            for j in range(size):
                to[j] = row[j]


@part
def _place(windows, line, num_rows):
    """Where the windows of a few rows of outputs begin, and what they see."""
    width, channels = windows.out_size[1], windows.channels
    size = num_rows * width
    places = np.zeros(size + TILE_ROWS, np.int64)
    for i in range(size):
        y, x = divmod(i, width)
        y, x = y * windows.stride[0], x * windows.stride[1]
        places[i] = y * line + x * channels
    across = windows.across
    taps = np.empty(windows.kernel[0] * across, np.int64)
    for i in range(taps.size):
        y, x = divmod(i, across)
        y, x = y * windows.dilation[0], x * windows.dilation[1]
        taps[i] = y * line + x * channels
    return places, taps


@part
def _num_seen(windows, num_rows):
    """How many rows of an image a few rows of outputs see."""
    reach = (windows.kernel[0] - 1) * windows.dilation[0] + 1
    return (num_rows - 1) * windows.stride[0] + reach


@part
def _band(x, windows, panels, around, places, taps, found, image, first, last):
    """Writes the potentials of rows ``first`` to ``last`` of an image."""
    height, width, channels = windows.size[0], windows.size[1], windows.channels
    num = (last - first) * windows.out_size[1]
    top = first * windows.stride[0] - windows.padding[0]
    if around.size > 0:
        _frame(x, around, windows, image, top, _num_seen(windows, last - first))
        multiply_places(around, 0, places, num, taps, panels, found, 0)
    else:
        row = (image * height + top) * width * channels
        beyond = places[num : num + TILE_ROWS].copy()  # What fills the last tile,
        places[num : num + TILE_ROWS] = 0  # and may lie behind the last image.
        multiply_places(x, row, places, num, taps, panels, found, 0)
        places[num : num + TILE_ROWS] = beyond


@part
def _scratch(x, windows, panels):
    """Memory for a few rows of an image and for their potentials."""
    line = (windows.size[1] + 2 * windows.padding[1]) * windows.channels
    num_rows = min(windows.rows, windows.out_size[0])
    size = _num_seen(windows, num_rows) * line
    is_padded = windows.padding[0] + windows.padding[1] > 0
    around = np.zeros(size if is_padded else 0, x.dtype)
    places, taps = _place(windows, line, num_rows)
    found = np.empty(
        (num_rows * windows.out_size[1] + TILE_ROWS) * panels.bias.size, x.dtype
    )
    return around, places, taps, found


@compiled
def convolve(x, windows, panels, out, width, start, stop):
    """Writes the potentials of rows ``start`` to ``stop`` of all images in turn."""
    around, places, taps, found = _scratch(x, windows, panels)
    height, line = windows.out_size[0], windows.out_size[1] * width
    while start < stop:
        image, first = divmod(start, height)
        last = min(first + windows.rows, height, first + stop - start)
        _band(x, windows, panels, around, places, taps, found, image, first, last)
        to = out[start * line : (start + last - first) * line]
        narrow(found, to.size // width, panels.bias.size, width, to)
        start += last - first


@compiled
def convolve_decode(
    x, windows, panels, other, value, limits, table, scales, width, start, stop
):
    """Writes what the spikes stand for that :func:`convolve` would fire, plus others if
    there are any. There is a scale for each value of a few rows.
    """
    around, places, taps, found = _scratch(x, windows, panels)
    height, line = windows.out_size[0], windows.out_size[1] * width
    is_narrow = panels.bias.size != width
    potential = np.empty(places.size * width, x.dtype) if is_narrow else found
    given = limits.num_steps, limits.signed, limits.buckets
    while start < stop:
        image, first = divmod(start, height)
        last = min(first + windows.rows, height, first + stop - start)
        _band(x, windows, panels, around, places, taps, found, image, first, last)
        low, high = start * line, (start + last - first) * line
        size = high - low
        if is_narrow:
            narrow(found, size // width, panels.bias.size, width, potential)
        how = (value[low:high], limits.thresholds[0], table, scales[:size], *given)
        if other is None:
            search_levels(potential[:size], None, *how)
        else:
            search_levels(potential[:size], other[low:high], *how)
        start += last - first
