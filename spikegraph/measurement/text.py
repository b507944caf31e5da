"""The report of a measurement."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from spikegraph.measurement.counts import LayerCounts
from spikegraph.measurement.machines import MACHINES

if TYPE_CHECKING:
    from spikegraph.measurement.measure import Measurement

_WIDTH = 88  # Of lines of prose.


def format_measurement(measured: Measurement) -> str:
    """The counts of each row, the energies of both networks on each machine, with and
    without memory, and what is assumed.
    """
    lines = [*_counts(measured), '', *_energies(measured), '']
    for machine in MACHINES.values():
        lines += _wrapped(f'{machine.name}: {machine.description}')
    lines.append(f'energies: {measured.table.source}')
    for table in measured.tables[1:]:
        lines.append(f'  {table.name}: {table.source}')
    if measured.uncounted:
        lines.append(
            'NOT COUNTED, so that energies leave it out and there is no ratio: '
            f'{", ".join(measured.uncounted)}'
        )
    return '\n'.join(lines)


def _counts(measured: Measurement) -> list[str]:
    width = max([8, *(len(layer.name) for layer in measured.layers)])
    delays = f'  {"delays":>9}' if measured.total.delays else ''
    lines = [
        f'{"layer":<{width}}  {"role":<14}  {"ANN MACs":>9}  {"nonzero":>9}  '
        f'{"SynOps":>9}  {"adds":>9}  {"MACs":>9}  {"scalings":>9}  '
        f'{"updates":>9}  {"touches":>9}  {"spikes":>9}{delays}'
    ]
    for layer in [*measured.layers, LayerCounts('total', '', measured.total)]:
        c = layer.counts
        values = (
            c.ann_macs + c.ann_aggregation_macs,
            c.ann_macs_nonzero + c.ann_aggregation_macs,
            c.synops,
            c.accumulates + c.adds,
            c.snn_macs,
            c.scalings,
            c.membrane_updates,
            c.touches + c.openings,
            c.spikes,
            *([c.delays] if delays else []),
        )
        cells = '  '.join(f'{short(v):>9}' for v in values)
        lines.append(f'{layer.name:<{width}}  {layer.role:<14}  {cells}')
    lines.append(
        'updates of membranes: clocked machine; touches of membranes and partial sums: '
        'event-driven one'
    )
    return lines


def _energies(measured: Measurement) -> list[str]:
    """A row for each table and column of the literature: both networks, and how many
    times less than the ANN each machine takes, dense and with zeros skipped.
    """
    title = f'energy, nJ per {measured.unit}'
    tables = [row['table'] for row in measured.energies()]
    width = max(24, len(title), *(len(name) + 2 for name in tables))
    names = list(MACHINES)
    head = ''.join(f'  {name:>14}' for name in names)
    lines = [
        f'{title:<{width}}  {"ANN":>9}  {"zeros out":>9}{head}    '
        + '  '.join(f'{"ANN / " + name:>20}' for name in names)
    ]
    for row in measured.energies():
        if row['what'] == 'compute':
            lines.append(row['table'])
        label = 'compute only' if row['what'] == 'compute' else 'with memory, state'
        energies = f'{row["ann"] / 1e3:>9.4g}  {row["ann_sparse"] / 1e3:>9.4g}'
        machines, ratios = '', []
        for name in names:
            machines += f'  {row[name] / 1e3:>14.4g}'
            found = ['-', '-']
            if not measured.uncounted:
                found = [_ratio(row[ann], row[name]) for ann in ('ann', 'ann_sparse')]
            ratios.append(f'{f"{found[0]} ({found[1]})":>20}')
        lines.append(
            f'  {label:<{width - 2}}  {energies}{machines}    {"  ".join(ratios)}'
        )
    lines.append(
        '(in parentheses: against the ANN that skips zeros; ANN and SNN at the same '
        'precision)'
    )
    return lines


def _ratio(ann: float, snn: float) -> str:
    return f'{ann / snn:.3g}x' if snn else 'nan'


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent='  ')


def short(value: int) -> str:
    """Three digits and a unit: 1234567 is 1.23 M."""
    for unit, size in (('G', 1e9), ('M', 1e6), ('k', 1e3)):
        if value >= 0.9995 * size:
            return f'{value / size:.3g} {unit}'
    return str(value)
