"""What a partition cuts: edges, and the nodes whose spikes have to travel."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from spikegraph.partitioning.partition import Partition, described
from spikegraph.partitioning.relations import Relations, relations_of

_PENDING = 1 << 22  # Pairs that wait at least before they are merged.


@dataclass(frozen=True)
class EdgeCut:
    """What a partition costs. A *halo node* of a part is owned by another one, and
    an edge leads from it into the part: its spike times are sent there, once for
    each layer, however many edges there are.

    Args:
        method (str): What divided the graph.
        num_parts (int): The number of parts.
        num_edges (int): All edges.
        cut_edges (int): Those between two parts.
        nodes (Dict[str, Tuple[int, ...]]): The nodes of each part, by type.
        halos (Dict[str, Tuple[int, ...]]): The halo nodes of each part, by type.
        edges (Tuple[int, ...]): The edges that lead into each part.

    Example:
        >>> ring = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
        >>> partition = Partition({'': torch.tensor([0, 0, 1, 1])}, 2, 'by hand')
        >>> cut = edge_cut(ring, partition)
        >>> cut.cut_edges, cut.num_boundary, cut.balance
        (2, 2, 1.0)
    """

    method: str
    num_parts: int
    num_edges: int
    cut_edges: int
    nodes: dict[str, tuple[int, ...]]
    halos: dict[str, tuple[int, ...]]
    edges: tuple[int, ...]

    @property
    def cut_percent(self) -> float:
        """The share of the edges that are cut, in percent."""
        return 100 * self.cut_edges / self.num_edges if self.num_edges > 0 else 0.0

    @property
    def num_nodes(self) -> int:
        """All nodes."""
        return sum(map(sum, self.nodes.values()))

    @property
    def num_boundary(self) -> int:
        """The pairs of a node and a part that it is a halo node of."""
        return sum(map(sum, self.halos.values()))

    @property
    def balance(self) -> float:
        """The nodes of the largest part over those of the mean part."""
        return _balance([sum(part) for part in zip(*self.nodes.values(), strict=True)])

    @property
    def edge_balance(self) -> float:
        """The edges into the part that has most over those of the mean part."""
        return _balance(self.edges)

    def to_dict(self) -> dict[str, Any]:
        """All numbers, for JSON."""
        return {
            **asdict(self),
            'nodes': {node_type: list(n) for node_type, n in self.nodes.items()},
            'halos': {node_type: list(n) for node_type, n in self.halos.items()},
            'edges': list(self.edges),
            'num_nodes': self.num_nodes,
            'num_boundary': self.num_boundary,
            'cut_percent': self.cut_percent,
            'balance': self.balance,
            'edge_balance': self.edge_balance,
        }

    def __str__(self) -> str:
        noun = 'part' if self.num_parts == 1 else 'parts'
        each = self.num_boundary / self.num_nodes if self.num_nodes > 0 else 0.0
        lines = [
            f'{described({t: sum(n) for t, n in self.nodes.items()})}, '
            f'{self.num_edges:,} edges in {self.num_parts} {noun}, by {self.method}',
            f'{"cut edges":<20}{self.cut_edges:>12,}  {self.cut_percent:.2f} % of all',
            f'{"halo nodes":<20}{self.num_boundary:>12,}  {each:.3f} per node',
            f'{"largest part":<20}{self.balance:>12.2f}  x the mean, by nodes',
            f'{"":<20}{self.edge_balance:>12.2f}  x the mean, by in-edges',
            '',
            f'{"part":>4}  {"nodes":>11}  {"in-edges":>13}  {"halo nodes":>11}  '
            'halo, % of nodes',
        ]
        for part in range(self.num_parts):
            nodes = sum(sizes[part] for sizes in self.nodes.values())
            halo = sum(sizes[part] for sizes in self.halos.values())
            share = f'{100 * halo / nodes:.1f}' if nodes > 0 else '-'
            lines.append(
                f'{part:>4}  {nodes:>11,}  {self.edges[part]:>13,}  {halo:>11,}  '
                f'{share:>16}'
            )
        return '\n'.join(lines)


def edge_cut(data: Any, partition: Partition, num_nodes: int | None = None) -> EdgeCut:
    """Counts what a partition cuts.

    Args:
        data (Data, HeteroData or torch.Tensor): The graph, as in
            :func:`~spikegraph.partition_graph`.
        partition (Partition): Its parts.
        num_nodes (int, optional): The number of nodes, with edge indices.
            (default: :obj:`None`, as the partition has it)

    Returns:
        EdgeCut: The counts.

    Raises:
        ValueError: If it is no graph, or not that of the partition.
    """
    if isinstance(data, Tensor) and num_nodes is None:
        num_nodes = partition.num_nodes.get('')
    return cut_of(relations_of(data, num_nodes), partition)


def cut_of(graph: Relations, partition: Partition) -> EdgeCut:
    """Counts what a partition cuts of a graph that was read."""
    partition.check_nodes(graph.num_nodes)
    num_parts = partition.num_parts
    halos = {node_type: _Pairs() for node_type in graph.num_nodes}
    edges = torch.zeros(num_parts, dtype=torch.int64)
    num_edges = cut_edges = 0
    for relation in graph.relations:
        source_type, _, target_type = relation.edge_type
        own, other = partition.owner(source_type), partition.owner(target_type)
        for source, target in relation.blocks():
            part = other[target].long()
            cut = own[source] != part
            edges += torch.bincount(part, minlength=num_parts)
            num_edges += source.numel()
            cut_edges += int(cut.sum())
            halos[source_type].add(source[cut] * num_parts + part[cut])
    nodes = {t: tuple(partition.sizes(t).tolist()) for t in graph.num_nodes}
    return EdgeCut(
        method=partition.method,
        num_parts=num_parts,
        num_edges=num_edges,
        cut_edges=cut_edges,
        nodes=nodes,
        halos={t: pairs.counted(num_parts) for t, pairs in halos.items()},
        edges=tuple(edges.tolist()),
    )


class _Pairs:
    """Distinct pairs of a node and a part. They are merged when as many wait as there
    are, so that memory goes with the pairs and not with the edges."""

    def __init__(self) -> None:
        self.found = torch.empty(0, dtype=torch.int64)
        self.waiting: list[Tensor] = []

    def add(self, pairs: Tensor) -> None:
        self.waiting.append(pairs.unique())
        num = sum(pairs.numel() for pairs in self.waiting)
        if num > max(_PENDING, self.found.numel()):
            self.merge()

    def merge(self) -> None:
        self.found = torch.cat([self.found, *self.waiting]).unique()
        self.waiting = []

    def counted(self, num_parts: int) -> tuple[int, ...]:
        """The number of nodes that are paired with each part."""
        self.merge()
        counts = torch.bincount(self.found % num_parts, minlength=num_parts)
        return tuple(counts.tolist())


def _balance(sizes: Any) -> float:
    mean = sum(sizes) / len(sizes)
    return max(sizes) / mean if mean > 0 else 1.0
