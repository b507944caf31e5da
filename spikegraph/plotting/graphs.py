"""Spikes that travel over a graph, as a few pictures beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spikegraph.plotting.figures import SILENT, new_figure
from spikegraph.plotting.travel import Travel, travel_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from spikegraph.running.steps import Simulation

_MOST_PANELS = 12
_COLUMNS = 3
_EDGE = '#9aa2aa'


def plot_spikes_on_graph(
    simulation: Simulation,
    data: Any,
    steps: Sequence[int] | None = None,
    channel: int | None = None,
    position: Any = None,
) -> Figure:
    """Draws which nodes of a small graph fire, at a few time steps: the more of their
    neurons, the larger; the earlier in their window, the darker. Edges that spikes travel
    along have the colour of the node that they come from. The last picture shows the
    class that the network gives each node.

    Args:
        simulation (Simulation): From :func:`spikegraph.simulate`.
        data (torch_geometric.data.Data): The graph that it ran on, with at most 100 nodes
            and 1,200 edges.
        steps (Sequence[int], optional): Up to 12 steps of the run. (default:
            :obj:`None`, five at which something fires, from the first to the last)
        channel (int, optional): Only this neuron of each node.
            (default: :obj:`None`, all)
        position (Any, optional): Places of the nodes :math:`(N, 2)`.
            (default: ``data.pos`` if it has two columns, else distances along edges are
            drawn as lengths)

    Returns:
        matplotlib.figure.Figure: A picture for each step, and one of the classes if
        outputs are those of nodes.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is no graph, or one too large to be seen, the simulation has
            no neurons on its nodes, or steps are none of the run.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from torch_geometric.nn.models import GCN
        >>> from spikegraph import convert, simulate
        >>> edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> data = Data(x=torch.ones(3, 4), edge_index=edge_index)
        >>> snn = convert(GCN(4, 8, 2, 3), data)
        >>> figure = plot_spikes_on_graph(simulate(snn, data), data, steps=[0])
        >>> [axes.get_title(loc='left') for axes in figure.axes]
        ['step 0, input_x: 12 spikes', 'classes']
    """
    travel = travel_of(simulation, data, channel, position)
    chosen = _steps(travel, steps)
    count = len(chosen) + (travel.predicted is not None)
    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    figure = new_figure(7.5 * columns / _COLUMNS + 0.5, 2.1 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in panels:
        axes.set_axis_off()
        axes.set(xlim=(-0.06, 1.06), ylim=(1.08, -0.08))
    for axes, step in zip(panels, chosen, strict=False):
        _draw_step(axes, travel, step)
    if travel.predicted is not None:
        axes = panels[len(chosen)]
        _draw_edges(axes, travel, _EDGE, 0.5)
        axes.scatter(*travel.position.T, s=34, c=travel.colors(), zorder=3)
        axes.set_title('classes', loc='left', fontsize=8)
    return figure


def _steps(travel: Travel, given: Sequence[int] | None) -> list[int]:
    if given is None:
        busy = np.flatnonzero(travel.counts.any(axis=1))
        if len(busy) == 0:
            return [0]
        places = np.linspace(0, len(busy) - 1, min(5, len(busy))).round()
        return [int(busy[int(place)]) for place in places]
    steps = [int(step) for step in given]
    is_known = all(0 <= step < travel.num_steps for step in steps)
    if not is_known or not 1 <= len(steps) <= _MOST_PANELS:
        raise ValueError(
            f"Expected 'steps' to be 1 to {_MOST_PANELS} steps from 0 to "
            f'{travel.num_steps - 1} (got {steps})'
        )
    return steps


def _draw_step(axes: Any, travel: Travel, step: int) -> None:
    fires = travel.counts[step] > 0
    colors = np.array(travel.colors())
    brightness = 0.35 + 0.65 * float(travel.levels[step])
    _draw_edges(axes, travel, _EDGE, 0.35)
    for i, j in travel.edges[:, fires[travel.edges[0]]].T.tolist():
        (x, y), (u, v) = travel.position[i], travel.position[j]
        end = x + 0.5 * (u - x), y + 0.5 * (v - y)  # Towards the other node.
        style = {'color': colors[i], 'alpha': brightness, 'lw': 1.4, 'zorder': 2}
        axes.plot([x, end[0]], [y, end[1]], **style)
    axes.scatter(*travel.position.T, s=16, c=SILENT, zorder=3)
    size = 20 + 90 * travel.sizes()[step][fires]
    place = travel.position[fires].T
    axes.scatter(*place, s=size, c=colors[fires], alpha=brightness, lw=0, zorder=4)
    count = int(travel.counts[step].sum())
    noun = 'spike' if count == 1 else 'spikes'
    title = f'step {step}, {travel.window_at(step)}: {count:,} {noun}'
    axes.set_title(title, loc='left', fontsize=8)


def _draw_edges(axes: Any, travel: Travel, color: str, alpha: float) -> None:
    ends = travel.position[travel.edges]  # [2, E, 2]
    axes.plot(ends[..., 0], ends[..., 1], color=color, alpha=alpha, lw=0.7, zorder=1)
