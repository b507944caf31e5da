"""How graphs are divided: by METIS, in ranges, or by a hash."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_array
from torch import Tensor

from spikegraph.partitioning.partition import Partition, check_num_parts
from spikegraph.partitioning.relations import Relations, relations_of

METHODS = ('auto', 'metis', 'range', 'hash')


def partition_graph(
    data: Any,
    num_parts: int,
    method: str = 'auto',
    seed: int = 0,
    num_nodes: int | None = None,
) -> Partition:
    r"""Divides the nodes of a graph into parts. The same arguments give the same
    parts.

    * :obj:`"metis"` cuts few edges, with about the same number of nodes and in-edges,
      which count half each, in each part. It reads edges in both directions, and nodes
      of all types together, and needs ``pip install 'spikegraph[partition]'``.
    * :obj:`"range"` gives each part nodes in a row, of every type, such that parts
      have about the same number of nodes and in-edges together. Good where the order
      of nodes means something, such as after :func:`~spikegraph.reorder`.
    * :obj:`"hash"` scatters nodes by a fixed function of their number, the same on
      every machine, so that a node's part is known without a table.
    * :obj:`"auto"` is METIS if it is installed, else ranges.

    Args:
        data (Data, HeteroData or torch.Tensor): The graph: PyG's data with
            :obj:`edge_index` or :obj:`adj_t`, edge indices :math:`(2, E)`, or a
            sparse adjacency with targets in its rows.
        num_parts (int): The number of parts; some are empty if there are fewer nodes.
        method (str, optional): One of :obj:`"auto"`, :obj:`"metis"`, :obj:`"range"`
            and :obj:`"hash"`. (default: :obj:`"auto"`)
        seed (int, optional): The seed of METIS or of the hash; ranges have nothing
            random. (default: :obj:`0`)
        num_nodes (int, optional): The number of nodes, with edge indices.
            (default: :obj:`None`)

    Returns:
        Partition: The part of each node.

    Raises:
        ValueError: If the graph or an option is not as above.
        ImportError: If METIS is asked for and not installed.

    Example:
        >>> ring = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
        >>> partition_graph(ring, 2, method='range', num_nodes=4).owners['']
        tensor([0, 0, 1, 1], dtype=torch.int32)
    """
    check_num_parts(num_parts)
    if method not in METHODS:
        raise ValueError(
            f"Expected 'method' to be one of {', '.join(METHODS)} (got {method!r})"
        )
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise ValueError(
            f"Expected 'seed' to be an integer from 0 to 2**31 - 1 (got {seed!r})"
        )
    if method == 'auto':
        method = 'metis' if find_spec('pymetis') is not None else 'range'
    divide = _DIVIDERS[method]
    owners = divide(relations_of(data, num_nodes), num_parts, seed)
    return Partition(owners, num_parts, method)


def _metis(graph: Relations, num_parts: int, seed: int) -> dict[str, Tensor]:
    try:
        import pymetis
    except ImportError as error:
        raise ImportError(
            "Expected 'pymetis' to be installed for the method 'metis' (got none); "
            "install it with pip install 'spikegraph[partition]', or use the method "
            "'range'"
        ) from error
    total = sum(graph.num_nodes.values())
    if num_parts == 1:
        return _split(graph, np.zeros(total, np.int32))
    if num_parts >= total:
        return _split(graph, np.arange(total, dtype=np.int32))
    pointer, index = _symmetric(graph, total)
    degree = torch.cat(list(_in_degrees(graph).values()))
    weight = degree + max(1, int(degree.sum()) // total)
    weights, options = weight.numpy(), pymetis.Options(seed=seed)
    if hasattr(pymetis, 'CSRAdjacency'):
        adjacency = pymetis.CSRAdjacency(pointer, index)
        _, parts = pymetis.part_graph(
            num_parts, adjacency, vweights=weights, options=options
        )
    else:  # Before 2025.2.
        _, parts = pymetis.part_graph(
            num_parts, xadj=pointer, adjncy=index, vweights=weights, options=options
        )
    return _split(graph, np.asarray(parts, dtype=np.int32))


def _symmetric(graph: Relations, total: int) -> tuple[np.ndarray, np.ndarray]:
    """The neighbours of each node in either direction, each once, without itself."""
    offsets, rows, columns = graph.offsets, [], []
    for relation in graph.relations:
        source, _, target = relation.edge_type
        for sources, targets in relation.blocks():
            sources, targets = sources + offsets[source], targets + offsets[target]
            other = sources != targets
            rows.append(sources[other].numpy())
            columns.append(targets[other].numpy())
    row = np.concatenate([np.empty(0, np.int64), *rows])
    column = np.concatenate([np.empty(0, np.int64), *columns])
    ones = np.ones(len(row), dtype=bool)
    adjacency = coo_array((ones, (row, column)), shape=(total, total)).tocsr()
    adjacency = (adjacency + adjacency.T).tocsr()
    adjacency.sort_indices()
    return adjacency.indptr.astype(np.int64), adjacency.indices.astype(np.int64)


def _in_degrees(graph: Relations) -> dict[str, Tensor]:
    """How many edges end in each node."""
    found = {t: torch.zeros(n, dtype=torch.int64) for t, n in graph.num_nodes.items()}
    for relation in graph.relations:
        degree = found[relation.edge_type[2]]
        for _, targets in relation.blocks():
            degree += torch.bincount(targets, minlength=degree.numel())
    return found


def _split(graph: Relations, parts: np.ndarray) -> dict[str, Tensor]:
    sizes = list(graph.num_nodes.values())
    return dict(
        zip(graph.num_nodes, torch.from_numpy(parts.copy()).split(sizes), strict=True)
    )


def _range(graph: Relations, num_parts: int, seed: int) -> dict[str, Tensor]:
    owners = {}
    for node_type, degree in _in_degrees(graph).items():
        weight = degree + 1
        ends = weight.cumsum(0)
        total = int(ends[-1]) if ends.numel() else 0
        # A node belongs where its middle lies; doubled, all are integers.
        middle = 2 * ends - weight
        owner = middle * num_parts // max(1, 2 * total)
        owners[node_type] = owner.to(torch.int32)
    return owners


def _hash(graph: Relations, num_parts: int, seed: int) -> dict[str, Tensor]:
    owners = {}
    for node_type, num in graph.num_nodes.items():
        salt = zlib.crc32(node_type.encode()) << 32 | seed
        start = _mixed(np.array([salt], dtype=np.uint64))
        mixed = _mixed(np.arange(num, dtype=np.uint64) + start)
        # From the upper half to parts, without the bias of a remainder.
        owner = (mixed >> np.uint64(32)) * np.uint64(num_parts) >> np.uint64(32)
        owners[node_type] = torch.from_numpy(owner.astype(np.int32))
    return owners


def _mixed(x: np.ndarray) -> np.ndarray:
    """Every bit of a number in every bit: the end of SplitMix64."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


_DIVIDERS: dict[str, Callable[[Relations, int, int], dict[str, Tensor]]] = {
    'metis': _metis,
    'range': _range,
    'hash': _hash,
}
