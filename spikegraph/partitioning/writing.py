"""Writes a divided graph into a folder, in pieces that fit into memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch_geometric.data import Data, HeteroData

from spikegraph import __version__
from spikegraph.files import replaced_folder
from spikegraph.partitioning.arrays import (
    blocks_of,
    name_of,
    write_array,
    write_header,
)
from spikegraph.partitioning.layout import (
    FORMAT_VERSION,
    GRAPH,
    HEADER,
    Header,
    Store,
    StoredTensor,
    file_name,
    owners_name,
    part_name,
)
from spikegraph.partitioning.partition import Partition
from spikegraph.partitioning.reading import is_partition
from spikegraph.partitioning.relations import relations_of
from spikegraph.partitioning.stores import (
    as_tensors,
    attributes_of,
    csr_of,
    stores_of,
)
from spikegraph.schema import to_json

_OPEN_FILES = 128  # Parts that are written at once.


def save_partition(
    partition: Partition, data: Data | HeteroData, directory: str | PathLike[str]
) -> None:
    r"""Writes a divided graph into a folder, which appears as a whole or not at all.

    Rows of attributes of nodes (:obj:`x`, :obj:`y`, masks, positions) lie in
    ``part_K/`` of the part that owns them; edges and all other tensors lie in
    ``graph/`` as a whole, each as a ``.npy``, sparse matrices as the three arrays of
    CSR. ``partition.json`` says what there is. Values that JSON can hold are kept in
    it. Arrays of NumPy that lie in files, such as ``numpy.load(..., mmap_mode='r')``,
    are read block by block, never as a whole.

    Args:
        partition (Partition): The parts of the graph.
        data (Data or HeteroData): The graph.
        directory (str or os.PathLike): The folder: a new one, an empty one, or one
            that was written by this function and is replaced.

    Raises:
        ValueError: If the partition is not of this graph, or an attribute can be kept
            in no way, which is named.
        FileExistsError: If the folder holds something else.
        OSError: If it cannot be written.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from spikegraph import partition_graph
        >>> from spikegraph.partitioning import load_partition
        >>> edge_index = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
        >>> data = Data(x=torch.eye(4), edge_index=edge_index)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_partition(partition_graph(data, 2, 'range'), data, folder)
        ...     load_partition(folder).part(1).node_id
        tensor([2, 3])
    """
    if not isinstance(data, (Data, HeteroData)):
        raise ValueError(
            f"Expected 'data' to be PyG's Data or HeteroData (got "
            f'{type(data).__name__}); wrap edges as Data(edge_index=..., num_nodes=...)'
        )
    data = as_tensors(data)
    graph = relations_of(data)
    partition.check_nodes(graph.num_nodes)
    stores = [
        (key, list(attributes_of(key, store, _rows(data, key, graph.num_nodes))))
        for key, store in stores_of(data)
    ]  # Fails before anything is written.
    with replaced_folder(directory, is_partition) as folder:
        (folder / GRAPH).mkdir()
        for part in range(partition.num_parts):
            (folder / part_name(part)).mkdir()
        for node_type, owner in partition.owners.items():
            write_array(folder / owners_name(node_type), owner)
        header = Header(
            format='spikegraph partition',
            version=FORMAT_VERSION,
            library=__version__,
            method=partition.method,
            num_parts=partition.num_parts,
            digest=graph.digest(),
            is_hetero=isinstance(data, HeteroData),
            num_nodes=graph.num_nodes,
            sizes={t: partition.sizes(t).tolist() for t in partition.node_types},
            stores=[_write_store(folder, key, a, partition) for key, a in stores],
        )
        text = json.dumps(to_json(header), indent=2, allow_nan=False)
        (folder / HEADER).write_text(f'{text}\n', encoding='utf-8')


def _rows(
    data: Data | HeteroData, key: list[str], num_nodes: Mapping[str, int]
) -> int | None:
    """The number of nodes whose attributes a store holds, if it does."""
    if isinstance(data, Data):
        return num_nodes['']
    return num_nodes[key[0]] if len(key) == 1 else None


def _write_store(
    folder: Path,
    key: list[str],
    attributes: list[tuple[str, Any, str]],
    partition: Partition,
) -> Store:
    store = Store(key, [])
    for name, value, place in attributes:
        if place == 'values':
            store.values[name] = value
        elif place == 'csr':
            store.tensors.append(_write_csr(folder, key, name, value))
        elif place == 'parts':
            owner = partition.owner(key[0] if key else '')
            _divide(folder, file_name(key, name), value, owner, partition.num_parts)
            entry = StoredTensor(name, 'parts', [*value.shape], name_of(value.dtype))
            store.tensors.append(entry)
        else:
            write_array(folder / GRAPH / file_name(key, name), value)
            entry = StoredTensor(name, 'graph', [*value.shape], name_of(value.dtype))
            store.tensors.append(entry)
    return store


def _write_csr(folder: Path, key: list[str], name: str, value: Any) -> StoredTensor:
    pointer, column, entries, shape = csr_of(value, name)
    for piece, array in (('crow', pointer), ('col', column), ('value', entries)):
        write_array(folder / GRAPH / file_name(key, name, piece), array)
    return StoredTensor(
        name=name,
        place='csr',
        shape=[*shape],
        dtype=name_of(entries.dtype),
        index_dtype=name_of(pointer.dtype),
        num_entries=column.numel(),
    )


def _divide(
    folder: Path, file: str, value: Tensor, owner: Tensor, num_parts: int
) -> None:
    """Writes the rows of a tensor into the folders of the parts that own them, and
    reads it once for every so many parts."""
    sizes = np.bincount(owner.numpy(), minlength=num_parts)
    for start in range(0, num_parts, _OPEN_FILES):
        parts = range(start, min(start + _OPEN_FILES, num_parts))
        with ExitStack() as stack:
            files = []
            for part in parts:
                path = folder / part_name(part) / file
                files.append(stack.enter_context(open(path, 'wb')))
                write_header(files[-1], value, int(sizes[part]))
            for rows, block in blocks_of(value):
                owners = owner[rows].numpy()
                order = np.argsort(owners, kind='stable')
                ends = np.searchsorted(owners[order], [*parts, parts[-1] + 1])
                for i, output in enumerate(files):
                    mine = order[ends[i] : ends[i + 1]]
                    if len(mine):
                        output.write(block[mine].tobytes())
