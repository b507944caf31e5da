"""Random graphs of any size, for speed and memory: no download has them all."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

_CHUNK = 1 << 22  # Edges drawn at once, so that temporary arrays stay small.


def power_law_graph(
    num_nodes: int,
    num_edges: int,
    exponent: float = 2.5,
    seed: int = 0,
    shuffle: bool = True,
) -> Tensor:
    r"""Draws a simple undirected graph whose degrees follow a power law, as
    those of citation graphs do. Both ends of every edge are drawn as in the
    `"Average Distances in Random Graphs with Given Expected Degrees"
    <https://doi.org/10.1073/pnas.252631999>`_ paper, until there are enough:

    .. math::
        P(\deg \geq k) \propto k^{1 - \gamma}, \quad
        P(i \sim j) \propto w_i w_j, \quad
        w_r \propto (r + r_0)^{-1 / (\gamma - 1)}

    for the node of rank :math:`r`, with the :math:`r_0` for which the largest
    expected degree is :math:`\sqrt{N}` times the smallest. Some nodes may have
    no edge.

    Args:
        num_nodes (int): The number of nodes :math:`N`.
        num_edges (int): The number of undirected edges :math:`E`, neither
            self-loops nor duplicates.
        exponent (float, optional): The exponent :math:`\gamma` of the degree
            distribution. (default: :obj:`2.5`)
        seed (int, optional): The same seed gives the same graph.
            (default: :obj:`0`)
        shuffle (bool, optional): Whether nodes are numbered at random, so that
            the numbers say nothing about the graph; if set to :obj:`False`,
            they are by rank, that of the largest expected degree first.
            (default: :obj:`True`)

    Returns:
        torch.Tensor: The edge indices, each edge in both directions, sorted by
        source and then target.

    Raises:
        ValueError: If an argument is out of range, or more than a quarter of
            all pairs of nodes are asked for.

    Shapes:
        - **output:** edge indices :math:`(2, 2E)`, int64
    """
    import numpy as np
    import torch

    from spikegraph.coding.phase_code import check_bools

    check_bools(shuffle=shuffle)
    _check(num_nodes, num_edges, exponent)
    rng = np.random.default_rng(seed)
    number = rng.permutation(num_nodes) if shuffle else np.arange(num_nodes)
    draw = _ends(num_nodes, exponent, rng)
    pairs = np.empty(0, dtype=np.int64)  # Sorted: smaller end * N + larger end.
    rate = 1.0
    while len(pairs) < num_edges:
        num_drawn = int(1.02 * (num_edges - len(pairs)) / rate) + 64
        drawn = _draw_pairs(num_drawn, num_nodes, number, draw)
        num_before = len(pairs)
        # Both halves are sorted, which a merge sort finds out.
        pairs = np.concatenate([pairs, drawn])
        del drawn
        pairs.sort(kind='stable')
        pairs = _distinct(pairs)
        rate = max((len(pairs) - num_before) / num_drawn, 0.05)
    surplus = rng.choice(len(pairs), len(pairs) - num_edges, replace=False)
    pairs = np.delete(pairs, surplus)
    both = np.concatenate([pairs, pairs % num_nodes * num_nodes + pairs // num_nodes])
    del pairs
    both.sort()
    edge_index = torch.empty(2, 2 * num_edges, dtype=torch.int64)
    np.floor_divide(both, num_nodes, out=edge_index[0].numpy())
    np.remainder(both, num_nodes, out=edge_index[1].numpy())
    return edge_index


def _check(num_nodes: int, num_edges: int, exponent: float) -> None:
    if num_nodes < 1:
        raise ValueError(f"Expected 'num_nodes' to be at least 1 (got {num_nodes})")
    most = num_nodes * (num_nodes - 1) // 8
    if not 0 <= num_edges <= most:
        raise ValueError(
            f"Expected 'num_edges' to be 0 to {most}, a quarter of the pairs of "
            f'{num_nodes} nodes (got {num_edges})'
        )
    if not 2 < exponent < math.inf:
        raise ValueError(
            f"Expected 'exponent' to be greater than 2 and finite (got {exponent})"
        )


def _ends(
    num_nodes: int, exponent: float, rng: np.random.Generator
) -> Callable[[int], np.ndarray]:
    """Returns what draws the ranks of nodes, by the inverse of the integral of
    their expected degrees."""
    import numpy as np

    power = (exponent - 2) / (exponent - 1)
    growth = min((exponent - 1) / 2 * math.log(num_nodes), 600)
    first = num_nodes / max(math.expm1(growth), 1e-9)
    low, high = first**power, (num_nodes + first) ** power

    def draw(num: int) -> np.ndarray:
        rank = (low + rng.random(num) * (high - low)) ** (1 / power) - first
        return np.clip(rank.astype(np.int64), 0, num_nodes - 1)

    return draw


def _draw_pairs(
    num: int, num_nodes: int, number: np.ndarray, draw: Callable[[int], np.ndarray]
) -> np.ndarray:
    """Draws edges that may meet others, but not themselves; sorted."""
    import numpy as np

    pairs, size = np.empty(num, dtype=np.int64), 0
    for start in range(0, num, _CHUNK):
        length = min(_CHUNK, num - start)
        a, b = number[draw(length)], number[draw(length)]
        chunk = (np.minimum(a, b) * num_nodes + np.maximum(a, b))[a != b]
        pairs[size : size + len(chunk)] = chunk
        size += len(chunk)
    pairs = pairs[:size]
    pairs.sort()
    return pairs


def _distinct(pairs: np.ndarray) -> np.ndarray:
    import numpy as np

    is_new = np.ones(len(pairs), dtype=bool)
    np.not_equal(pairs[1:], pairs[:-1], out=is_new[1:])
    return pairs[is_new]
