"""Running converted networks: closed form, time steps, layer by layer, loaders."""

from spikegraph.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
