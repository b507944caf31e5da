"""Networks in integers: weights, levels, thresholds and membranes."""

from spikegraph.running.integers.formats import IntegerSimulation
from spikegraph.running.integers.model import IntegerModel, to_integer

__all__ = ['IntegerModel', 'IntegerSimulation', 'to_integer']
