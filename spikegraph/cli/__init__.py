"""The command line: ``spikegraph run``, ``sweep``, ``partition``, ``infer`` and
``datasets``."""

from spikegraph.cli.names import _MODELS
from spikegraph.cli.program import main

__all__ = ['_MODELS', 'main']
