"""Converted networks in plain PyTorch: comparisons, tables and sums over edges."""

from spikegraph.export.plain.network import PlainNetwork

__all__ = ['PlainNetwork']
