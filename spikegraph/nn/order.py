"""Which comes first, the transform or the aggregation: the one of fewer bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ROWS = 6  # That share the weights in the registers of a CPU.
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
    input_size: float,
    density: float,
) -> Choice:
    r"""Counts the bytes that a layer reads and writes:

    * Transform first: inputs are read once; real values of all outputs are
      written, and read along the edges at each hop.
    * Aggregation first: inputs are read along the edges at the first hop; real
      values of all inputs are written and read only at further hops, as sums of
      the last one stay in the caches.
    * Weights are read once for every few rows, or for every neuron that fires
      if that is less and the transform comes first.

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
        input_size (float): Bytes of an input as it is sent along edges.
        density (float): The share of inputs that spike; 1 if they are real.
    """
    num_wide = num_outputs * num_terms
    weight_size = real_size * num_inputs * num_wide
    transform = num_sources * num_inputs * input_size
    transform += num_sources * weight_size * min(1 / ROWS, density)
    transform += 2 * real_size * num_sources * num_wide
    transform += real_size * num_edges * num_outputs * num_hops
    transform += 2 * real_size * num_targets * num_outputs * max(0, num_hops - 1)
    aggregate = num_edges * num_inputs * input_size
    aggregate += real_size * num_edges * num_inputs * max(0, num_hops - 1)
    aggregate += 2 * real_size * num_targets * num_inputs * max(0, num_hops - 1)
    aggregate += num_targets * weight_size / ROWS
    if order == 'auto':
        order = 'transform' if transform <= aggregate else 'aggregate'
    return Choice(order, int(transform), int(aggregate))
