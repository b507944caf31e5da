"""Turns trained graph networks into one-spike spiking networks."""

from spikegraph.coding import PhaseCode, Spikes, decode, encode
from spikegraph.conversion import (
    ConversionConfig,
    SpikingModel,
    convert,
    register_rule,
)
from spikegraph.measurement import EnergyTable, Measurement, measure
from spikegraph.simulation import Simulation, simulate
from spikegraph.storage import load, save

__version__ = '0.1.0'

__all__ = [
    'ConversionConfig',
    'EnergyTable',
    'Measurement',
    'PhaseCode',
    'Simulation',
    'Spikes',
    'SpikingModel',
    'convert',
    'decode',
    'encode',
    'load',
    'measure',
    'register_rule',
    'save',
    'simulate',
]
