"""Operations on spike times and sparse adjacency."""

from spikegraph.kernels.adjacency import (
    Adjacency,
    gcn_adjacency,
    member_adjacency,
    neighbor_adjacency,
)
from spikegraph.kernels.aggregation import aggregate, propagate

__all__ = [
    'Adjacency',
    'aggregate',
    'gcn_adjacency',
    'member_adjacency',
    'neighbor_adjacency',
    'propagate',
]
