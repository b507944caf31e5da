from __future__ import annotations

import torch
from torch import Tensor

from spikegraph.coding.phase_code import MAX_NUM_STEPS, PhaseCode


def encode(x: Tensor, code: PhaseCode, scale: float | Tensor = 1.0) -> Tensor:
    r"""Encodes real values as spike times, as in the `"One-Spike SNN"
    <https://arxiv.org/abs/2403.08786>`_ paper.

    .. math::
        t_i = \min \{ t : x_i \geq s \, \theta_t \} \cup \{ T \}

    In a signed code, :math:`|x_i|` is compared, and negative values answer
    with an OFF spike, written as :math:`T + 1 + t_i`. Not-a-number reaches no
    threshold and stays silent.

    Args:
        x (torch.Tensor): The values to encode.
        code (PhaseCode): The phase code.
        scale (float or torch.Tensor, optional): The value :math:`s > 0` of a
            spike at level 1: one number, or a tensor that broadcasts to
            :obj:`x` (per channel :math:`(F)`, per node :math:`(N, 1)`).
            (default: :obj:`1.0`)

    Returns:
        torch.Tensor: The spike times (uint8); :math:`T` stands for no spike.

    Raises:
        ValueError: If :obj:`x` is not floating point, or if :obj:`scale` is
            not positive and finite or does not broadcast.

    Shapes:
        - **input:** values :math:`(*)`
        - **output:** spike times :math:`(*)`

    Example:
        >>> code = PhaseCode(num_steps=4, base=2)
        >>> encode(torch.tensor([2.0, 0.9, 0.3, 0.01]), code)
        tensor([0, 0, 2, 4], dtype=torch.uint8)
        >>> encode(torch.tensor([2.0, 0.9, 0.3, 0.01]), code, scale=2.0)
        tensor([0, 1, 3, 4], dtype=torch.uint8)
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise ValueError(
            f"Expected 'x' to be a tensor of floating point (got {_kind(x)})"
        )
    scale = check_scale(scale, x)
    value = x.abs() if code.signed else x
    thresholds = code.thresholds.to(x)
    if scale.numel() == 1:
        num_reached = count_reached(value, scale.view(-1) * thresholds)
    else:  # One at a time: there may be a scale for every node.
        num_reached = torch.zeros(x.shape, dtype=torch.uint8, device=x.device)
        for threshold in thresholds:
            num_reached += value >= scale * threshold
    spike_time = code.num_steps - num_reached
    if code.signed:
        is_off = (x < 0) & (num_reached > 0)
        spike_time = torch.where(is_off, spike_time + code.num_steps + 1, spike_time)
    return spike_time


def decode(
    spike_time: Tensor,
    code: PhaseCode,
    scale: float | Tensor = 1.0,
    dtype: torch.dtype | None = None,
) -> Tensor:
    r"""Returns the value that each spike time stands for.

    .. math::
        \hat{x}_i = s \, \ell_{t_i}, \qquad \hat{x}_i = 0
        \text{ if } t_i = T

    Args:
        spike_time (torch.Tensor): The spike times (uint8).
        code (PhaseCode): The phase code.
        scale (float or torch.Tensor, optional): The scale :math:`s`, as in
            :func:`encode`. (default: :obj:`1.0`)
        dtype (torch.dtype, optional): The data type of the output. (default:
            that of :obj:`scale`, or the default data type)

    Returns:
        torch.Tensor: The decoded values.

    Raises:
        ValueError: If :obj:`spike_time` is not uint8 or holds a value outside
            the code.

    Shapes:
        - **input:** spike times :math:`(*)`
        - **output:** values :math:`(*)`

    Example:
        >>> code = PhaseCode(num_steps=4, base=2)
        >>> decode(torch.tensor([0, 1, 3, 4], dtype=torch.uint8), code, scale=2.0)
        tensor([2.0000, 1.0000, 0.2500, 0.0000])
    """
    if not isinstance(spike_time, Tensor) or spike_time.dtype != torch.uint8:
        found = _kind(spike_time)
        raise ValueError(f"Expected 'spike_time' to be a tensor of uint8 (got {found})")
    if dtype is None:
        is_real = isinstance(scale, Tensor) and scale.is_floating_point()
        dtype = scale.dtype if is_real else torch.get_default_dtype()  # type: ignore
    table = code.table().to(device=spike_time.device, dtype=dtype)
    if spike_time.numel() > 0 and bool(spike_time.max() >= table.numel()):
        raise ValueError(
            f"Expected 'spike_time' to be at most {table.numel() - 1} for {code} "
            f'(got {int(spike_time.max())})'
        )
    # A table look-up, once for each distinct scale where there is only one.
    if not isinstance(scale, Tensor) or scale.numel() == 1:
        scale = scale.to(table).view(-1) if isinstance(scale, Tensor) else scale
        return (scale * table)[spike_time.int()]
    return table[spike_time.int()] * scale.to(table)


def count_reached(value: Tensor, thresholds: Tensor) -> Tensor:
    """How many of the decreasing thresholds :math:`(T, *)` lie at or below each
    value (uint8).
    """
    if thresholds.dim() == 1:
        ascending = thresholds.flip(0)
        num_reached = torch.bucketize(
            value.contiguous(), ascending, out_int32=True, right=True
        ).to(torch.uint8)
        return num_reached.masked_fill_(value.isnan(), 0)
    num_reached = torch.zeros(value.shape, dtype=torch.uint8, device=value.device)
    for threshold in thresholds:
        num_reached += value >= threshold
    return num_reached


def check_scale(scale: float | Tensor, x: Tensor) -> Tensor:
    """Returns ``scale`` as a tensor like ``x`` if it is positive and fits."""
    scale = torch.as_tensor(scale, dtype=x.dtype, device=x.device)
    is_valid = (scale > 0) & (scale < float('inf'))
    if not bool(is_valid.all()):
        bad = scale[~is_valid].reshape(-1)[0].item()
        raise ValueError(f"Expected 'scale' to be positive and finite (got {bad:g})")
    pairs = zip(reversed(scale.shape), reversed(x.shape), strict=False)
    fits = scale.dim() <= x.dim() and all(s in (1, size) for s, size in pairs)
    if scale.numel() != 1 and not fits:
        raise ValueError(
            f"Expected 'scale' to broadcast to the values {tuple(x.shape)} "
            f'(got {tuple(scale.shape)})'
        )
    return scale


def check_thresholds(thresholds: Tensor) -> int:
    """Returns how many steps thresholds :math:`(T, *)` are for, if a byte can
    hold their spike times.
    """
    num_steps = len(thresholds) if thresholds.dim() else 0
    if not 1 <= num_steps <= MAX_NUM_STEPS:
        raise ValueError(
            f"Expected 'thresholds' to hold 1 to {MAX_NUM_STEPS} steps "
            f'(got shape {list(thresholds.shape)})'
        )
    return num_steps


def _kind(value: object) -> object:
    return value.dtype if isinstance(value, Tensor) else type(value).__name__
