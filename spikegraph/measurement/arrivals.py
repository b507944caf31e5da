"""How many spikes each value is made of, once a linear operation has moved them, added
them up or weighed them: the operation itself is run on numbers of spikes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikegraph.measurement.marks import Marks

# So many accumulates cost as much as a multiply-accumulate, about.
_MOST_ADDED = 5
_VIEWS = ('view', '_unsafe_view', '_reshape_alias')


class Arrivals:
    """Follows spikes through operations.

    Args:
        marks (Marks): What the operands are; of spikes, how many there are.
    """

    def __init__(self, marks: Marks) -> None:
        self.marks = marks

    def of(self, value: Any) -> Tensor | None:
        """The spikes that a value is made of; of a constant, which is a bias, none."""
        if not isinstance(value, Tensor):
            return torch.zeros((), dtype=torch.float64)
        mark = self.marks[value]
        if mark.kind == 'signal' or mark.arrivals is not None:
            return mark.arrivals
        return no_spikes(value)

    def moved(
        self, func: Any, name: str, args: Any, kwargs: Any, changes: bool = False
    ) -> Any:
        """Those behind values that are moved, or added up."""
        missing = False

        def spikes(value: Any) -> Any:
            nonlocal missing
            if not isinstance(value, Tensor) or not value.is_floating_point():
                return value
            mark = self.marks[value]
            if mark.kind == 'signal':
                missing |= mark.arrivals is None
                return value if mark.arrivals is None else mark.arrivals
            if mark.arrivals is not None and (changes or value is args[0]):
                return mark.arrivals  # Of what is written to, or a part of it.
            # What no input changes is a part of the bias behind it.
            missing |= mark.kind == 'fixed' and bool((value != 0).any())
            return no_spikes(value)

        swapped = pytree.tree_map(spikes, (args, kwargs))
        if missing or name == 'as_strided':
            return None
        args, kwargs = swapped
        if name == 'constant_pad_nd':
            args = args[:2]
        kwargs = {k: v for k, v in kwargs.items() if k != 'dtype'}
        if name == '_to_copy':
            return args[0]
        if name in _VIEWS:
            return args[0].reshape(args[1])
        return func(*args, **kwargs)

    def averaged(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Those behind means, unless these are made of so many that it costs less to
        read them as the real values that they are.
        """
        spikes = self.marks[args[0]].arrivals
        if spikes is None:
            return None
        kwargs = {k: v for k, v in kwargs.items() if k != 'dtype'}
        found = func(spikes, *args[1:], **kwargs)
        found = (found * (spikes.numel() / max(1, found.numel()))).round()
        return None if are_many(found) else found

    def masked(self, name: str, args: Any) -> Any:
        """Those that are left where others were put out."""
        if name == 'where':
            condition, *values = args
            found = [self.of(value) for value in values]
            if len(found) != 2 or any(spikes is None for spikes in found):
                return None
            return torch.where(condition, *found)
        arrivals = self.marks[args[0]].arrivals
        if arrivals is None:
            return None
        if name == 'masked_fill':
            return arrivals.masked_fill(args[1], 0)
        if name == 'index_fill':
            return arrivals.index_fill(args[1], args[2], 0)
        return torch.zeros_like(arrivals)

    def mixed(self, name: str, args: Any, kwargs: Any) -> Any:
        """Those behind sums of values with factors that are no signals."""
        if name == 'lerp':
            end = torch.as_tensor(args[2])
            parts = [(args[0], end != 1), (args[1], end != 0)]
        else:  # The first, and a product or quotient of the others.
            signal, factor = args[1:3]
            if self.marks[factor].kind == 'signal':
                signal, factor = factor, signal
            is_signal = self.marks[factor].kind == 'signal'
            if is_signal or (name == 'addcdiv' and signal is not args[1]):
                return None  # Two signals, or one below the line.
            used = factor != 0 if name == 'addcmul' else torch.ones_like(factor)
            used = used * (kwargs.get('value', 1) != 0)
            parts = [(args[0], torch.ones(())), (signal, used)]
        total: Any = 0
        for value, is_used in parts:
            spikes = self.of(value)
            if spikes is None:
                return None
            total = total + spikes * is_used
        return total

    def summed(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        """Those behind rows that are added to others, or averaged with them."""
        if name == 'segment_reduce':
            spikes = self.marks[args[0]].arrivals
            return None if spikes is None else func(spikes, 'sum', **kwargs)
        if name.startswith('_embedding_bag'):
            return self._in_bags(func, args, kwargs)
        src = args[2] if name == 'index_put' else args[3]
        spikes, arrivals = self.of(args[0]), self.marks[src].arrivals
        if spikes is None or arrivals is None:
            return None
        if name == 'index_put':
            return spikes.index_put(args[1], arrivals, accumulate=True)
        dim, index = args[1:3]
        if kwargs.get('include_self') is False:  # Of those that others are added to.
            spikes = (
                spikes.index_fill(dim, index, 0)
                if name == 'index_reduce'
                else spikes.scatter(dim, index, 0)
            )
        add = spikes.index_add if name.startswith('index') else spikes.scatter_add
        return add(dim, index, arrivals)

    def _in_bags(self, func: Any, args: Any, kwargs: Any) -> Any:
        weight, *rest = args
        spikes = self.marks[weight].arrivals
        if spikes is None:
            return None
        if len(rest) > 3:
            rest[3] = 0  # Sums.
        if len(rest) > 5 and rest[5] is not None:
            rest[5] = (rest[5] != 0).double()
        return [func(spikes, *rest, **kwargs)[0], None, None, None]


def are_many(arrivals: Tensor) -> bool:
    """Whether sums of spikes are better read as real values: with as many of them to
    each, it costs less.
    """
    return bool(arrivals.sum() > _MOST_ADDED * arrivals.numel())


def no_spikes(value: Tensor) -> Tensor:
    """As many zeros as there are values."""
    return torch.zeros(value.shape, dtype=torch.float64, device=value.device)
