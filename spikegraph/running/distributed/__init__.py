"""Inference over several processes, each of which owns a part of the nodes."""

from spikegraph.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
