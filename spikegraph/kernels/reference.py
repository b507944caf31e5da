"""Every operation as an obvious loop: the definition the fast code is tested
against, and never chosen instead of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spikegraph.coding import PhaseCode
from spikegraph.kernels.csr import CSR


def encode(x: Tensor, code: PhaseCode, scale: float | Tensor = 1.0) -> Tensor:
    """See :func:`spikegraph.coding.encode`."""
    num_steps = code.num_steps
    thresholds = code.thresholds.to(x.dtype)
    scales = torch.as_tensor(scale, dtype=x.dtype).expand(x.shape).reshape(-1)
    out = torch.empty(x.numel(), dtype=torch.uint8)
    for i, value in enumerate(x.reshape(-1)):
        out[i] = num_steps
        for t in range(num_steps):
            if value >= scales[i] * thresholds[t]:
                out[i] = t
                break
            if code.signed and -value >= scales[i] * thresholds[t]:
                out[i] = num_steps + 1 + t
                break
    return out.view(x.shape)


def decode(
    spike_time: Tensor,
    code: PhaseCode,
    scale: float | Tensor = 1.0,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """See :func:`spikegraph.coding.decode`."""
    num_steps, levels = code.num_steps, code.levels.to(dtype)
    scales = torch.as_tensor(scale, dtype=dtype).expand(spike_time.shape).reshape(-1)
    out = torch.empty(spike_time.numel(), dtype=dtype)
    for i, t in enumerate(spike_time.reshape(-1).tolist()):
        if t == num_steps:
            out[i] = 0.0
        elif t < num_steps:
            out[i] = scales[i] * levels[t]
        else:
            out[i] = -scales[i] * levels[t - num_steps - 1]
    return out.view(spike_time.shape)


def fire_window(
    potential: Tensor, code: PhaseCode, scale: float | Tensor = 1.0
) -> tuple[Tensor, Tensor]:
    r"""The fire window of DESIGN's neuron, step by step.

    Returns:
        Tuple[torch.Tensor, torch.Tensor]: The raster, int8 in -1, 0, 1, of
        shape :math:`(T, *)`, and the number of comparisons each neuron made.
    """
    raster = torch.zeros(code.num_steps, *potential.shape, dtype=torch.int8)
    num_compared = torch.zeros(potential.shape, dtype=torch.int64)
    waiting = torch.ones(potential.shape, dtype=torch.bool)
    for t, threshold in enumerate(code.thresholds.to(potential.dtype)):
        num_compared += waiting
        fires_on = waiting & (potential >= scale * threshold)
        raster[t] += fires_on
        waiting &= ~fires_on
        if code.signed:
            fires_off = waiting & (-potential >= scale * threshold)
            raster[t] -= fires_off.to(torch.int8)
            waiting &= ~fires_off
    return raster, num_compared


def aggregate(x: Tensor, csr: CSR) -> Tensor:
    """Sums rows of values; see :func:`spikegraph.kernels.propagate`."""
    rowptr, col, weight, source_factor, target_factor = csr
    num_rows = rowptr.numel() - 1
    out = torch.zeros(num_rows, x.size(1), dtype=x.dtype)
    for i in range(num_rows):
        for e in range(int(rowptr[i]), int(rowptr[i + 1])):
            j = int(col[e])
            w = torch.ones((), dtype=x.dtype) if weight is None else weight[e]
            if source_factor is not None:
                w = w * source_factor.view(-1)[j]
            out[i] += w * x[j]
        if target_factor is not None:
            out[i] *= target_factor.view(-1)[i]
    return out


def aggregate_spikes(spike_time: Tensor, csr: CSR, table: Tensor) -> Tensor:
    """Sums the levels :obj:`table` holds for rows of spike times."""
    x = torch.empty(spike_time.shape, dtype=table.dtype)
    for i, times in enumerate(spike_time.tolist()):
        for f, time in enumerate(times):
            x[i, f] = table[time]
    return aggregate(x, csr)


def earliest(rank: Tensor, csr: CSR, silent: int, latest: bool = False) -> Tensor:
    """The smallest (largest) rank among in-neighbours; ``silent`` without any."""
    rowptr, col = csr.rowptr, csr.col
    out = torch.full((rowptr.numel() - 1, rank.size(1)), silent, dtype=rank.dtype)
    for i in range(rowptr.numel() - 1):
        neighbors = [int(col[e]) for e in range(int(rowptr[i]), int(rowptr[i + 1]))]
        for f in range(rank.size(1)):
            ranks = [int(rank[j, f]) for j in neighbors]
            if ranks:
                out[i, f] = max(ranks) if latest else min(ranks)
    return out


def transform(
    spike_time: Tensor,
    code: PhaseCode,
    scale: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    """Adds up the columns of weights :math:`(F_{out}, F_{in})` of all neurons that
    fire, times the level of their spike; a scale of each channel is part of them.
    """
    rows, table = weight.t(), code.table().to(weight)
    if scale.numel() == 1:
        table = scale.view(-1) * table
    else:
        rows = rows * scale.view(-1, 1)
    out = torch.zeros(spike_time.size(0), len(weight), dtype=weight.dtype)
    for i, times in enumerate(spike_time.tolist()):
        for f, time in enumerate(times):
            if table[time] != 0:
                out[i] += table[time] * rows[f]
        if bias is not None:
            out[i] += bias
    return out
