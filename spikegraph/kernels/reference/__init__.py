"""Every operation as an obvious loop: the definition the fast code is tested
against, and never chosen instead of it.
"""

from spikegraph.kernels.reference.operations import (
    aggregate,
    aggregate_spikes,
    decode,
    earliest,
    encode,
    fire_window,
    transform,
)

__all__ = [
    'aggregate',
    'aggregate_spikes',
    'decode',
    'earliest',
    'encode',
    'fire_window',
    'transform',
]
