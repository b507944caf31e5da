"""The order in which linear operations become layers and are joined."""

from __future__ import annotations

from torch import fx

from spikegraph.conversion.passes.canonical import canonicalise
from spikegraph.conversion.passes.distribution import distribute_linear
from spikegraph.conversion.passes.factors import fold_constants
from spikegraph.conversion.passes.messages import collect_messages
from spikegraph.conversion.passes.whole import Structure, fuse_linear


def simplify(structure: Structure, signals: set[fx.Node]) -> None:
    """Makes the library's own layers of linear operations, as few as it takes.

    Args:
        structure (Structure): The network, whose graph is changed.
        signals (Set[torch.fx.Node]): Values on their way to a membrane; those of
            new nodes are added.
    """
    canonicalise(structure, signals)
    collect_messages(structure, signals)
    fuse_linear(structure)
    collect_messages(structure, signals)  # Weights along edges have moved behind.
    fold_constants(structure, signals)
    distribute_linear(structure, signals)
    fuse_linear(structure)
