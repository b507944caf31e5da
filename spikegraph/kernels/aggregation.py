"""Sums over neighbours: on the CPU by Numba, on CUDA by Triton, elsewhere by
PyTorch.
"""

from __future__ import annotations

import functools
import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spikegraph.coding import PhaseCode, Spikes
from spikegraph.coding.encoding import check_scale
from spikegraph.kernels import triton
from spikegraph.kernels.adjacency import Adjacency
from spikegraph.kernels.backend import (
    FAST_TYPES,
    cpu_kernels,
    is_fast,
    needs_gradient,
)
from spikegraph.kernels.memory import columns_of, empty, flat
from spikegraph.kernels.neurons import (
    decode_spikes,
    padded_thresholds,
    table_of,
)
from spikegraph.kernels.plain import sum_rows
from spikegraph.kernels.threads import share, share_rows
from spikegraph.kernels.weights import Weights

_LINE = 64  # Bytes of a line of the cache.
_CACHE = 1 << 22  # Bytes that a processor holds close to its cores.


def aggregate(adjacency: Adjacency, x: Tensor | Spikes) -> Tensor:
    r"""Sums the (weighted) values of all in-neighbours, normalisation
    factors left out.

    .. math::
        y_i = \sum_{j \in \mathcal{N}(i)} w_{ij} \, x_j

    Edges are summed in the order of the adjacency, whatever the number of
    threads.

    Args:
        adjacency (Adjacency): The prepared graph.
        x (torch.Tensor or Spikes): The values of the source nodes. Bytes that are no
            spike time of the code give undefined sums.

    Returns:
        torch.Tensor: The sums.

    Raises:
        ValueError: If :obj:`x` has another number of rows than sources.

    Shapes:
        - **input:** values :math:`(M, *)`
        - **output:** sums :math:`(N, *)`
    """
    return propagate(adjacency.without_factors(), x)


def propagate(adjacency: Adjacency, x: Tensor | Spikes) -> Tensor:
    """Like :func:`aggregate`, with the factors of sources and destinations."""
    return Messages(adjacency, x).sums()


