"""The attributes of PyG's data, sorted by how they are kept."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric import EdgeIndex, Index
from torch_geometric.data import Data, HeteroData

from spikegraph.kernels.forms import entries_of, is_foreign, is_sparse, plain
from spikegraph.partitioning.arrays import tensor_of

_COUNT = 'num_nodes'  # What the header holds anyway.


def as_tensors(data: Data | HeteroData) -> Data | HeteroData:
    """The same data, with tensors for arrays and ``EdgeIndex``; nothing is copied."""
    data = copy.copy(data)
    for store in data.stores:
        for name, value in list(store.items()):
            if isinstance(value, np.ndarray):
                store[name] = tensor_of(value, name)
            elif isinstance(value, (EdgeIndex, Index)):
                store[name] = plain(value)
    return data


def stores_of(data: Data | HeteroData) -> Iterator[tuple[list[str], Any]]:
    """The stores of data with their types: of nodes one name, of edges three."""
    for store in data.stores:
        key = getattr(store, '_key', None)
        yield ([] if key is None else [key] if isinstance(key, str) else [*key]), store


def attributes_of(key: list[str], store: Any, num_nodes: int | None) -> Iterator[Any]:
    """The attributes of a store: name, value, and where it is kept, ``'parts'``,
    ``'graph'``, ``'csr'`` or ``'values'``.

    Raises:
        ValueError: If one can be kept in no way, with its name.
    """
    for name, value in store.items():
        if name == _COUNT or value is None:
            continue
        label = repr('.'.join([*key, name]))
        if is_foreign(value) or (isinstance(value, Tensor) and is_sparse(value)):
            of_nodes = num_nodes is not None and name not in ('adj', 'adj_t')
            if of_nodes and store.is_node_attr(name):
                raise ValueError(
                    f'Expected {label} to be dense, as its rows are divided (got a '
                    f"sparse matrix); use '{name}.to_dense()'"
                )
            yield name, value, 'csr'
        elif isinstance(value, Tensor):
            divided = (
                num_nodes is not None
                and value.dim() > 0
                and value.size(0) == num_nodes
                and store.is_node_attr(name)
                and name not in ('edge_index', 'adj', 'adj_t')
            )
            yield name, value, 'parts' if divided else 'graph'
        elif holds(value):
            yield name, value, 'values'
        else:
            raise ValueError(
                f'Expected {label} to be a tensor or what JSON can hold (got '
                f"{type(value).__name__}); remove it with 'del data.{name}', or turn it "
                'into a tensor'
            )


def holds(value: Any) -> bool:
    """Whether a value comes back from JSON as it was; tuples do."""
    if value is None or type(value) in (bool, int, str):
        return True
    if type(value) is float:
        return math.isfinite(value)
    if type(value) in (list, tuple):
        return all(map(holds, value))
    if type(value) is dict:
        keys = all(type(key) is str and key != '__tuple__' for key in value)
        return keys and all(map(holds, value.values()))
    return False


def csr_of(matrix: Any, name: str) -> tuple[Tensor, Tensor, Tensor, tuple[int, int]]:
    """Where rows start, columns and values of a sparse matrix, and its shape."""
    row, column, value, shape = entries_of(matrix, name)
    if isinstance(matrix, Tensor) and matrix.layout == torch.sparse_csr:
        return matrix.crow_indices(), matrix.col_indices(), matrix.values(), shape
    row, column = row.long(), column.long()
    value = torch.ones(row.numel()) if value is None else value
    order = torch.argsort(row, stable=True)
    pointer = torch.zeros(shape[0] + 1, dtype=torch.int64)
    pointer[1:] = torch.bincount(row, minlength=shape[0]).cumsum(0).cpu()
    return pointer, column[order], value[order], shape
