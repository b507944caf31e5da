"""Spikes that travel over a graph, as an animated picture without scripts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from html import escape
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikegraph.plotting.travel import Travel, travel_of

if TYPE_CHECKING:
    from spikegraph.running.steps import Simulation

_WIDTH, _HEIGHT, _MARGIN = 720, 430, 34
_TOP, _GRAPH, _BARS = 40, 300, 44  # Where the graph begins, its height, that of bars.
_RADIUS = 7.0
_LETTER = 6.0  # About as wide as one is.
_HOLD = 7  # Steps for which the answer stays.
_FADE = 2.6  # Steps after which a node that has fired is dark again.

# Readable on white and on black: greys in the middle, lighter where the page is dark.
_STYLE = """
#ID{font:13px system-ui,-apple-system,'Segoe UI',sans-serif}
#ID text{fill:#59636e}#ID .b{font-weight:600}#ID .m{text-anchor:middle}
#ID .r{text-anchor:end}
#ID .e{stroke:#8c959f;stroke-opacity:.4}#ID .n{fill:#8c959f;stroke:#8c959f;fill-opacity:.3}
#ID .w{fill:#8c959f;fill-opacity:.13}#ID .h{fill:#8c959f;fill-opacity:.75}
#ID .f{opacity:0;animation:ID-f DURs ease-out infinite}
#ID .p{opacity:0;fill:none;stroke-width:2.6;stroke-linecap:round;stroke-dasharray:.2 9;
animation:ID-p DURs linear infinite}
#ID .c{opacity:0;animation:ID-c DURs step-end infinite}
#ID .a{opacity:0;animation:ID-a DURs ease-in-out infinite}
#ID .t{fill:#d55e00;animation:ID-t DURs linear infinite}
@keyframes ID-f{0%{opacity:var(--o)}FADE%{opacity:0}100%{opacity:0}}
@keyframes ID-p{0%{opacity:var(--o);stroke-dashoffset:.2}STEP%{opacity:var(--o);
stroke-dashoffset:-1}GONE%{opacity:0;stroke-dashoffset:-1}100%{opacity:0}}
@keyframes ID-c{0%{opacity:1}STEP%{opacity:0}100%{opacity:0}}
@keyframes ID-a{0%{opacity:0}LAST%{opacity:0}SHOWN%{opacity:1}97%{opacity:1}100%{opacity:0}}
@keyframes ID-t{0%{transform:translateX(0)}LAST%{transform:translateX(ENDpx)}
100%{transform:translateX(ENDpx)}}
@media(prefers-color-scheme:dark){#ID text{fill:#b1bac4}#ID .e{stroke-opacity:.55}}
@media(prefers-reduced-motion:reduce){#ID *{animation:none}#ID .a{opacity:1}}
"""


@dataclass(frozen=True)
class Animation:
    """An animated picture; notebooks show it, and files are images like others.

    Args:
        svg (str): The picture.
    """

    svg: str

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the picture.

        Raises:
            ValueError: If the path does not end in ``.svg``.
        """
        if Path(path).suffix != '.svg':
            raise ValueError(f"Expected 'path' to end in '.svg' (got '{path}')")
        Path(path).write_text(self.svg, encoding='utf-8')

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f'Animation({len(self.svg):,} characters)'


def animate(
    simulation: Simulation,
    data: Any,
    title: str = '',
    labels: dict[str, str] | None = None,
    channel: int | None = None,
    position: Any = None,
    step_s: float = 0.35,
) -> Animation:
    r"""Draws spikes that travel over a small graph, as an animated SVG without scripts,
    which browsers play also where it is an image of a page.

    A node flashes, in the colour of the class that the network gives it, at each step at
    which neurons of it fire: the more, the larger; the earlier in their window, that is,
    the larger the value that they stand for, the brighter. From there, pulses travel along
    its edges. Below are the spikes of each step. At the end, nodes show their class.

    Args:
        simulation (Simulation): From :func:`spikegraph.simulate`.
        data (torch_geometric.data.Data): The graph that it ran on, with at most 100 nodes
            and 1,200 edges.
        title (str, optional): What stands above. (default: :obj:`""`)
        labels (Dict[str, str], optional): What windows are called, by the names of
            populations. (default: :obj:`None`, as these)
        channel (int, optional): Only this neuron of each node.
            (default: :obj:`None`, all)
        position (Any, optional): Places of the nodes :math:`(N, 2)`.
            (default: ``data.pos`` if it has two columns, else distances along edges are
            drawn as lengths)
        step_s (float, optional): Seconds for a time step. (default: :obj:`0.35`)

    Returns:
        Animation: The picture, 720 by 430 pixels.

    Raises:
        ValueError: If there is no graph, or one too large to be seen, or the simulation
            has no neurons on its nodes, or a step takes no time.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from torch_geometric.nn.models import GCN
        >>> from spikegraph import convert, simulate
        >>> edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> data = Data(x=torch.rand(3, 4), edge_index=edge_index)
        >>> snn = convert(GCN(4, 8, 2, 3), data)
        >>> picture = animate(simulate(snn, data), data)
        >>> picture.svg[:4], '<script' in picture.svg
        ('<svg', False)
    """
    if not step_s > 0:
        raise ValueError(f"Expected 'step_s' to be positive (got {step_s})")
    travel = travel_of(simulation, data, channel, position)
    name = _identity(travel, title, step_s)
    names = {window[0]: window[0] for window in travel.windows} | (labels or {})
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" id="{name}" role="img" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}">',
        f'<title>{escape(title or "Spikes that travel over a graph")}</title>',
        f'<style>{_style(name, travel, step_s)}</style>',
        f'<text x="{_MARGIN / 2}" y="20" class="b">{escape(title)}</text>',
        *_graph(travel),
        *_timeline(travel, names),
        '</svg>',
    ]
    return Animation('\n'.join(parts) + '\n')


def _identity(travel: Travel, *others: Any) -> str:
    """Two pictures on a page must not share their styles."""
    digest = hashlib.sha256(repr(others).encode())
    for array in (travel.position, travel.counts):
        digest.update(np.ascontiguousarray(array).tobytes())
    return f's{digest.hexdigest()[:8]}'


def _style(name: str, travel: Travel, step_s: float) -> str:
    total, last = travel.num_steps + _HOLD, travel.num_steps
    values = {
        'ID': name,
        'DUR': f'{total * step_s:.3g}',
        'FADE': f'{100 * _FADE / total:.3g}',
        'STEP': f'{100 / total:.4g}',
        'GONE': f'{100 * 1.05 / total:.4g}',
        'LAST': f'{100 * last / total:.4g}',
        'SHOWN': f'{100 * (last + 0.8) / total:.4g}',
        'END': f'{_WIDTH - _MARGIN:g}',
    }
    text = _STYLE.strip()
    for key, value in values.items():
        text = text.replace(key, value)
    steps = [
        f'#{name} .s{t} *{{animation-delay:{t * step_s:.4g}s;--o:{_brightness(level):.2f}}}'
        for t, level in enumerate(travel.levels)
    ]
    return f'{text}\n{"".join(steps)}'


def _brightness(level: float) -> float:
    return 0.5 + 0.5 * float(level)


def _graph(travel: Travel) -> list[str]:
    """Nodes and edges, and above them what lights up at each step."""
    size = np.array([_WIDTH - 2 * _MARGIN, _GRAPH - 2 * _RADIUS])
    place = travel.position * size + [_MARGIN, _TOP + _RADIUS]
    colors, sizes = travel.colors(), travel.sizes()
    text = [[f'{value:.1f}' for value in row] for row in place]
    ends = [(*text[i], *text[j]) for i, j in travel.edges.T.tolist()]
    lines = [
        f'<path class="e" d="M{x},{y}L{u},{v}"/>'
        for (x, y, u, v), (i, j) in zip(ends, travel.edges.T.tolist(), strict=True)
        if i < j or not ((travel.edges[0] == j) & (travel.edges[1] == i)).any()
    ]
    found = ['<g>', *lines]
    found += [f'<circle class="n" cx="{x}" cy="{y}" r="{_RADIUS:g}"/>' for x, y in text]
    for step, row in enumerate(travel.counts):
        if not row.any():
            continue
        found.append(f'</g><g class="s{step}">')
        for (x, y, u, v), i in zip(ends, travel.edges[0].tolist(), strict=True):
            if row[i]:
                path = f'd="M{x},{y}L{u},{v}" stroke="{colors[i]}"'
                found.append(f'<path class="p" pathLength="1" {path}/>')
        for i in np.flatnonzero(row):
            radius = _RADIUS * (0.9 + 0.9 * float(sizes[step, i]) ** 0.5)
            at = f'cx="{text[i][0]}" cy="{text[i][1]}" r="{radius:.1f}"'
            found.append(f'<circle class="f" {at} fill="{colors[i]}"/>')
    found.append('</g><g class="a">')
    if travel.predicted is not None:
        found += [
            f'<circle cx="{x}" cy="{y}" r="{1.25 * _RADIUS:g}" fill="{color}"/>'
            for (x, y), color in zip(text, colors, strict=True)
        ]
    return [*found, '</g>']


def _timeline(travel: Travel, names: dict[str, str]) -> list[str]:
    """The windows, the spikes of each step in them, and where time is."""
    left, width = _MARGIN / 2, _WIDTH - _MARGIN
    bottom = _HEIGHT - 24
    step = width / travel.num_steps
    found = []
    spans: dict[tuple[int, int], list[str]] = {}
    for name, start, stop in travel.windows:
        spans.setdefault((start, stop), []).append(names[name])
    for (start, stop), found_names in spans.items():
        x, size = left + start * step, (stop - start) * step
        box = f'x="{x + 1:.1f}" y="{bottom - _BARS}" width="{size - 2:.1f}"'
        found.append(f'<rect class="w" {box} height="{_BARS}" rx="3"/>')
        label = f'x="{x + size / 2:.1f}" y="{bottom + 16}"'
        found.append(
            f'<text class="m" {label}>{escape(_short(found_names, size))}</text>'
        )
    sums = travel.counts.sum(axis=1)
    for t, count in enumerate(sums.tolist()):
        x, high = left + t * step, (_BARS - 6) * count / max(1, sums.max())
        box = (
            f'x="{x + 0.2 * step:.1f}" y="{bottom - high:.1f}" width="{0.6 * step:.1f}"'
        )
        if count:
            found.append(f'<rect class="h" {box} height="{high:.1f}"/>')
        words = f'step {t}: {count:,} {"spike" if count == 1 else "spikes"}'
        where = f'x="{_WIDTH - left}" y="20"'
        found.append(f'<g class="s{t}"><text class="c r" {where}>{words}</text></g>')
    what = 'in all' if travel.predicted is None else 'in all, and the classes'
    end = f'{int(sums.sum()):,} spikes {what}'
    found.append(f'<text class="a r" x="{_WIDTH - left}" y="20">{end}</text>')
    line = f'x="{left - 1}" y="{bottom - _BARS - 3}" width="2" height="{_BARS + 6}"'
    return [*found, f'<rect class="t" {line}/>']


def _short(names: list[str], size: float) -> str:
    """As much as fits below a window."""
    text, most = ', '.join(names), max(3, int(size / _LETTER))
    return text if len(text) <= most else f'{text[: most - 1]}…'
