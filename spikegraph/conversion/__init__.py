"""From a trained network to a spiking one."""

from spikegraph.conversion.converter import convert
from spikegraph.conversion.operations.rules import register_rule
from spikegraph.network.config import ConversionConfig
from spikegraph.network.report import ConversionReport, PopulationReport
from spikegraph.running.model import SpikingModel

__all__ = [
    'ConversionConfig',
    'ConversionReport',
    'PopulationReport',
    'SpikingModel',
    'convert',
    'register_rule',
]
