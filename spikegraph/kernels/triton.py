"""Graph and spike operations on CUDA tensors, by Triton.

:mod:`spikegraph.kernels.reference` defines what they return. A row is summed by
one program, edge by edge in the order given, and products are rounded before
they are added: the same graph gives the same bits, on every device. Nothing here
has a gradient. Triton is imported by the first call; under ``TRITON_INTERPRET=1``,
set before, the functions take CPU tensors too, slowly.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from types import ModuleType

import torch
from torch import Tensor

from spikegraph.coding.encoding import check_thresholds
from spikegraph.kernels.memory import dense, is_plain
from spikegraph.kernels.operands import (
    VALUES,
    channels,
    check_columns,
    check_dtype,
    edges,
    levels,
    matrix,
    neuron,
    scaled,
    vector,
)

_MIN_CAPABILITY = (7, 5)


def is_available(tensor: Tensor) -> bool:
    """Whether the functions of this module take a tensor: one on a CUDA device,
    in ordinary memory, that needs no gradient. If Triton cannot be imported, it
    warns once and returns False.
    """
    return (
        tensor.is_cuda
        and is_plain(tensor)
        and tensor.dtype in (*VALUES, torch.uint8)
        and not (tensor.requires_grad and torch.is_grad_enabled())
        and torch.cuda.get_device_capability(tensor.device) >= _MIN_CAPABILITY
        and _is_installed()
    )


def aggregate(
    rowptr: Tensor,
    col: Tensor,
    weight: Tensor | None,
    x: Tensor,
    source_factor: Tensor | None = None,
    target_factor: Tensor | None = None,
) -> Tensor:
    r"""Sums rows of values over in-neighbours.

    .. math::
        y_i = b_i \sum_{j \in \mathcal{N}(i)} (w_{ij} \, a_j) \, x_j

    Args:
        rowptr (torch.Tensor): Where the in-edges of each node start (int32 or
            int64).
        col (torch.Tensor): The source node of each edge (int32 or int64).
        weight (torch.Tensor, optional): The weight :math:`w` of each edge.
        x (torch.Tensor): The values, float32 or float64; weights and factors
            are rounded to their data type.
        source_factor (torch.Tensor, optional): The factor :math:`a_j` of each
            source. (default: :obj:`None`)
        target_factor (torch.Tensor, optional): The factor :math:`b_i` of each
            destination. (default: :obj:`None`)

    Raises:
        ImportError: If Triton cannot be imported.
        ValueError: If a shape or a data type is another one.

    Shapes:
        - **input:** graph :math:`(N + 1), (E)`, weights :math:`(E)`, values
          :math:`(M, F)`, factors :math:`(M)` or :math:`(M, 1)` and :math:`(N)`
          or :math:`(N, 1)`
        - **output:** sums :math:`(N, F)`
    """
    return _sum(rowptr, col, weight, x, None, source_factor, target_factor)


def aggregate_spikes(
    rowptr: Tensor,
    col: Tensor,
    weight: Tensor | None,
    spike_time: Tensor,
    table: Tensor,
    source_factor: Tensor | None = None,
    target_factor: Tensor | None = None,
) -> Tensor:
    r"""Sums the levels of spikes over in-neighbours; what is read of each is a
    byte.

    Args:
        rowptr, col, weight, source_factor, target_factor (torch.Tensor): The
            graph, as in :func:`aggregate`.
        spike_time (torch.Tensor): The spike times (uint8).
        table (torch.Tensor): The level of each spike time, float32 or float64.
            A spike time that is not in the table counts as not-a-number.

    Raises:
        ImportError, ValueError: As :func:`aggregate`.

    Shapes:
        - **input:** graph and factors as in :func:`aggregate`, spike times
          :math:`(M, F)`, table :math:`(K)`
        - **output:** sums :math:`(N, F)`
    """
    return _sum(rowptr, col, weight, spike_time, table, source_factor, target_factor)


def aggregate_encode(
    rowptr: Tensor,
    col: Tensor,
    weight: Tensor | None,
    x: Tensor,
    table: Tensor | None,
    source_factor: Tensor | None,
    target_factor: Tensor | None,
    bias: Tensor | None,
    thresholds: Tensor,
    scale: float | Tensor = 1.0,
    signed: bool = False,
) -> Tensor:
    r"""Sums over in-neighbours, adds the bias and fires, without writing the
    potentials down.

    Args:
        rowptr, col, weight, source_factor, target_factor (torch.Tensor): The
            graph, as in :func:`aggregate`.
        x (torch.Tensor): Values, or spike times if there is a table.
        table (torch.Tensor, optional): As in :func:`aggregate_spikes`.
        bias (torch.Tensor, optional): What is added to each channel.
        thresholds (torch.Tensor): The thresholds of :func:`first_spike`.
        scale (float or torch.Tensor, optional): The scale by which they are
            multiplied, one or one per channel. (default: :obj:`1.0`)
        signed (bool, optional): As in :func:`first_spike`. (default: :obj:`False`)

    Raises:
        ImportError, ValueError: As :func:`aggregate`; or if there are no
            thresholds or more than a byte can count.

    Shapes:
        - **input:** graph, values and factors as in :func:`aggregate`, bias
          :math:`(F)`, thresholds :math:`(T)` or :math:`(T, F)`, scale :math:`()`
          or :math:`(F)`
        - **output:** spike times :math:`(N, F)`, uint8
    """
    graph = (rowptr, col, weight)
    factors = (source_factor, target_factor)
    return _sum(*graph, x, table, *factors, bias, thresholds, scale, signed)


def earliest(
    rowptr: Tensor, col: Tensor, rank: Tensor, silent: int, latest: bool = False
) -> Tensor:
    r"""Returns the smallest byte among in-neighbours.

    Args:
        rowptr, col (torch.Tensor): The graph, as in :func:`aggregate`.
        rank (torch.Tensor): The bytes (uint8).
        silent (int): What a node without in-neighbours gets, 0 to 255.
        latest (bool, optional): Whether to return the largest instead.
            (default: :obj:`False`)

    Raises:
        ImportError: If Triton cannot be imported.
        ValueError: If a shape or a data type is another one, or
            :obj:`silent` no byte.

    Shapes:
        - **input:** graph as in :func:`aggregate`, bytes :math:`(M, F)`
        - **output:** bytes :math:`(N, F)`
    """
    if not 0 <= silent <= 255:
        raise ValueError(f"Expected 'silent' to be a byte (got {silent})")
    graph, rank = edges(rowptr, col), matrix('rank', rank, torch.uint8)
    out = rank.new_empty(rowptr.numel() - 1, rank.size(1))
    sizes = (rank.size(1), rank.stride(0), silent)
    kernels = _kernels()
    kernels.launch_rows(kernels.earliest, out, *graph, rank, *sizes, LATEST=latest)
    return out


def transform(
    spike_time: Tensor, table: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    r"""Adds up the weights of all neurons that fire, times the level of their
    spike. Weights of silent neurons are not read, so that few spikes take little
    time; many are sooner decoded and multiplied.

    .. math::
        y_i = \sum_{f : \ell_{t_{if}} \neq 0} \ell_{t_{if}} \, W_f + b

    A row is summed in an order of its own, fixed by the number of inputs.

    Args:
        spike_time (torch.Tensor): The spike times (uint8).
        table (torch.Tensor): The level of each spike time, in the data type of
            :obj:`weight`. A spike time that is not in the table counts as
            not-a-number.
        weight (torch.Tensor): The weights :math:`W`, float32 or float64.
        bias (torch.Tensor, optional): The bias :math:`b`.
            (default: :obj:`None`)

    Raises:
        ImportError: If Triton cannot be imported.
        ValueError: If a shape or a data type is another one.

    Shapes:
        - **input:** spike times :math:`(N, F_{in})`, table :math:`(K)`, weights
          :math:`(F_{in}, F_{out})`, bias :math:`(F_{out})`
        - **output:** sums :math:`(N, F_{out})`
    """
    spike_time = matrix('spike_time', spike_time, torch.uint8)
    weight = matrix('weight', weight, *VALUES)
    num_inputs, width = weight.shape
    if spike_time.size(1) != num_inputs:
        raise ValueError(
            f"Expected 'spike_time' to have {num_inputs} columns, one for each row of "
            f"'weight' (got shape {list(spike_time.shape)})"
        )
    table = levels(table, spike_time).to(weight)
    bias = vector('bias', bias, width, weight)
    out = weight.new_empty(spike_time.size(0), width)
    sizes = (num_inputs, width, spike_time.stride(0), weight.stride(0), len(table))
    _kernels().launch_transform(out, spike_time, table, weight, bias, *sizes)
    return out


def first_spike(
    potential: Tensor,
    bias: Tensor | None,
    thresholds: Tensor,
    scale: float | Tensor = 1.0,
    signed: bool = False,
) -> Tensor:
    r"""Adds the bias and compares with thresholds.

    .. math::
        t_i = T - |\{ t : v_i + b \geq \theta_t \, s \}|

    In a signed code, :math:`|v_i + b|` is compared, and :math:`T + 1 + t_i`
    stands for the OFF spike of a negative one. What is not a number never
    reaches a threshold.

    Args:
        potential (torch.Tensor): The membrane potentials :math:`v`, float32 or
            float64; all else is rounded to their data type.
        bias (torch.Tensor, optional): The bias :math:`b`.
        thresholds (torch.Tensor): The thresholds :math:`\theta`.
        scale (float or torch.Tensor, optional): The scale :math:`s`.
            (default: :obj:`1.0`)
        signed (bool, optional): Whether negative potentials fire OFF spikes.
            (default: :obj:`False`)

    Raises:
        ImportError: If Triton cannot be imported.
        ValueError: If a data type is another one, if there are no thresholds or
            more than a byte can count, or if bias, scale and thresholds do not
            broadcast to :obj:`potential` along one and the same dimension.

    Shapes:
        - **input:** potentials :math:`(*)`, thresholds :math:`(T)` or
          :math:`(T, *)`
        - **output:** spike times :math:`(*)`, uint8
    """
    check_dtype('potential', potential, *VALUES)
    num_steps, x = check_thresholds(thresholds), dense(potential)
    params = {'bias': bias, 'thresholds': thresholds[0], 'scale': scale}
    num_channels, length = channels(x, **params)
    bias, limits, factors = neuron(bias, thresholds, scale, num_channels, x)
    out = torch.empty_like(x, dtype=torch.uint8)
    kernels = _kernels()
    kernels.launch_places(
        kernels.first_spike,
        out,
        x,
        bias,
        limits,
        factors,
        num_channels,
        length,
        num_steps,
        PER_CHANNEL=limits.dim() == 2,
        SIGNED=signed,
    )
    return out


def look_up(spike_time: Tensor, table: Tensor, scale: float | Tensor = 1.0) -> Tensor:
    r"""Looks spike times up in a table.

    .. math::
        \hat{x}_i = \ell_{t_i} \, s

    Args:
        spike_time (torch.Tensor): The spike times (uint8).
        table (torch.Tensor): The level :math:`\ell` of each spike time, float32
            or float64. A spike time that is not in the table is decoded as
            not-a-number.
        scale (float or torch.Tensor, optional): The scale :math:`s`, rounded to
            the data type of :obj:`table`. (default: :obj:`1.0`)

    Raises:
        ImportError: If Triton cannot be imported.
        ValueError: If a shape or a data type is another one, or if the scale
            does not broadcast to :obj:`spike_time` along one dimension.

    Shapes:
        - **input:** spike times :math:`(*)`, table :math:`(K)`
        - **output:** values :math:`(*)`
    """
    check_dtype('spike_time', spike_time, torch.uint8)
    table, x = levels(table, spike_time), dense(spike_time)
    num_channels, length = channels(x, scale=scale)
    table, factors = scaled(table, scale, num_channels)
    out = torch.empty_like(x, dtype=table.dtype)
    sizes = (num_channels, length, len(table))
    kernels = _kernels()
    kernels.launch_places(kernels.look_up, out, x, table, factors, *sizes)
    return out


def _sum(
    rowptr: Tensor,
    col: Tensor,
    weight: Tensor | None,
    x: Tensor,
    table: Tensor | None,
    source_factor: Tensor | None,
    target_factor: Tensor | None,
    bias: Tensor | None = None,
    thresholds: Tensor | None = None,
    scale: float | Tensor = 1.0,
    signed: bool = False,
) -> Tensor:
    if table is None:
        x = like = matrix('x', x, *VALUES)
    else:
        x = matrix('spike_time', x, torch.uint8)
        table = like = levels(table, x)
    graph, (num_sources, width) = edges(rowptr, col), x.shape
    dtype = like.dtype if thresholds is None else torch.uint8
    out = x.new_empty(len(rowptr) - 1, width, dtype=dtype)
    limits, factors, num_steps = None, None, 0
    if thresholds is not None:
        num_steps = check_thresholds(thresholds)
        check_columns(out, bias=bias, thresholds=thresholds[0], scale=scale)
        bias, limits, factors = neuron(bias, thresholds, scale, width, like)
    kernels = _kernels()
    kernels.launch_rows(
        kernels.aggregate,
        out,
        *graph,
        vector('weight', weight, len(col), like),
        x,
        table,
        vector('source_factor', source_factor, num_sources, like),
        vector('target_factor', target_factor, len(out), like),
        bias,
        limits,
        factors,
        width,
        x.stride(0),
        like.numel(),
        num_steps,
        PER_CHANNEL=limits is not None and limits.dim() == 2,
        SIGNED=signed,
    )
    return out


def _kernels() -> ModuleType:
    try:
        return importlib.import_module('spikegraph.kernels.triton_kernels')
    except Exception as error:  # Whatever a broken installation raises.
        raise ImportError(
            f"Triton cannot be imported ({error}). Install it with 'pip install triton'"
        ) from error


@functools.cache
def _is_installed() -> bool:
    try:
        _kernels()
    except ImportError as error:
        message = f'{error}. Until then, PyTorch works on CUDA tensors, more slowly'
        warnings.warn(message, RuntimeWarning, stacklevel=5)
        return False
    return True
