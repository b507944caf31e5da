"""Transforms driven by events: silent neurons cost next to nothing."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from spikegraph.coding import PhaseCode, Spikes
from spikegraph.coding.encoding import check_scale
from spikegraph.kernels.backend import (
    FAST_TYPES,
    are_fast,
    cpu_kernels,
    is_fast,
    needs_gradient,
)
from spikegraph.kernels.contents import note_finite
from spikegraph.kernels.memory import empty, flat
from spikegraph.kernels.neurons import (
    decode_spikes,
    encode_spikes,
    padded_thresholds,
    table_of,
)
from spikegraph.kernels.threads import share


def transform_spikes(
    spikes: Spikes, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    r"""Adds up the weights of the neurons that fire, times what their spikes
    stand for; those of silent neurons are not read.

    .. math::
        y_i = b + \sum_{f : t_{if} < T} s \, \ell_{t_{if}} \, w_f

    Args:
        spikes (Spikes): The spikes, with one scale, or one for each channel.
        weight (torch.Tensor): The weights :math:`(F_{out}, F_{in})`.
        bias (torch.Tensor, optional): The bias :math:`(F_{out})`.

    Raises:
        ValueError: If the widths differ.

    Shapes:
        - **input:** spikes :math:`(N, F_{in})`
        - **output:** values :math:`(N, F_{out})`
    """
    _check_width(spikes.shape, weight)
    scale, cpu = spikes.scale, cpu_kernels()
    usable = is_fast(spikes.spike_time, torch.uint8) and len(spikes.shape) == 2
    usable &= scale.numel() == 1 or scale.shape == spikes.shape[1:]
    if cpu is None or not usable or not _fit(scale, weight, bias):
        x = decode_spikes(spikes.spike_time, spikes.code, scale)
        return F.linear(x, weight, bias)
    weight = weight.detach().t()
    weight = (weight * scale.view(-1, 1) if scale.numel() > 1 else weight).contiguous()
    table = table_of(spikes.code, scale, scale.numel() > 1)
    num_rows, width = spikes.shape[0], weight.size(1)
    out = empty((num_rows, width), weight.dtype)
    work = partial(
        cpu.events.transform,
        *(flat(spikes.spike_time.contiguous()), weight.size(0), spikes.code.num_steps),
        *(flat(table), flat(weight), _flat_bias(bias, weight), flat(out), width),
    )
    share(work, num_rows, spikes.shape.numel(), 1)
    return out


def encode_transform(
    x: Tensor,
    code: PhaseCode,
    scale: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    is_relative: bool = False,
) -> Tensor:
    r"""Encodes values and transforms the spikes, row by row: what
    :func:`transform_spikes` makes of :func:`~spikegraph.kernels.encode_spikes`,
    but for the order of multiplications.

    Args:
        x (torch.Tensor): The values.
        code (PhaseCode): The phase code.
        scale (torch.Tensor): The scale, one number.
        weight (torch.Tensor): The weights :math:`(F_{out}, F_{in})`.
        bias (torch.Tensor, optional): The bias :math:`(F_{out})`.
        is_relative (bool, optional): Whether the scale is multiplied by the
            largest size of a value in each row. (default: :obj:`False`)

    Raises:
        ValueError: If the widths differ or :obj:`scale` is not positive.

    Shapes:
        - **input:** values :math:`(N, F_{in})`
        - **output:** values :math:`(N, F_{out})`
    """
    _check_width(x.shape, weight)
    scale, cpu = check_scale(scale, x), cpu_kernels()
    usable = is_fast(x, *FAST_TYPES) and x.dim() == 2 and scale.numel() == 1
    if cpu is None or not usable or not _fit(scale, weight, bias):
        if is_relative:
            scale = scale * row_peaks(x)
        x = decode_spikes(encode_spikes(x, code, scale), code, scale)
        return F.linear(x, weight, bias)
    weight = weight.detach().t().contiguous()
    table = table_of(code, scale, is_unscaled=True)
    thresholds, searched = padded_thresholds(code, x.dtype)
    num_rows, width = x.size(0), weight.size(1)
    out = empty((num_rows, width), x.dtype)
    work = partial(
        cpu.events.encode_transform,
        *(flat(x.detach().contiguous()), x.size(1), is_relative),
        *(flat(scale), thresholds, code.num_steps, code.signed, searched),
        *(flat(table), flat(weight), _flat_bias(bias, weight), flat(out), width),
    )
    if all(share(work, num_rows, x.numel(), 1)):
        note_finite(x)
    return out


def row_peaks(x: Tensor) -> Tensor:
    """The largest size of a value in each row, 1 if all are zero :math:`(N, 1)`.
    Not-a-number counts for nothing.
    """
    cpu = cpu_kernels()
    if cpu is None or not is_fast(x, *FAST_TYPES) or x.dim() != 2:
        peak = x.abs().nan_to_num(0.0, float('inf')).amax(dim=-1, keepdim=True)
        return peak.masked_fill(peak == 0, 1.0)
    peak = x.new_empty(x.size(0), 1)
    values = x.detach().contiguous()
    work = partial(cpu.neurons.peaks, flat(values), x.size(1), 1.0, flat(peak))
    share(work, x.size(0), x.numel(), 1)
    return peak


def _check_width(shape: torch.Size, weight: Tensor) -> None:
    if len(shape) == 0 or shape[-1] != weight.size(1):
        raise ValueError(
            f"Expected 'weight' to have a column for each of {list(shape)[-1:]} inputs "
            f'(got shape {list(weight.shape)})'
        )


def _fit(scale: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    is_fixed = scale.dtype == weight.dtype and not needs_gradient(scale)
    return is_fixed and are_fast(weight, bias)


def _flat_bias(bias: Tensor | None, weight: Tensor) -> object:
    return flat(weight.new_empty(0) if bias is None else bias.contiguous())
