"""Reads what ``torch_geometric.distributed.Partitioner`` writes."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData

from spikegraph.partitioning.partition import Partition
from spikegraph.partitioning.pickles import load_pickle

_META = 'META.json'
_ONLY = ('', '', '')  # The type of edges of a graph that has one.
_REMEDY = "write it again with 'torch_geometric.distributed.Partitioner'"


def is_pyg_partition(directory: str | PathLike[str]) -> bool:
    """Whether a folder is one of ``torch_geometric.distributed.Partitioner``."""
    try:
        meta = json.loads((Path(directory) / _META).read_text(encoding='utf-8'))
        return isinstance(meta, dict) and {'num_parts', 'is_hetero'} <= meta.keys()
    except (OSError, ValueError, RecursionError):
        return False


def read_pyg_partition(
    directory: str | PathLike[str],
) -> tuple[Partition, Data | HeteroData]:
    r"""Reads the folder of ``torch_geometric.distributed.Partitioner``, with nodes
    and edges numbered as in the graph that it was given.

    The partitioner keeps :obj:`x`, :obj:`edge_attr` and times, and neither labels nor
    masks. Times of edges come back as :obj:`edge_time`, and features of types with
    fewer of them than others filled up with zeros, as which it stores them.

    Args:
        directory (str or os.PathLike): The folder.

    Returns:
        Tuple[Partition, Data or HeteroData]: The parts and the whole graph.

    Raises:
        FileNotFoundError: If there is none, or a file or a part is missing.
        ValueError: If a file holds something else, or parts do not add up to a graph.
    """
    folder = Path(directory)
    meta = _read_meta(folder)
    is_hetero = bool(meta['is_hetero'])
    node_types, edge_types = [''], [_ONLY]
    if is_hetero:
        node_types, edge_types = meta['node_types'], meta['edge_types']
    owners = {
        t: _load(folder / (f'node_map/{t}.pt' if is_hetero else 'node_map.pt'))
        for t in node_types
    }
    num_edges = {}
    for e in edge_types:
        name = f'edge_map/{"__".join(e)}.pt' if is_hetero else 'edge_map.pt'
        num_edges[e] = len(_load(folder / name))
    for name, owner in owners.items():
        if not isinstance(owner, Tensor):
            raise _unlike(folder, f"a node map '{name}' of {type(owner).__name__}")
    partition = Partition(owners, meta['num_parts'], 'metis')
    rows = _Rows(partition.num_nodes, num_edges)
    for part in range(partition.num_parts):
        path = folder / f'part_{part}'
        names = ('graph', 'node_feats', 'edge_feats')
        content = [_load(path / f'{name}.pt') for name in names]
        if not is_hetero:
            content = [{key: c} for key, c in zip((_ONLY, '', _ONLY), content)]  # noqa: B905
        try:
            rows.add(*content)
        except (KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
            raise _unlike(path, f'{type(error).__name__}: {str(error)[:80]}') from error
        for node_type, node_ids in rows.node_ids.items():
            if not torch.equal(node_ids.sort()[0], partition.rows(part, node_type)):
                raise _unlike(path, 'other nodes than the node map gives it')
    if not rows.is_complete():
        raise _unlike(folder, 'edges that are missing or come twice')
    return partition, rows.data(is_hetero)


class _Rows:
    """The rows of all parts, put where they were in the whole graph."""

    def __init__(
        self, num_nodes: dict[str, int], num_edges: dict[tuple[str, str, str], int]
    ) -> None:
        self.num_nodes = num_nodes
        self.node_offsets = _starts(num_nodes)
        self.edge_offsets = _starts(num_edges)
        self.node_ids: dict[str, Tensor] = {}  # Of the last part.
        self.found: dict[Any, dict[str, Tensor]] = {t: {} for t in num_nodes}
        self.times = {
            e: torch.zeros(n, dtype=torch.int64) for e, n in num_edges.items()
        }
        for edge_type, num in num_edges.items():
            edge_index = torch.zeros(2, num, dtype=torch.int64)
            self.found[edge_type] = {'edge_index': edge_index}

    def add(self, graph: Any, node_feats: Any, edge_feats: Any) -> None:
        for edge_type, times in self.times.items():
            edges = graph[edge_type]
            # Edges are counted through all types, their features within one.
            ids = edges['edge_id'] - self.edge_offsets[edge_type]
            _check_ids(ids, times.numel())
            times += torch.bincount(ids, minlength=times.numel())
            ends = torch.stack([edges['row'], edges['col']])
            for node_type, end in zip((edge_type[0], edge_type[2]), ends, strict=True):
                _check_ids(end, self.num_nodes[node_type])
            self.found[edge_type]['edge_index'][:, ids] = ends
            found = edge_feats.get(edge_type) or {}
            for name, value in (found.get('feats') or {}).items():
                self._put(edge_type, name, found['global_id'], value, times.numel())
            self._put(edge_type, 'edge_time', ids, found.get('edge_time'), len(times))
        for node_type, num in self.num_nodes.items():
            found = node_feats[node_type]
            ids = found['global_id'] - self.node_offsets[node_type]
            _check_ids(ids, num)
            self.node_ids[node_type] = ids
            for name, value in (found.get('feats') or {}).items():
                self._put(node_type, name, ids, value, num)
            if found.get('time') is not None:  # Each part has those of all nodes.
                self.found[node_type]['time'] = found['time']

    def is_complete(self) -> bool:
        """Whether each edge came once."""
        return all(bool((times == 1).all()) for times in self.times.values())

    def data(self, is_hetero: bool) -> Data | HeteroData:
        data = HeteroData() if is_hetero else Data()
        for key, found in self.found.items():
            store = data[key] if is_hetero else data
            for name, value in found.items():
                store[name] = value
            if key in self.num_nodes:
                store.num_nodes = self.num_nodes[key]
        return data

    def _put(
        self, key: Any, name: str, ids: Tensor, value: Tensor | None, num: int
    ) -> None:
        if value is None:
            return
        if name not in self.found[key]:
            self.found[key][name] = value.new_zeros(num, *value.shape[1:])
        self.found[key][name][ids] = value


def _starts(sizes: dict[Any, int]) -> dict[Any, int]:
    starts, start = {}, 0
    for key, size in sizes.items():
        starts[key] = start
        start += size
    return starts


def _check_ids(ids: Tensor, num: int) -> None:
    if ids.numel() > 0 and not 0 <= int(ids.min()) <= int(ids.max()) < num:
        raise IndexError(f'numbers up to {num - 1} were expected')


def _read_meta(folder: Path) -> dict[str, Any]:
    path = folder / _META
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected '{path}' (found none); '{folder}' is no folder of "
            "'torch_geometric.distributed.Partitioner'"
        )
    try:
        meta = json.loads(path.read_text(encoding='utf-8'))
        num_parts = meta['num_parts']
        if meta['is_hetero']:
            meta['edge_types'] = [tuple(e) for e in meta['edge_types']]
            triples = all(list(map(type, e)) == [str] * 3 for e in meta['edge_types'])
            if not triples or not all(type(t) is str for t in meta['node_types']):
                raise TypeError('types that are no texts')
        if type(num_parts) is not int or num_parts < 1:
            raise TypeError(f'{num_parts!r:.40} parts')
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unlike(path, f'{type(error).__name__}: {str(error)[:80]}') from error
    return meta


def _load(path: Path) -> Any:
    try:
        return load_pickle(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"Expected '{path}' (found none); copy the folder as a whole, or {_REMEDY}"
        ) from None
    except ValueError as error:
        raise _unlike(path, str(error)) from error


def _unlike(path: Path, found: str) -> ValueError:
    return ValueError(
        f"Expected '{path}' to hold what 'torch_geometric.distributed.Partitioner' "
        f'writes (got {found}); it may be damaged or of another version of PyG: '
        f'{_REMEDY}'
    )
