"""Firing and decoding: on the CPU by Numba, on CUDA by Triton, elsewhere by
PyTorch.
"""

from __future__ import annotations

import functools
import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from spikegraph.coding import PhaseCode, encoding
from spikegraph.coding.encoding import check_scale, check_thresholds, count_reached
from spikegraph.kernels import triton
from spikegraph.kernels.backend import (
    FAST_TYPES,
    cpu_kernels,
    is_fast,
    needs_gradient,
)
from spikegraph.kernels.memory import columns_of, dense, empty_like, flat, runs_of
from spikegraph.kernels.threads import share

_MIN_RUN = 128  # Shorter runs of a channel are read by columns,
_MIN_ONLY_RUN = 48  # or those of a channel that has no other.
_MIN_ROWS = 32  # What rows have to share for a table of their columns.
_NUM_BYTES = 256


def encode_spikes(
    potential: Tensor, code: PhaseCode, scale: float | Tensor = 1.0
) -> Tensor:
    r"""Returns the spike times of :func:`spikegraph.coding.encode`, bit by bit,
    sooner.

    Args:
        potential (torch.Tensor): The membrane potentials.
        code (PhaseCode): The phase code.
        scale (float or torch.Tensor, optional): The scale, one number or a
            tensor that broadcasts to :obj:`potential`. (default: :obj:`1.0`)

    Raises:
        ValueError: As :func:`spikegraph.coding.encode`.

    Shapes:
        - **input:** potentials :math:`(*)`
        - **output:** spike times :math:`(*)`, uint8
    """
    if is_fast(potential, *FAST_TYPES) or _on_cuda(potential, *FAST_TYPES):
        checked = check_scale(scale, potential)
        thresholds = code.thresholds.to(potential)
        spike_time = _first_spike(potential, thresholds, checked, code.signed)
        if spike_time is not None:
            return spike_time
    return encoding.encode(potential, code, scale)


def first_spike(potential: Tensor, thresholds: Tensor, signed: bool = False) -> Tensor:
    r"""Compares potentials with thresholds that include the scale.

    .. math::
        t_i = T - |\{ t : v_i \geq \theta_t \}|

    In a signed code, :math:`|v_i|` is compared, and :math:`T + 1 + t_i` stands
    for the OFF spike of a negative one. A potential or a threshold that is not
    a number is never reached and never reaches any.

    Args:
        potential (torch.Tensor): The membrane potentials :math:`v`.
        thresholds (torch.Tensor): The thresholds :math:`(T)`, or :math:`(T, *)`
            where every :math:`(*)` broadcasts to :obj:`potential`, decreasing.
        signed (bool, optional): Whether negative potentials fire OFF spikes.
            (default: :obj:`False`)

    Raises:
        ValueError: If there are no thresholds or more than a byte can count.

    Shapes:
        - **input:** potentials :math:`(*)`
        - **output:** spike times :math:`(*)`, uint8
    """
    num_steps = check_thresholds(thresholds)
    thresholds = thresholds.to(potential)
    if is_fast(potential, *FAST_TYPES) or _on_cuda(potential, *FAST_TYPES):
        spike_time = _first_spike(
            potential, thresholds, thresholds.new_ones(()), signed
        )
        if spike_time is not None:
            return spike_time
    value = potential.abs() if signed else potential
    if thresholds.dim() == 1:  # None of those that are never reached counts.
        num_reached = count_reached(value, thresholds[~thresholds.isnan()])
    else:
        num_reached = count_reached(value, thresholds)
    spike_time = num_steps - num_reached
    is_off = (potential < 0) & (num_reached > 0) & signed
    return torch.where(is_off, spike_time + num_steps + 1, spike_time)


def decode_spikes(
    spike_time: Tensor,
    code: PhaseCode,
    scale: float | Tensor = 1.0,
    dtype: torch.dtype | None = None,
) -> Tensor:
    r"""Returns the values of :func:`spikegraph.coding.decode`, bit by bit,
    sooner.

    Args:
        spike_time (torch.Tensor): The spike times (uint8).
        code (PhaseCode): The phase code.
        scale (float or torch.Tensor, optional): The scale, as in
            :func:`encode_spikes`. (default: :obj:`1.0`)
        dtype (torch.dtype, optional): The data type of the output. (default:
            that of :obj:`scale`, or the default data type)

    Raises:
        ValueError: As :func:`spikegraph.coding.decode`.

    Shapes:
        - **input:** spike times :math:`(*)`
        - **output:** values :math:`(*)`
    """
    if dtype is None:
        is_real = isinstance(scale, Tensor) and scale.is_floating_point()
        dtype = scale.dtype if is_real else torch.get_default_dtype()  # type: ignore
    table = code.table().to(device=spike_time.device, dtype=dtype)
    value = _look_up(spike_time, table, scale)
    return (
        value if value is not None else encoding.decode(spike_time, code, scale, dtype)
    )


