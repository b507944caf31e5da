"""Pictures of a converted network, and of many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from spikegraph.plotting.figures import (
    CHARGE,
    FIRE,
    OFF,
    ON,
    SILENT,
    check_any,
    new_figure,
    ticks,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from spikegraph.coding import Spikes
    from spikegraph.conversion import ConversionReport
    from spikegraph.running.steps import Simulation

_MAX_PANELS = 10  # More do not fit on a page.

#: What :func:`plot_sweep` can draw: label and unit, number format.
SWEEP_VALUES: dict[str, tuple[str, str]] = {
    'loss_points': ('accuracy loss, points', '.2f'),
    'ann_accuracy': ('accuracy of the ANN, %', '.2f'),
    'snn_accuracy': ('accuracy of the SNN, %', '.2f'),
    'agreement': ('same prediction as the ANN, %', '.2f'),
    'logit_relative_error': ('relative logit error', '.3f'),
    'spikes_per_neuron': ('spikes per neuron and inference', '.3f'),
    'latency_steps': ('latency, time steps', '.0f'),
    'energy_ratio_compute': ('energy ratio ANN / SNN, compute only', '.3g'),
    'energy_ratio_compute_sparse_ann': (
        'energy ratio ANN / SNN, compute only, ANN skips zeros',
        '.3g',
    ),
    'energy_ratio_memory': ('energy ratio ANN / SNN, with memory', '.3g'),
    'energy_ratio_memory_sparse_ann': (
        'energy ratio ANN / SNN, with memory, ANN skips zeros',
        '.3g',
    ),
    'energy_ratio_event_memory': (
        'energy ratio ANN / SNN, with memory, event-driven',
        '.3g',
    ),
    'energy_ratio_event_memory_sparse_ann': (
        'energy ratio, with memory, event-driven, ANN skips zeros',
        '.3g',
    ),
}


def plot_raster(simulation: Simulation, max_neurons: int = 200) -> Figure:
    """Draws who fires when during one inference.

    Args:
        simulation (Simulation): From :func:`spikegraph.simulate`.
        max_neurons (int, optional): Neurons drawn per population; of a larger
            one, a random sample with the silent neurons in it.
            (default: :obj:`200`)

    Returns:
        matplotlib.figure.Figure: Time step against neuron, one panel per
        population, with its charge and fire window shaded; gates have no charge
        window. Of more than 10 populations, 10 are drawn, evenly chosen; a title
        says so.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is no population or no neuron to draw.
    """
    if max_neurons < 1:
        raise ValueError(f"Expected 'max_neurons' to be at least 1 (got {max_neurons})")
    check_any('simulation.spikes', getattr(simulation, 'spikes', None))
    shown_spikes = _evenly(simulation.spikes)
    count = len(shown_spikes)
    figure = new_figure(7.0, 0.9 + _panel_height(count) * count)
    _say_if_fewer(figure, count, len(simulation.spikes))
    panels = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, spikes) in zip(panels, shown_spikes.items(), strict=True):
        num_steps, start = spikes.code.num_steps, simulation.start_step[name]
        # Steps of the run do not fit into the bytes of spike times.
        phase = spikes.phase().reshape(-1).cpu().numpy().astype(np.int64)
        sign = spikes.polarity().reshape(-1).cpu().numpy()
        drawn = np.arange(phase.size)
        if phase.size > max_neurons:
            drawn = np.random.default_rng(0).choice(phase.size, max_neurons, False)
            drawn.sort()
        if start > 0 and name in simulation.membrane:  # A gate does not charge.
            axes.axvspan(start - num_steps, start, color=CHARGE, label='charge window')
        axes.axvspan(start, start + num_steps, color=FIRE, label='fire window')
        for value, color, label in ((1, ON, 'spike'), (-1, OFF, 'OFF spike')):
            row = np.flatnonzero(sign[drawn] == value)
            if row.size:
                time = start + phase[drawn[row]] + 0.5
                place = {'x': time, 'y': row + 0.5}
                axes.scatter(
                    **place, marker='|', s=12, linewidths=1.3, color=color, label=label
                )
        share = 100 * np.count_nonzero(sign) / max(1, phase.size)
        axes.set_title(
            f'{name}: {drawn.size:,} of {phase.size:,} neurons, {share:.1f} % of all fire',
            loc='left',
            fontsize=9,
        )
        axes.set_ylim(drawn.size, 0)
        axes.set_yticks([0, drawn.size])
        axes.set_ylabel('neuron')
    panels[-1].set_xlim(0, simulation.num_steps)
    panels[-1].set_xticks(ticks(simulation.num_steps, spikes.code.num_steps))
    panels[-1].set_xlabel('time step (the output charges in the last window)')
    handles: dict[str, Any] = {}
    for axes in panels:
        found, labels = axes.get_legend_handles_labels()
        handles.update(zip(labels, found, strict=True))
    order = ['charge window', 'fire window', 'spike', 'OFF spike']
    shown = [label for label in order if label in handles]
    figure.legend(
        [handles[label] for label in shown],
        shown,
        loc='outside upper right',
        ncols=len(shown),
        fontsize=8,
        frameon=False,
    )
    return figure


def plot_spike_times(spikes_by_name: Mapping[str, Spikes]) -> Figure:
    """Draws how many neurons of each population fire at which step.

    Args:
        spikes_by_name (Dict[str, Spikes]): From
            :meth:`~spikegraph.SpikingModel.spikes` or
            :obj:`~spikegraph.Simulation.spikes`.

    Returns:
        matplotlib.figure.Figure: Per population a histogram of the spike
        times, and the silent share beside it. Of more than 10 populations, 10
        are drawn, evenly chosen; a title says so.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is no population.
    """
    check_any('spikes_by_name', spikes_by_name)
    shown = _evenly(spikes_by_name)
    count = len(shown)
    figure = new_figure(7.0, 0.5 + _panel_height(count) * count)
    _say_if_fewer(figure, count, len(spikes_by_name))
    panels = figure.subplots(count, 2, squeeze=False, width_ratios=[5, 1])
    for (axes, side), (name, spikes) in zip(panels, shown.items(), strict=True):
        num_steps = spikes.code.num_steps
        phase = spikes.phase().reshape(-1).cpu().numpy()
        is_off = spikes.polarity().reshape(-1).cpu().numpy() < 0
        size = max(1, phase.size)
        steps = np.arange(num_steps)
        on = 100 * np.bincount(phase[~is_off], minlength=num_steps + 1) / size
        off = 100 * np.bincount(phase[is_off], minlength=num_steps + 1) / size
        axes.bar(steps, on[:num_steps], color=ON, label='ON spikes')
        if is_off.any():
            axes.bar(steps, off[:num_steps], bottom=on[:num_steps], color=OFF)
            axes.patches[-1].set_label('OFF spikes')
            axes.legend(fontsize=8, frameon=False)
        axes.set_title(f'{name}: {spikes.code}', loc='left', fontsize=9)
        axes.set_ylabel('neurons, %')
        axes.set_xticks(ticks(num_steps - 1, max(1, num_steps // 8)))
        silent = float(on[num_steps])
        parts = [(on[:num_steps].sum(), ON), (off.sum(), OFF), (silent, SILENT)]
        height = 0.0
        for part, color in parts:
            side.bar([0], [part], bottom=[height], color=color, width=0.6)
            height += float(part)
        side.set_title(f'silent {silent:.1f} %', fontsize=9)
        side.set(xticks=[], xlim=(-0.5, 0.5), ylim=(0, 100), yticks=[0, 50, 100])
    panels[-1][0].set_xlabel('time step of the spike within the fire window')
    panels[-1][1].set_xlabel('share, %')
    return figure


def plot_coding_error(report: ConversionReport) -> Figure:
    """Draws what coding costs, population by population.

    Args:
        report (ConversionReport): From :obj:`~spikegraph.SpikingModel.report`.

    Returns:
        matplotlib.figure.Figure: The relative root-mean-square error of every
        population's spikes, and of the output.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If the report lists no population.
    """
    check_any('report.populations', getattr(report, 'populations', None))
    bars = [(p.name, 100 * p.coding_error, _label(p), ON) for p in report.populations]
    output = 100 * report.logit_relative_error
    bars.append(('output', output, f'agreement {report.agreement:.2f} %', OFF))
    figure = new_figure(7.0, 1.1 + 0.45 * len(bars))
    axes = figure.subplots()
    sizes = [size for _, size, _, _ in bars]
    places = range(len(bars))
    axes.barh(places, sizes, color=[color for *_, color in bars], height=0.6)
    for place, (_, size, label, _) in enumerate(bars):
        axes.annotate(
            f'{size:.2f} %  ({label})',
            (size, place),
            xytext=(4, 0),
            textcoords='offset points',
            va='center',
            fontsize=8,
        )
    axes.set_yticks(places, [name for name, *_ in bars])
    axes.invert_yaxis()
    axes.set_xlim(0, max(1e-6, 1.75 * max(sizes)))  # Room for the labels.
    axes.set_xlabel('relative error on the calibration data, %')
    axes.set_title(
        f'{report.model}: coding error of each population (blue), error of the output '
        '(red)',
        loc='left',
        fontsize=9,
    )
    return figure


def plot_sweep(rows: Iterable[Mapping[str, Any]], value: str = 'loss_points') -> Figure:
    """Draws a heat map of number of steps against base.

    Args:
        rows (List[Dict[str, Any]]): One entry per cell, with ``num_steps``,
            ``base`` and the value: a number, or a dictionary of ``mean`` and
            ``std``; see :class:`~spikegraph.zoo.experiment.Sweep`.
        value (str, optional): One of :obj:`SWEEP_VALUES`.
            (default: :obj:`"loss_points"`)

    Returns:
        matplotlib.figure.Figure: The heat map; cells that are not in
        :obj:`rows` stay empty.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there are no rows, or the value is unknown.
    """
    rows = list(rows)
    check_any('rows', rows)
    if value not in SWEEP_VALUES:
        raise ValueError(
            f"Expected 'value' to be one of {', '.join(SWEEP_VALUES)} (got {value!r})"
        )
    label, style = SWEEP_VALUES[value]
    spread = '.1g' if style == '.3g' else style
    num_steps = list(dict.fromkeys(row['num_steps'] for row in rows))
    bases = list(dict.fromkeys(row['base'] for row in rows))
    mean = np.full((len(num_steps), len(bases)), np.nan)
    text: dict[tuple[int, int], str] = {}
    for row in rows:
        cell = num_steps.index(row['num_steps']), bases.index(row['base'])
        found = row[value]
        mean[cell] = found['mean'] if isinstance(found, Mapping) else found
        text[cell] = format(mean[cell], style)
        if isinstance(found, Mapping) and found['std'] > 0:
            text[cell] += f'\n± {found["std"]:{spread}}'
    figure = new_figure(2.6 + 1.0 * len(bases), 1.6 + 0.6 * len(num_steps))
    axes = figure.subplots()
    low, high = float(np.nanmin(mean)), float(np.nanmax(mean))
    colors = 'Blues'
    if value == 'loss_points' and low < 0:  # Zero has a meaning: make it white.
        high = max(-low, high)
        low, colors = -high, 'RdBu_r'
    image = axes.imshow(mean, cmap=colors, vmin=low, vmax=high, aspect='auto')
    for (i, j), line in text.items():
        red, green, blue, _ = image.to_rgba(mean[i, j])
        is_dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.5
        color = 'white' if is_dark else 'black'
        axes.text(j, i, line, ha='center', va='center', fontsize=9, color=color)
    names = [str(q) if q == 'auto' else f'{q:.4g}' for q in bases]
    axes.set_xticks(range(len(bases)), names)
    axes.set_yticks(range(len(num_steps)), [str(t) for t in num_steps])
    axes.set_xlabel('base Q')
    axes.set_ylabel('time steps T')
    axes.set_title(label, fontsize=10)
    figure.colorbar(image, ax=axes)
    return figure


def _evenly(spikes_by_name: Mapping[str, Spikes]) -> dict[str, Spikes]:
    """As many populations as fit, the first and the last among them."""
    names = list(spikes_by_name)
    last = len(names) - 1
    if last >= _MAX_PANELS:
        places = [round(i * last / (_MAX_PANELS - 1)) for i in range(_MAX_PANELS)]
        names = [names[place] for place in places]
    return {name: spikes_by_name[name] for name in names}


def _panel_height(count: int) -> float:
    return min(1.9, max(1.15, 8.0 / count))


def _say_if_fewer(figure: Figure, count: int, total: int) -> None:
    if count < total:
        title = f'{count} of {total} populations, evenly chosen'
        figure.suptitle(title, x=0.01, ha='left', fontsize=9)


def _label(population: Any) -> str:
    base = 'fitted levels' if population.base is None else f'base {population.base:.3f}'
    return f'T = {population.num_steps}, {base}'
