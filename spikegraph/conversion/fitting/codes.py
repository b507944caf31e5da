"""Finds the code and the scale that suit a population's activations."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spikegraph.coding import PhaseCode
from spikegraph.network.config import ConversionConfig

# Bases worth trying: 2 is the classical phase code, 1.02 rounds to 1 percent.
BASES = tuple(1 + 0.02 * 1.12**i for i in range(42))
NUM_SCALES = 16
NUM_BINS = 512  # Borders that fitted levels may have.
NUM_ROWS = 128  # So many rows, those of most energy, decide which base is best.
# A value just on a threshold would be at the mercy of the order of sums.
_BELOW = 1 - 2**-20
NUM_AT_ONCE = 2**17  # Thresholds that are compared at once.
NUM_ROUNDS = 8  # Of fitting levels and scales in turn.
NEARBY = torch.linspace(-0.3, 0.3, 25, dtype=torch.float64).exp()


@dataclass(frozen=True)
class SortedValues:
    """Positive values sorted once, with prefix sums, so that the squared
    error of any code costs one search per threshold.

    Args:
        values (torch.Tensor): Ascending, float64 :math:`(C, n)`; one row per
            channel, padded with zeros in front.
        counts (torch.Tensor): Prefix sums of the weights :math:`(C, n + 1)`.
        sums (torch.Tensor): Prefix sums of the weighted targets
            :math:`(C, n + 1)`: what the spikes should stand for, the values
            themselves unless they are already in error.
        energy (torch.Tensor): Weighted sum of squared targets :math:`(C)`.
    """

    values: Tensor
    counts: Tensor
    sums: Tensor
    energy: Tensor

    @classmethod
    def of(
        cls, rows: Tensor, weight: Tensor | None = None, target: Tensor | None = None
    ) -> SortedValues:
        """Sorts the positive part of each row :math:`(C, n)`; every value may
        have a weight and a target of its own :math:`(C, n)`.
        """
        values, order = rows.double().clamp(min=0).sort(dim=-1)
        wanted = values if target is None else target.double().gather(1, order)
        weight = torch.ones_like(values) if weight is None else weight.double()
        weight = weight.gather(1, order)
        zero = values.new_zeros(len(values), 1)
        counts = torch.cat([zero, weight.cumsum(-1)], dim=-1)
        sums = torch.cat([zero, (weight * wanted).cumsum(-1)], dim=-1)
        energy = (weight * wanted.square()).sum(-1)
        return cls(values.contiguous(), counts, sums, energy)

    def strongest(self, num_rows: int) -> SortedValues:
        """The rows of most energy."""
        if len(self.values) <= num_rows:
            return self
        rows = self.energy.topk(num_rows).indices
        found = self.values[rows], self.counts[rows], self.sums[rows]
        return SortedValues(*found, self.energy[rows])

    def bins(self, thresholds: Tensor) -> tuple[Tensor, Tensor]:
        r"""How many values each spike time gets, and their sum, weighted.

        Args:
            thresholds (torch.Tensor): Decreasing thresholds of :math:`K`
                candidate codes :math:`(C, K, T)`.

        Returns:
            Tuple[torch.Tensor, torch.Tensor]: Counts and sums
            :math:`(C, K, T)`.
        """
        flat = thresholds.flatten(1).contiguous()
        low = torch.searchsorted(self.values, flat).view(thresholds.shape)
        end = torch.full_like(low[..., :1], self.values.size(1))
        high = torch.cat([end, low[..., :-1]], dim=-1)

        def between(prefix: Tensor) -> Tensor:
            above = prefix.gather(1, high.flatten(1))
            return (above - prefix.gather(1, low.flatten(1))).view(low.shape)

        return between(self.counts), between(self.sums)

    def error(self, levels: Tensor, thresholds: Tensor) -> Tensor:
        """The weighted squared coding error of each code :math:`(C, K)`."""
        count, total = self.bins(thresholds)
        saved = (levels * (levels * count - 2 * total)).sum(-1)
        return self.energy.view(-1, 1) + saved


def fit_code(
    rows: Tensor,
    config: ConversionConfig,
    signed: bool,
    weight: Tensor | None = None,
    target: Tensor | None = None,
) -> tuple[PhaseCode, Tensor, float]:
    r"""Chooses the code of one population and the scale of each row.

    Args:
        rows (torch.Tensor): Calibration values :math:`(C, n)`: one row per
            channel, or a single row.
        config (ConversionConfig): The options.
        signed (bool): Whether negative values are coded too.
        weight (torch.Tensor, optional): How much the error of each value
            counts :math:`(C, n)`. (default: :obj:`None`, all the same)
        target (torch.Tensor, optional): What the coded values should stand for
            :math:`(C, n)`. (default: :obj:`None`, the values)

    Returns:
        Tuple[PhaseCode, torch.Tensor, float]: The code, the scales
        :math:`(C)` in float64, and the summed squared coding error.
    """
    if signed:
        target = None if target is None else target * rows.sign()
        rows = rows.abs()
    data = SortedValues.of(rows, weight, target)
    best = fit_base(data, config, signed)
    return _fit_levels(data, best) if config.levels == 'fitted' else best


def fit_base(
    data: SortedValues, config: ConversionConfig, signed: bool
) -> tuple[PhaseCode, Tensor, float]:
    """As :func:`fit_code`, of values that are sorted, sizes if they are signed, and
    with the levels of a base.
    """
    some = data.strongest(NUM_ROWS)
    best = _search_base(some, config, signed)
    if some is data:
        return best
    scales, errors = fit_scales(data, [best[0]], config)
    return best[0], scales[:, 0], float(errors[0])


def _search_base(
    data: SortedValues, config: ConversionConfig, signed: bool
) -> tuple[PhaseCode, Tensor, float]:
    codes = _candidates(config, signed)
    scales, errors = fit_scales(data, codes, config)
    energy, best = float(data.energy.sum()), 0
    for k, error in enumerate(errors.tolist()):
        if error < float(errors[best]) * (1 - 1e-9) - 1e-12 * energy:
            best = k
    return codes[best], scales[:, best].contiguous(), float(errors[best])


def _candidates(config: ConversionConfig, signed: bool) -> list[PhaseCode]:
    """The codes to choose from: a table that is given, or one for each base."""
    if isinstance(config.levels, PhaseCode):
        return [replace(config.levels, signed=signed)]
    # Wide codes first: of two equally good ones, keep the one with more range.
    bases = BASES[::-1] if config.base == 'auto' else (config.base,)
    shift, codes = config.threshold_shift, []
    for base in bases:
        if shift is not None and shift < 1 / base:
            continue
        if base ** (config.num_steps - 1) > 1e12 and config.base == 'auto':
            continue  # Far beyond the range of any activation.
        if shift is None:
            codes.append(PhaseCode.nearest(config.num_steps, base, signed))
        else:
            codes.append(PhaseCode(config.num_steps, base, shift, signed))
        if config.num_steps == 1:
            break  # A single level knows no ratio; the scale says it all.
    if not codes:
        raise ValueError(
            f"Expected 'threshold_shift' to suit at least one base up to {BASES[-1]:.3g} "
            f'(got {config.threshold_shift})'
        )
    return codes


def fit_scales(
    data: SortedValues, codes: list[PhaseCode], config: ConversionConfig
) -> tuple[Tensor, Tensor]:
    """The best scales of each of :math:`K` codes of as many steps, and the errors.

    Args:
        data (SortedValues): The values :math:`(C, n)`.
        codes (List[PhaseCode]): The codes.
        config (ConversionConfig): How a scale is found.

    Returns:
        Tuple[torch.Tensor, torch.Tensor]: Scales :math:`(C, K)`, and errors,
        summed over all rows :math:`(K)`.
    """
    largest = data.values[:, -1]
    fallback = largest.max().clamp(min=torch.finfo(torch.float32).tiny)
    largest = torch.where(largest > 0, largest, fallback)  # Dead channels.
    # Codes that are tried at once cost few operations, but memory.
    size = len(largest) * (NUM_SCALES + 2) * codes[0].num_steps
    num = max(1, NUM_AT_ONCE // size)
    found = [
        _scales_and_errors(data, codes[i : i + num], config, largest)
        for i in range(0, len(codes), num)
    ]
    scales, errors = (torch.cat(each, dim=1) for each in zip(*found, strict=True))
    return scales, errors.t().contiguous().sum(-1)


def _scales_and_errors(
    data: SortedValues,
    codes: list[PhaseCode],
    config: ConversionConfig,
    largest: Tensor,
) -> tuple[Tensor, Tensor]:
    """The scales of each code, and their errors :math:`(C, K)`."""
    levels = torch.stack([code.levels for code in codes]).to(largest)
    cuts = torch.stack([code.thresholds for code in codes]).to(largest)

    def errors(scales: Tensor) -> Tensor:
        """Those of each scale of each code :math:`(C, K, S)`."""
        factors = scales.unsqueeze(-1)
        spikes, thresholds = factors * levels.unsqueeze(1), factors * cuts.unsqueeze(1)
        found = data.error(spikes.flatten(1, 2), thresholds.flatten(1, 2))
        return found.view(scales.shape)

    best = largest.view(-1, 1).expand(-1, len(codes))
    if config.scale == 'max':
        best = _BELOW * best
    elif config.scale != 'mse':
        percentile = _percentile(data, config.scale[1], largest)
        best = percentile.view(-1, 1).expand_as(best)
    else:  # Ever finer grids of factors around the best scale so far.
        top, best, span = best.unsqueeze(-1), best * 0.25, 16.0
        for _ in range(3):
            factors = span ** torch.linspace(-0.5, 0.5, NUM_SCALES + 1).to(best)
            grid = torch.cat([best.unsqueeze(-1) * factors, top], dim=-1)
            picked = errors(grid).argmin(dim=-1, keepdim=True)
            best = grid.gather(-1, picked).squeeze(-1)
            span = span ** (3 / NUM_SCALES)
    return best, errors(best.unsqueeze(-1)).squeeze(-1)


def _percentile(data: SortedValues, percent: float, largest: Tensor) -> Tensor:
    """The given percentile of each row's positive values."""
    num = data.values.size(1)
    num_positive = (data.values > 0).sum(-1)
    rank = num - num_positive + (num_positive * percent / 100).ceil().long() - 1
    rank = rank.clamp(num - num_positive.clamp(min=1), torch.tensor(num - 1))
    value = _BELOW * data.values.gather(1, rank.view(-1, 1)).view(-1)
    return torch.where(value > 0, value, largest)


