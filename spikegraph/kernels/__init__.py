"""Operations on spike times and sparse adjacency."""

from spikegraph.kernels.adjacency import (
    Adjacency,
    gcn_adjacency,
    member_adjacency,
    neighbor_adjacency,
)
from spikegraph.kernels.aggregation import aggregate, propagate
from spikegraph.kernels.neurons import (
    decode,
    decode_spikes,
    fire,
    fire_spikes,
    info,
)

__all__ = [
    'Adjacency',
    'aggregate',
    'decode',
    'decode_spikes',
    'fire',
    'fire_spikes',
    'gcn_adjacency',
    'info',
    'member_adjacency',
    'neighbor_adjacency',
    'propagate',
]
