"""Transforms driven by events."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from spikegraph.coding import PhaseCode
from spikegraph.kernels.contents import note_finite
from spikegraph.kernels.cpu.compiled import events, neurons
from spikegraph.kernels.cpu.neurons import limits_of
from spikegraph.kernels.cpu.rows import are_fixed
from spikegraph.kernels.memory import FLOATS, empty, flat, needs_gradient, padded_table
from spikegraph.kernels.threads import share


def transform(
    spike_time: Tensor,
    code: PhaseCode,
    scale: Tensor,
    weight: Tensor,
    bias: Tensor | None,
) -> Tensor:
    """See :func:`spikegraph.kernels.transform_spikes`."""
    is_one, shape = scale.numel() == 1, spike_time.shape
    fits = spike_time.dtype == torch.uint8 and len(shape) == 2
    fits &= is_one or scale.shape == shape[1:]
    if not fits or not _fit(scale, weight, bias):
        return NotImplemented
    given, table = weight.detach().t(), code.table().to(scale)
    if is_one:
        table = scale.view(-1) * table
    else:
        given = given * scale.view(-1, 1)
    times, out = (
        flat(spike_time.contiguous()),
        empty((shape[0], len(weight)), weight.dtype),
    )
    how = (shape[1], code.num_steps, flat(padded_table(table)))
    to = (flat(given.contiguous()), _flat_bias(bias, weight), flat(out), len(weight))
    share(partial(events.transform, times, *how, *to), shape[0], shape.numel(), 1)
    return out


def encode_transform(
    x: Tensor,
    code: PhaseCode,
    scale: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    is_relative: bool,
) -> Tensor:
    """See :func:`spikegraph.kernels.encode_transform`."""
    fits = x.dtype in FLOATS and x.dim() == 2 and scale.numel() == 1
    if not fits or not _fit(scale, weight, bias):
        return NotImplemented
    given, out = weight.detach().t().contiguous(), empty((len(x), len(weight)), x.dtype)
    work = partial(
        events.encode_transform,
        *(flat(x.detach().contiguous()), x.size(1), is_relative, flat(scale)),
        *(limits_of(code, x.dtype), flat(padded_table(code.table().to(scale)))),
        *(flat(given), _flat_bias(bias, weight), flat(out), len(weight)),
    )
    if all(share(work, len(x), x.numel(), 1)):
        note_finite(x)
    return out


def row_peaks(x: Tensor) -> Tensor:
    """See :func:`spikegraph.kernels.row_peaks`."""
    if x.dtype not in FLOATS or x.dim() != 2:
        return NotImplemented
    peak, values = x.new_empty(x.size(0), 1), x.detach().contiguous()
    work = partial(neurons.peaks, flat(values), x.size(1), 1.0, flat(peak))
    share(work, x.size(0), x.numel(), 1)
    return peak


def _fit(scale: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    is_fixed = scale.dtype == weight.dtype and not needs_gradient(scale)
    return is_fixed and are_fixed(weight, bias)


def _flat_bias(bias: Tensor | None, weight: Tensor) -> object:
    return flat(weight.new_empty(0) if bias is None else bias.contiguous())
