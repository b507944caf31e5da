"""Datasets, models, training and experiments to try the library on."""

from spikegraph.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
