"""How spike times compute, at the example of one neuron that attends to others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from spikegraph.coding import PhaseCode, Spikes
from spikegraph.coding.phase_code import MAX_NUM_STEPS
from spikegraph.nn import PhaseNeuron
from spikegraph.nn.activation import Ramp
from spikegraph.nn.products import Delay
from spikegraph.nn.relative import Relative
from spikegraph.plotting.figures import CHARGE, FIRE, OFF, ON, SILENT, new_figure, ticks
from spikegraph.plotting.neuron import charged

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

_MOST = 8  # Rows that can be read.
_COLORS = (
    *(ON, OFF, '#38761d', '#7f6000'),
    *('#45818e', '#a64d79', '#666666', '#1c4587'),
)
_V, _Z = '#b45f06', '#674ea7'  # The two membranes.
_SMALL: dict[str, Any] = {'fontsize': 8, 'va': 'center'}


def plot_attention(scores: Tensor, values: Tensor, code: PhaseCode) -> Figure:
    r"""Draws how one neuron attends to others by spike times: three pictures of the
    arithmetic that :class:`~spikegraph.nn.products.Relative`,
    :class:`~spikegraph.nn.products.Delay` and a
    :class:`~spikegraph.nn.PhaseNeuron` with a divisor do step by step.

    .. math::
        \Big( \sum_k e_k x_k \Big) \Big/ \sum_k e_k, \qquad
        e_k = \exp(v_k - \max_l v_l)

    Args:
        scores (torch.Tensor): The scores :math:`v_k` of the others :math:`(K)`, 1 to 8.
        values (torch.Tensor): Their values :math:`x_k`, at least one of them positive;
            negative ones stay silent :math:`(K)`.
        code (PhaseCode): The unsigned, geometric code of coefficients, values and the
            result.

    Returns:
        matplotlib.figure.Figure: The ramp, and the window that opens at the first spike;
        the values, delayed by their coefficients; both membranes, and the threshold
        that the second one moves.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there are too many scores or not as many values, if all values
            are silent, or if the code is signed or not geometric.

    Example:
        >>> code = PhaseCode(num_steps=8, base=1.4)
        >>> scores, values = torch.tensor([1.0, 0.2]), torch.tensor([0.5, 0.9])
        >>> figure = plot_attention(scores, values, code)
        >>> figure.axes[2].get_title(loc='left')
        'threshold: V / Z = 0.61 fires at step 1 and stands for 0.64; not coded 0.62'
    """
    _check(scores, values, code)
    ramp = _ramp(scores, code)
    coefficients = Relative(code.num_steps, dim=0).stepped(ramp(scores))
    spikes = Spikes.from_values(values, code, values.max())
    products = Delay().stepped(coefficients, spikes)
    figure = new_figure(7.0, 7.4 + 0.2 * len(scores))
    upper, middle, lower = figure.subplots(3, 1, height_ratios=[3, 2, 3])
    _draw_ramp(upper, scores, ramp, coefficients)
    _draw_delays(middle, coefficients, spikes, products)
    exact = float(scores.softmax(0) @ values.clamp(min=0))
    _draw_threshold(lower, coefficients, products, spikes, exact)
    return figure


def _check(scores: Tensor, values: Tensor, code: PhaseCode) -> None:
    if scores.dim() != 1 or not 1 <= len(scores) <= _MOST:
        raise ValueError(
            f"Expected 'scores' to be 1 to {_MOST} numbers (got shape "
            f'{list(scores.shape)})'
        )
    if values.shape != scores.shape or not float(values.max()) > 0:
        raise ValueError(
            f"Expected 'values' to be {len(scores)} numbers, one of them positive (got "
            f'{values.tolist()})'
        )
    if code.base is None or code.signed:
        raise ValueError(
            f"Expected 'code' to be an unsigned geometric code (got {code})"
        )


def _ramp(scores: Tensor, code: PhaseCode) -> PhaseNeuron:
    """Reaches from above the largest score to below the smallest."""
    assert code.base is not None
    step = math.log(code.base)
    low, high = float(scores.min()), float(scores.max())
    num_steps = min(math.ceil((high - low) / step) + 4, MAX_NUM_STEPS)
    peak = high + 1.5 * step
    return PhaseNeuron(PhaseCode(num_steps, code.base), activation=Ramp(peak=peak))


def _draw_ramp(
    axes: Any, scores: Tensor, ramp: PhaseNeuron, coefficients: Spikes
) -> None:
    num_steps = ramp.code.num_steps
    phases = ramp(scores).phase().tolist()
    first, length = min(phases), coefficients.code.num_steps
    axes.axvspan(first, first + length, color=FIRE)
    axes.stairs(
        ramp.threshold.flatten().tolist(),
        range(num_steps + 1),
        baseline=None,
        color='black',
    )
    rows = zip(scores.tolist(), phases, coefficients.phase().tolist(), strict=True)
    for k, (score, phase, late) in enumerate(rows):
        color = _COLORS[k]
        axes.plot([0, phase + 0.5], [score, score], color=color, lw=1)
        comes = late < length
        value = float(coefficients.decode()[k])
        text = (
            f'$t - \\min t = {late}$: $e_{k + 1} = {value:.3g}$' if comes else 'silent'
        )
        axes.plot([phase + 0.5], [score], 'o', color=color if comes else SILENT, ms=6)
        place = {'xytext': (9, 4), 'textcoords': 'offset points'}
        axes.annotate(text, (phase + 0.5, score), color=color, **place, **_SMALL)
    end = max(num_steps, first + length)
    axes.set_xlim(0, 1.2 * end)  # Room for the numbers.
    axes.set_xticks(ticks(end, 2))
    axes.set(xlabel='time step', ylabel='score')
    axes.set_title(
        'ramp: the threshold of exp falls by log Q each step; the window opens at the '
        'first spike',
        loc='left',
        fontsize=9,
    )


def _draw_delays(
    axes: Any, coefficients: Spikes, spikes: Spikes, products: Spikes
) -> None:
    length, end = spikes.code.num_steps, products.code.num_steps
    axes.axvspan(0, length, color=CHARGE)
    axes.axvspan(length, end, color=FIRE)
    all_phases = [s.phase().tolist() for s in (coefficients, spikes, products)]
    decoded = [s.decode().tolist() for s in (coefficients, spikes, products)]
    for k, (waits, comes, arrives) in enumerate(zip(*all_phases, strict=True)):
        e, x, product = (each[k] for each in decoded)
        color = _COLORS[k]
        if waits < length:
            axes.plot([waits + 0.5], [k], '|', color=SILENT, ms=16, mew=3)
        if comes < length:
            axes.plot([comes + 0.5], [k], '|', color=color, ms=16, mew=2, alpha=0.5)
        if arrives < end:
            if waits > 0:
                arrow = {'arrowstyle': '->', 'color': color}
                ends = (arrives + 0.5, k), (comes + 0.5, k)
                axes.annotate('', *ends, arrowprops=arrow)
            axes.plot([arrives + 0.5], [k], '|', color=color, ms=16, mew=4)
        text = f'$e_{k + 1} x_{k + 1}$ = {e:.3g} · {x:.3g} = {product:.3g}'
        axes.text(end + 0.3, k, text, color=color, **_SMALL)
    names = [str(k + 1) for k in range(len(spikes.spike_time))]
    axes.set_xlim(0, 1.5 * end)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xticks(ticks(end, 2))
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel='time step', ylabel='neighbour')
    axes.set_title(
        'delay: the spike of a value (light) waits as long as that of its coefficient '
        '(grey) took',
        loc='left',
        fontsize=9,
    )


def _draw_threshold(
    axes: Any, coefficients: Spikes, products: Spikes, spikes: Spikes, exact: float
) -> None:
    neuron = PhaseNeuron(spikes.code, spikes.scale)
    potential, divisor = products.decode().sum(), coefficients.decode().sum()
    fired = neuron(potential[None], divisor=divisor[None])
    start, length = products.code.num_steps, spikes.code.num_steps
    axes.axvspan(0, start, color=CHARGE)
    axes.axvspan(start, start + length, color=FIRE)
    for each, name, color in ((products, 'V', _V), (coefficients, 'Z', _Z)):
        sums = charged(each, torch.ones(len(each.spike_time)))
        sums += sums[-1:] * (start - len(sums))
        edges = range(start + 1)
        axes.stairs(sums, edges, baseline=None, color=color, lw=1.5)
        axes.plot([start, start + length], [sums[-1]] * 2, color=color, lw=1.5)
        text = f'{name} = {sums[-1]:.3g}'
        axes.text(start + length + 0.3, sums[-1], text, color=color, **_SMALL)
    moved = neuron.moved_thresholds(potential[None], divisor[None])
    assert moved.factor is not None
    edges = range(start, start + length + 1)
    unmoved = moved.on.flatten()
    top = max(float(unmoved[0] * moved.factor), float(divisor), float(potential))
    for thresholds, style, name in (
        (unmoved * moved.factor, '-', r'$s \theta_t Z$'),
        (unmoved, ':', r'$s \theta_t$'),
    ):
        axes.stairs(
            thresholds.tolist(),
            edges,
            baseline=None,
            color='black',
            ls=style,
            label=name,
        )
    step, value = int(fired.phase()), float(fired.decode())
    if step < length:
        axes.plot([start + step + 0.5], [float(potential)], 'o', color=_V, ms=6)
    axes.legend(fontsize=8, frameon=False, loc='upper left', ncols=2)
    axes.set_xlim(0, 1.15 * (start + length))
    axes.set_ylim(0, 1.25 * top)  # Room for the legend.
    axes.set_xticks(ticks(start + length, 2))
    axes.set(xlabel='time step', ylabel='potential')
    what = 'stays silent'
    if step < length:
        what = f'fires at step {step} and stands for {value:.2f}'
    axes.set_title(
        f'threshold: V / Z = {float(potential / divisor):.2f} {what}; not coded '
        f'{exact:.2f}',
        loc='left',
        fontsize=9,
    )
