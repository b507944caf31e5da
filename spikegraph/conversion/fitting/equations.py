"""The normal equations of rows of all batches, from sums of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from spikegraph.conversion.ranks import Ranks

_Found = TypeVar('_Found')
RIDGE = 1e-3  # Relative to the diagonal of the Gram matrix.
NEGLIGIBLE = 1e-10  # Squared error, relative: float32 rounding, no coding error.
SMALLEST = 0.1  # Rows count alike down to this share of the mean square.
CHUNK = 2**12  # Rows in float64 at once.
HELD_OUT = 5  # Every fifth row judges, the others fit.
NUM_BITS = 50  # Of integers that float64 adds without rounding, and some to spare.


class Rows(NamedTuple):
    r"""Rows of a batch that a layer is corrected on.

    Args:
        features (torch.Tensor, optional): The coded inputs :math:`\Phi` that
            the weights see :math:`(n, F_{in})`, or :math:`(n, G, F_{in})` where
            each group of outputs sees inputs of its own. Without them, only
            the bias is corrected.
        residual (torch.Tensor): What is missing :math:`R`: the ANN's
            pre-activation minus that of the spiking network
            :math:`(n, F_{out})`.
        goal (torch.Tensor): The ANN's pre-activation :math:`Y`
            :math:`(n, F_{out})`.
    """

    features: Tensor | None
    residual: Tensor
    goal: Tensor


class Total(NamedTuple):
    """How many rows each batch has, and their mean size."""

    counts: list[int]
    mean: float


def _mean_size(parts: Iterator[list[tuple[int, float]] | None]) -> Total | None:
    known = list(parts)
    if any(part is None for part in known):
        return None
    counts, sizes = zip(*chain(*(part or [] for part in known)), strict=True)
    return Total(list(counts), sum(sizes) / max(1, sum(counts)))


def _sizes(goal: Tensor) -> Tensor:
    """Each row's mean square :math:`(n)`."""
    return goal.square().mean(dim=1)


class Units(NamedTuple):
    """What sums of all batches are counted in.

    Args:
        weight (float): The mean weight of rows.
        columns (torch.Tensor, optional): Powers of two that the features of each group
            are multiplied by :math:`(G, F + 1)`, if sums are rounded.
        wanted (torch.Tensor, optional): As much for residuals :math:`(G, F_{out} / G)`.
        is_needless (bool): Whether there is nothing to correct, or too few rows.
    """

    weight: float
    columns: Tensor | None = None
    wanted: Tensor | None = None
    is_needless: bool = False


