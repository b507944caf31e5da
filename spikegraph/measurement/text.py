"""The report of a measurement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spikegraph.measurement.counts import LayerCounts
from spikegraph.measurement.machines import MACHINES
from spikegraph.tables import Blank, Column, Part, Prose, Table

if TYPE_CHECKING:
    from spikegraph.measurement.measure import Measurement

_COUNTS = (
    *('ANN MACs', 'nonzero', 'SynOps', 'adds', 'MACs', 'scalings'),
    *('updates', 'touches', 'spikes'),
)


def measurement_parts(measured: Measurement) -> list[Part]:
    """The counts of each row, the energies of both networks on each machine, with and
    without memory, and what is assumed.
    """
    machines = [f'{m.name}: {m.description}' for m in MACHINES.values()]
    sources = [f'energies: {measured.table.source}']
    sources += [f'  {table.name}: {table.source}' for table in measured.tables[1:]]
    parts: list[Part] = [_counts(measured), Blank(), _energies(measured), Blank()]
    parts += [Prose(machines, 'What the two machines do', wraps=True)]
    parts += [Prose(sources, 'Where the energies are from')]
    if measured.uncounted:
        missing = (
            'NOT COUNTED, so that energies leave it out and there is no ratio: '
            f'{", ".join(measured.uncounted)}'
        )
        parts.append(Prose([missing]))
    return parts


def _counts(measured: Measurement) -> Table:
    heads = [*_COUNTS, *(['delays'] if measured.total.delays else [])]
    rows = []
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
            *([c.delays] if measured.total.delays else []),
        )
        rows.append([layer.name, layer.role, *map(short, values)])
    columns = [Column('layer', 8, True), Column('role', 14, True)]
    note = (
        'updates of membranes: clocked machine; touches of membranes and partial sums: '
        'event-driven one'
    )
    multiply = [
        f'{r.name} ({short(r.counts.snn_macs)})' for r in _multiplying(measured)
    ]
    if multiply:
        note += (
            '\nreal values are multiplied (embeddings, averages, sums of other layers, '
            f'analog parts): {", ".join(multiply[:8])}{", ..." * (len(multiply) > 8)}'
        )
    return Table([*columns, *(Column(h, 9) for h in heads)], rows, True, note)


def _multiplying(measured: Measurement) -> list[LayerCounts]:
    """The layers with weights that no spike is sent along, the most costly first."""
    found = [row for row in measured.layers if row.counts.snn_macs > 0]
    return sorted(found, key=lambda row: -row.counts.snn_macs)


def _energies(measured: Measurement) -> Table:
    """A row for each table and column of the literature: both networks, and how many
    times less than the ANN each machine takes, dense and with zeros skipped.
    """
    names = list(MACHINES)
    width = max(24, *(len(table.name) + 2 for table in measured.tables))
    columns = [Column(f'energy, nJ per {measured.unit}', width, True)]
    columns += [Column('ANN', 9), Column('zeros out', 9)]
    columns += [Column(name, 14) for name in names]
    # The first of the ratios keeps a distance.
    columns += [
        Column(f'ANN / {name}', 20 + 2 * (i == 0)) for i, name in enumerate(names)
    ]
    rows: list[list[str] | str] = []
    for row in measured.energies():
        if row['what'] == 'compute':
            rows.append(row['table'])
        label = 'compute only' if row['what'] == 'compute' else 'with memory, state'
        energies = [row['ann'], row['ann_sparse'], *(row[name] for name in names)]
        ratios = []
        for name in names:
            found = ['-', '-']
            if not measured.uncounted:
                found = [_ratio(row[ann], row[name]) for ann in ('ann', 'ann_sparse')]
            ratios.append(f'{found[0]} ({found[1]})')
        rows.append([label, *(f'{energy / 1e3:.4g}' for energy in energies), *ratios])
    note = (
        '(in parentheses: against the ANN that skips zeros; ANN and SNN at the same '
        'precision)'
    )
    return Table(columns, rows, note=note)


def _ratio(ann: float, snn: float) -> str:
    return f'{ann / snn:.3g}x' if snn else 'nan'


def short(value: int) -> str:
    """Three digits and a unit: 1234567 is 1.23 M."""
    for unit, size in (('G', 1e9), ('M', 1e6), ('k', 1e3)):
        if value >= 0.9995 * size:
            return f'{value / size:.3g} {unit}'
    return str(value)
