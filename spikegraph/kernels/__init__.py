"""Operations on spike times and sparse adjacency."""

from spikegraph.kernels.adjacency import (
    Adjacency,
    gcn_adjacency,
    member_adjacency,
    neighbor_adjacency,
)
from spikegraph.kernels.aggregation import Messages, aggregate, propagate
from spikegraph.kernels.backend import info
from spikegraph.kernels.events import encode_transform, row_peaks, transform_spikes
from spikegraph.kernels.neurons import (
    decode,
    decode_spikes,
    fire,
    fire_spikes,
)

__all__ = [
    'Adjacency',
    'Messages',
    'aggregate',
    'decode',
    'decode_spikes',
    'encode_transform',
    'fire',
    'fire_spikes',
    'gcn_adjacency',
    'info',
    'member_adjacency',
    'neighbor_adjacency',
    'propagate',
    'row_peaks',
    'transform_spikes',
]