@dataclass(frozen=True)
class Batch:
    """Rows of a batch in float64, before weights are divided by their mean."""

    features: Tensor
    weight: Tensor  # [n]
    residual: Tensor
    goal: Tensor
    start: int  # Rows of all batches in front of this one.
    may_shift: bool

    @classmethod
    def of(cls, rows: Rows, mean: float, start: int, may_shift: bool) -> Batch:
        goal, residual = rows.goal.double(), rows.residual.double()
        features = rows.features
        if features is None:
            features = rows.residual.new_empty(len(goal), 0)
        # The reciprocal of the mean square.
        weight = (_sizes(goal) + SMALLEST * max(mean, 1e-300)).reciprocal()
        return cls(features, weight, residual, goal, start, may_shift)

    def chunks(
        self, mean: float, rows: Tensor | slice
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Weighted columns :math:`(G, n, F + 1)`, the last of which is the bias, and
        residuals :math:`(G, n, F_{out} / G)`, by parts: in float64, all rows of a wide
        layer fill the memory.
        """
        ones = (self.weight / mean).sqrt().view(-1, 1)
        all_of = self.features[rows], ones[rows], (ones * self.residual)[rows]
        for phi, one, missing in zip(*(v.split(CHUNK) for v in all_of), strict=True):
            phi = (phi if phi.dim() == 3 else phi.unsqueeze(1)).double()
            one = one.unsqueeze(1)
            shift = one.expand(-1, phi.size(1), 1)
            shift = shift if self.may_shift else 0 * shift
            columns = torch.cat([one * phi, shift], dim=-1).transpose(0, 1)
            yield columns, missing.unflatten(1, (len(columns), -1)).transpose(0, 1)

    def norms(self) -> tuple[Tensor, Tensor]:
        """The squared norms of all columns, with weights as they are."""
        found = [
            (columns.square().sum(1), missing.square().sum(1))
            for columns, missing in self.chunks(1.0, slice(None))
        ]
        columns, missing = (torch.stack(v).sum(0) for v in zip(*found, strict=True))
        return columns, missing

    def sums(self, units: Units) -> Sums:
        """The normal equations of rows that fit, and of those that judge."""
        place = torch.arange(len(self.weight), device=self.weight.device)
        held_out = (place + self.start) % HELD_OUT == 0
        return Sums(*(self._normal(r, units) for r in (~held_out, held_out)))

    def _normal(self, rows: Tensor, units: Units) -> Normal:
        found = None
        for columns, missing in self.chunks(units.weight, rows):
            if units.columns is not None and units.wanted is not None:
                columns = columns * units.columns.unsqueeze(1)
                missing = missing * units.wanted.unsqueeze(1)
            part = Normal(columns.mT @ columns, columns.mT @ missing)
            found = part if found is None else found + part
        assert found is not None
        if units.columns is None:
            return found
        return Normal(found.gram.round(), found.cross.round())


class Weighed(NamedTuple):
    """What a process knows of its rows, by batch.

    Args:
        weights (List[float]): The sum of weights.
        missing (List[float]): That of weighted squares of residuals.
        energies (List[float]): That of squares of what they should be.
        num_columns (int): How many features there are, and one.
        norms (Tuple[torch.Tensor, torch.Tensor], optional): The largest squared norms of
            columns and residuals in any batch, if there are several.
    """

    weights: list[float]
    missing: list[float]
    energies: list[float]
    num_columns: int
    norms: tuple[Tensor, Tensor] | None

    @classmethod
    def of(cls, batches: list[Batch], has_norms: bool) -> Weighed:
        norms = None
        if has_norms and batches:
            found = zip(*(batch.norms() for batch in batches), strict=True)
            columns, wanted = (torch.stack(each).amax(0) for each in found)
            norms = columns, wanted
        squares = (b.weight.view(-1, 1) * b.residual.square() for b in batches)
        return cls(
            [float(b.weight.sum()) for b in batches],
            [float(square.sum()) for square in squares],
            [float(b.goal.square().sum()) for b in batches],
            max((b.features.size(-1) + 1 for b in batches), default=0),
            norms,
        )


def find_units(parts: Iterator[Weighed], total: Total, num_batches: int) -> Units:
    """What to count in."""
    known = list(parts)
    weights, missing, energies = (
        sum(chain(*each)) for each in list(zip(*known, strict=True))[:3]
    )
    num_rows = sum(total.counts)
    mean = weights / max(1, num_rows)
    exact = missing <= NEGLIGIBLE * energies * mean
    num_kept = num_rows - math.ceil(num_rows / HELD_OUT)
    is_needless = exact or num_kept < max(part.num_columns for part in known)
    norms = [part.norms for part in known if part.norms is not None]
    if not norms:
        return Units(mean, is_needless=is_needless)
    columns, wanted = (torch.stack(v).amax(0) / mean for v in zip(*norms, strict=True))
    bits = (NUM_BITS - math.ceil(math.log2(num_batches))) // 2
    return Units(mean, _powers(columns, bits), _powers(wanted, bits), is_needless)


def _powers(squares: Tensor, bits: int) -> Tensor:
    """Powers of two that bring norms just below that of a number of bits."""
    exponents = np.frexp(squares.cpu().numpy())[1]
    powers = np.ldexp(1.0, bits - 1 - (exponents + 1) // 2)
    powers[squares.cpu().numpy() == 0] = 1.0
    return torch.from_numpy(powers).to(squares)


@dataclass(frozen=True)
class Normal:
    """The normal equations of each group; the last column is the bias."""

    gram: Tensor  # [G, F, F]
    cross: Tensor  # [G, F, F_out / G]

    def __add__(self, other: Normal) -> Normal:
        return Normal(self.gram + other.gram, self.cross + other.cross)

    def counted_in(self, units: Units) -> Normal:
        """In units of one."""
        if units.columns is None or units.wanted is None:
            return self
        rows = units.columns.unsqueeze(2)
        gram = self.gram / rows / units.columns.unsqueeze(1)
        return Normal(gram, self.cross / rows / units.wanted.unsqueeze(1))

    def solve(self) -> Tensor:
        """The change of weights :math:`(G, F_{out} / G, F)`, by ridge regression."""
        diagonal = self.gram.diagonal(dim1=-2, dim2=-1).clamp(min=1e-12)
        ridge = torch.diag_embed(RIDGE * diagonal)
        if diagonal.size(-1) == 1:  # The mean error needs none.
            ridge.zero_()
        return torch.linalg.solve(self.gram + ridge, self.cross).mT

    def gain(self, change: Tensor) -> float:
        """By how much a change lowers the sum of squares."""
        removed = 2 * self.cross - self.gram @ change.mT
        return float((removed * change.mT).sum())


@dataclass(frozen=True)
class Sums:
    """The normal equations of rows that fit, and of those that judge."""

    kept: Normal
    judge: Normal

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.kept + other.kept, self.judge + other.judge)

    def counted_in(self, units: Units) -> Sums:
        """In units of one."""
        return Sums(self.kept.counted_in(units), self.judge.counted_in(units))

    @classmethod
    def over(cls, parts: Iterable[Sums | None]) -> Sums | None:
        """The sum of several, one after the other."""
        total = None
        for part in parts:
            if part is not None:
                total = part if total is None else total + part
        return total


@dataclass(frozen=True)
class Equations:
    """The normal equations of all batches, which are added up when they are asked for."""

    batches: list[Batch]
    units: Units

    @classmethod
    def over(
        cls,
        doing: str,
        take: Callable[[], list[Rows] | None],
        ranks: Ranks,
        may_shift: bool = True,
    ) -> Equations | None:
        """Those of the rows of each batch, if they are known.

        Args:
            doing (str): What is being done, for messages.
            take (Callable): Gives the rows of each batch of this process, or
                :obj:`None` if they cannot be had.
            ranks (Ranks): The processes.
            may_shift (bool, optional): Whether there is a bias; without one, its column
                is zero. (default: :obj:`True`)
        """
        rows: list[Rows] = []

        def size() -> list[tuple[int, float]] | None:
            found = take()
            rows.extend(found or ())
            sizes = [_sizes(part.goal.double()) for part in rows]
            return None if found is None else [(len(s), float(s.sum())) for s in sizes]

        total = ranks.merge(doing, size, _mean_size)
        if total is None:
            return None
        batches: list[Batch] = []

        def weigh() -> Weighed:
            start = sum(total.counts[: ranks.before])
            for part in rows:
                batches.append(Batch.of(part, total.mean, start, may_shift))
                start += len(part.goal)
            return Weighed.of(batches, ranks.total > 1)

        units = ranks.merge(
            doing, weigh, lambda parts: find_units(parts, total, ranks.total)
        )
        return cls(batches, units)

    @cached_property
    def _sums(self) -> Sums | None:
        return Sums.over(batch.sums(self.units) for batch in self.batches)

    def merged(
        self, doing: str, ranks: Ranks, decide: Callable[[Sums], _Found]
    ) -> _Found:
        """What is decided on the sums over all rows."""

        def add(parts: Iterator[Sums | None]) -> _Found:
            sums = Sums.over(parts)
            assert sums is not None
            return decide(sums.counted_in(self.units))

        return ranks.merge(doing, lambda: self._sums, add)
