"""Operation counts, energies, latency and memory of a network and its twin."""

from spikegraph.measurement.counts import Counts, LayerCounts
from spikegraph.measurement.energy import EnergyTable
from spikegraph.measurement.latency import Latency, latency
from spikegraph.measurement.machines import MACHINES, Machine
from spikegraph.measurement.measure import Measurement, measure
from spikegraph.measurement.memory import peak_memory
from spikegraph.measurement.tables import (
    ENERGY_TABLES,
    HOROWITZ_45NM_FP16,
    HOROWITZ_45NM_FP32,
    HOROWITZ_45NM_INT8,
    HOROWITZ_45NM_INT8_INT32,
    HOROWITZ_45NM_INT32,
    SPIKINGJELLY_FP16,
    SPIKINGJELLY_FP32,
    SPIKINGJELLY_INT8,
    energy_table,
)

__all__ = [
    'ENERGY_TABLES',
    'HOROWITZ_45NM_FP16',
    'HOROWITZ_45NM_FP32',
    'HOROWITZ_45NM_INT8',
    'HOROWITZ_45NM_INT8_INT32',
    'HOROWITZ_45NM_INT32',
    'MACHINES',
    'SPIKINGJELLY_FP16',
    'SPIKINGJELLY_FP32',
    'SPIKINGJELLY_INT8',
    'Counts',
    'EnergyTable',
    'Latency',
    'LayerCounts',
    'Machine',
    'Measurement',
    'energy_table',
    'latency',
    'measure',
    'peak_memory',
]
