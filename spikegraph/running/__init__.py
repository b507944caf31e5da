"""Running converted networks: closed form, time steps, layer by layer, loaders."""

from spikegraph.running.layerwise import layerwise
from spikegraph.running.loaders import predict
from spikegraph.running.model import SpikingModel
from spikegraph.running.steps import Simulation, simulate

__all__ = ['Simulation', 'SpikingModel', 'layerwise', 'predict', 'simulate']
