"""Populations of one-spike neurons and the spiking layers between them."""

from spikegraph.nn.activation import (
    ACTIVATIONS,
    PreActivationThresholds,
    pre_activation_thresholds,
)
from spikegraph.nn.conv import DegreeFactor, SpikingGCNConv
from spikegraph.nn.gate import EarliestSpike
from spikegraph.nn.layer import Operation, SpikingLayer
from spikegraph.nn.linear import SpikingLinear
from spikegraph.nn.neuron import PhaseNeuron, charge, fire

__all__ = [
    'ACTIVATIONS',
    'DegreeFactor',
    'EarliestSpike',
    'Operation',
    'PhaseNeuron',
    'PreActivationThresholds',
    'SpikingGCNConv',
    'SpikingLayer',
    'SpikingLinear',
    'charge',
    'fire',
    'pre_activation_thresholds',
]
