"""Pictures of networks and of spikes. Needs matplotlib: the extra ``plot``."""

from spikegraph.plotting.animation import Animation, animate
from spikegraph.plotting.attention import plot_attention
from spikegraph.plotting.exchange import plot_exchange
from spikegraph.plotting.figures import check_matplotlib
from spikegraph.plotting.graphs import plot_spikes_on_graph
from spikegraph.plotting.networks import (
    SWEEP_VALUES,
    plot_coding_error,
    plot_raster,
    plot_spike_times,
    plot_sweep,
)
from spikegraph.plotting.neuron import plot_neuron

__all__ = [
    'SWEEP_VALUES',
    'Animation',
    'animate',
    'check_matplotlib',
    'plot_attention',
    'plot_coding_error',
    'plot_exchange',
    'plot_neuron',
    'plot_raster',
    'plot_spike_times',
    'plot_spikes_on_graph',
    'plot_sweep',
]
