"""The kernels of a CPU, compiled by Numba."""

from spikegraph.kernels.cpu import (
    compilation,
    contents,
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
    'contents',
    'decoding',
    'edges',
    'events',
    'graph',
    'neurons',
    'products',
    'registers',
]
