"""Convolutions over images whose channels are neighbours in memory."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from spikegraph.coding import PhaseCode
from spikegraph.kernels.cpu.compiled import images
from spikegraph.kernels.cpu.compiled.operands import LANES, Panels, Windows
from spikegraph.kernels.cpu.neurons import limits_for
from spikegraph.kernels.cpu.rows import are_fixed, known_panels
from spikegraph.kernels.images import Filters
from spikegraph.kernels.memory import empty, flat, needs_gradient, padded_table
from spikegraph.kernels.threads import MULTIPLIED, share

_MOST_WEIGHTS = 1 << 22  # Bytes: more are read sooner by the vendor's convolution.
_PLACES, _VALUES = (48, 192), 1 << 13  # Outputs at a time: places, and values.


def convolve(x: Tensor, filters: Filters) -> Tensor:
    """See :func:`spikegraph.kernels.convolve`."""
    windows = _windows(x, filters)
    if windows is None:
        return NotImplemented
    out, panels = _empty(x, filters), _panels(filters, windows)
    given = (flat(x), windows, panels, flat(out), filters.weight.size(0))
    _share(partial(images.convolve, *given), out, filters)
    return out


def convolve_decode(
    x: Tensor, filters: Filters, code: PhaseCode, scale: Tensor, other: Tensor | None
) -> Tensor:
    """See :func:`spikegraph.kernels.convolve_decode`."""
    windows, num_channels = _windows(x, filters), filters.weight.size(0)
    limits, per_channel = limits_for(code, x.dtype, scale), (num_channels, 1, 1)
    fits = limits.searched is not None and code.num_times <= 2 * LANES
    if windows is None or not fits or needs_gradient(other, scale):
        return NotImplemented
    if scale.numel() > 1 and scale.shape[-3:] != per_channel:
        return NotImplemented
    if scale.numel() not in (1, num_channels):
        return NotImplemented
    out = _empty(x, filters)
    if other is not None:
        is_alike = other.shape == out.shape and other.dtype == out.dtype
        if not is_alike or not other.is_contiguous(memory_format=torch.channels_last):
            return NotImplemented
        other = other.detach()
    scales = scale.detach().view(-1).expand(num_channels)
    scales = scales.repeat(windows.rows * windows.out_size[1])
    levels = flat(padded_table(code.table().to(x.dtype)))
    to = None if other is None else flat(other), flat(out)
    given = (flat(x), windows, _panels(filters, windows), *to)
    how = (limits, levels, flat(scales), num_channels)
    _share(partial(images.convolve_decode, *given, *how), out, filters)
    return out


def _windows(x: Tensor, filters: Filters) -> Windows | None:
    """What outputs see; None where the vendor's convolution is sooner."""
    weight = filters.weight
    if not are_fixed(weight, filters.bias) or weight.nbytes > _MOST_WEIGHTS:
        return None
    num_images, channels, height, width = x.shape
    num_outputs, _, *kernel = weight.shape
    size, how = (height, width), (filters.stride, filters.padding, filters.dilation)
    if kernel == [1, 1] and how == ((1, 1), (0, 0), (1, 1)):
        size = num_images * height, width  # Rows of all images are alike.
    out_size = filters.out_size(size)
    are_near = filters.dilation[1] == 1
    least, most = _PLACES
    num = min(most, max(least, _VALUES // num_outputs))
    rows = min(out_size[0], max(1, num // out_size[1]))
    across = 1 if are_near else kernel[1]
    return Windows(size, channels, out_size, (kernel[0], kernel[1]), *how, across, rows)


def _panels(filters: Filters, windows: Windows) -> Panels:
    """The kernels, place after place, in panels of columns."""
    depth = filters.weight.size(1) * (1 if windows.across > 1 else windows.kernel[1])
    return known_panels(filters.weight, filters.bias, None)._replace(depth=depth)


def _empty(x: Tensor, filters: Filters) -> Tensor:
    height, width = filters.out_size((x.size(2), x.size(3)))
    shape = (x.size(0), height, width, filters.weight.size(0))
    return empty(shape, x.dtype, x).permute(0, 3, 1, 2)


def _share(work: Any, out: Tensor, filters: Filters) -> None:
    num_rows = out.size(0) * out.size(2)
    num_weights = num_rows * out.size(3) * filters.weight.numel()
    share(work, num_rows, max(out.numel(), num_weights // MULTIPLIED), 1)
