"""What lies where in the folder of a partition."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

FORMAT = 'spikegraph partition'
FORMAT_VERSION = 1
HEADER = 'partition.json'
GRAPH = 'graph'


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in the folder.

    Args:
        name (str): The name of the attribute.
        place (str): Whether its rows lie in the folders of the parts that own them,
            or it lies under ``graph/`` as a whole, as one array or as the three of a
            CSR matrix.
        shape (List[int]): Its shape, that of all parts together.
        dtype (str): The type of its numbers, such as ``float32``.
        index_dtype (str, optional): That of the indices of a CSR matrix.
        num_entries (int, optional): The number of entries of a CSR matrix.
    """

    name: str
    place: Literal['parts', 'graph', 'csr']
    shape: list[int]
    dtype: str
    index_dtype: str | None = None
    num_entries: int | None = None


@dataclass(frozen=True)
class Store:
    """What PyG's data hold for one type of nodes or of edges, or for the graph.

    Args:
        key (List[str]): The type: of nodes one name, of edges three, else nothing.
        tensors (List[StoredTensor]): Its tensors.
        values (Dict[str, Any]): All else, as JSON.
    """

    key: list[str]
    tensors: list[StoredTensor]
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Header:
    """What ``partition.json`` holds.

    Args:
        format (str): What this is.
        version (int): The version of the format.
        library (str): The version of the library that wrote it.
        method (str): What divided the graph.
        num_parts (int): The number of parts.
        digest (str): The SHA-256 of the graph, see
            :func:`~spikegraph.partitioning.graph_digest`.
        is_hetero (bool): Whether nodes and edges have types.
        num_nodes (Dict[str, int]): The number of nodes of each type.
        sizes (Dict[str, List[int]]): The number of nodes of each part, by type.
        stores (List[Store]): The attributes.
    """

    format: Literal['spikegraph partition']
    version: int
    library: str
    method: str
    num_parts: int
    digest: str
    is_hetero: bool
    num_nodes: dict[str, int]
    sizes: dict[str, list[int]]
    stores: list[Store]


def part_name(part: int) -> str:
    """The folder of a part."""
    return f'part_{part}'


def owners_name(node_type: str) -> str:
    """The file of the part of each node of a type."""
    return f'owners.{_quoted(node_type)}.npy' if node_type else 'owners.npy'


def file_name(key: list[str], name: str, piece: str = '') -> str:
    """The file of an attribute, or of a piece of it. Different ones have different
    files: dots and signs within names are spelled out."""
    names = '.'.join(_quoted(word) for word in [*key, name])
    return f'{names}@{piece}.npy' if piece else f'{names}.npy'


def _quoted(name: str) -> str:
    return quote(name, safe=' ').replace('.', '%2E')
