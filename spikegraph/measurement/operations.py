"""Counts what is really computed, operation by operation, by the role of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from spikegraph.measurement.counts import Counts
from spikegraph.measurement.fan_out import (
    convolution_fan_out,
    interpolation_fan_out,
    nonzero_along,
    num_in_batch,
    num_nonzero,
    num_summed,
)
from spikegraph.measurement.marks import Mark, Marks, strongest
from spikegraph.measurement.roles import (
    FREE,
    GATHERS,
    MEANS,
    MOVES,
    NORMS,
    PRODUCTS,
    SCALINGS,
    SHAPES,
    SUMS_OF_ROWS,
    TAPS,
    TOTALS,
)


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
        self.counts = counts
        self.uncounted: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.partition('::')[2]
        changes = name.endswith('_') and not name.startswith('__')
        name = name.rstrip('_') if changes else name
        inputs = [v for v in pytree.tree_leaves((args, kwargs)) if _is_tensor(v)]
        marks = [self.marks[v] for v in inputs]
        kind = strongest(marks)
        if changes and kind == 'signal':
            self._note_zeros(args[0])
        picked = name in GATHERS and _takes_rows_of_weights(marks)
        kind = 'signal' if picked else kind
        out = func(*args, **kwargs)
        if name in SHAPES or not inputs:
            if self.follows and _is_tensor(out) and out.is_floating_point():
                if out.layout == torch.strided:
                    self.marks[out] = Mark('constant', _no_spikes(out))
            return out
        mark = Mark(kind)
        if kind == 'constant' and name in MOVES and marks[0].arrivals is not None:
            mark = Mark(kind, self._moved(func, args, kwargs, name, changes))
        if kind == 'signal':
            mark = self._count(func, name, args, kwargs, out, marks, changes)
        spikes: Any = mark.arrivals
        several = isinstance(out, (tuple, list))
        for i, value in enumerate(pytree.tree_leaves(out)):
            if _is_tensor(value):
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
        mark = self.marks[base] if _is_tensor(base) else Mark('signal')
        is_empty = mark.kind != 'signal' and mark.arrivals is None and self.follows
        if is_empty and base.is_floating_point() and not bool(base.any()):
            self.marks[base] = replace(mark, arrivals=_no_spikes(base))

    # What is done, and what comes out.

    def _count(
        self,
        func: Any,
        name: str,
        args: Any,
        kwargs: Any,
        out: Any,
        marks: list[Mark],
        changes: bool,
    ) -> Mark:
        counts, mark = self.counts(name), Mark('signal')
        if name in PRODUCTS:
            self._count_product(counts, args, *PRODUCTS[name])
        elif name == 'convolution':
            self._count_convolution(counts, args, out)
        elif name in SUMS_OF_ROWS or (name == 'index_put' and _accumulates(args)):
            return self._count_rows(counts, func, name, args, kwargs)
        elif name in ('_embedding_bag', '_embedding_bag_forward_only'):
            num = args[1].numel() * args[0].size(-1)
            counts.ann_aggregation_macs += num
            counts.accumulates += num
        elif name == 'segment_reduce':
            counts.ann_aggregation_macs += args[0].numel()
            counts.accumulates += args[0].numel()
        elif name in SCALINGS or name == 'neg':
            return self._count_scaling(counts, name, args, out)
        elif name in ('add', 'sub', 'rsub'):
            return self._count_sum(counts, args, kwargs, out)
        elif name in NORMS:
            counts.ann_multiplications += args[0].numel()
            counts.scalings += args[0].numel()
            counts.adds += args[0].numel()
        elif name in TAPS:
            self._count_interpolation(counts, func, args, kwargs, out, TAPS[name])
        elif name in MEANS or name in TOTALS:
            counts.adds += num_summed(name, args, kwargs, out)
            return replace(
                mark, arrivals=self._moved(func, args, kwargs, name, changes)
            )
        elif name in ('masked_fill', 'index_fill', 'fill', 'zero', 'where'):
            return replace(mark, arrivals=self._masked(name, args))
        elif name in MOVES or name in GATHERS:
            return self._move(func, name, args, kwargs, changes)
        elif name not in FREE and torch.Tag.pointwise not in func.tags:
            self.uncounted.append(name)
        return mark

    def _move(
        self, func: Any, name: str, args: Any, kwargs: Any, changes: bool
    ) -> Mark:
        first = self.marks[args[0]] if _is_tensor(args[0]) else Mark('signal')
        swaps = _swaps(name, args)
        gathered = first.gathered or (name in GATHERS)
        arrivals = self._moved(func, args, kwargs, name, changes)
        swapped = first.swapped ^ swaps
        return replace(
            first, kind='signal', arrivals=arrivals, swapped=swapped, gathered=gathered
        )

    def _moved(
        self, func: Any, args: Any, kwargs: Any, name: str, changes: bool
    ) -> Any:
        """The spikes behind values that are moved, or added up."""
        if name in MEANS or name == 'cumsum':
            return None
        missing = False

        def spikes(value: Any) -> Any:
            nonlocal missing
            if not _is_tensor(value) or not value.is_floating_point():
                return value
            mark = self.marks[value]
            if mark.kind == 'signal':
                missing |= mark.arrivals is None
                return value if mark.arrivals is None else mark.arrivals
            if mark.arrivals is not None and (changes or value is args[0]):
                return mark.arrivals  # Of what is written to, or a part of it.
            missing |= bool((value != 0).any())
            return _no_spikes(value)

        fill = args[2] if name == 'constant_pad_nd' and len(args) > 2 else 0
        swapped = pytree.tree_map(spikes, (args, kwargs))
        if missing or fill != 0:
            return None
        args, kwargs = swapped
        kwargs = {k: v for k, v in kwargs.items() if k != 'dtype'}
        if name == '_to_copy':
            return args[0]
        if name in ('view', '_unsafe_view', '_reshape_alias'):
            return args[0].reshape(args[1])
        if name == 'as_strided':
            return None
        return func(*args, **kwargs)

    def _masked(self, name: str, args: Any) -> Any:
        """Spikes that are left where others were put out."""
        if name == 'where':
            condition, *values = args
            found = []
            for value in values:
                arrivals = self._arrivals_or_none(value)
                if arrivals is None:
                    return None
                found.append(arrivals)
            return torch.where(condition, *found) if len(found) == 2 else None
        arrivals = self.marks[args[0]].arrivals
        if arrivals is not None and name == 'index_fill':
            return arrivals.index_fill(args[1], args[2], 0)
        if arrivals is None or name != 'masked_fill':
            return None if arrivals is None else torch.zeros_like(arrivals)
        return arrivals.masked_fill(args[1], 0)

    def _arrivals_or_none(self, value: Any) -> Any:
        """The spikes of a value; of a constant, which is a bias, none."""
        if not _is_tensor(value):
            return torch.zeros((), dtype=torch.float64)
        mark = self.marks[value]
        if mark.kind in ('constant', 'weight'):
            return _no_spikes(value)
        return mark.arrivals

    def _count_product(self, counts: Counts, args: Any, i: int, j: int) -> None:
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
            return
        first = kinds[0] == 'signal'
        x, other = (a, b) if first else (b, a)
        mark, kind = marks[0 if first else 1], kinds[1 if first else 0]
        on_channels = first != mark.swapped
        if kind == 'weight' or (kind == 'constant' and on_channels):
            width = other.size(-1) if first else other.size(-2)
            arrivals = None if mark.arrivals is None else mark.arrivals.sum()
            _add_transform(counts, x.numel() * width, num_nonzero(x) * width)
            if arrivals is None:
                counts.snn_macs += x.numel() * width
            else:
                counts.synops += int(arrivals) * width
            return
        num = num_nonzero(other) * (x.size(-2) if first else x.size(-1))
        counts.ann_aggregation_macs += num
        if mark.arrivals is None:
            counts.snn_macs += num
            return
        spikes = mark.arrivals.reshape(x.shape).sum(dim=-2 if first else -1)
        counts.synops += int((spikes * nonzero_along(other, first)).sum())

    def _count_convolution(self, counts: Counts, args: Any, out: Tensor) -> None:
        x, weight, transposed = args[0], args[1], args[6]
        mark = self.marks[x]
        num = (x if transposed else out).numel() * weight[0].numel()
        fan_out = convolution_fan_out(x, weight, out, *args[3:])
        met = int((num_in_batch(x != 0) * fan_out).sum())
        _add_transform(counts, num, met)
        if mark.arrivals is None:
            counts.snn_macs += num
        else:
            counts.synops += int((num_in_batch(mark.arrivals) * fan_out).sum())

    def _count_rows(
        self, counts: Counts, func: Any, name: str, args: Any, kwargs: Any
    ) -> Mark:
        """Rows that are added to others, as along edges."""
        src = args[2] if name == 'index_put' else args[3]
        how = args[4] if name.endswith('_reduce') else 'sum'
        mark, base = self.marks[src], self.marks[args[0]]
        if mark.kind != 'signal' or how not in ('sum', 'mean'):
            return Mark('signal')
        num = src.numel()
        counts.ann_aggregation_macs += num
        counts.accumulates += num
        if mark.scaled is not None:  # That is what makes it a multiply-accumulate.
            where, times = mark.scaled
            where.ann_multiplications -= min(times, num)
        if how != 'sum' or mark.arrivals is None:
            return Mark('signal')
        spikes = base.arrivals
        if spikes is None and base.kind == 'signal':
            return Mark('signal')
        if spikes is None:
            spikes = _no_spikes(args[0])
        if name == 'index_put':
            found = spikes.index_put(args[1], mark.arrivals, accumulate=True)
        else:
            dim, index = args[1:3]
            add = spikes.index_add if name == 'index_add' else spikes.scatter_add
            found = add(dim, index, mark.arrivals)
        return Mark('signal', found)

    def _count_scaling(self, counts: Counts, name: str, args: Any, out: Any) -> Mark:
        if name == 'neg':
            return replace(self.marks[args[0]], scaled=None)
        marks = [self.marks[v] if _is_tensor(v) else Mark('constant') for v in args[:2]]
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
        if _is_tensor(factor):
            is_mask = factor.dtype == torch.bool
            if factor.numel() == out.numel() > 1 and not is_mask:
                return mark  # Each spike has a size of its own.
            arrivals = arrivals * (factor != 0)
        return replace(mark, arrivals=arrivals)

    def _count_sum(self, counts: Counts, args: Any, kwargs: Any, out: Any) -> Mark:
        marks = [self.marks[v] if _is_tensor(v) else Mark('constant') for v in args[:2]]
        kinds = [m.kind for m in marks]
        if 'weight' not in kinds and 'constant' not in kinds:
            counts.adds += out.numel()
        gathered = any(m.gathered for m in marks)
        scaled = next((m.scaled for m in marks if m.scaled is not None), None)
        mark = Mark('signal', None, marks[0].swapped, gathered, scaled)
        found = [self._arrivals_or_none(value) for value in args[:2]]
        if any(spikes is None for spikes in found):
            return mark
        return replace(mark, arrivals=(found[0] + found[1]).expand(out.shape))

    def _count_interpolation(
        self, counts: Counts, func: Any, args: Any, kwargs: Any, out: Tensor, taps: int
    ) -> None:
        x = args[0]
        fan_out = interpolation_fan_out(func, x, args[1:], kwargs)
        num = out.numel() * taps
        _add_transform(counts, num, int(((x != 0) * fan_out).sum()))
        arrivals = self.marks[x].arrivals
        if arrivals is None:
            counts.snn_macs += num
        else:
            counts.synops += int((arrivals * fan_out).sum())


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _no_spikes(value: Tensor) -> Tensor:
    return torch.zeros(value.shape, dtype=torch.float64, device=value.device)


def _add_transform(counts: Counts, num: int, num_nonzero: int) -> None:
    counts.ann_macs += num
    counts.ann_macs_nonzero += num_nonzero


def _takes_rows_of_weights(marks: list[Mark]) -> bool:
    """Whether rows of parameters are picked by an input, as embeddings do."""
    kinds = {mark.kind for mark in marks}
    return kinds >= {'weight', 'fixed'} and 'signal' not in kinds


def _accumulates(args: Any) -> bool:
    return len(args) > 3 and bool(args[3])


def _swaps(name: str, args: Any) -> bool:
    """Whether an operation exchanges the last two dimensions."""
    rank = args[0].dim() if _is_tensor(args[0]) else 0
    if name == 't':
        return rank == 2
    if name == 'transpose':
        return {d % max(1, rank) for d in args[1:3]} == {rank - 1, rank - 2}
    if name == 'permute':
        dims = [d % max(1, rank) for d in args[1]]
        return dims[-2:] == [rank - 1, rank - 2]
    return False
