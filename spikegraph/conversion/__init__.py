"""From a trained network to a spiking one."""

from spikegraph.conversion.config import ConversionConfig
from spikegraph.conversion.converter import convert
from spikegraph.conversion.model import SpikingModel
from spikegraph.conversion.report import ConversionReport, PopulationReport
from spikegraph.conversion.rules import register_rule

__all__ = [
    'ConversionConfig',
    'ConversionReport',
    'PopulationReport',
    'SpikingModel',
    'convert',
    'register_rule',
]
