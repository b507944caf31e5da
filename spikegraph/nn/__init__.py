"""Populations of one-spike neurons and the spiking layers between them."""

from spikegraph.nn.conv import DegreeFactor, SpikingGCNConv
from spikegraph.nn.gate import EarliestSpike
from spikegraph.nn.layer import Operation, SpikingLayer
from spikegraph.nn.linear import SpikingLinear
from spikegraph.nn.neuron import PhaseNeuron, charge, fire

__all__ = [
    'DegreeFactor',
    'EarliestSpike',
    'Operation',
    'PhaseNeuron',
    'SpikingGCNConv',
    'SpikingLayer',
    'SpikingLinear',
    'charge',
    'fire',
]
