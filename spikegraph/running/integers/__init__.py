"""Networks in integers: weights, levels, thresholds and membranes."""

from spikegraph.running.integers.model import IntegerModel, to_integer
from spikegraph.running.integers.run import IntegerSimulation

__all__ = ['IntegerModel', 'IntegerSimulation', 'to_integer']
