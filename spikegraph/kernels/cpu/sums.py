"""Sums and maxima over neighbours."""

from __future__ import annotations

import functools
from functools import partial
from typing import Any

import torch
from torch import Tensor

from spikegraph.coding import PhaseCode
from spikegraph.coding.encoding import check_scale
from spikegraph.kernels.adjacency import Adjacency
from spikegraph.kernels.aggregation import are_summed_by_kernels
from spikegraph.kernels.cpu.compiled import graph, products
from spikegraph.kernels.cpu.compiled.operands import (
    HAS_PLANES,
    LANES,
    LOADED,
    ONE,
    PACKED,
    TABLE,
    VALUES,
    Panels,
    Sent,
    way_of,
)
from spikegraph.kernels.cpu.neurons import limits_for, limits_from
from spikegraph.kernels.cpu.rows import are_fixed, panels_of
from spikegraph.kernels.csr import CSR
from spikegraph.kernels.memory import (
    FLOATS,
    columns_of,
    empty,
    flat,
    is_single,
    needs_gradient,
    padded_table,
)
from spikegraph.kernels.messages import Messages
from spikegraph.kernels.rows import Weights
from spikegraph.kernels.threads import share, share_rows

_LINE = 64  # Bytes of a line of the cache.
_CACHE = 1 << 22  # Bytes that a processor holds close to its cores.
_MAX_DEPTH = 4096  # Inputs whose sums of a few rows stay in a cache.


