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
from spikegraph.measurement.energy import EnergyTable
from spikegraph.measurement.events import count_events
from spikegraph.measurement.machines import MACHINES
from spikegraph.measurement.tables import (
    HOROWITZ_45NM_FP32,
    HOROWITZ_45NM_INT8_INT32,
)
from spikegraph.measurement.text import measurement_parts
from spikegraph.measurement.units import Samples, Unit, units_of
from spikegraph.running.model import SpikingModel
from spikegraph.tables import Part, Shown


@dataclass
class Measurement(Shown):
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

    @property
    def tables(self) -> list[EnergyTable]:
        """The tables that are reported: its own and, next to 32-bit floating point,
        that of 8-bit weights with 32-bit sums.
        """
        is_default = self.table == HOROWITZ_45NM_FP32
        return [self.table, *([HOROWITZ_45NM_INT8_INT32] if is_default else [])]

    def energy_pj(self, table: EnergyTable | None = None) -> dict[str, float]:
        """Energies in pJ per :obj:`unit`: the ANN, dense and with zeros skipped, and the
        spiking network, on the clocked machine and on the event-driven one; compute
        only, and with memory and neuron state.

        Args:
            table (EnergyTable, optional): The energies of single operations.
                (default: :obj:`None`, its own)
        """
        table, total, nodes = table or self.table, self.total, max(1, self.num_nodes)
        found = {}
        for what, memory in (('compute', False), ('memory', True)):
            found[f'ann_{what}'] = table.ann_pj(total, memory=memory) / nodes
            sparse = table.ann_pj(total, skip_zeros=True, memory=memory)
            found[f'ann_{what}_sparse'] = sparse / nodes
            for machine in MACHINES.values():
                energy = table.snn_pj(total, memory, machine.name)
                found[f'snn_{machine.key}{what}'] = energy / nodes
        return found

    def energies(self) -> list[dict[str, Any]]:
        """The same as rows, two for each of :attr:`tables`: ``table``, ``what``
        (``'compute'`` or ``'memory'``), ``ann``, ``ann_sparse`` and each machine by
        name, in pJ per :obj:`unit`.
        """
        rows = []
        for table in self.tables:
            pj = self.energy_pj(table)
            for what in ('compute', 'memory'):
                ann = {'ann': pj[f'ann_{what}'], 'ann_sparse': pj[f'ann_{what}_sparse']}
                snn = {
                    name: pj[f'snn_{machine.key}{what}']
                    for name, machine in MACHINES.items()
                }
                rows.append({'table': table.name, 'what': what, **ann, **snn})
        return rows

    def energy_ratios(self) -> dict[str, float]:
        """How many times less energy than the ANN the spiking network takes, by machine,
        compute only and with memory; none if something was not counted.
        """
        if self.uncounted:
            return {}
        pj, found = self.energy_pj(), {}
        for machine in MACHINES.values():
            for what in ('compute', 'memory'):
                name = f'energy_ratio_{machine.key}{what}'
                snn = pj[f'snn_{machine.key}{what}'] or float('nan')  # Nothing counted.
                found[name] = pj[f'ann_{what}'] / snn
                found[f'{name}_sparse_ann'] = pj[f'ann_{what}_sparse'] / snn
        return found

    def to_dict(self) -> dict[str, Any]:
        """The measurement as JSON types."""
        return {
            'layers': [asdict(layer) for layer in self.layers],
            'total': asdict(self.total),
            'num_nodes': self.num_nodes,
            'unit': self.unit,
            'energy_pj': self.energy_pj(),
            **self.energy_ratios(),
            'energy_table': self.table.to_dict(),
            'energies': self.energies(),
            'machines': {m.name: m.description for m in MACHINES.values()},
            'uncounted': self.uncounted,
        }

    def _title(self) -> str:
        return f'Operations and energy, {self.num_nodes:,} {self.unit}s'

    def _parts(self) -> list[Part]:
        return measurement_parts(self)


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
        count_events(counter)
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
