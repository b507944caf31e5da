"""The command line: ``spikegraph run``, ``sweep`` and ``datasets``."""

from spikegraph.cli.program import main

__all__ = ['main']