def send_spikes(
    spike_time: Tensor, adjacency: Adjacency, code: PhaseCode, scale: Tensor
) -> Messages:
    """See :func:`spikegraph.kernels.send`: spikes with one scale, or one for each
    node or channel.
    """
    if spike_time.dtype != torch.uint8:
        return NotImplemented
    (num_rows, width), is_one = spike_time.shape, is_single(scale)
    per_node = not is_one and scale.shape == (num_rows, 1)
    table = code.table().to(scale)
    table = flat(padded_table(scale.view(-1) * table if is_one else table))
    times = flat(spike_time.contiguous())
    sent = Sent(times, width, table, way_of(code.num_times, code.signed))
    if scale.dtype != torch.float32:
        sent = sent._replace(way=TABLE)
    elif _is_packed(code, adjacency, width):
        stride = _aligned(-(-width // (2 * LANES)) * LANES)
        packed = flat(empty((num_rows * stride,), torch.uint8))
        work = partial(graph.pack, times, width, packed, stride)
        share(work, num_rows, times.size, 1)
        sent = Sent(packed, stride, table, PACKED)
    elif HAS_PLANES and width < LOADED and sent.way is not TABLE:
        padded = spike_time.new_zeros(num_rows, LOADED)
        padded[:, :width] = spike_time
        sent = sent._replace(x=flat(padded), stride=LOADED)
    last = None if is_one or per_node else scale
    csr = _csr(adjacency, scale.dtype, scale if per_node else None)
    return _Messages(adjacency, spike_time.shape, scale.dtype, csr, sent, last)


def send_delayed(
    spike_time: Tensor,
    adjacency: Adjacency,
    code: PhaseCode,
    scale: Tensor,
    weight: Tensor,
) -> Messages:
    """See :func:`spikegraph.kernels.attention.send_delayed`."""
    dtype, num_heads = scale.dtype, weight.size(1)
    fits = spike_time.dtype == torch.uint8 and dtype in FLOATS and weight.dtype == dtype
    if not fits or needs_gradient(scale, weight):
        return NotImplemented
    is_one, table = scale.numel() == 1, code.table().to(scale)
    table = flat(padded_table(scale.view(-1) * table if is_one else table))
    way = way_of(code.num_times, code.signed) if dtype == torch.float32 else TABLE
    shape = spike_time.shape
    if HAS_PLANES and (shape[-1] % 4 or shape[1:].numel() < LOADED):
        way = TABLE
    times = flat(spike_time.contiguous())
    sent = Sent(times, shape[1:].numel(), table, way, num_heads)
    none = weight[:0, 0]
    edges = flat(adjacency.rowptr), flat(adjacency.col)
    csr = CSR(*edges, *(flat(f.contiguous()) for f in (weight, none, none)))
    return _Messages(adjacency, shape, dtype, csr, sent, None if is_one else scale)


def send(x: Tensor, adjacency: Adjacency) -> Messages:
    """See :func:`spikegraph.kernels.send`: real values."""
    if needs_gradient(x) or not are_summed_by_kernels(adjacency, x.dtype):
        return NotImplemented
    width = x.shape[1:].numel()
    values = x.detach().reshape(x.shape[0], width).contiguous()
    sent = Sent(flat(values), width, flat(values.new_empty(1)), VALUES)
    csr = _csr(adjacency, x.dtype, None)
    return _Messages(adjacency, x.shape, x.dtype, csr, sent, None)


def _csr(adjacency: Adjacency, dtype: torch.dtype, scale: Tensor | None) -> CSR:
    """The graph in arrays; the weights of edges include the factors of sources, or
    sources have one of their own, or there is a single one.
    """
    weight, factor = adjacency.edge_factor, adjacency.source_factor
    if weight is not None and scale is not None:
        weight = weight * scale.view(-1)[adjacency.col]
    factors = [f.view(-1) for f in (factor, scale) if f is not None]
    source = (
        functools.reduce(torch.mul, factors) if weight is None and factors else None
    )
    none = adjacency.rowptr.new_ones(1, dtype=dtype)
    given = (
        none[:0] if weight is None else weight,
        none if source is None else source,
        none[:0] if adjacency.target_factor is None else adjacency.target_factor,
    )
    edges = flat(adjacency.rowptr), flat(adjacency.col)
    return CSR(*edges, *(flat(f.contiguous()) for f in given))


class _Messages(Messages):
    """Sums by kernels, and a scale of channels that is multiplied last."""

    def __init__(
        self,
        adjacency: Adjacency,
        shape: torch.Size,
        dtype: torch.dtype,
        csr: CSR,
        sent: Sent,
        scale: Tensor | None,
    ) -> None:
        super().__init__(adjacency, shape, dtype)
        self.csr, self.sent, self.scale = csr, sent, scale

    def sums(
        self, rows: tuple[int, int] | None = None, out: Tensor | None = None
    ) -> Tensor:
        start, stop = rows = rows or (0, self.shape[0])
        shape = (stop - start, *self.shape[1:])
        if out is None:
            out = empty(shape, self.dtype)
        assert out.is_contiguous() and out.shape == shape
        if stop > start and self.width > 0:
            to = (flat(out), start, self.width)
            work = partial(graph.aggregate, self.csr, self.sent, *to)
            share_rows(work, self.adjacency.rowptr, rows, self.width)
        return out if self.scale is None else out.mul_(self.scale)

    def products(self, weights: Weights, rows: tuple[int, int], out: Tensor) -> Tensor:
        panels = self._panels(weights)
        if panels is None:
            return super().products(weights, rows, out)
        to = (flat(out), rows[0], weights.num_outputs)
        work = partial(products.product, self.csr, self.sent, panels, *to)
        num_weights = weights.weight.numel()
        share_rows(work, self.adjacency.rowptr, rows, self.width, num_weights)
        return out

    def encode(
        self,
        bias: Tensor | None,
        code: PhaseCode,
        scale: Tensor,
        weights: Weights | None = None,
    ) -> Tensor | None:
        width = self.width if weights is None else weights.num_outputs
        if not self.can_encode(bias, scale, width):
            return None
        given: Any
        if weights is not None:
            kernel, given = products.product_encode, self._panels(weights)
            if given is None:
                return None
        elif self.scale is not None:
            return None
        else:
            kernel, given = graph.aggregate_encode, self.sent.table[:0]
            given = given if bias is None else flat(bias.contiguous())
        limits = limits_for(code, self.dtype, scale.detach())
        like = torch.empty(width, dtype=self.dtype)
        scales = check_scale(scale, like).detach().reshape(1, -1)
        by_column = True if limits.searched or scale.numel() > 1 else None
        if by_column:  # Sooner compiled, and as fast.
            scales = columns_of(scales.expand(1, width), 1, graph.ROWS * width)
        out = empty((self.shape[0], width), torch.uint8)
        how = (limits, flat(scales), by_column, flat(out), width)
        work = partial(kernel, self.csr, self.sent, given, *how)
        rows, num_weights = (0, self.shape[0]), 0
        if weights is not None:
            num_weights = weights.weight.numel()
        share_rows(work, self.adjacency.rowptr, rows, self.width, num_weights)
        return out

    def encode_moved(
        self, on: Tensor, off: Tensor | None, divisor: Tensor, bias: Tensor | None
    ) -> Tensor | None:
        num_heads, fixed = self.sent.heads, [f for f in (off, bias) if f is not None]
        if num_heads is None or self.width == 0:
            return None
        if not all(f.dtype == self.dtype for f in (on, divisor, *fixed)):
            return None
        if divisor.shape != (self.shape[0], num_heads, 1) or len(divisor) == 0:
            return None
        if bias is not None and bias.shape != (self.width,):
            return None
        none = self.sent.table[:0]
        given = [
            none if f is None else flat(f.contiguous()) for f in (self.scale, bias)
        ]
        limits = [t if t is None else limits_from(t, False) for t in (on, off)]
        out = empty((self.shape[0], self.width), torch.uint8)
        how = (*given, flat(divisor.contiguous()), *limits, flat(out), self.width)
        work = partial(graph.aggregate_encode_moved, self.csr, self.sent, *how)
        share_rows(work, self.adjacency.rowptr, (0, self.shape[0]), self.width)
        return out

    def _panels(self, weights: Weights) -> Panels | None:
        """The weights, times the scale of each input; None if kernels cannot read
        them.
        """
        weight = weights.weight
        if weight.dtype != self.dtype or weight.size(1) != self.width:
            return None
        if len(self.shape) != 2 or self.width > _MAX_DEPTH:
            return None
        if not are_fixed(weight, weights.bias):
            return None
        return panels_of(weights, self.scale)


def earliest(rank: Tensor, csr: CSR, silent: int, latest: bool) -> Tensor:
    """See :func:`spikegraph.kernels.earliest`."""
    num_rows, width = len(csr.rowptr) - 1, rank.size(1)
    if rank.dtype != torch.uint8 or num_rows == 0:
        return NotImplemented
    out, times = empty((num_rows, width), torch.uint8), flat(rank.contiguous())
    edges = CSR(flat(csr.rowptr), flat(csr.col))
    work = partial(graph.earliest, edges, times, width, silent, latest, flat(out))
    share_rows(work, csr.rowptr, (0, num_rows), width)
    return out


def late(time: Tensor, csr: CSR, silent: int, num_steps: int) -> Tensor:
    """See :func:`spikegraph.kernels.late`."""
    num_rows, width = len(csr.rowptr) - 1, time.size(1)
    if time.dtype != torch.uint8:
        return NotImplemented
    out, times = empty(time.shape, torch.uint8), flat(time.contiguous())
    edges = CSR(flat(csr.rowptr), flat(csr.col))
    work = partial(graph.late, edges, times, width, silent, num_steps, flat(out))
    share_rows(work, csr.rowptr, (0, num_rows), width)
    return out


def sent_size(rowptr: Tensor, x: Any, adjacency: Adjacency) -> float:
    """See :func:`spikegraph.kernels.sent_size`."""
    if x.dtype != torch.float32 or not _is_packed(x.code, adjacency, x.shape[-1]):
        return 1.0
    return 0.5


def _aligned(size: int) -> int:
    """The bytes of a row such that it lies in as few lines of the cache as can be."""
    if size >= _LINE:
        return -(-size // _LINE) * _LINE
    return 1 << (size - 1).bit_length()


def _is_packed(code: PhaseCode, adjacency: Adjacency, width: int) -> bool:
    if way_of(code.num_times, code.signed) is not ONE:
        return False
    return _saves_time(adjacency, width) or (HAS_PLANES and width < LOADED)


def _saves_time(adjacency: Adjacency, width: int) -> bool:
    """Whether rows of half the bytes are sent sooner, packing included: if they are
    fewer lines of the cache, are read often enough, and do not lie in it anyway.
    """
    num = adjacency.num_sources
    return width > _LINE and adjacency.num_edges >= 3 * num and num * width > _CACHE
