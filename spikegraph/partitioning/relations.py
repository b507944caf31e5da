"""Graphs in the forms of PyG as plain lists of edges between numbered nodes."""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData

from spikegraph.kernels.forms import is_foreign, is_sparse, shape_of
from spikegraph.kernels.graph import edges_of

BLOCK = 1 << 22  # Edges that are looked at at once.
_EDGES = ('edge_index', 'adj_t')  # Where PyG keeps them.


@dataclass(frozen=True, eq=False)
class Relation:
    """The edges of one type.

    Args:
        edge_type (Tuple[str, str, str]): The type, of empty texts for the only one.
        source (torch.Tensor): Where each edge starts :math:`(E)`.
        target (torch.Tensor): Where each edge ends :math:`(E)`.
    """

    edge_type: tuple[str, str, str]
    source: Tensor
    target: Tensor

    def blocks(self, size: int = BLOCK) -> Iterator[tuple[Tensor, Tensor]]:
        """Sources and targets, int64, so many at once."""
        for start in range(0, self.source.numel(), size):
            rows = slice(start, start + size)
            yield self.source[rows].long().cpu(), self.target[rows].long().cpu()


@dataclass(frozen=True, eq=False)
class Relations:
    """All edges of a graph.

    Args:
        num_nodes (Dict[str, int]): The number of nodes of each type.
        relations (List[Relation]): The edges of each type.
    """

    num_nodes: dict[str, int]
    relations: list[Relation]

    @property
    def offsets(self) -> dict[str, int]:
        """Where the nodes of each type start when all are numbered in one row."""
        starts, start = {}, 0
        for node_type, num in self.num_nodes.items():
            starts[node_type] = start
            start += num
        return starts

    def digest(self) -> str:
        """The SHA-256 of the numbers of nodes and of all edges, in their order."""
        types = [relation.edge_type for relation in self.relations]
        found = hashlib.sha256(json.dumps([self.num_nodes, types]).encode())
        for relation in self.relations:
            found.update(f'{relation.source.numel()};'.encode())
            for ends in (relation.source, relation.target):
                for block in ends.split(BLOCK):
                    array = block.long().cpu().contiguous().numpy()
                    if sys.byteorder == 'big':
                        array = array.byteswap()
                    found.update(array.data)
        return found.hexdigest()


def graph_digest(data: Any, num_nodes: int | None = None) -> str:
    """The SHA-256 of a graph: of its numbers of nodes and of its edges in their order,
    whatever integers they are kept as. Features do not count.

    Args:
        data (Data, HeteroData or torch.Tensor): As in
            :func:`~spikegraph.partition_graph`.
        num_nodes (int, optional): As there. (default: :obj:`None`)

    Raises:
        ValueError: If it is no graph.
    """
    return relations_of(data, num_nodes).digest()


def relations_of(data: Any, num_nodes: int | None = None) -> Relations:
    """The checked edges of a graph.

    Args:
        data (Data, HeteroData or torch.Tensor): PyG's data, edge indices
            :math:`(2, E)`, or a sparse adjacency with targets in its rows.
        num_nodes (int, optional): The number of nodes, for edge indices.

    Raises:
        ValueError: If it is no graph, or numbers of nodes are missing or wrong.
    """
    if isinstance(data, (Data, HeteroData)):
        if num_nodes is not None:
            raise ValueError(
                f"Expected 'num_nodes' to be None with {type(data).__name__}, which "
                f'knows it (got {num_nodes!r})'
            )
        return _of_data(data) if isinstance(data, Data) else _of_hetero(data)
    if not isinstance(data, Tensor) and not is_foreign(data):
        raise ValueError(
            "Expected 'data' to be PyG's Data or HeteroData, edge indices [2, E] or a "
            f'sparse adjacency (got {type(data).__name__})'
        )
    if is_sparse(data):
        rows, columns = shape_of(data, 'data')
        if rows != columns or num_nodes not in (None, rows):
            expected = 'square' if num_nodes is None else [num_nodes] * 2
            raise ValueError(
                f'Expected the sparse adjacency to be {expected} (got shape '
                f'{[rows, columns]})'
            )
        num_nodes = rows
    if type(num_nodes) is not int or num_nodes < 0:
        raise ValueError(
            "Expected 'num_nodes' to be the number of nodes of 'edge_index' (got "
            f'{num_nodes!r})'
        )
    return Relations({'': num_nodes}, [_relation(('', '', ''), data, num_nodes)])


def num_nodes_of(store: Any, name: str) -> int:
    """The number of nodes of a store of PyG, unless it would be a guess.

    Raises:
        ValueError: If it is not known.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error')  # PyG warns of guesses.
            found = store.num_nodes
    except UserWarning:
        found = None
    if found is None:
        raise ValueError(
            f"Expected '{name}' to know its number of nodes (got neither node features "
            f"nor 'num_nodes'); set '{name}.num_nodes'"
        )
    return int(found)


def _of_data(data: Data) -> Relations:
    num_nodes = num_nodes_of(data, 'data')
    edges = _edges_in(data)
    relations = [] if edges is None else [_relation(('', '', ''), edges, num_nodes)]
    return Relations({'': num_nodes}, relations)


def _of_hetero(data: HeteroData) -> Relations:
    num_nodes = {
        node_type: num_nodes_of(data[node_type], f"data['{node_type}']")
        for node_type in data.node_types
    }
    if not num_nodes:
        raise ValueError("Expected 'data' to have nodes (got a HeteroData without any)")
    relations = []
    for edge_type in data.edge_types:
        source, _, target = edge_type
        for node_type in (source, target):
            if node_type not in num_nodes:
                raise ValueError(
                    f"Expected 'data' to have nodes '{node_type}', where the edges "
                    f'{edge_type} end or start (got {list(num_nodes)})'
                )
        edges = _edges_in(data[edge_type])
        if edges is None:
            continue
        sizes = num_nodes[source], num_nodes[target]
        try:
            relations.append(_relation(edge_type, edges, *sizes))
        except ValueError as error:
            raise ValueError(f'{error}, in the edges {edge_type}') from None
    return Relations(num_nodes, relations)


def _edges_in(store: Any) -> Any:
    """The edges of a store, in the first form in which it has them."""
    return next((store[key] for key in _EDGES if store.get(key) is not None), None)


def _relation(
    edge_type: tuple[str, str, str],
    edges: Any,
    num_sources: int,
    num_targets: int | None = None,
) -> Relation:
    num_targets = num_sources if num_targets is None else num_targets
    edges = edges if isinstance(edges, Tensor) or is_foreign(edges) else _tensor(edges)
    if isinstance(edges, Tensor) and edges.layout == torch.strided:
        if edges.dim() == 2 and edges.size(1) == 0 and edges.size(0) == 2:
            edges = edges.long()  # `torch.tensor([[], []])` holds floats.
    source, target, _ = edges_of(edges, None, num_sources, num_targets)
    return Relation(edge_type, source, target)


def _tensor(value: Any) -> Tensor:
    from spikegraph.partitioning.arrays import tensor_of

    return tensor_of(value, 'edge_index')
