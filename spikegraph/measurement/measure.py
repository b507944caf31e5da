from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from spikegraph.calls.call import fingerprint
from spikegraph.calls.deprecation import takes_old_order
from spikegraph.calls.samples import as_calls
from spikegraph.calls.wrappers import full_precision, unwrap
from spikegraph.measurement.ann import AnalogCounter, ModelCounter, add_counts
from spikegraph.measurement.counter import Counter, signal_names
from spikegraph.measurement.counts import Counts, LayerCounts
from spikegraph.measurement.energy import HOROWITZ_45NM_FP32, EnergyTable
from spikegraph.measurement.units import Samples, Unit, units_of
from spikegraph.running.model import SpikingModel


@dataclass
class Measurement:
    """What the ANN and the spiking network do and what it costs.

    Args:
        layers (List[LayerCounts]): One row per layer and population.
        num_nodes (int): How many of :obj:`unit` there are, which energies are divided
            by: rows of the main output, see
            :func:`~spikegraph.calls.outputs.main_output`, unless something else
            was asked for.
        table (EnergyTable): The energies of single operations.
        uncounted (List[str]): Operations with unknown cost, left out. There are no
            ratios then.
        unit (str): :obj:`"node"`, :obj:`"graph"`, :obj:`"image"`, :obj:`"sequence"` or
            :obj:`"sample"`.

    Example:
        >>> from spikegraph import convert
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> x = torch.rand(5, 4)
        >>> snn = convert(model, x)
        >>> measured = measure(snn, x, model)
        >>> 0 < measured.spikes_per_neuron <= 1
        True
        >>> measured.energy_ratios()['energy_ratio_compute'] > 0
        True
    """

    layers: list[LayerCounts]
    num_nodes: int
    table: EnergyTable
    uncounted: list[str] = field(default_factory=list)
    unit: Unit = 'node'

    @property
    def total(self) -> Counts:
        """The sum over all rows."""
        return sum((layer.counts for layer in self.layers), Counts())

    @property
    def spikes_per_neuron(self) -> float:
        """Mean over all populations, input encoding included, gates left out; at
        most 1.
        """
        rows = [layer.counts for layer in self.layers if layer.role != 'gate']
        num_spikes = sum(counts.spikes for counts in rows)
        return num_spikes / max(1, sum(counts.neurons for counts in rows))

    def energy_pj(self) -> dict[str, float]:
        """Energies in pJ per :obj:`unit`: the ANN, dense and with zeros skipped, and the
        spiking network; compute only, and with memory and neuron state.
        """
        total, table, nodes = self.total, self.table, max(1, self.num_nodes)
        return {
            'ann_compute': table.ann_pj(total) / nodes,
            'ann_compute_sparse': table.ann_pj(total, skip_zeros=True) / nodes,
            'snn_compute': table.snn_pj(total) / nodes,
            'ann_memory': table.ann_pj(total, memory=True) / nodes,
            'ann_memory_sparse': table.ann_pj(total, True, True) / nodes,
            'snn_memory': table.snn_pj(total, memory=True) / nodes,
        }

    def energy_ratios(self) -> dict[str, float]:
        """How many times less energy the spiking network takes; nothing where some
        operation could not be counted.
        """
        if self.uncounted:
            return {}
        pj = self.energy_pj()
        nan = float('nan')  # Nothing could be counted.
        compute, memory = pj['snn_compute'] or nan, pj['snn_memory'] or nan
        return {
            'energy_ratio_compute': pj['ann_compute'] / compute,
            'energy_ratio_compute_sparse_ann': pj['ann_compute_sparse'] / compute,
            'energy_ratio_memory': pj['ann_memory'] / memory,
            'energy_ratio_memory_sparse_ann': pj['ann_memory_sparse'] / memory,
        }

    def to_dict(self) -> dict[str, Any]:
        """The measurement as JSON types."""
        return {
            'layers': [asdict(layer) for layer in self.layers],
            'total': asdict(self.total),
            'num_nodes': self.num_nodes,
            'unit': self.unit,
            'energy_pj': self.energy_pj(),
            **self.energy_ratios(),
            'energy_table': asdict(self.table),
            'uncounted': self.uncounted,
        }

    def __str__(self) -> str:
        width = max([8, *(len(layer.name) for layer in self.layers)])
        head = (
            f'{"layer":<{width}}  {"role":<14}  {"ANN MACs":>9}  {"nonzero":>9}  '
            f'{"SynOps":>9}  {"adds":>9}  {"MACs":>9}  {"scalings":>9}  '
            f'{"updates":>9}  {"spikes":>9}'
        )
        lines = [head]
        for layer in [*self.layers, LayerCounts('total', '', self.total)]:
            c = layer.counts
            values = (
                c.ann_macs + c.ann_aggregation_macs,
                c.ann_macs_nonzero + c.ann_aggregation_macs,
                c.synops,
                c.accumulates + c.adds,
                c.snn_macs,
                c.scalings,
                c.membrane_updates,
                c.spikes,
            )
            cells = '  '.join(f'{_short(v):>9}' for v in values)
            lines.append(f'{layer.name:<{width}}  {layer.role:<14}  {cells}')
        pj, ratio = self.energy_pj(), self.energy_ratios()
        lines += [
            '',
            f'{"energy, nJ per " + self.unit:<34}  {"ANN":>9}  {"zeros out":>9}  '
            f'{"SNN":>9}  '
            f'{"ratio":>7}  {"zeros out":>9}',
        ]
        for what, label in (
            ('compute', 'compute only'),
            ('memory', 'with memory, state'),
        ):
            energies = [pj[f'ann_{what}'], pj[f'ann_{what}_sparse'], pj[f'snn_{what}']]
            cells = '  '.join(f'{v / 1e3:>9.4g}' for v in energies)
            names = [f'energy_ratio_{what}', f'energy_ratio_{what}_sparse_ann']
            dense, sparse = (
                f'{ratio[name]:.3g}x' if name in ratio else '-' for name in names
            )
            lines.append(f'{label:<34}  {cells}  {dense:>7}  {sparse:>9}')
        lines.append(f'energies: {self.table.source}')
        if self.uncounted:
            lines.append(
                'NOT COUNTED, so that energies leave it out and there is no ratio: '
                f'{", ".join(self.uncounted)}'
            )
        return '\n'.join(lines)


