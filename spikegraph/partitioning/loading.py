"""Loads a graph from whatever a path leads to."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch_geometric.data import Data, HeteroData

from spikegraph.partitioning.arrays import map_array, tensor_of
from spikegraph.partitioning.edges import has_edges, read_edges
from spikegraph.partitioning.partition import Partition
from spikegraph.partitioning.pickles import load_pickle
from spikegraph.partitioning.pyg import is_pyg_partition, read_pyg_partition
from spikegraph.partitioning.reading import is_partition, load_partition

_KINDS = (
    "a folder of 'spikegraph partition', one of torch_geometric.distributed.Partitioner, "
    'a folder with edge_index.npy (or src.npy and dst.npy) and x.npy, a list of edges '
    'as .npy or text, or a .pt with PyG data'
)


class LoadedGraph(NamedTuple):
    """A graph, and its parts if it was divided.

    Args:
        data (Data or HeteroData): The whole graph.
        partition (Partition, optional): Its parts.
    """

    data: Data | HeteroData
    partition: Partition | None


def load_graph(path: str | PathLike[str], *, read_only: bool = False) -> LoadedGraph:
    r"""Loads a graph:

    * a folder of :func:`~spikegraph.partitioning.save_partition`, as a whole;
    * a folder of ``torch_geometric.distributed.Partitioner``;
    * a folder with edges as in :func:`~spikegraph.partitioning.read_edges` and
      ``x.npy``; any other ``NAME.npy``, such as ``y.npy`` or ``edge_weight.npy``,
      becomes an attribute. They stay in their files and are read where they are used;
    * a list of edges, as there;
    * a ``.pt`` with PyG's :obj:`Data` or :obj:`HeteroData`, or the file of one graph
      that PyG's datasets keep as ``processed/data.pt``. No code in it is run.

    Args:
        path (str or os.PathLike): The file or folder.
        read_only (bool, optional): How files are mapped, as in
            :func:`~spikegraph.partitioning.load_partition`. (default: :obj:`False`)

    Returns:
        LoadedGraph: The graph, and its parts if it was divided.

    Raises:
        FileNotFoundError: If there is none, or a part is missing.
        ValueError: If it holds no graph.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"Expected '{path}' to hold a graph (found none); name {_KINDS}"
        )
    if is_partition(path):
        parts = load_partition(path, read_only=read_only)
        return LoadedGraph(parts.whole(), parts.partition)
    if is_pyg_partition(path):
        partition, data = read_pyg_partition(path)
        return LoadedGraph(data, partition)
    if path.is_dir():
        if not has_edges(path):
            names = sorted(entry.name for entry in path.iterdir())
            raise ValueError(
                f"Expected '{path}' to hold a graph (got a folder with "
                f'{", ".join(names)[:80] or "nothing"}); name {_KINDS}'
            )
        return LoadedGraph(_of_arrays(path, read_only), None)
    if path.suffix in ('.pt', '.pth'):
        return LoadedGraph(_of_pickle(path), None)
    edges = read_edges(path, read_only=read_only)
    return LoadedGraph(Data(edge_index=edges, num_nodes=_count(edges)), None)


def _count(edges: torch.Tensor) -> int:
    return int(edges.max()) + 1 if edges.numel() > 0 else 0


def _of_arrays(folder: Path, read_only: bool) -> Data:
    data = Data()
    for file in sorted(folder.glob('*.npy')):
        name = file.stem
        if name in ('edge_index', 'src', 'dst'):
            continue
        if not name.isidentifier():
            raise ValueError(
                f"Expected '{file}' to be called as an attribute, such as y.npy (got "
                f"'{name}'); rename it or move it elsewhere"
            )
        data[name] = tensor_of(map_array(file, read_only=read_only), name)
    x = data.get('x')
    if x is not None and x.dim() == 0:
        raise ValueError(f"Expected '{folder / 'x.npy'}' to have rows (got a number)")
    num_nodes = None if x is None else x.size(0)
    data.edge_index = read_edges(folder, num_nodes, read_only=read_only)
    data.num_nodes = _count(data.edge_index) if x is None else x.size(0)
    for name, num, what in (
        ('y', data.num_nodes, 'node'),
        ('edge_weight', data.edge_index.size(1), 'edge'),
        ('edge_attr', data.edge_index.size(1), 'edge'),
    ):
        value = data.get(name)
        if value is not None and (value.dim() == 0 or value.size(0) != num):
            raise ValueError(
                f"Expected '{folder / name}.npy' to have {num:,} rows, one per {what} "
                f'(got shape {list(value.shape)})'
            )
    return data


def _of_pickle(path: Path) -> Data | HeteroData:
    try:
        found = load_pickle(path)
    except ValueError as error:
        raise ValueError(
            f"Expected '{path}' to hold PyG data that loads without running code (got "
            f"{error}); save it with 'torch.save(data, path)', of tensors and plain "
            'values only'
        ) from error
    data = _of_dataset(found) if isinstance(found, tuple) else found
    if not isinstance(data, (Data, HeteroData)):
        raise ValueError(
            f"Expected '{path}' to hold one graph as PyG's Data or HeteroData (got "
            f"{type(found).__name__}); save it with 'torch.save(data, path)'"
        )
    try:
        for store in data.stores:
            store.__dict__.pop('_cached_attr', None)  # Is found again.
            store.to_dict()
    except Exception as error:  # Whatever a changed file makes of it.
        raise ValueError(
            f"Expected '{path}' to hold a whole graph (got {type(error).__name__}: "
            f"{str(error)[:80]}); it was damaged: save it with 'torch.save(data, path)'"
        ) from error
    return data


def _of_dataset(found: tuple[Any, ...]) -> Any:
    """The one graph of the file of a dataset: its attributes, how they are divided
    into graphs, which is into one, and the class of its data."""
    if len(found) < 2 or not isinstance(found[0], dict) or found[1]:
        return None
    if len(found) > 2 and found[2] in (Data, HeteroData):
        return found[2].from_dict(found[0])
    return None
