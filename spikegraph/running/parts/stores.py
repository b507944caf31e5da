"""Graphs that PyG's feature and graph stores hold, read row by row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data, FeatureStore, GraphStore, HeteroData
from torch_geometric.data.data import BaseData
from torch_geometric.data.feature_store import TensorAttr

from spikegraph.calls.checks import check_finite
from spikegraph.calls.inputs import Leaf

_BLOCK = 1 << 22  # Bytes that are read at once.


def are_stores(args: Any) -> bool:
    """Whether arguments are a pair of stores, as PyG's loaders take it."""
    if len(args) != 1 or not isinstance(args[0], (tuple, list)) or len(args[0]) != 2:
        return False
    features, graph = args[0]
    is_data = isinstance(features, BaseData) or isinstance(graph, BaseData)
    is_pair = isinstance(features, FeatureStore) and isinstance(graph, GraphStore)
    return is_pair and not is_data


class StoredRows:
    """A tensor of a feature store, of which rows are read as they are asked for.

    Args:
        store (FeatureStore): The store.
        attr (TensorAttr): Which tensor.

    Attributes:
        shape (torch.Size): Its shape.
        dtype (torch.dtype): Its data type.

    Raises:
        ValueError: If it has no shape, or rows that are read are not finite.
    """

    def __init__(self, store: FeatureStore, attr: TensorAttr) -> None:
        self.store, self.attr = store, attr
        size = store.get_tensor_size(attr)
        if size is None or len(size) == 0:
            raise ValueError(
                f"Expected '{attr.attr_name}' of the feature store to have rows (got shape "
                f"{None if size is None else list(size)}); let 'get_tensor_size' tell it"
            )
        self.shape = torch.Size(size)
        self.dtype = self._read(torch.arange(min(1, size[0]))).dtype

    def __getitem__(self, rows: Tensor) -> Tensor:
        found = self._read(rows)
        check_finite(str(self.attr.attr_name), found)
        return found

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def like(self) -> Tensor:
        """A tensor of its shape and type, with nothing in it."""
        return torch.zeros(1, dtype=self.dtype).expand(self.shape)

    def blocks(self) -> Iterator[Tensor]:
        """All rows, a few at a time."""
        row = self.shape[1:].numel() * self.dtype.itemsize
        for rows in torch.arange(len(self)).split(max(1, _BLOCK // max(1, row))):
            yield self._read(rows)

    def _read(self, rows: Tensor) -> Tensor:
        group, name = self.attr.group_name, self.attr.attr_name
        found: Any = self.store.get_tensor(group_name=group, attr_name=name, index=rows)
        return found if isinstance(found, Tensor) else torch.from_numpy(found)


class Stores:
    """What a pair of stores holds.

    Args:
        features (FeatureStore): The rows of nodes.
        graph (GraphStore): The edges.

    Attributes:
        data (Data or HeteroData): The graph, with tensors of the shape and type of those
            of the store, and nothing in them.
        rows (Dict[Tuple[Any, str], StoredRows]): The tensors of the store, by the type of
            the nodes and their name.
    """

    def __init__(self, features: FeatureStore, graph: GraphStore) -> None:
        attrs, edges = features.get_all_tensor_attrs(), graph.get_all_edge_attrs()
        types = {attr.group_name for attr in attrs} - {None}
        types |= {
            kind for edge in edges if edge.edge_type for kind in edge.edge_type[::2]
        }
        self.data: Any = HeteroData() if types else Data()
        self.rows: dict[tuple[Any, str], StoredRows] = {}
        for attr in attrs:
            found = StoredRows(features, attr)
            self.rows[attr.group_name, str(attr.attr_name)] = found
            target = self.data[attr.group_name] if attr.group_name else self.data
            target[attr.attr_name] = found.like
        for edge in edges:
            index = graph.get_edge_index(edge_type=edge.edge_type, layout=edge.layout)
            target = self.data[edge.edge_type] if edge.edge_type else self.data
            target.edge_index = torch.stack(_ends(index, edge.layout.value))

    def of(self, leaf: Leaf) -> StoredRows | None:
        """The rows of an input, if the store of features has them."""
        keys = [key for _, key in leaf.path]
        for (kind, name), rows in self.rows.items():
            if name == leaf.field and (kind is None or kind in keys):
                return rows
        return None


def _ends(index: Any, layout: str) -> tuple[Tensor, Tensor]:
    """Sources and destinations of edges of a store."""
    row, col = index
    if layout == 'coo':
        return row, col
    # One of them says where the edges of each node start.
    start, other = (row, col) if layout == 'csr' else (col, row)
    counts = start.diff()
    nodes = torch.arange(len(counts), dtype=other.dtype).repeat_interleave(counts)
    return (nodes, other) if layout == 'csr' else (other, nodes)