@takes_old_order(SpikingModel, 'model', 'snn', 'data', 'energy_table', 'per')
@torch.no_grad()
@full_precision()
def measure(
    snn: SpikingModel,
    data: Any,
    model: nn.Module | None = None,
    energy_table: EnergyTable = HOROWITZ_45NM_FP32,
    per: Unit | None = None,
) -> Measurement:
    r"""Counts the operations of a network and of its spiking twin.

    A layer's weights are accumulated at the sending node while its membrane
    compartment charges; the sums then move along each edge once. The input
    population has no charge window.

    Args:
        snn (SpikingModel): The converted network.
        data (Any): PyG data, a tuple of forward arguments, or an iterable of
            either, whose counts are added up.
        model (torch.nn.Module, optional): The ANN that was converted, which is counted
            as its author wrote it: what is reported. (default: :obj:`None`, the ANN is
            counted as the network holds it: batch norms are folded, and sums are taken in
            the order that conversion chose, so that ratios are others)
        energy_table (EnergyTable, optional): The energies of single
            operations. (default: :obj:`HOROWITZ_45NM_FP32`)
        per (str, optional): What energies are divided by: :obj:`"node"`,
            :obj:`"graph"`, :obj:`"image"`, :obj:`"sequence"` or :obj:`"sample"`, a row
            of the first output. (default: :obj:`None`, what such a row stands for)

    Returns:
        Measurement: Counts per layer and in total, and energies.

    Raises:
        ValueError: If model and spiking network do not belong together, or there is
            nothing of what :obj:`per` names.

    Example:
        >>> from spikegraph import convert
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> x = torch.rand(5, 4)
        >>> snn = convert(model, x)
        >>> measured = measure(snn, x, model)
        >>> measured.total.ann_macs, measured.total.snn_macs
        (280, 0)
        >>> sorted(measured.energy_pj())[:2]
        ['ann_compute', 'ann_compute_sparse']
    """
    model = unwrap(model)
    if isinstance(model, SpikingModel) or not isinstance(model, nn.Module | None):
        raise ValueError(
            "Expected 'model' to be the ANN that 'snn' was converted from (got "
            f"{type(model).__name__}); call 'measure(snn, data)', or 'measure(snn, data, "
            "model)'"
        )
    if not isinstance(energy_table, EnergyTable):
        raise ValueError(
            "Expected 'energy_table' to be an EnergyTable (got "
            f'{type(energy_table).__name__}); spikegraph.measurement has some'
        )
    calls = as_calls(snn.spec if model is None else model, data, name='data')
    if model is not None and fingerprint(model) != snn.report.fingerprint:
        raise ValueError(
            "Expected 'model' to be the network that 'snn' was converted from "
            f'(got another structure, {type(model).__name__})'
        )
    signals = signal_names(snn)
    rows: dict[str, LayerCounts] = {}
    uncounted: dict[str, None] = {}
    samples: list[Samples] = []
    for call in calls:
        values = snn.bind(**snn.spec.known(call))
        counter = Counter(snn, values)
        for name, row in counter.rows.items():
            kept = rows.setdefault(name, LayerCounts(row.name, row.role))
            kept.counts = kept.counts + row.counts
        ann = (
            AnalogCounter(snn, values, signals)
            if model is None
            else ModelCounter(model, call, snn, signals, counter.rows)
        )
        add_counts(rows, ann.found)
        uncounted.update(dict.fromkeys([*counter.uncounted, *ann.uncounted]))
        samples.append(Samples(snn.network, counter.env))
    unit, num_units = units_of(samples, per)
    return Measurement(
        list(rows.values()), num_units, energy_table, list(uncounted), unit
    )


def _short(value: int) -> str:
    """Three digits and a unit: 1234567 is 1.23 M."""
    for unit, size in (('G', 1e9), ('M', 1e6), ('k', 1e3)):
        if value >= 0.9995 * size:
            return f'{value / size:.3g} {unit}'
    return str(value)
