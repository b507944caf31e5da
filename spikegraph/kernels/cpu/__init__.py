"""The kernels of a CPU, compiled by Numba."""

from spikegraph.kernels.cpu import (
    compilation,
    events,
    graph,
    neurons,
    products,
    registers,
)

__all__ = ['compilation', 'events', 'graph', 'neurons', 'products', 'registers']