def _fit_levels(
    data: SortedValues, start: tuple[PhaseCode, Tensor, float]
) -> tuple[PhaseCode, Tensor, float]:
    """The best levels for the pooled rows, and the best scale for each row in
    turn, from a geometric code on.
    """
    code, scale, _ = start
    best = start[1], float('inf'), code.levels / code.levels[0]
    for _ in range(NUM_ROUNDS):
        levels = _best_levels(data, scale, code.num_steps)
        found = PhaseCode.from_levels(levels / levels[0], signed=code.signed)
        grid = (scale * levels[0]).view(-1, 1)
        if len(scale) > 1:
            grid = grid * NEARBY.to(grid)
        factors = grid.unsqueeze(-1)
        spikes = factors * found.levels.to(grid), factors * found.thresholds.to(grid)
        error, picked = data.error(*spikes).min(dim=1, keepdim=True)
        scale = grid.gather(1, picked).view(-1)
        if float(error.sum()) >= best[1] * (1 - 1e-6):
            break
        best = scale, float(error.sum()), levels / levels[0]
    scale, error_sum, levels = best
    return PhaseCode.from_levels(levels, signed=code.signed), scale, error_sum


def _best_levels(data: SortedValues, scale: Tensor, num_steps: int) -> Tensor:
    r"""The levels of least squared error for rows relative to their scales, by
    dynamic programming over the borders of :obj:`NUM_BINS` bins: each level is
    the mean of the values between two borders, and the error is least where
    :math:`\sum_t S_t^2 / N_t` (sums and numbers of values) is largest.
    """
    weight = scale.view(-1, 1)
    largest = float((data.values[:, -1:] / weight).max())
    steps = torch.arange(NUM_BINS, 0, -1, dtype=scale.dtype, device=scale.device)
    borders = largest * ((steps - 0.5) / NUM_BINS).square()  # Finer near silence.
    number, total = (v[:, 0] for v in data.bins((weight * borders).unsqueeze(1)))
    zero = scale.new_zeros(1)
    number = torch.cat([zero, (weight.square() * number).sum(0).cumsum(0)])
    total = torch.cat([zero, (weight * total).sum(0).cumsum(0)])
    size = number.view(1, -1) - number.view(-1, 1)  # [from, to], from above.
    mean = (total.view(1, -1) - total.view(-1, 1)) / size.clamp(min=1e-300)
    # What is left of sums that cancel is no value.
    mean = torch.where(size > 1e-14 * number[-1], mean, 0.0)
    upwards = torch.ones_like(size, dtype=torch.bool).tril(-1)
    gain = (mean.clamp(min=0).square() * size).masked_fill(upwards, -float('inf'))
    reached = gain.new_full((len(number),), -float('inf'))
    reached[0] = 0.0
    came_from = []
    for _ in range(num_steps):
        reached, origin = (reached.view(-1, 1) + gain).max(dim=0)
        came_from.append(origin)
    end = int(reached.argmax())  # What is below stays silent.
    levels = []
    for origin in reversed(came_from):
        levels.append(mean[origin[end], end])
        end = int(origin[end])
    found = torch.stack(levels).sort(descending=True).values
    smallest = found[found > 0][-1]  # There may be fewer values than levels.
    return _strictly_decreasing(torch.where(found > 0, found, smallest))


def _strictly_decreasing(levels: Tensor) -> Tensor:
    """Spreads equal levels apart by the least amount that float32 can tell."""
    ratio = 1 - 1e-6
    for t in range(1, len(levels)):
        levels[t] = torch.minimum(levels[t], levels[t - 1] * ratio)
    return levels
