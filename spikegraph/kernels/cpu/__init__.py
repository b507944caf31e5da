"""The kernels of a CPU, compiled by Numba."""

from spikegraph.kernels.cpu import (
    compilation,
    decoding,
    edges,
    events,
    graph,
    neurons,
    products,
    registers,
)

__all__ = [
    'compilation',
    'decoding',
    'edges',
    'events',
    'graph',
    'neurons',
    'products',
    'registers',
]
