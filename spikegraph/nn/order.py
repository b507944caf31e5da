"""Which comes first, the transform or the aggregation: the one of fewer bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Order = Literal['auto', 'transform', 'aggregate']


@dataclass(frozen=True)
class Choice:
    """The order of a layer's two operations, and the bytes that either moves.

    Args:
        order (str): :obj:`"transform"` or :obj:`"aggregate"`, what comes first.
        transform_bytes (int): Bytes moved if the transform comes first.
        aggregate_bytes (int): Bytes moved if the aggregation comes first.
    """

    order: Literal['transform', 'aggregate']
    transform_bytes: int
    aggregate_bytes: int


def choose(
    order: Order,
    *,
    num_sources: int,
    num_targets: int,
    num_edges: int,
    num_inputs: int,
    num_outputs: int,
    num_terms: int,
    num_hops: int,
    real_size: int,
    spike_size: int | None,
    density: float,
) -> Choice:
    r"""Counts the bytes that a layer reads and writes, weights left out:

    * Transform first: inputs are read once, as spikes, and written and read as
      real values unless they are so few that events are looked up; real values
      of all outputs are written, and read along the edges at each hop.
    * Aggregation first: spikes are read along the edges at the first hop, real
      values at the others, and the sums are written and read once.

    Args:
        order (str): What to take, or :obj:`"auto"` for the order of fewer bytes.
        num_sources (int): Source nodes.
        num_targets (int): Destination nodes.
        num_edges (int): Edges.
        num_inputs (int): Inputs of a node.
        num_outputs (int): Outputs of a node.
        num_terms (int): Weights that see different powers of the graph.
        num_hops (int): How many edges a spike passes at most.
        real_size (int): Bytes of a real value.
        spike_size (int, optional): Bytes of a spike; :obj:`None` for real inputs.
        density (float): The share of inputs that spike.
    """
    first = real_size if spike_size is None else spike_size
    decoded = 0 if spike_size is None else 2 * real_size
    by_events = density * real_size * num_outputs * num_terms
    transform = num_sources * num_inputs * (first + min(decoded, by_events))
    transform += 2 * real_size * num_sources * num_outputs * num_terms
    transform += real_size * num_edges * num_outputs * num_hops
    aggregate = num_edges * num_inputs * (first + real_size * max(0, num_hops - 1))
    aggregate += 2 * real_size * num_targets * num_inputs * num_terms
    if order == 'auto':
        order = 'transform' if transform <= aggregate else 'aggregate'
    return Choice(order, int(transform), int(aggregate))
