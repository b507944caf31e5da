"""What processes send, over the number of parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spikegraph.plotting.figures import OFF, ON, SILENT, check_any, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LABELS = {'metis': 'METIS', 'range': 'ranges', 'hash': 'hash'}


def plot_exchange(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws the bytes that one inference sends over the number of parts of a graph: one
    panel for each way to divide it, one line for each number of time steps, and one for
    real values.

    Args:
        rows (List[Dict[str, Any]]): The keys :obj:`method`, :obj:`parts`,
            :obj:`num_steps`, :obj:`bytes` and :obj:`float_bytes` of each.

    Returns:
        matplotlib.figure.Figure: The figure.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is nothing to draw.
    """
    check_any('rows', rows)
    from matplotlib.ticker import LogLocator

    methods = list(dict.fromkeys(row['method'] for row in rows))
    steps = sorted({row['num_steps'] for row in rows}, reverse=True)
    figure = new_figure(2.6 * len(methods) + 0.9, 3.0)
    panels = figure.subplots(1, len(methods), sharey=True, squeeze=False)[0]
    for axes, method in zip(panels, methods, strict=True):
        mine = sorted(
            (row for row in rows if row['method'] == method), key=lambda r: r['parts']
        )
        lines = [('real values', 'float_bytes', steps[0], '#6f6f6f', 's')]
        for number, color, marker in zip(steps, (ON, OFF), 'o^', strict=False):
            lines.append((f'T = {number}', 'bytes', number, color, marker))
        for label, key, number, color, marker in lines:
            found = [row for row in mine if row['num_steps'] == number]
            parts = [row['parts'] for row in found]
            sent = [row[key] / 1e6 for row in found]
            axes.plot(
                parts,
                sent,
                color=color,
                marker=marker,
                markersize=4,
                lw=1.4,
                label=label,
            )
        axes.set(xscale='log', yscale='log', title=_LABELS.get(method, method))
        axes.set_xticks(parts, [str(n) for n in parts])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter('{x:g}')
        axes.minorticks_off()
        axes.set_xlabel('parts')
        axes.grid(axis='y', color=SILENT, lw=0.5)
        axes.spines[['top', 'right']].set_visible(False)
    panels[0].set_ylabel('sent in one inference, MB')
    panels[-1].legend(
        loc='upper left', bbox_to_anchor=(1, 1), frameon=False, fontsize=8
    )
    return figure