def look_up(spike_time: Tensor, table: Tensor, scale: float | Tensor = 1.0) -> Tensor:
    r"""Looks spike times up in a table.

    .. math::
        \hat{x}_i = s \, \ell_{t_i}

    Args:
        spike_time (torch.Tensor): The spike times (uint8).
        table (torch.Tensor): The level :math:`\ell` of each spike time
            :math:`(K)`.
        scale (float or torch.Tensor, optional): The scale, one number or a
            tensor that broadcasts to :obj:`spike_time`.
            (default: :obj:`1.0`)

    Raises:
        ValueError: If :obj:`spike_time` is not uint8 or not in the table.

    Shapes:
        - **input:** spike times :math:`(*)`
        - **output:** values :math:`(*)`
    """
    if spike_time.dtype != torch.uint8:
        raise ValueError(f"Expected 'spike_time' to be uint8 (got {spike_time.dtype})")
    if table.dim() != 1 or not 1 <= len(table) <= _NUM_BYTES:
        raise ValueError(
            f"Expected 'table' to hold 1 to {_NUM_BYTES} levels "
            f'(got shape {list(table.shape)})'
        )
    value = _look_up(spike_time, table, scale)
    if value is not None:
        return value
    if spike_time.numel() > 0 and int(spike_time.max()) >= len(table):
        raise ValueError(
            f"Expected 'spike_time' to be at most {len(table) - 1}, the last entry of "
            f"'table' (got {int(spike_time.max())})"
        )
    if not isinstance(scale, Tensor) or scale.numel() == 1:
        scale = scale.to(table).view(-1) if isinstance(scale, Tensor) else scale
        return (scale * table)[spike_time.int()]
    return table[spike_time.int()] * scale.to(table)


def table_of(code: PhaseCode, scale: Tensor, is_unscaled: bool = False) -> Tensor:
    """The value of every byte as a spike time, 0 for those that are none."""
    table = code.table().to(scale)
    if not is_unscaled:
        table = scale.view(-1) * table
    padded = table.new_zeros(_NUM_BYTES)
    padded[: len(table)] = table
    return padded


@functools.lru_cache(maxsize=256)
def padded_thresholds(code: PhaseCode, dtype: torch.dtype) -> tuple[Any, bool | None]:
    """The thresholds :math:`(1, K)` as kernels read them, and whether they are
    searched: True or None, as these are types to a compiler.
    """
    return _padded(code.thresholds.to(dtype).view(1, -1))


