"""Populations of one-spike neurons and the spiking layers between them."""

from spikegraph.nn.activation import (
    ACTIVATIONS,
    PreActivationThresholds,
    pre_activation_thresholds,
)
from spikegraph.nn.analog import Analog, SpikingAffine
from spikegraph.nn.conv import DegreeFactor, SpikingGCNConv, SpikingTwin
from spikegraph.nn.convolution import SpikingConv
from spikegraph.nn.filter import GraphFilter
from spikegraph.nn.gate import (
    EarliestAlong,
    EarliestMember,
    EarliestNeighbor,
    EarliestSpike,
    SpikeGate,
)
from spikegraph.nn.layer import Operation, SpikingLayer
from spikegraph.nn.linear import SpikingLinear
from spikegraph.nn.neuron import PhaseNeuron, charge, fire
from spikegraph.nn.pool import EarliestInWindow

__all__ = [
    'Analog',
    'ACTIVATIONS',
    'DegreeFactor',
    'EarliestInWindow',
    'EarliestAlong',
    'EarliestMember',
    'EarliestNeighbor',
    'EarliestSpike',
    'GraphFilter',
    'Operation',
    'PhaseNeuron',
    'SpikeGate',
    'PreActivationThresholds',
    'SpikingGCNConv',
    'SpikingLayer',
    'SpikingAffine',
    'SpikingConv',
    'SpikingLinear',
    'SpikingTwin',
    'charge',
    'fire',
    'pre_activation_thresholds',
]
