"""Potentials as spike times, and spike times as values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegraph.coding import PhaseCode
from spikegraph.coding.encoding import check_scale, check_thresholds
from spikegraph.kernels.dispatch import call
from spikegraph.kernels.events import row_peaks
from spikegraph.kernels.memory import FLOATS, NUM_BYTES


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
    if potential.dtype in FLOATS:
        scale = check_scale(scale, potential)
    return call('encode', potential, code, scale)


def encode_rows(x: Tensor, code: PhaseCode, scale: Tensor) -> tuple[Tensor, Tensor]:
    r"""Returns the spike times of rows with scales relative to their largest sizes,
    and these scales.

    .. math::
        s_i = s \, \max_j |x_{ij}|

    Args:
        x (torch.Tensor): The values.
        code (PhaseCode): The phase code.
        scale (torch.Tensor): The factor :math:`s`, one number. A row of zeros has it
            for its scale.

    Raises:
        ValueError: As :func:`spikegraph.coding.encode`.

    Shapes:
        - **input:** values :math:`(N, F)`
        - **output:** spike times :math:`(N, F)`, uint8; scales :math:`(N, 1)`
    """
    found: Any = call('encode_rows', x, code, scale)
    if found is not NotImplemented:
        return found
    scales = scale * row_peaks(x)
    return encode_spikes(x, code, scales), scales


def encode_decode(
    potential: Tensor,
    code: PhaseCode,
    scale: float | Tensor = 1.0,
    other: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    r"""Returns what the spikes of a sum of potentials stand for, bit by bit as
    :func:`decode_spikes` does for :func:`encode_spikes`, sooner: no spike time is
    written down.

    .. math::
        \hat{x}_i = s \, \ell_{t(x_i + y_i)}

    Args:
        potential (torch.Tensor): The membrane potentials :math:`x`.
        code (PhaseCode): The phase code.
        scale (float or torch.Tensor, optional): The scale, as in
            :func:`encode_spikes`. (default: :obj:`1.0`)
        other (torch.Tensor, optional): Potentials :math:`y` to be added.
            (default: :obj:`None`)
        out (torch.Tensor, optional): Where the result may be written, such as
            :obj:`potential` itself, if it has that shape and type.
            (default: :obj:`None`)

    Raises:
        ValueError: As :func:`spikegraph.coding.encode`.

    Shapes:
        - **input:** potentials :math:`(*)`
        - **output:** values :math:`(*)`
    """
    if potential.dtype in FLOATS:
        scale = check_scale(scale, potential)
        if out is not None:
            is_room = out.shape == potential.shape and out.dtype == potential.dtype
            out = out if is_room else None
        if other is None or other.shape == potential.shape:
            found = call('encode_decode', potential, code, scale, other, out)
            if found is not NotImplemented:
                return found
    if other is not None:
        potential = potential + other
    return decode_spikes(encode_spikes(potential, code, scale), code, scale)


def first_spike(
    potential: Tensor,
    thresholds: Tensor,
    signed: bool = False,
    factor: Tensor | None = None,
) -> Tensor:
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
        factor (torch.Tensor, optional): What each neuron's thresholds are
            multiplied by, positive; it broadcasts to :obj:`potential`.
            (default: :obj:`None`)

    Raises:
        ValueError: If there are no thresholds or more than a byte can count.

    Shapes:
        - **input:** potentials :math:`(*)`
        - **output:** spike times :math:`(*)`, uint8
    """
    check_thresholds(thresholds)
    thresholds = thresholds.to(potential)
    if factor is None:
        return call('first_spike', potential, thresholds, signed)
    return call('first_spike', potential, thresholds, signed, factor.to(potential))


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
    return call('decode', spike_time, code, scale, dtype)


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
    if table.dim() != 1 or not 1 <= len(table) <= NUM_BYTES:
        raise ValueError(
            f"Expected 'table' to hold 1 to {NUM_BYTES} levels "
            f'(got shape {list(table.shape)})'
        )
    return call('look_up', spike_time, table, scale)
