"""What PyTorch computes where there is no kernel, or a dense product is sooner."""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spikegraph.coding import PhaseCode
from spikegraph.coding.encoding import count_reached, decode, encode
from spikegraph.kernels.adjacency import Adjacency
from spikegraph.kernels.csr import CSR
from spikegraph.kernels.events import row_peaks as peaks_of
from spikegraph.kernels.memory import FLOATS
from spikegraph.kernels.messages import Messages
from spikegraph.kernels.neurons import decode_spikes, encode_spikes
from spikegraph.kernels.rows import Weights
from spikegraph.kernels.rows import multiply_rows as product_of
from spikegraph.kernels.sorting import integers_for

__all__ = [
    'decode',
    'digest',
    'earliest',
    'encode',
    'encode_transform',
    'first_spike',
    'info',
    'is_finite',
    'look_up',
    'multiply_rows',
    'row_peaks',
    'send',
    'sent_size',
    'sort_edges',
    'transform',
]

_UNIT = 16  # Rows, and columns, that BLAS is given at a time, or a multiple.
_BLOCK = 1 << 20  # Words that are mixed at once.
_PLACE, _FIRST, _SECOND = (
    value - (1 << 64)  # As signed integers.
    for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
_LOW = (1 << 32) - 1


def info(x: Any) -> dict[str, Any]:
    """What :func:`spikegraph.kernels.info` tells."""
    return {'path': 'torch', 'reason': 'Numba cannot be used'}


def first_spike(
    potential: Tensor, thresholds: Tensor, signed: bool, factor: Tensor | None = None
) -> Tensor:
    """See :func:`spikegraph.kernels.first_spike`."""
    num_steps = len(thresholds)
    value = potential.abs() if signed else potential
    if factor is not None:
        num_reached = torch.zeros_like(value, dtype=torch.uint8)
        for threshold in thresholds:
            num_reached += value >= threshold * factor
    elif thresholds.dim() == 1:  # None of those that are never reached counts.
        num_reached = count_reached(value, thresholds[~thresholds.isnan()])
    else:
        num_reached = count_reached(value, thresholds)
    spike_time = num_steps - num_reached
    is_off = (potential < 0) & (num_reached > 0) & signed
    return torch.where(is_off, spike_time + num_steps + 1, spike_time)


def look_up(spike_time: Tensor, table: Tensor, scale: float | Tensor) -> Tensor:
    """See :func:`spikegraph.kernels.look_up`."""
    if spike_time.numel() > 0 and int(spike_time.max()) >= len(table):
        raise ValueError(
            f"Expected 'spike_time' to be at most {len(table) - 1}, the last entry of "
            f"'table' (got {int(spike_time.max())})"
        )
    if not isinstance(scale, Tensor) or scale.numel() == 1:
        scale = scale.to(table).view(-1) if isinstance(scale, Tensor) else scale
        return (scale * table)[spike_time.int()]
    return table[spike_time.int()] * scale.to(table)


class _Messages(Messages):
    """Sums by a dense or an indexed product."""

    def __init__(self, x: Tensor, adjacency: Adjacency) -> None:
        super().__init__(adjacency, x.shape, x.dtype)
        self.values = x

    def sums(
        self, rows: tuple[int, int] | None = None, out: Tensor | None = None
    ) -> Tensor:
        adjacency, (start, stop) = self.adjacency, rows or (0, self.shape[0])
        if adjacency.matrix is not None:
            found = adjacency.matrix[start:stop].to(self.dtype) @ self._sent
        else:
            found = self._add(start, stop)
        if adjacency.target_factor is not None:
            factor = adjacency.target_factor[start:stop].to(self.dtype).view(-1, 1)
            found = factor * found
        found = found.view(stop - start, *self.shape[1:])
        return found if out is None else out.copy_(found)

    def _add(self, start: int, stop: int) -> Tensor:
        adjacency, x = self.adjacency, self._sent
        rowptr = adjacency.rowptr[start : stop + 1]
        first, last = int(rowptr[0]), int(rowptr[-1])
        if last == first or x.size(1) == 0:
            return x.new_zeros(stop - start, x.size(1))
        weight, col = adjacency.weight, adjacency.col[first:last]
        if weight is not None:
            weight = weight[first:last].to(x.dtype)
        return F.embedding_bag(
            col,
            x,
            (rowptr - first).to(col.dtype),
            mode='sum',
            per_sample_weights=weight,
            include_last_offset=True,
        )

    @functools.cached_property
    def _sent(self) -> Tensor:
        """The values times the factors of their nodes, in rows."""
        x, factor = self.values, self.adjacency.source_factor
        x = x.reshape(x.shape[0], self.width)
        return x if factor is None else factor.to(x.dtype).view(-1, 1) * x


send = _Messages


def sent_size(rowptr: Tensor, x: Any, adjacency: Adjacency) -> float:
    """See :func:`spikegraph.kernels.sent_size`."""
    return x.dtype.itemsize


def earliest(rank: Tensor, csr: CSR, silent: int, latest: bool) -> Tensor:
    """See :func:`spikegraph.kernels.earliest`."""
    counts = csr.rowptr.diff()
    index = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    picked = rank.index_select(0, csr.col)
    out = rank.new_full((len(counts), rank.size(1)), silent)
    index, how = index.view(-1, 1).expand_as(picked), 'amax' if latest else 'amin'
    return out.scatter_reduce(0, index, picked, reduce=how, include_self=False)


def transform(
    spike_time: Tensor,
    code: PhaseCode,
    scale: Tensor,
    weight: Tensor,
    bias: Tensor | None,
) -> Tensor:
    """See :func:`spikegraph.kernels.transform_spikes`."""
    values = decode_spikes(spike_time, code, scale)
    return product_of(values, Weights(weight, bias))


def multiply_rows(x: Tensor, weights: Weights, out: Tensor | None) -> Tensor:
    """See :func:`spikegraph.kernels.multiply_rows`.

    BLAS adds up what is left over of rows and columns otherwise than the rest, and few
    rows otherwise than many, when it splits them among threads. With rows and columns
    in whole units, which MKL was seen to add up alike, none are left over.
    """
    weight, bias = weights.weight, weights.bias
    is_known = x.device.type == 'cpu' and x.dtype in FLOATS and x.dtype == weight.dtype
    if bias is not None:
        is_known &= bias.shape == weight.shape[:1] and bias.dtype == x.dtype
    if not is_known or weight.device != x.device:
        return F.linear(x, weight, bias)
    (num_rows, depth), num_outputs = x.shape, len(weight)
    columns = x.new_zeros(depth, -(-num_outputs // _UNIT) * _UNIT)
    columns[:, :num_outputs] = weight.t()
    found, rest = x.new_empty(num_rows, columns.size(1)), num_rows % _UNIT
    full = num_rows - rest
    torch.mm(x[:full], columns, out=found[:full])
    if rest > 0:
        few = x.new_zeros(_UNIT, depth)
        few[:rest] = x[full:]
        found[full:] = torch.mm(few, columns)[:rest]
    found = found[:, :num_outputs]
    if bias is not None:
        found += bias
    return found.contiguous() if out is None else out.copy_(found)


def encode_transform(
    x: Tensor,
    code: PhaseCode,
    scale: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    is_relative: bool,
) -> Tensor:
    """See :func:`spikegraph.kernels.encode_transform`."""
    if is_relative:
        scale = scale * peaks_of(x)
    return transform(encode_spikes(x, code, scale), code, scale, weight, bias)


def row_peaks(x: Tensor) -> Tensor:
    """See :func:`spikegraph.kernels.row_peaks`."""
    peak = x.abs().nan_to_num(0.0, float('inf')).amax(dim=-1, keepdim=True)
    return peak.masked_fill(peak == 0, 1.0)


def sort_edges(
    target: Tensor,
    source: Tensor,
    num_sources: int,
    num_targets: int,
    loops: bool,
    with_order: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """See :func:`spikegraph.kernels.sorting.sort_edges`."""
    if loops:
        nodes = torch.arange(num_targets, device=target.device)
        keep = source != target
        source, target = (torch.cat([t[keep], nodes]) for t in (source, target))
    order = target.sort(stable=True).indices
    counts = torch.bincount(target, minlength=num_targets)
    rowptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    col = source[order].to(integers_for(num_sources))
    return rowptr, col, order if with_order else None


def digest(x: Tensor, num_words: int) -> int:
    """See :func:`spikegraph.kernels.contents.digest`."""
    octets = x.as_strided((x.numel(),), (1,)).view(torch.uint8)
    words, total = octets[: 8 * num_words].view(torch.int64), 0
    for start in range(0, num_words, _BLOCK):
        part = words[start : start + _BLOCK]
        place = torch.arange(start, start + part.numel(), device=x.device) * _PLACE
        mixed = (part ^ place) * _FIRST
        mixed = (mixed ^ ((mixed >> 32) & _LOW)) * _SECOND
        total += int((mixed ^ ((mixed >> 32) & _LOW)).sum())
    return total % (1 << 64)


def is_finite(x: Tensor) -> bool:
    """See :func:`spikegraph.kernels.contents.are_finite`."""
    return bool(torch.stack(x.aminmax()).isfinite().all())