def _padded(thresholds: Tensor) -> tuple[Any, bool | None]:
    """Thresholds :math:`(C, T)`, followed by minus infinity where they can be
    searched in registers, else by some that are never reached.
    """
    cpu = cpu_kernels()
    assert cpu is not None
    num_steps, lanes = thresholds.size(1), cpu.registers.LANES
    before, after = thresholds[:, :-1], thresholds[:, 1:]
    decreases = bool(((before >= after) | before.isnan()).all())
    fits = num_steps < 2 * lanes and thresholds.dtype == torch.float32
    searched = True if cpu.compilation.HAS_AVX512 and fits and decreases else None
    if searched:
        size, value = lanes * (1 + num_steps // lanes), -math.inf
    else:
        group = cpu.neurons.GROUP
        size, value = -(-num_steps // group) * group, math.nan
    padded = thresholds.new_full((len(thresholds), size), value)
    padded[:, :num_steps] = thresholds
    return padded.numpy(), searched


def _is_short(num_channels: int, length: int, size: int) -> bool:
    """Whether scales are laid out in columns rather than read once for each run."""
    is_only = num_channels * length == size
    return num_channels > 1 and length < (_MIN_ONLY_RUN if is_only else _MIN_RUN)


def _on_cuda(x: Tensor, *dtypes: torch.dtype) -> bool:
    """Whether Triton's kernels can read a tensor."""
    return x.dtype in dtypes and x.numel() > 0 and triton.is_available(x.detach())


def _first_spike(
    potential: Tensor, thresholds: Tensor, scale: Tensor, signed: bool
) -> Tensor | None:
    """Fires by thresholds :math:`(T)` times a scale, or :math:`(T, *)`; None if
    they differ along more than one dimension.
    """
    x = dense(potential)
    runs = runs_of(scale.shape if thresholds.dim() == 1 else thresholds.shape[1:], x)
    if runs is None:
        return None
    if triton.is_available(x):
        return triton.first_spike(x, None, thresholds, scale, signed)
    if (cpu := cpu_kernels()) is None:
        return None
    num_channels, length = runs
    num_steps, size = len(thresholds), x.numel()
    out = empty_like(x, torch.uint8)
    value, time = flat(x), flat(out)
    num_padded = -(-num_steps // cpu.neurons.GROUP) * cpu.neurons.GROUP
    per_channel = thresholds.detach().reshape(num_steps, -1)
    is_short = _is_short(num_channels, length, size)
    if is_short and thresholds.dim() > 1 and size >= _MIN_ROWS * length * num_channels:
        rows = columns_of(per_channel, length, size)
        period = rows.size(1)
        num_blocks = -(-period // cpu.neurons.COLUMNS)
        padded = rows.new_full((num_padded, num_blocks * cpu.neurons.COLUMNS), math.nan)
        padded[:num_steps, :period] = rows
        padded = padded.view(num_padded, num_blocks, cpu.neurons.COLUMNS).transpose(
            0, 1
        )
        blocks = padded.reshape(num_blocks, -1).numpy()
        work = partial(
            cpu.neurons.encode_table, value, time, blocks, period, num_steps, signed
        )
        share(work, -(-size // period), size, cpu.neurons.ROWS)
        return out
    table, searched = _padded(per_channel.t())
    factors, how = scale.detach().reshape(1, -1), (num_steps, signed, searched)
    if is_short and thresholds.dim() == 1:
        scales = columns_of(factors, length, size).view(-1).numpy()
        work = partial(cpu.neurons.encode_columns, value, time, table[0], scales)
        share(partial(work, *how), -(-size // len(scales)), size, 1)
    else:
        scales = factors.view(-1).numpy()
        work = partial(
            cpu.neurons.encode_runs, value, time, table, scales, num_channels, length
        )
        share(partial(work, *how), size, size, 64)
    return out


def _look_up(spike_time: Tensor, table: Tensor, scale: float | Tensor) -> Tensor | None:
    """Looks spike times up; None if the kernels cannot, or one is not there."""
    if table.device != spike_time.device or table.dtype not in FAST_TYPES:
        return None
    readable = is_fast(spike_time, torch.uint8) or _on_cuda(spike_time, torch.uint8)
    if not readable or needs_gradient(table):
        return None
    table = table.detach()
    if isinstance(scale, Tensor):
        if needs_gradient(scale):
            return None
        scale = scale.detach().to(table)
    x = dense(spike_time)
    factors = table.new_ones(1)
    if not isinstance(scale, Tensor) or scale.numel() == 1:
        table = scale.view(-1) * table if isinstance(scale, Tensor) else scale * table
    else:
        factors = scale
    runs = runs_of(factors.shape, x)
    if runs is None:
        return None
    if triton.is_available(x):
        in_table = int(x.max()) < len(table)
        return triton.look_up(x, table, factors) if in_table else None
    if (cpu := cpu_kernels()) is None:
        return None
    num_channels, length = runs
    size = x.numel()
    out = empty_like(x, table.dtype)
    padded = table.new_zeros(_NUM_BYTES)  # Any byte is an index.
    padded[: len(table)] = table
    time, value, levels = flat(x), flat(out), padded.numpy()
    factors = factors.reshape(1, -1)
    if _is_short(num_channels, length, size):
        scales = columns_of(factors, length, size).view(-1).numpy()
        work = partial(
            cpu.decoding.decode_columns, time, value, levels, len(table), scales
        )
        largest = share(work, -(-size // len(scales)), size, 1)
    else:
        scales = factors.view(-1).numpy()
        work = partial(
            cpu.decoding.decode_runs, time, value, levels, len(table), scales
        )
        largest = share(partial(work, num_channels, length), size, size, 64)
    return out if max(largest) < len(table) else None