class Messages:
    r"""What nodes send along the edges, in the form that kernels read, so that
    it is prepared once for all blocks of rows.

    Args:
        adjacency (Adjacency): The prepared graph.
        x (torch.Tensor or Spikes): The values of the source nodes
            :math:`(M, *)`.

    Raises:
        ValueError: If :obj:`x` has another number of rows than sources.
    """

    def __init__(self, adjacency: Adjacency, x: Tensor | Spikes) -> None:
        if x.shape[0] != adjacency.num_sources:
            raise ValueError(
                f"Expected 'x' to have {adjacency.num_sources} rows, one for each source "
                f'of the graph (got {x.shape[0]})'
            )
        self.adjacency = adjacency.checked
        self.shape = (adjacency.num_targets, *x.shape[1:])
        self.dtype = x.dtype
        self.scale: Tensor | None = None  # Of channels, multiplied last.
        self._arguments: tuple[Any, ...] | None = None  # What is sent, on the CPU,
        self._on_cuda: tuple[Tensor, Tensor | None, Tensor | None] | None = None
        if isinstance(x, Spikes):
            self._take_spikes(x)
        else:
            self._take_values(x)

    def _take_spikes(self, x: Spikes) -> None:
        scale, cpu = x.scale, cpu_kernels()
        per_node = scale.shape == (x.shape[0], 1) and scale.numel() > 1
        per_channel = scale.shape == x.shape[1:] and scale.numel() > 1
        on_cuda = triton.is_available(x.spike_time)
        usable = on_cuda or (cpu is not None and is_fast(x.spike_time, torch.uint8))
        usable &= len(x.shape) == 2 and x.spike_time.numel() > 0
        usable &= per_node or per_channel or scale.numel() == 1
        usable &= not needs_gradient(scale) and self._can_be_fast()
        if not usable:
            return self._take_values(decode_spikes(x.spike_time, x.code, scale))
        table = table_of(x.code, scale, per_node or per_channel)
        if per_channel:
            self.scale = scale
        factor = scale if per_node else None
        if on_cuda or cpu is None:
            self._on_cuda = (x.spike_time, table, factor)
            return
        spike_time, width = x.spike_time.contiguous(), x.shape[1]
        way, stride = cpu.registers.way_of(x.code.num_times), width
        if table.dtype != torch.float32:
            way = cpu.registers.TABLE
        times = flat(spike_time)
        if _is_packed(x, self.adjacency):
            way, lanes = cpu.registers.PACKED, cpu.registers.LANES
            stride = _aligned(-(-width // (2 * lanes)) * lanes)
            packed = flat(empty((x.shape[0] * stride,), torch.uint8))
            work = partial(cpu.graph.pack, times, width, packed, stride)
            share(work, x.shape[0], times.size, 1)
            times = packed
        self._set_arguments(times, stride, flat(table), way, factor)

    def _take_values(self, x: Tensor) -> None:
        self._values = x
        usable = self._can_be_fast() and not needs_gradient(x) and x.numel() > 0
        if usable and triton.is_available(x):
            self._on_cuda = (x.reshape(x.shape[0], self.width), None, None)
        if not usable or not is_fast(x, *FAST_TYPES):
            return
        cpu = cpu_kernels()
        assert cpu is not None
        values = x.detach().reshape(x.shape[0], self.width).contiguous()
        table = values.new_empty(1)
        way = cpu.registers.VALUES
        self._set_arguments(flat(values), values.size(1), flat(table), way, None)

    def _can_be_fast(self) -> bool:
        adjacency, dtype = self.adjacency, self.dtype
        if adjacency.matrix is not None:
            return False
        factors = (adjacency.weight, adjacency.source_factor, adjacency.target_factor)
        given = [f for f in factors if f is not None]
        fixed = all(f.dtype == dtype and not needs_gradient(f) for f in given)
        return fixed and dtype in FAST_TYPES

    def _set_arguments(
        self, x: Any, stride: int, table: Any, way: Any, scale: Tensor | None
    ) -> None:
        adjacency = self.adjacency
        weight, factor = adjacency.edge_factor, adjacency.source_factor
        by_edge, by_source = -1 if weight is not None else 0, 0
        if scale is not None and weight is not None:
            weight = weight * scale.view(-1)[adjacency.col]
        elif weight is None and (factor is not None or scale is not None):
            parts = [f.view(-1) for f in (factor, scale) if f is not None]
            weight, by_source = functools.reduce(torch.mul, parts), -1
        if weight is None:
            weight = adjacency.rowptr.new_ones(1, dtype=self.dtype)
        target = adjacency.target_factor
        gain = table[:0] if target is None else flat(target.contiguous())
        edges = (
            *(flat(adjacency.rowptr), flat(adjacency.col), flat(weight.contiguous())),
            *(by_edge, by_source, gain),
        )
        self._arguments = (*edges, x, stride, table)
        self._way = way

    @property
    def width(self) -> int:
        """The values of a row."""
        return math.prod(self.shape[1:])

    def sums(
        self, rows: tuple[int, int] | None = None, out: Tensor | None = None
    ) -> Tensor:
        """The sums of some rows, written to ``out`` without gaps if it is given."""
        start, stop = rows or (0, self.shape[0])
        if self._on_cuda is not None:
            found = self._cuda_sums(start, stop)
            found = found if self.scale is None else found.mul_(self.scale)
            return found if out is None else out.copy_(found)
        is_new = out is None
        if out is None:
            out = empty((stop - start, *self.shape[1:]), self.dtype)
        assert out.is_contiguous() and out.shape == (stop - start, *self.shape[1:])
        if self._arguments is None:
            found = self._plain_sums(start, stop)
            return found if is_new else out.copy_(found)
        cpu = cpu_kernels()
        assert cpu is not None
        work = partial(
            cpu.graph.aggregate,
            *self._arguments,
            flat(out),
            start,
            self.width,
            self._way,
        )
        if stop > start and self.width > 0:
            share_rows(work, self.adjacency.rowptr, (start, stop), self.width)
        return out if self.scale is None else out.mul_(self.scale)

    def _cuda_sums(self, start: int, stop: int) -> Tensor:
        graph, x, table, source, target = self._cuda_arguments(start, stop)
        if table is None:
            found = triton.aggregate(*graph, x, source, target)
        else:
            found = triton.aggregate_spikes(*graph, x, table, source, target)
        return found.view(stop - start, *self.shape[1:])

    def _cuda_arguments(
        self, start: int, stop: int
    ) -> tuple[
        tuple[Tensor, Tensor, Tensor | None],
        Tensor,
        Tensor | None,
        Tensor | None,
        Tensor | None,
    ]:
        """Graph, what is sent, its table and the factors of nodes."""
        assert self._on_cuda is not None
        adjacency, (x, table, scale) = self.adjacency, self._on_cuda
        source, target = adjacency.source_factor, adjacency.target_factor
        if scale is not None:
            source = scale if source is None else source * scale
        target = None if target is None else target[start:stop]
        graph = (adjacency.rowptr[start : stop + 1], adjacency.col, adjacency.weight)
        return graph, x, table, source, target

    def _plain_sums(self, start: int, stop: int) -> Tensor:
        found = sum_rows(self.adjacency, self._sent, start, stop)
        return found.view(stop - start, *self.shape[1:])

    @functools.cached_property
    def _sent(self) -> Tensor:
        """The values times the factors of their nodes, in rows."""
        x, factor = self._values, self.adjacency.source_factor
        x = x.reshape(x.shape[0], self.width)
        return x if factor is None else factor.to(x.dtype).view(-1, 1) * x

    def products(self, weights: Weights, rows: tuple[int, int], out: Tensor) -> Tensor:
        """Weights times the sums of some rows, plus the bias; written to ``out``
        :math:`(n, F_{out})` where there is a kernel for that.
        """
        start, stop = rows
        arguments = self._with_weights(weights)
        if arguments is None:
            return F.linear(self.sums(rows), weights.weight, weights.bias)
        cpu = cpu_kernels()
        assert cpu is not None
        work = partial(
            cpu.products.product, *arguments, flat(out), start, weights.num_outputs
        )
        share_rows(work, self.adjacency.rowptr, rows, weights.num_outputs)
        return out

    def encode(
        self,
        bias: Tensor | None,
        code: PhaseCode,
        scale: Tensor,
        weights: Weights | None = None,
    ) -> Tensor | None:
        """The spike times of neurons that the sums charge, plus a bias or as
        multiplied by weights, with nothing but bytes written; None where there is
        no kernel for that.
        """
        arguments = self._arguments if self.scale is None else None
        width, cpu = self.width, cpu_kernels()
        if weights is not None:
            arguments, width = self._with_weights(weights), weights.num_outputs
        usable = len(self.shape) == 2 and width > 0 and self.shape[0] > 0
        usable &= scale.numel() == 1 or scale.shape == (width,)
        if bias is not None:
            usable &= bias.shape == (width,) and bias.dtype == self.dtype
        is_plain = weights is None and self.scale is None
        if self._on_cuda is not None and is_plain and usable:
            graph, x, table, source, target = self._cuda_arguments(0, self.shape[0])
            limits = code.thresholds.to(x.device, self.dtype)
            return triton.aggregate_encode(
                *(*graph, x, table, source, target),
                bias=bias,
                thresholds=limits,
                scale=scale,
                signed=code.signed,
            )
        if arguments is None or not usable or cpu is None:
            return None
        thresholds, searched = padded_thresholds(code, self.dtype)
        like = torch.empty(width, dtype=self.dtype)
        scales = check_scale(scale, like).detach().reshape(1, -1)
        by_column = True if searched or scale.numel() > 1 else None
        if by_column:  # Sooner compiled, and as fast.
            scales = scales.expand(1, width)
            scales = columns_of(scales, 1, cpu.graph.ROWS * width)
        out = empty((self.shape[0], width), torch.uint8)
        to = (thresholds, flat(scales), flat(out), width)
        how = (code.num_steps, code.signed, searched, by_column)
        if weights is not None:
            work = partial(cpu.products.product_encode, *arguments, *to, *how)
        else:
            given = like[:0] if bias is None else bias.contiguous()
            work = partial(
                cpu.graph.aggregate_encode,
                *arguments,
                flat(given),
                *to,
                self._way,
                *how,
            )
        share_rows(work, self.adjacency.rowptr, (0, self.shape[0]), width)
        return out

    def _with_weights(self, weights: Weights) -> tuple[Any, ...] | None:
        """What the kernels of products read; None if there are none."""
        weight = weights.weight
        fits = weight.dtype == self.dtype and weight.size(1) == self.width
        if self._arguments is None or len(self.shape) != 2 or not fits:
            return None
        panels = weights.panels(self.scale)
        if panels is None:
            return None
        return (*self._arguments, self.width, self._way, *panels)


def sent_size(x: Any, adjacency: Adjacency) -> float:
    """The bytes of a value as it is sent along the edges: half a one for a spike
    time that is packed.
    """
    is_decoded = x.device.type == 'cpu' and cpu_kernels() is None
    if isinstance(x, Tensor) or is_decoded:
        return x.dtype.itemsize
    return 0.5 if _is_packed(x, adjacency) else 1.0


def _aligned(size: int) -> int:
    """The bytes of a row such that it lies in as few lines of the cache as can be."""
    if size >= _LINE:
        return -(-size // _LINE) * _LINE
    return 1 << (size - 1).bit_length()


def _is_packed(x: Any, adjacency: Adjacency) -> bool:
    cpu = cpu_kernels()
    if cpu is None or x.dtype != torch.float32 or x.device.type != 'cpu':
        return False
    is_short = cpu.registers.way_of(x.code.num_times) == cpu.registers.ONE
    return is_short and _saves_time(adjacency, x.shape[-1])


def _saves_time(adjacency: Adjacency, width: int) -> bool:
    """Whether rows of half the bytes are sent sooner, packing included: if they are
    fewer lines of the cache, are read often enough, and do not lie in it anyway.
    """
    num = adjacency.num_sources
    return width > _LINE and adjacency.num_edges >= 3 * num and num * width > _CACHE
