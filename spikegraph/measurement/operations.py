"""Counts what is really computed, operation by operation, by the role of each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.backends import mha
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from spikegraph.measurement.arrivals import Arrivals, are_many, no_spikes
from spikegraph.measurement.counts import Counts
from spikegraph.measurement.fan_out import (
    convolution_fan_out,
    interpolation_fan_out,
    nonzero_along,
    num_nonzero,
    num_summed,
    probed_fan_out,
    summed_rows,
)
from spikegraph.measurement.marks import (
    Mark,
    Marks,
    strongest,
    swaps,
    takes_rows_of_weights,
)
from spikegraph.network.ops import MOVES, TAPS, Count, count_of, factors_of_product

_INDEXED = (Count.GATHER, Count.LOOKUP)


class OperationCounter(TorchDispatchMode):
    """Counts the operations that are run inside of it.

    Args:
        marks (Marks): What the tensors that go in are; those that come out are added.
        counts (Callable): Called with the name of each operation, returns the counts
            to add to.
        follows (bool, optional): Whether spikes are followed into tensors that are
            made empty and written part by part. (default: :obj:`False`)
    """

    def __init__(
        self, marks: Marks, counts: Callable[[str], Counts], follows: bool = False
    ) -> None:
        super().__init__()
        self.follows = follows
        self.marks = marks
        self.arrivals = Arrivals(marks)
        self.counts = counts
        self.uncounted: list[str] = []
        self.plain = ExitStack()

    def __enter__(self) -> Any:
        # Attention in one piece says nothing of the products that it is made of.
        fast = mha.get_fastpath_enabled()
        self.plain.callback(mha.set_fastpath_enabled, fast)
        mha.set_fastpath_enabled(False)
        self.plain.enter_context(sdpa_kernel(SDPBackend.MATH))
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.plain.close()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.partition('::')[2]
        changes = name.endswith('_') and not name.startswith('__')
        name = name.rstrip('_') if changes else name
        inputs = [
            v for v in pytree.tree_leaves((args, kwargs)) if isinstance(v, Tensor)
        ]
        marks = [self.marks[v] for v in inputs]
        kind = strongest(marks)
        if changes and kind == 'signal':
            self._note_zeros(args[0])
        count = count_of(name)
        picked = count in _INDEXED and takes_rows_of_weights(marks)
        kind = 'signal' if picked else kind
        out = func(*args, **kwargs)
        if count is Count.SHAPE or not inputs:
            if self.follows and isinstance(out, Tensor) and out.is_floating_point():
                if out.layout == torch.strided:
                    self.marks[out] = Mark('constant', no_spikes(out))
            return out
        mark = Mark(kind)
        if kind == 'constant' and count in MOVES and marks[0].arrivals is not None:
            mark = Mark(kind, self.arrivals.moved(func, name, args, kwargs, changes))
        if kind == 'signal':
            mark = self._count(func, name, args, kwargs, out, changes)
        spikes: Any = mark.arrivals
        several = isinstance(out, (tuple, list))
        for i, value in enumerate(pytree.tree_leaves(out)):
            if isinstance(value, Tensor):
                found = spikes[i] if several and spikes is not None else spikes
                if found is not None and found.shape != value.shape:
                    found = None
                picked |= mark.picked
                self.marks[value] = replace(mark, arrivals=found, picked=picked)
        if changes and kind == 'signal':
            self.marks.write(args[0], mark.arrivals is not None)
        return out

    def _note_zeros(self, base: Any) -> None:
        """Zeros that spikes are about to be written into hold none so far."""
        mark = self.marks[base] if isinstance(base, Tensor) else Mark('signal')
        is_empty = mark.kind != 'signal' and mark.arrivals is None and self.follows
        if is_empty and base.is_floating_point() and not bool(base.any()):
            self.marks[base] = replace(mark, arrivals=no_spikes(base))

    # What is done, and what comes out.

    def _count(
        self, func: Any, name: str, args: Any, kwargs: Any, out: Any, changes: bool
    ) -> Mark:
        counts, mark, count = self.counts(name), Mark('signal'), count_of(name)
        if count is Count.PRODUCT:
            factors = factors_of_product(name)
            found = self._count_product(counts, args, *factors)
            if factors[0] == 1:
                found = self._count_added(counts, args[0], kwargs, out, found)
            return replace(mark, arrivals=found)
        elif count is Count.PAIRS:
            self._count_pairs(counts, name, args)
        elif count is Count.CONVOLUTION:
            self._count_convolution(counts, args, out)
        elif count is Count.ROWS or (count is Count.WRITE and _accumulates(args)):
            return self._count_rows(counts, func, name, args, kwargs)
        elif count is Count.MIX:
            counts.ann_multiplications += out.numel()
            counts.scalings += out.numel()
            counts.adds += out.numel()
            return replace(mark, arrivals=self.arrivals.mixed(name, args, kwargs))
        elif count in (Count.SCALING, Count.NEGATION):
            return self._count_scaling(counts, name, args, out)
        elif count is Count.SUM:
            return self._count_sum(counts, args, out)
        elif count is Count.NORM:
            counts.ann_multiplications += args[0].numel()
            counts.scalings += args[0].numel()
            counts.adds += args[0].numel()
        elif count is Count.INTERPOLATION:
            fan_out = interpolation_fan_out(func, args[0], args[1:], kwargs)
            self._count_linear(counts, args[0], fan_out, out.numel() * TAPS[name])
        elif count is Count.MEAN:
            counts.adds += num_summed(name, args, kwargs, out)
            if name == 'mean':
                found = self.arrivals.averaged(func, args, kwargs)
                return replace(mark, arrivals=found)
        elif count is Count.TOTAL:
            if not self.marks[args[0]].met:
                counts.adds += num_summed(name, args, kwargs, out)
            found = self.arrivals.moved(func, name, args, kwargs, changes)
            return replace(mark, arrivals=found)
        elif count is Count.MASK:
            return replace(mark, arrivals=self.arrivals.masked(name, args))
        elif count in MOVES or count is Count.LOOKUP:
            return self._move(func, name, args, kwargs, changes)
        elif count is not Count.FREE and torch.Tag.pointwise not in func.tags:
            if not self._count_probed(counts, func, args, kwargs):
                self.uncounted.append(name)
        return mark

    def _count_probed(self, counts: Counts, func: Any, args: Any, kwargs: Any) -> bool:
        """What is affine in one operand multiplies and adds up, whatever it is."""
        places = [
            i
            for i, v in enumerate(args)
            if isinstance(v, Tensor) and self.marks[v].kind == 'signal'
        ]
        if len(places) != 1:
            return False
        fan_out = probed_fan_out(func, args, kwargs, places[0])
        if fan_out is None:
            return False
        self._count_linear(counts, args[places[0]], fan_out, int(fan_out.sum()))
        return True

    def _count_linear(
        self, counts: Counts, x: Tensor, fan_out: Tensor | int, num: int
    ) -> None:
        """Values that meet so many coefficients each."""
        _add_transform(counts, num, int(((x != 0) * fan_out).sum()))
        arrivals = self.marks[x].arrivals
        if arrivals is None:
            counts.snn_macs += num
        else:
            counts.synops += int((arrivals * fan_out).sum())

    def _move(
        self, func: Any, name: str, args: Any, kwargs: Any, changes: bool
    ) -> Mark:
        first = self.marks[args[0]] if isinstance(args[0], Tensor) else Mark('signal')
        gathered = first.gathered or (count_of(name) in _INDEXED)
        arrivals = self.arrivals.moved(func, name, args, kwargs, changes)
        swapped = first.swapped ^ swaps(name, args)
        return replace(
            first, kind='signal', arrivals=arrivals, swapped=swapped, gathered=gathered
        )

    def _count_product(
        self, counts: Counts, args: Any, i: int, j: int
    ) -> Tensor | None:
        """Counts it, and returns the spikes that a graph without weights sums up."""
        a, b = args[i], args[j]
        marks = self.marks[a], self.marks[b]
        a = a.unsqueeze(0) if a.dim() == 1 else a
        b = b.unsqueeze(-1) if b.dim() == 1 else b
        kinds = [mark.kind for mark in marks]
        if kinds == ['signal', 'signal'] and marks[0].picked != marks[1].picked:
            kinds[0 if marks[0].picked else 1] = 'weight'
        if kinds == ['signal', 'signal']:
            num = a.numel() * b.size(-1)
            counts.ann_macs += num
            counts.snn_macs += num
            met = (a != 0).double() @ (b != 0).double()
            counts.ann_macs_nonzero += int(met.sum())
            return None
        first = kinds[0] == 'signal'
        x, other = (a, b) if first else (b, a)
        mark, kind = marks[0 if first else 1], kinds[1 if first else 0]
        on_channels = first != mark.swapped
        if kind == 'weight' or (kind == 'constant' and on_channels):
            width = other.size(-1) if first else other.size(-2)
            arrivals = None if mark.arrivals is None else mark.arrivals.sum()
            if kind == 'constant' and other.dim() == 2:  # Zeros of it are no weights.
                met = nonzero_along(other, first)
                rows = -2 if first else -1
                values = torch.ones_like(x).sum(dim=rows), (x != 0).sum(dim=rows)
                num, nonzero = (int((v * met).sum()) for v in values)
            else:
                num, nonzero = x.numel() * width, num_nonzero(x) * width
            _add_transform(counts, num, nonzero)
            if arrivals is None:
                counts.snn_macs += num
            else:
                counts.synops += int(arrivals) * width
            return None
        num = num_nonzero(other) * (x.size(-2) if first else x.size(-1))
        counts.ann_aggregation_macs += num
        if mark.arrivals is None:
            counts.snn_macs += num
            return None
        spikes = mark.arrivals.reshape(x.shape).sum(dim=-2 if first else -1)
        counts.synops += int((spikes * nonzero_along(other, first)).sum())
        if other.layout != torch.strided or bool(((other != 0) & (other != 1)).any()):
            return None
        ends = mark.arrivals.reshape(x.shape), other.to(mark.arrivals)
        summed: Tensor = ends[0] @ ends[1] if first else ends[1] @ ends[0]
        return None if are_many(summed) else summed

    def _count_added(
        self,
        counts: Counts,
        added: Tensor,
        kwargs: Any,
        out: Tensor,
        arrivals: Tensor | None,
    ) -> Tensor | None:
        """Counts what is added to a product, and returns the spikes of both."""
        if self.marks[added].kind != 'signal' or kwargs.get('beta', 1) == 0:
            return arrivals
        counts.adds += out.numel()
        spikes = self.arrivals.of(added)
        if spikes is None or arrivals is None:
            return None
        found = spikes + arrivals
        return None if are_many(found) else found

    def _count_pairs(self, counts: Counts, name: str, args: Any) -> None:
        """Bilinear forms, whose parameters are met by all pairs of values, and
        distances of all pairs of rows.
        """
        a, others = args[0], args[1:3] if name == '_trilinear' else args[1:2]
        fan_out = others[0].size(0 if name == '_trilinear' else -2)
        x = a
        if name == '_trilinear':
            fan_out *= others[1].size(-1)
            if self.marks[a].kind != 'signal':  # The other operand is.
                x = others[1]
                fan_out = fan_out // x.size(-1) * a.size(-1)
        num = x.numel() * fan_out
        counts.ann_macs += num
        counts.ann_macs_nonzero += num_nonzero(x) * fan_out
        arrivals = self.marks[x].arrivals
        signals = [v for v in (a, *others) if self.marks[v].kind == 'signal']
        if name != '_trilinear' or len(signals) > 1 or arrivals is None:
            counts.snn_macs += num
        else:
            counts.synops += int(arrivals.sum()) * fan_out

    def _count_convolution(self, counts: Counts, args: Any, out: Tensor) -> None:
        x, weight, transposed = args[0], args[1], args[6]
        mark = self.marks[x]
        num = (x if transposed else out).numel() * weight[0].numel()
        fan_out = convolution_fan_out(x, weight, out, *args[3:])
        met = (x != 0).sum(dim=0, dtype=torch.float64) * fan_out
        _add_transform(counts, num, int(met.sum()))
        if mark.arrivals is None:
            counts.snn_macs += num
        else:
            counts.synops += int((mark.arrivals.sum(dim=0) * fan_out).sum())

    def _count_rows(
        self, counts: Counts, func: Any, name: str, args: Any, kwargs: Any
    ) -> Mark:
        """Rows that are added to others, as along edges."""
        src, num, how = summed_rows(name, args)
        mark = self.marks[src]
        if mark.kind != 'signal' or how not in ('sum', 'mean'):
            return Mark('signal')
        counts.ann_aggregation_macs += num
        counts.accumulates += num
        if mark.scaled is not None:  # That is what makes it a multiply-accumulate.
            where, times = mark.scaled
            where.ann_multiplications -= min(times, num)
        return Mark('signal', self.arrivals.summed(func, name, args, kwargs))

    def _count_scaling(self, counts: Counts, name: str, args: Any, out: Any) -> Mark:
        if count_of(name) is Count.NEGATION:
            return replace(self.marks[args[0]], scaled=None)
        marks = [
            self.marks[v] if isinstance(v, Tensor) else Mark('constant')
            for v in args[:2]
        ]
        if self._meets_weights(name, args, marks, out):
            x = args[0 if marks[0].kind == 'signal' else 1]
            fan_out = out.numel() // max(1, x.numel())
            self._count_linear(counts, x, fan_out, x.numel() * fan_out)
            return Mark('signal', met=True)
        counts.ann_multiplications += out.numel()
        counts.scalings += out.numel()
        gathered = any(m.gathered for m in marks)
        scaled = (counts, out.numel()) if gathered else None
        mark = Mark('signal', None, marks[0].swapped, gathered, scaled)
        if marks[0].kind == marks[1].kind == 'signal':
            return mark
        i = 0 if marks[0].kind == 'signal' else 1
        arrivals, factor = marks[i].arrivals, args[1 - i]
        if arrivals is None or (name not in ('mul', 'multiply') and i == 1):
            return mark
        arrivals = arrivals.expand(out.shape)
        if isinstance(factor, Tensor):
            is_mask = factor.dtype == torch.bool
            if factor.numel() == out.numel() > 1 and not is_mask:
                return mark  # Each spike has a size of its own.
            arrivals = arrivals * (factor != 0)
        return replace(mark, arrivals=arrivals)

    def _meets_weights(
        self, name: str, args: Any, marks: list[Mark], out: Tensor
    ) -> bool:
        """Whether each value is multiplied by several parameters, as in a product of
        matrices that is written as ``(x.unsqueeze(-1) * weight).sum(1)``.
        """
        if {mark.kind for mark in marks} != {'signal', 'weight'} or name == 'div':
            return False
        x = args[0 if marks[0].kind == 'signal' else 1]
        return 0 < x.numel() < out.numel()

    def _count_sum(self, counts: Counts, args: Any, out: Any) -> Mark:
        marks = [
            self.marks[v] if isinstance(v, Tensor) else Mark('constant')
            for v in args[:2]
        ]
        kinds = [m.kind for m in marks]
        if 'weight' not in kinds and 'constant' not in kinds:
            counts.adds += out.numel()
        gathered = any(m.gathered for m in marks)
        scaled = next((m.scaled for m in marks if m.scaled is not None), None)
        mark = Mark('signal', None, marks[0].swapped, gathered, scaled)
        first, second = (self.arrivals.of(value) for value in args[:2])
        if first is None or second is None:
            return mark
        return replace(mark, arrivals=(first + second).expand(out.shape))


def _add_transform(counts: Counts, num: int, num_nonzero: int) -> None:
    counts.ann_macs += num
    counts.ann_macs_nonzero += num_nonzero


def _accumulates(args: Any) -> bool:
    return len(args) > 3 and bool(args[3])
