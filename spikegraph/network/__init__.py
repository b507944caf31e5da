"""The converted network: what every operation is, and how it is read."""

from spikegraph.network.config import ConversionConfig
from spikegraph.network.report import ConversionReport, PopulationReport

__all__ = ['ConversionConfig', 'ConversionReport', 'PopulationReport']
