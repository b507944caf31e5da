"""Reads the parts of a divided graph, which lie in files."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData

from spikegraph.partitioning.arrays import map_tensor
from spikegraph.partitioning.layout import (
    FORMAT,
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
from spikegraph.schema import from_json

_REMEDY = "write it again with 'spikegraph.partitioning.save_partition'"


class PartitionedData:
    r"""A divided graph in a folder. Tensors lie in the files, and are read from them
    where they are used.

    Args:
        directory (pathlib.Path): The folder.
        header (Header): What ``partition.json`` holds.
        partition (Partition): The part of each node.
        read_only (bool): As for :func:`load_partition`.
    """

    def __init__(
        self, directory: Path, header: Header, partition: Partition, read_only: bool
    ) -> None:
        self.directory = directory
        self.header = header
        self.partition = partition
        self.read_only = read_only

    @property
    def num_parts(self) -> int:
        """The number of parts."""
        return self.header.num_parts

    @property
    def num_nodes(self) -> dict[str, int]:
        """The number of nodes of each type, those of all parts together."""
        return dict(self.header.num_nodes)

    @property
    def digest(self) -> str:
        """The SHA-256 of the graph, see :func:`graph_digest`."""
        return self.header.digest

    @property
    def is_hetero(self) -> bool:
        """Whether nodes and edges have types."""
        return self.header.is_hetero

    def part(self, part: int) -> Data | HeteroData:
        """One part: its own rows of the attributes of nodes, which are
        :obj:`node_id` in the whole graph, and all edges of the whole graph, between
        nodes numbered as there. :obj:`num_nodes` is the number of its own nodes.

        Args:
            part (int): The part.

        Raises:
            ValueError: If there is no such part, or a file is damaged.
            FileNotFoundError: If the part or a file is missing.
        """
        self.partition.check_part(part)
        folder = self.directory / part_name(part)
        if not folder.is_dir():
            raise FileNotFoundError(
                f"Expected the part {part} of {self.num_parts} in '{folder}' (found "
                f'none); copy it to this machine, or {_REMEDY}'
            )
        data = self._data()
        for store in self.header.stores:
            target = _store_in(data, store.key)
            for entry in store.tensors:
                if entry.place == 'parts':
                    target[entry.name] = self._rows(store, entry, part)
        for node_type in self.partition.node_types:
            target = data if node_type == '' else data[node_type]
            target.node_id = self.partition.rows(part, node_type)
            target.num_nodes = target.node_id.numel()
        return data

    def outline(self) -> Data | HeteroData:
        """The whole graph, in which attributes of nodes have their shape and type, and
        nothing in them.
        """
        data = self._data()
        for node_type, num in self.num_nodes.items():
            (data if node_type == '' else data[node_type]).num_nodes = num
        for store in self.header.stores:
            for entry in store.tensors:
                if entry.place == 'parts':
                    value = torch.zeros(1, dtype=getattr(torch, entry.dtype))
                    _store_in(data, store.key)[entry.name] = value.expand(entry.shape)
        return data

    def whole(self) -> Data | HeteroData:
        """The whole graph as it was, with all rows in memory.

        Raises:
            ValueError: If a file is damaged.
            FileNotFoundError: If a part or a file is missing.
        """
        data = self._data()
        parts = range(self.num_parts)
        for node_type, num in self.num_nodes.items():
            (data if node_type == '' else data[node_type]).num_nodes = num
        for store in self.header.stores:
            node_type = store.key[0] if store.key else ''
            for entry in store.tensors:
                if entry.place == 'parts':
                    value = torch.empty(entry.shape, dtype=getattr(torch, entry.dtype))
                    for part in parts:
                        rows = self.partition.rows(part, node_type)
                        value[rows] = self._rows(store, entry, part)
                    _store_in(data, store.key)[entry.name] = value
        return data

    def check(self) -> None:
        """Looks whether all files of all parts are there, with the right sizes.

        Raises:
            ValueError: If one is damaged.
            FileNotFoundError: If one is missing.
        """
        for part in range(self.num_parts):
            self.part(part)

    def _data(self) -> Data | HeteroData:
        """What all parts have in common."""
        data = HeteroData() if self.is_hetero else Data()
        for store in self.header.stores:
            target = _store_in(data, store.key)
            for name, value in store.values.items():
                target[name] = value
            for entry in store.tensors:
                if entry.place == 'graph':
                    path = self.directory / GRAPH / file_name(store.key, entry.name)
                    target[entry.name] = self._map(path, entry.shape, entry.dtype)
                elif entry.place == 'csr':
                    target[entry.name] = self._csr(store, entry)
        return data

    def _rows(self, store: Store, entry: StoredTensor, part: int) -> Tensor:
        path = self.directory / part_name(part) / file_name(store.key, entry.name)
        node_type = store.key[0] if store.key else ''
        num_rows = self.header.sizes[node_type][part]
        return self._map(path, [num_rows, *entry.shape[1:]], entry.dtype)

    def _csr(self, store: Store, entry: StoredTensor) -> Tensor:
        index, num = str(entry.index_dtype), int(entry.num_entries or 0)
        pieces = []
        for piece, shape, dtype in (
            ('crow', entry.shape[0] + 1, index),
            ('col', num, index),
            ('value', num, entry.dtype),
        ):
            path = self.directory / GRAPH / file_name(store.key, entry.name, piece)
            pieces.append(self._map(path, [shape], dtype))
        crow, col, value = pieces
        return torch.sparse_csr_tensor(crow, col, value, size=entry.shape)

    def _map(self, path: Path, shape: list[int], dtype: str) -> Tensor:
        return _map(path, shape, dtype, self.read_only)

    def __repr__(self) -> str:
        return f"{type(self).__name__}('{self.directory}', {self.partition})"


def load_partition(
    directory: str | PathLike[str], *, read_only: bool = False
) -> PartitionedData:
    r"""Reads what :func:`save_partition` wrote. A part is read when it is asked for,
    so that the others may lie on other machines.

    Args:
        directory (str or os.PathLike): The folder.
        read_only (bool, optional): Whether tensors are mapped such that writing to
            them ends the process. Otherwise what is written to them stays in memory;
            but then a limit by ``resource.RLIMIT_DATA`` counts their whole size.
            (default: :obj:`False`)

    Returns:
        PartitionedData: The divided graph.

    Raises:
        FileNotFoundError: If there is none, or a file is missing.
        ValueError: If it has another format version, or a file is damaged.

    Example:
        >>> import tempfile
        >>> from spikegraph import partition_graph, save_partition
        >>> edge_index = torch.tensor([[0, 1, 2], [1, 2, 3]])
        >>> data = Data(x=torch.rand(4, 2), edge_index=edge_index)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_partition(partition_graph(data, 2, 'range'), data, folder)
        ...     load_partition(folder).part(1).node_id
        tensor([2, 3])
    """
    if type(read_only) is not bool:
        raise ValueError(f"Expected 'read_only' to be a bool (got {read_only!r})")
    folder = Path(directory)
    path = folder / HEADER
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected '{path}' (found none); '{folder}' is no folder of "
            "'spikegraph.partitioning.save_partition', or it was not copied as a whole"
        )
    header = _read_header(path)
    paths = {name: folder / owners_name(name) for name in header.num_nodes}
    owners = {
        node_type: _map(paths[node_type], [num], 'int32', read_only)
        for node_type, num in header.num_nodes.items()
    }
    try:
        partition = Partition(owners, header.num_parts, header.method)
    except ValueError as error:
        text = str(error)
        for node_type, path in paths.items():
            text = text.replace(f'owners[{node_type!r}]', str(path))
        raise ValueError(f'{text}; {_REMEDY}') from error
    for node_type, sizes in header.sizes.items():
        if partition.sizes(node_type).tolist() != sizes:
            raise ValueError(
                f"Expected '{paths[node_type]}' to give parts the sizes of '{HEADER}' "
                f'(got others); it was edited or damaged: copy the folder again, or '
                f'{_REMEDY}'
            )
    return PartitionedData(folder, header, partition, read_only)


def is_partition(directory: str | PathLike[str]) -> bool:
    """Whether a folder is one of :func:`save_partition`, of any version."""
    try:
        text = (Path(directory) / HEADER).read_text(encoding='utf-8')
        return bool(json.loads(text)['format'] == FORMAT)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _read_header(path: Path) -> Header:
    try:
        value = json.loads(path.read_text(encoding='utf-8'))
        version = value['version']
        found = value['format']
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"Expected '{path}' to hold JSON with a format and a version (got "
            f'{type(error).__name__}: {str(error)[:80]}); {_REMEDY}'
        ) from error
    if found != FORMAT or type(version) is not int or version != FORMAT_VERSION:
        raise ValueError(
            f"Expected '{path}' to be of the format '{FORMAT}', version "
            f'{FORMAT_VERSION} (got {found!r:.40}, {version!r:.40}); install the '
            f'version of spikegraph that wrote it, or {_REMEDY}'
        )
    header = from_json(Header, value, str(path))
    same = header.sizes.keys() == header.num_nodes.keys() and all(
        len(sizes) == header.num_parts and sum(sizes) == header.num_nodes[node_type]
        for node_type, sizes in header.sizes.items()
    )
    known = all(_is_known(store, header) for store in header.stores)
    if not same or not known:
        raise ValueError(
            f"Expected '{path}' to have the same types, parts and nodes everywhere "
            f'(got others); it was edited: {_REMEDY}'
        )
    return header


def _is_known(store: Store, header: Header) -> bool:
    """Whether a store can be one of the graph, and its rows those of its nodes."""
    if len(store.key) not in ((0, 1, 3) if header.is_hetero else (0,)):
        return False
    node_type = store.key[0] if store.key else ''
    return all(
        len(store.key) < 2
        and len(entry.shape) > 0
        and header.num_nodes.get(node_type) == entry.shape[0]
        for entry in store.tensors
        if entry.place == 'parts'
    )


def _store_in(data: Data | HeteroData, key: list[str]) -> Any:
    if isinstance(data, Data) or not key:
        return data
    return data[key[0]] if len(key) == 1 else data[tuple(key)]


def _map(path: Path, shape: list[int], dtype: str, read_only: bool) -> Tensor:
    try:
        return map_tensor(path, tuple(shape), dtype, read_only=read_only)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"Expected '{path}' (found none); copy the folder again, or {_REMEDY}"
        ) from None
    except ValueError as error:
        text = str(error)
        if str(path) not in text:
            text = f"Expected '{path}' to be as '{HEADER}' says ({text})"
        raise ValueError(f'{text}; {_REMEDY}') from error
