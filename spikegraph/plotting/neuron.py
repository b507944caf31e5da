"""What one neuron does: it is charged by the spikes before it, and fires once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from spikegraph.coding import PhaseCode, Spikes
from spikegraph.nn import PhaseNeuron
from spikegraph.nn.neuron import charge
from spikegraph.plotting.figures import CHARGE, FIRE, OFF, ON, SILENT, new_figure, ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

MOST_VALUES = 12  # Rows that can be read.


def plot_neuron(
    values: Tensor, weights: Tensor, code: PhaseCode, scale: float = 1.0
) -> Figure:
    r"""Draws how one neuron adds up spikes and fires, step by step: the spikes that
    come in, each with its weight; and the membrane, which is charged in the first
    window and compared with a threshold that falls in the second.

    .. math::
        V = \sum_k w_k \, x_k, \qquad t = \min \{ t : V \geq s \, \theta_t \}

    Args:
        values (torch.Tensor): The values :math:`x_k` that come in as spikes, 1 to 12
            :math:`(K)`.
        weights (torch.Tensor): The weights :math:`w_k` :math:`(K)`.
        code (PhaseCode): The unsigned code of the values and of the result.
        scale (float, optional): The value :math:`s` of a spike of the neuron at its
            first step; that of the values is the largest of them.
            (default: :obj:`1.0`)

    Returns:
        matplotlib.figure.Figure: The spikes that come in; the membrane, the threshold
        and the spike that goes out.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there are too many values or not as many weights, if no value is
            positive, or if the code is signed.

    Example:
        >>> code = PhaseCode(num_steps=8, base=1.5)
        >>> values, weights = torch.tensor([1.0, 0.3]), torch.tensor([0.5, 0.8])
        >>> figure = plot_neuron(values, weights, code)
        >>> figure.axes[1].get_title(loc='left')
        'V = 0.737 fires at step 1 and stands for 0.667; without spikes 0.74'
    """
    _check(values, weights, code)
    spikes = Spikes.from_values(values, code, values.max())
    figure = new_figure(7.0, 4.2 + 0.25 * len(values))
    upper, lower = figure.subplots(
        2, 1, sharex=True, height_ratios=[0.6 + 0.25 * len(values), 3]
    )
    _draw_arrivals(upper, spikes, weights)
    exact = float(values.clamp(min=0) @ weights)
    _draw_membrane(lower, spikes, weights, PhaseNeuron(code, scale), exact)
    return figure


def _check(values: Tensor, weights: Tensor, code: PhaseCode) -> None:
    if values.dim() != 1 or not 1 <= len(values) <= MOST_VALUES:
        raise ValueError(
            f"Expected 'values' to be 1 to {MOST_VALUES} numbers (got shape "
            f'{list(values.shape)})'
        )
    if not float(values.max()) > 0:
        raise ValueError(
            f"Expected one of 'values' to be positive (got {values.tolist()})"
        )
    if weights.shape != values.shape:
        raise ValueError(
            f"Expected 'weights' to be {len(values)} numbers (got shape "
            f'{list(weights.shape)})'
        )
    if code.signed:
        raise ValueError(f"Expected 'code' to be unsigned (got {code})")


def _shade(axes: Any, length: int) -> None:
    axes.axvspan(0, length, color=CHARGE)
    axes.axvspan(length, 2 * length, color=FIRE)
    axes.set_xlim(0, 2 * length)
    axes.set_xticks(ticks(2 * length, 1))


def _draw_arrivals(axes: Any, spikes: Spikes, weights: Tensor) -> None:
    length = spikes.code.num_steps
    _shade(axes, length)
    rows = zip(
        spikes.phase().tolist(), spikes.decode().tolist(), weights.tolist(), strict=True
    )
    for k, (phase, value, weight) in enumerate(rows):
        text = 'silent'
        color = SILENT
        if phase < length:
            color = OFF if weight < 0 else ON
            axes.plot([phase + 0.5], [k], '|', color=color, ms=13, mew=3)
            text = f'{value:.3g}, weight {weight:.3g}'
        axes.text(length + 0.3, k, text, fontsize=8, va='center')
    names = [str(k + 1) for k in range(len(weights))]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_ylabel('neuron')
    axes.set_title(
        'spikes that come in: the earlier, the larger the value', loc='left', fontsize=9
    )


def _draw_membrane(
    axes: Any, spikes: Spikes, weights: Tensor, neuron: PhaseNeuron, exact: float
) -> None:
    length = spikes.code.num_steps
    _shade(axes, length)
    sums = charged(spikes, weights)
    potential = float(spikes.decode() @ weights)
    fired = neuron(torch.tensor([potential], dtype=weights.dtype))
    step, value = int(fired.phase()), float(fired.decode())
    axes.stairs(sums, range(length + 1), baseline=None, color=ON, lw=1.5)
    axes.plot([length, 2 * length], [potential] * 2, color=ON, lw=1.5)
    axes.stairs(
        neuron.threshold.flatten().tolist(),
        range(length, 2 * length + 1),
        baseline=None,
        color='black',
    )
    what = 'stays silent and stands for 0'
    if step < length:
        axes.plot([length + step + 0.5], [potential], 'o', color=ON, ms=7)
        what = f'fires at step {step} and stands for {value:.3g}'
    for start, name in ((0, 'charge'), (length, 'fire')):
        place = axes.get_xaxis_transform()  # Steps along, parts of the height up.
        axes.text(start + 0.3, 0.93, name, transform=place, fontsize=8, va='top')
    low, high = min(0.0, *sums), max(*sums, float(neuron.threshold.max()))
    axes.set_ylim(low - 0.05 * (high - low), high + 0.2 * (high - low))
    axes.set(xlabel='time step', ylabel='membrane, threshold')
    axes.set_title(
        f'V = {potential:.3g} {what}; without spikes {max(exact, 0.0):.3g}',
        loc='left',
        fontsize=9,
    )


def charged(spikes: Spikes, weights: Tensor) -> list[float]:
    """The membrane at each step, as the potential that it stands for."""
    code, found = spikes.code, []
    membrane = torch.zeros((), dtype=weights.dtype)
    for step in range(code.num_steps):
        arriving = spikes.current(step) @ weights
        membrane = charge(membrane, arriving, code, step)
        found.append(float(membrane * code.levels[step]))
    return found
