"""Turns trained graph networks and CNNs into one-spike spiking networks."""

from spikegraph import moved
from spikegraph.lazy import attach

# On first use, because importing torch takes seconds: `spikegraph --help` should not
# wait for it.
__getattr__, __dir__, __all__ = attach(__name__, __file__)
__version__ = '1.0.0'

moved.install()
