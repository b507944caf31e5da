"""The kernels of a CPU, compiled by Numba."""

from spikegraph.kernels.cpu import compilation, events, graph, neurons, registers

__all__ = ['compilation', 'events', 'graph', 'neurons', 'registers']
