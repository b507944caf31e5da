"""Transforms driven by events: silent neurons cost next to nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from spikegraph.coding import PhaseCode, Spikes
from spikegraph.coding.encoding import check_scale
from spikegraph.kernels.dispatch import call


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
    return call('transform', spikes.spike_time, spikes.code, spikes.scale, weight, bias)


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
    return call(
        'encode_transform', x, code, check_scale(scale, x), weight, bias, is_relative
    )


def row_peaks(x: Tensor) -> Tensor:
    """The largest size of a value in each row, 1 if all are zero :math:`(N, 1)`.
    Not-a-number counts for nothing.
    """
    return call('row_peaks', x)


def _check_width(shape: torch.Size, weight: Tensor) -> None:
    if len(shape) == 0 or shape[-1] != weight.size(1):
        raise ValueError(
            f"Expected 'weight' to have a column for each of {list(shape)[-1:]} inputs "
            f'(got shape {list(weight.shape)})'
        )
