"""Populations of one-spike neurons and the spiking layers between them."""

from importlib import import_module
from pkgutil import iter_modules

from spikegraph.nn import conv
from spikegraph.nn.activation import (
    ACTIVATIONS,
    PreActivationThresholds,
    pre_activation_thresholds,
)
from spikegraph.nn.analog import Analog, SpikingAffine
from spikegraph.nn.conv.gcn_conv import DegreeFactor, SpikingGCNConv
from spikegraph.nn.conv.twin import SpikingTwin
from spikegraph.nn.convolution import SpikingConv
from spikegraph.nn.delayed_sum import DelayedSum
from spikegraph.nn.filter import GraphFilter
from spikegraph.nn.gate import (
    EarliestAlong,
    EarliestGate,
    EarliestMember,
    EarliestNeighbor,
    EarliestSpike,
    SpikeGate,
)
from spikegraph.nn.layer import Operation, SpikingLayer
from spikegraph.nn.linear import SpikingLinear
from spikegraph.nn.neuron import PhaseNeuron, charge, fire
from spikegraph.nn.pool import EarliestInWindow
from spikegraph.nn.products import Delay, Rebase
from spikegraph.nn.relative import Leading, Relative

__all__ = [
    'Analog',
    'ACTIVATIONS',
    'DegreeFactor',
    'EarliestInWindow',
    'Delay',
    'DelayedSum',
    'EarliestAlong',
    'EarliestGate',
    'EarliestMember',
    'EarliestNeighbor',
    'EarliestSpike',
    'GraphFilter',
    'Operation',
    'PhaseNeuron',
    'Rebase',
    'Leading',
    'Relative',
    'SpikeGate',
    'PreActivationThresholds',
    'SpikingGCNConv',
    'SpikingLayer',
    'SpikingAffine',
    'SpikingConv',
    'SpikingLinear',
    'SpikingTwin',
    'charge',
    'conv',
    'fire',
    'pre_activation_thresholds',
]

for _found in iter_modules(__path__):  # Twins in any of the files are known.
    import_module(f'{__name__}.{_found.name}')
