"""The functions of this backend. A row is summed by one program, edge by edge in the
order given, and products are rounded before they are added: the same graph gives the
same bits, on every device. Nothing here has a gradient. Under ``TRITON_INTERPRET=1``,
set before Triton is imported, they take CPU tensors too, slowly.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegraph.coding import PhaseCode
from spikegraph.kernels.adjacency import Adjacency
from spikegraph.kernels.aggregation import are_summed_by_kernels
from spikegraph.kernels.csr import CSR
from spikegraph.kernels.memory import (
    FLOATS,
    dense,
    needs_gradient,
    padded_table,
    runs_of,
)
from spikegraph.kernels.messages import Messages
from spikegraph.kernels.rows import Weights
from spikegraph.kernels.triton import kernels


def encode(x: Tensor, code: PhaseCode, scale: Tensor) -> Tensor:
    """See :func:`spikegraph.kernels.encode_spikes`."""
    thresholds = code.thresholds.to(x)
    return _encode(x, thresholds, scale, scale.shape, code.signed)


def first_spike(
    potential: Tensor, thresholds: Tensor, signed: bool, factor: Tensor | None = None
) -> Tensor:
    """See :func:`spikegraph.kernels.first_spike`."""
    if factor is not None:
        if thresholds.dim() > 1:
            return NotImplemented
        return _encode(potential, thresholds.detach(), factor, factor.shape, signed)
    one = thresholds.new_ones(())
    return _encode(potential, thresholds.detach(), one, thresholds.shape[1:], signed)


def _encode(
    potential: Tensor,
    thresholds: Tensor,
    scale: Tensor,
    shape: torch.Size,
    signed: bool,
) -> Tensor:
    """Encodes by thresholds times scales, one of which is of that shape."""
    x = dense(potential)
    runs = runs_of(shape, x)
    if potential.dtype not in FLOATS or runs is None:
        return NotImplemented
    limits, factors = _limits(thresholds, scale)
    out, how = torch.empty_like(x, dtype=torch.uint8), (*runs, len(thresholds))
    flags: Any = dict(PER_CHANNEL=limits.dim() == 2, SIGNED=signed)
    operands = (out, x, limits, factors, *how)
    kernels.launch_places(kernels.first_spike, *operands, **flags)
    return out


def decode(
    spike_time: Tensor, code: PhaseCode, scale: float | Tensor, dtype: torch.dtype
) -> Tensor:
    """See :func:`spikegraph.kernels.decode_spikes`."""
    return look_up(spike_time, code.table().to(spike_time.device, dtype), scale)


def look_up(spike_time: Tensor, table: Tensor, scale: float | Tensor) -> Tensor:
    """See :func:`spikegraph.kernels.look_up`."""
    if spike_time.dtype != torch.uint8 or table.device != spike_time.device:
        return NotImplemented
    if table.dtype not in FLOATS or needs_gradient(table, scale):
        return NotImplemented
    x, table, factors = dense(spike_time), table.detach(), None
    if not isinstance(scale, Tensor):
        table = scale * table
    elif scale.numel() == 1:
        table = scale.detach().to(table).view(-1) * table
    else:
        factors = scale.detach().to(table).reshape(-1)
    runs = runs_of(scale.shape if isinstance(scale, Tensor) else torch.Size(), x)
    if runs is None or int(x.max()) >= len(table):
        return NotImplemented
    out = torch.empty_like(x, dtype=table.dtype)
    operands = (out, x, table.contiguous(), factors, *runs, len(table))
    kernels.launch_places(kernels.look_up, *operands)
    return out


def earliest(rank: Tensor, csr: CSR, silent: int, latest: bool) -> Tensor:
    """See :func:`spikegraph.kernels.earliest`."""
    if rank.dtype != torch.uint8:
        return NotImplemented
    rank, out = _rows(rank), rank.new_empty(len(csr.rowptr) - 1, rank.size(1))
    operands = (out, csr.rowptr, csr.col, rank, rank.size(1), rank.stride(0), silent)
    kernels.launch_rows(kernels.earliest, *operands, LATEST=latest)
    return out


def aggregate_encode(
    x: Tensor,
    csr: CSR,
    table: Tensor | None,
    bias: Tensor | None,
    thresholds: Tensor,
    scale: Tensor,
    signed: bool,
) -> Tensor:
    """Sums values, or spikes if there is a table, adds the bias and encodes, without
    writing the potentials down.
    """
    limits, factors = _limits(thresholds, scale)
    return aggregate(x, csr, table, bias, limits, factors, signed)


def aggregate(
    x: Tensor,
    csr: CSR,
    table: Tensor | None = None,
    bias: Tensor | None = None,
    limits: Tensor | None = None,
    factors: Tensor | None = None,
    signed: bool = False,
) -> Tensor:
    """Sums rows of values, see :func:`spikegraph.kernels.propagate`; with a table, of
    spikes, of which a byte is read, and one that is not in it counts as not-a-number.
    With limits, sums are encoded.
    """
    x, like = _rows(x), x if table is None else table
    dtype = like.dtype if limits is None else torch.uint8
    out = x.new_empty(len(csr.rowptr) - 1, x.size(1), dtype=dtype)
    weight, source, target, bias = (
        None if value is None else value.detach().reshape(-1).contiguous()
        for value in (csr.weight, csr.source_factor, csr.target_factor, bias)
    )
    num_steps = 0 if limits is None else len(limits)
    kernels.launch_rows(
        kernels.aggregate,
        *(out, csr.rowptr, csr.col, weight, x, table, source, target, bias),
        *(limits, factors, x.size(1), x.stride(0), like.numel(), num_steps),
        PER_CHANNEL=limits is not None and limits.dim() == 2,
        SIGNED=signed,
    )
    return out


def send_spikes(
    spike_time: Tensor, adjacency: Adjacency, code: PhaseCode, scale: Tensor
) -> Messages:
    """See :func:`spikegraph.kernels.send`: spikes with one scale, or one for each
    node or channel.
    """
    if spike_time.dtype != torch.uint8:
        return NotImplemented
    table, is_one, csr = code.table().to(scale), scale.numel() == 1, adjacency.csr
    per_node = not is_one and scale.shape == (len(spike_time), 1)
    if per_node:
        factor = csr.source_factor
        csr = csr._replace(source_factor=scale if factor is None else factor * scale)
    last = None if is_one or per_node else scale
    table = padded_table(scale.view(-1) * table if is_one else table)
    return _Messages(spike_time, adjacency, csr, table, last)


def send(x: Tensor, adjacency: Adjacency) -> Messages:
    """See :func:`spikegraph.kernels.send`: real values."""
    if needs_gradient(x) or not are_summed_by_kernels(adjacency, x.dtype):
        return NotImplemented
    return _Messages(x.detach(), adjacency, adjacency.csr, None, None)


def sent_size(rowptr: Tensor, x: Any, adjacency: Adjacency) -> float:
    """See :func:`spikegraph.kernels.sent_size`."""
    return 1.0


class _Messages(Messages):
    """Sums by kernels, and a scale of channels that is multiplied last."""

    def __init__(
        self,
        x: Tensor,
        adjacency: Adjacency,
        csr: CSR,
        table: Tensor | None,
        scale: Tensor | None,
    ) -> None:
        dtype = x.dtype if table is None else table.dtype
        super().__init__(adjacency, x.shape, dtype)
        self.x, self.csr = x.reshape(len(x), self.width), csr
        self.table, self.scale = table, scale

    def sums(
        self, rows: tuple[int, int] | None = None, out: Tensor | None = None
    ) -> Tensor:
        start, stop = rows or (0, self.shape[0])
        target = self.csr.target_factor
        csr = self.csr._replace(
            rowptr=self.csr.rowptr[start : stop + 1],
            target_factor=None if target is None else target[start:stop],
        )
        found = aggregate(self.x, csr, self.table).view(stop - start, *self.shape[1:])
        found = found if self.scale is None else found.mul_(self.scale)
        return found if out is None else out.copy_(found)

    def encode(
        self,
        bias: Tensor | None,
        code: PhaseCode,
        scale: Tensor,
        weights: Weights | None = None,
    ) -> Tensor | None:
        if weights is not None or self.scale is not None:
            return None
        if not self.can_encode(bias, scale, self.width):
            return None
        thresholds = code.thresholds.to(self.x.device, self.dtype)
        how = (self.table, bias, thresholds, scale.to(thresholds), code.signed)
        return aggregate_encode(self.x, self.csr, *how)


def _rows(x: Tensor) -> Tensor:
    """A matrix whose rows have no gaps, but may have gaps between them."""
    return x.detach() if x.stride(1) == 1 or x.size(1) < 2 else x.detach().contiguous()


def _limits(thresholds: Tensor, scale: Tensor) -> tuple[Tensor, Tensor | None]:
    """Thresholds :math:`(T)` or :math:`(T, C)`, times a scale that is one number, and
    a scale per channel if it is none, still to be multiplied by.
    """
    limits = thresholds.detach().reshape(len(thresholds), -1).squeeze(1).contiguous()
    if scale.numel() == 1:
        return scale.detach().view(-1) * limits, None
    return limits, scale.detach().reshape(-1).contiguous()
