"""The phase code: spike times, levels, thresholds and their error bounds."""

from spikegraph.coding.bounds import (
    dynamic_range,
    max_absolute_error,
    max_relative_error,
)
from spikegraph.coding.encoding import decode, encode
from spikegraph.coding.phase_code import PhaseCode
from spikegraph.coding.spikes import Spikes

__all__ = [
    'PhaseCode',
    'Spikes',
    'decode',
    'dynamic_range',
    'encode',
    'max_absolute_error',
    'max_relative_error',
]
