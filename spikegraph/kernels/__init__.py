"""Operations on spike times and sparse adjacency."""

from spikegraph.kernels.adjacency import Adjacency, gcn_adjacency
from spikegraph.kernels.aggregation import aggregate

__all__ = ['Adjacency', 'aggregate', 'gcn_adjacency']
