"""Activations folded into tables of thresholds on the pre-activation."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from spikegraph.kernels import Messages, first_spike


class Formula(nn.Module):
    """An activation that is written out as a formula.

    Args:
        function (torch.nn.Module): Computes it, value by value.
        bracket (Tuple[float, float], optional): Between which potentials its one
            minimum is. (default: :obj:`None`, it never falls)
    """

    def __init__(
        self, function: nn.Module, bracket: tuple[float, float] | None = None
    ) -> None:
        super().__init__()
        self.function = function
        self.bracket = bracket

    def forward(self, x: Tensor) -> Tensor:
        """The value of the formula at each place."""
        out: Tensor = self.function(x)
        return out


class Exponential(nn.Module):
    """The exponential of a potential."""

    def forward(self, x: Tensor) -> Tensor:
        """The exponential at each place."""
        return x.exp()


class Ramp(nn.Module):
    r"""The exponential of a score, :math:`e^{f(v) - c}`: thresholds that fall by a
    constant from step to step.

    Args:
        inner (torch.nn.Module, optional): A monotone activation :math:`f` in front.
            (default: :obj:`None`)
        peak (float, optional): Where the ramp starts, :math:`c`. (default: :obj:`0.0`)
        starts (bool, optional): Whether it starts that far above a second potential, of
            each neuron: it is then the exponential of what :meth:`score` returns for
            both. (default: :obj:`False`)
    """

    def __init__(
        self, inner: nn.Module | None = None, peak: float = 0.0, starts: bool = False
    ) -> None:
        super().__init__()
        self.inner = inner
        self.starts = starts
        self.peak = nn.Parameter(torch.tensor(float(peak)), requires_grad=False)

    def score(self, x: Tensor, start: Tensor | None = None) -> Tensor:
        """What the exponential is taken of."""
        out: Tensor = x if self.inner is None else self.inner(x)
        return out if start is None else out - start

    def forward(self, x: Tensor) -> Tensor:
        """The exponential at each place."""
        score = x if self.starts else self.score(x)
        return (score - self.peak).exp()

    def extra_repr(self) -> str:
        return f'starts={self.starts}'


class Height(nn.Module):
    r"""How far a score is above a floor, :math:`f(v) - c`.

    Args:
        inner (torch.nn.Module, optional): A monotone activation :math:`f` in front.
            (default: :obj:`None`)
        floor (float, optional): The floor, :math:`c`. (default: :obj:`0.0`)
    """

    def __init__(self, inner: nn.Module | None = None, floor: float = 0.0) -> None:
        super().__init__()
        self.inner = inner
        self.floor = nn.Parameter(torch.tensor(float(floor)), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """The height at each place."""
        score: Tensor = x if self.inner is None else self.inner(x)
        return score - self.floor


class Root(nn.Module):
    """The square root of what is not negative: the spikes of a potential, read with the
    root of its base.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The root at each place."""
        return x.clamp(min=0).sqrt()


class Logarithm(nn.Module):
    """The logarithm of what is positive."""

    def forward(self, x: Tensor) -> Tensor:
        """The logarithm at each place."""
        return x.clamp(min=torch.finfo(x.dtype).tiny).log()


# Where to look for the one minimum of an activation that first falls and then
# rises; None for those that never fall.
ACTIVATIONS: dict[type[nn.Module], tuple[float, float] | None] = {
    **dict.fromkeys((nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.LeakyReLU, nn.PReLU), None),
    **dict.fromkeys((nn.ELU, nn.CELU, nn.SELU, nn.Softplus, nn.LogSigmoid), None),
    **dict.fromkeys((nn.Tanh, nn.Sigmoid, nn.Hardsigmoid, nn.Softsign), None),
    **dict.fromkeys((nn.Softshrink, nn.Hardshrink, nn.Tanhshrink), None),
    nn.Threshold: None,
    Formula: None,  # Each says for itself.
    **dict.fromkeys((Exponential, Ramp, Height, Root, Logarithm), None),
    **dict.fromkeys((nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish), (-3.0, 0.0)),
}
# Attributes that make an activation fall, or jump down, below some value, or below
# another attribute.
_LEAST: dict[type[nn.Module], tuple[str, float | str]] = {
    nn.LeakyReLU: ('negative_slope', 0.0),
    nn.PReLU: ('weight', 0.0),
    nn.ELU: ('alpha', 0.0),
    nn.Softplus: ('threshold', 20.0),
    nn.Threshold: ('threshold', 'value'),
}
_FAR = 1e30  # As far down as potentials go.
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True, eq=False)
class PreActivationThresholds:
    r"""When a neuron that stands for an activation :math:`f` fires, in terms
    of its potential :math:`v`, so that no neuron has to evaluate :math:`f`.

    .. math::
        \text{ON at } t: \; v \geq v^+_t, \qquad
        \text{OFF at } t: \; v^-_t \leq v \leq v^{\circ}_t

    Args:
        on (torch.Tensor): The thresholds :math:`v^+_t` of the ON spike:
            :math:`(T)`, or :math:`(T, F)` per channel. Infinity stands for
            never.
        off_high (torch.Tensor, optional): The largest potentials
            :math:`v^{\circ}_t` of the OFF spike, in a signed code.
            (default: :obj:`None`)
        off_low (torch.Tensor, optional): The smallest potentials
            :math:`v^-_t` of the OFF spike, where :math:`f` is not monotone.
            (default: :obj:`None`)
        factor (torch.Tensor, optional): What the thresholds of each neuron are
            multiplied by, as a second potential moves them :math:`(*)`.
            (default: :obj:`None`)
    """

    on: Tensor
    off_high: Tensor | None = None
    off_low: Tensor | None = None
    factor: Tensor | None = None

    def encode(self, potential: Tensor) -> Tensor:
        r"""The spike times :math:`(*)` (uint8) of potentials :math:`(*)`, as
        :func:`spikegraph.coding.encode` gives them for :math:`f(v)`.
        """
        num_steps = len(self.on)
        spike_time = self._reached(potential, self.on)
        if self.off_high is None:
            return spike_time
        num_off = num_steps - self._reached(-potential, -self.off_high)
        if self.off_low is not None:  # Each window holds the one before it.
            num_low = num_steps - self._reached(potential, self.off_low)
            num_off = torch.minimum(num_off, num_low)
        off_time = 2 * num_steps + 1 - num_off
        return torch.where(num_off > 0, off_time, spike_time)

    def encode_sums(self, messages: Messages, bias: Tensor | None) -> Tensor | None:
        """The spike times of sums over edges plus a bias times the factor, see
        :meth:`Messages.encode_moved`; None where there is no kernel for that.
        """
        if self.factor is None or self.off_low is not None or self.on.dim() > 1:
            return None
        off = None if self.off_high is None else _finite_only(-self.off_high)
        return messages.encode_moved(_finite_only(self.on), off, self.factor, bias)

    def times(self, factor: Tensor) -> PreActivationThresholds:
        """The thresholds times a positive number of each neuron :math:`(*)`."""
        return replace(self, factor=factor)

    def _reached(self, potential: Tensor, thresholds: Tensor) -> Tensor:
        return first_spike(potential, _finite_only(thresholds), factor=self.factor)

    def _at(self, table: Tensor, step: int) -> Tensor:
        return table[step] if self.factor is None else table[step] * self.factor

    def fire(self, potential: Tensor, step: int, has_fired: Tensor) -> Tensor:
        """One step of the fire window, as :func:`spikegraph.nn.fire`."""
        potential = _finite(potential)
        spikes = (potential >= self._at(self.on, step)).to(torch.int8)
        if self.off_high is not None:
            is_off = potential <= self._at(self.off_high, step)
            if self.off_low is not None:
                is_off &= potential >= self._at(self.off_low, step)
            spikes -= is_off.to(torch.int8)
        return spikes * ~has_fired


def _finite(potential: Tensor) -> Tensor:
    """Infinity as the largest number, so that it reaches no infinite threshold."""
    largest = torch.finfo(potential.dtype).max
    return potential.clamp(-largest, largest)


def _finite_only(thresholds: Tensor) -> Tensor:
    """Thresholds that potentials reach as :func:`_finite` ones reach the given:
    none reaches infinity, and all reach the lowest number.
    """
    lowest = torch.finfo(thresholds.dtype).min
    thresholds = thresholds.masked_fill(thresholds == lowest, -math.inf)
    return thresholds.masked_fill(thresholds == math.inf, math.nan)


@torch.no_grad()
def pre_activation_thresholds(
    activation: nn.Module, thresholds: Tensor, signed: bool = False
) -> PreActivationThresholds:
    r"""Finds the potentials at which an activation crosses its thresholds.

    .. math::
        v^+_t = \inf \{ v : f(v) \geq s \, \theta_t \}, \qquad
        [v^-_t, v^{\circ}_t] = \{ v : f(v) \leq -s \, \theta_t \}

    They are found by bisection over the numbers that the data type can hold,
    with :math:`f` evaluated in that data type: spike times are those of the
    encoded activation, except where rounding makes :math:`f` itself waver. GELU,
    SiLU, Mish and Hardswish fall to their one minimum and then rise, so that
    the second set is a bounded interval.

    Args:
        activation (torch.nn.Module): The activation :math:`f`, of a type in
            :obj:`ACTIVATIONS`.
        thresholds (torch.Tensor): The thresholds :math:`s \, \theta_t > 0`, on
            the activation: :math:`(T)`, or :math:`(T, F)` per channel.
        signed (bool, optional): Whether negative values are sent by an OFF
            spike. (default: :obj:`False`)

    Returns:
        PreActivationThresholds: The tables.

    Raises:
        ValueError: If the activation is of another type, or is not monotone
            where its type should be.

    Example:
        >>> from spikegraph.coding import PhaseCode
        >>> code = PhaseCode(num_steps=3, base=2)
        >>> found = pre_activation_thresholds(nn.Sigmoid(), code.thresholds)
        >>> torch.sigmoid(found.on).tolist(), code.thresholds.tolist()
        ([0.75, 0.375, 0.1875], [0.75, 0.375, 0.1875])
    """
    check_activation(activation)
    activation = copy.deepcopy(activation).to(thresholds)
    search = _Search(activation, thresholds)
    bracket = bracket_of(activation)
    bottom = search.lowest
    if bracket is not None:
        bottom = search.number_of(_minimum(activation, bracket))
    first = search.first(lambda value: value >= thresholds, bottom, search.highest)
    always = (first == search.lowest) & (bracket is None)
    on = search.value_of(first).masked_fill(always, -float('inf'))
    if not signed:
        return PreActivationThresholds(on)
    # The first number above the set, so that the last one in it comes before.
    end = search.first(lambda value: value > -thresholds, bottom, search.highest)
    never = end == bottom
    off_high = search.value_of(end - 1).masked_fill(end > search.highest, float('inf'))
    off_high = off_high.masked_fill(never, -float('inf'))
    if bracket is None:
        return PreActivationThresholds(on, off_high)
    low = search.first(lambda value: value <= -thresholds, search.lowest, bottom)
    off_low = search.value_of(low).masked_fill(never, float('inf'))
    return PreActivationThresholds(on, off_high, off_low)


def check_activation(activation: nn.Module, parameters: bool = True) -> None:
    """Raises a :obj:`ValueError` unless thresholds can replace an activation,
    with the values that its parameters have now, or with some.
    """
    name = type(activation).__name__
    if not any(base in ACTIVATIONS for base in type(activation).__mro__):
        known = ', '.join(sorted(known.__name__ for known in ACTIVATIONS))
        raise ValueError(f"Expected 'activation' to be one of {known} (got {name})")
    for kind, (attribute, limit) in _LEAST.items():
        if isinstance(activation, kind):
            least = getattr(activation, limit) if isinstance(limit, str) else limit
            value = torch.as_tensor(getattr(activation, attribute)).detach()
            if not parameters and any(True for _ in activation.parameters()):
                continue
            if not bool((value >= least).all()):
                bad = value[~(value >= least)].reshape(-1)[0].item()
                raise ValueError(
                    f"Expected '{attribute}' of {name} to be at least {least:g}, below "
                    f'which the activation is not monotone (got {bad:.4g})'
                )


def bracket_of(activation: nn.Module) -> tuple[float, float] | None:
    """Between which potentials an activation has its minimum, or None if it
    is monotone.
    """
    if isinstance(activation, Formula):
        return activation.bracket
    bases = (base for base in type(activation).__mro__ if base in ACTIVATIONS)
    return ACTIVATIONS[next(bases)]


@torch.no_grad()
def lowest_of(activation: nn.Module) -> float:
    """A bound that an activation does not fall below, for any potential."""
    bracket = bracket_of(activation)
    lowest = -_FAR if bracket is None else _minimum(activation, bracket)
    value = next(iter(activation.parameters()), torch.zeros(1))
    found = activation(torch.full((1, value.numel()), lowest).to(value))
    return float(found.min())


def _minimum(activation: nn.Module, bracket: tuple[float, float]) -> float:
    """Where an activation is smallest, by ever finer grids."""
    low, high = bracket
    for _ in range(8):
        grid = torch.linspace(low, high, 65, dtype=torch.float64)
        best = int(activation(grid).argmin())
        low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, 64)])
    return (low + high) / 2


class _Search:
    """Bisection over floating point numbers, counted in order from zero: their
    bits, with the sign taken apart.
    """

    def __init__(self, activation: nn.Module, like: Tensor) -> None:
        self.activation = activation
        self.like = like
        self.integer = _INTEGERS[like.element_size()]
        self.smallest_integer = torch.iinfo(self.integer).min
        self.highest = self.number_of(torch.finfo(like.dtype).max)
        self.lowest = -self.highest

    def number_of(self, value: float) -> int:
        """The number of a value, rounded to the data type."""
        bits = int(torch.tensor(value, dtype=self.like.dtype).view(self.integer))
        return bits if bits >= 0 else self.smallest_integer - bits

    def value_of(self, number: Tensor) -> Tensor:
        """The values of numbers; the one after the highest is infinity."""
        bits = torch.where(number >= 0, number, self.smallest_integer - number)
        return bits.to(self.integer).view(self.like.dtype)

    def first(self, holds: Callable[[Tensor], Tensor], low: int, high: int) -> Tensor:
        """The first number from ``low`` to ``high`` at which a condition on the
        activation, that holds ever after, holds; ``high + 1`` if there is none.
        """
        shape, device = self.like.shape, self.like.device
        start = torch.full(shape, low, dtype=torch.int64, device=device)
        end = torch.full(shape, high + 1, dtype=torch.int64, device=device)
        for _ in range(8 * self.like.element_size() + 1):
            middle = (start >> 1) + (end >> 1) + (start & end & 1)  # No overflow.
            found = holds(self._activate(self.value_of(middle))) | (middle == end)
            end = torch.where(found, middle, end)
            start = torch.where(found, start, middle + 1)
        return end

    def _activate(self, potential: Tensor) -> Tensor:
        if potential.dim() > 1:
            return self.activation(potential)
        return self.activation(potential.view(-1, 1)).view(-1)
