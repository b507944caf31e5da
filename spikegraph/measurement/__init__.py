"""Operation counts, energies, latency and memory of a network and its twin."""

from spikegraph.measurement.counts import Counts, LayerCounts
from spikegraph.measurement.energy import (
    HOROWITZ_45NM_FP32,
    HOROWITZ_45NM_INT8,
    HOROWITZ_45NM_INT32,
    EnergyTable,
)
from spikegraph.measurement.latency import Latency, latency
from spikegraph.measurement.measure import Measurement, measure
from spikegraph.measurement.memory import peak_memory

__all__ = [
    'HOROWITZ_45NM_FP32',
    'HOROWITZ_45NM_INT8',
    'HOROWITZ_45NM_INT32',
    'Counts',
    'EnergyTable',
    'Latency',
    'LayerCounts',
    'Measurement',
    'latency',
    'measure',
    'peak_memory',
]
