"""The datasets of the Open Graph Benchmark, by its own loaders, splits and metrics."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from spikegraph.zoo.datasets.entries import DatasetInfo, GraphDataset
from spikegraph.zoo.datasets.raw import check_ogb, read_sizes
from spikegraph.zoo.datasets.reading import BadFile

if TYPE_CHECKING:
    from torch import Tensor
    from torch_geometric.data import Data

_SPLIT = ('train', 'valid', 'test')


@contextlib.contextmanager
def _loading() -> Iterator[None]:
    """Lets torch load what ogb saves, and nothing else; answers the question whether
    to download more than a gigabyte; keeps progress for terminals."""
    import torch
    from torch_geometric.data import Data
    from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
    from torch_geometric.data.storage import GlobalStorage

    output = sys.stderr if sys.stderr.isatty() else io.StringIO()
    known = set(torch.serialization.get_safe_globals())  # On leaving, these stay.
    needed = {Data, DataEdgeAttr, DataTensorAttr, GlobalStorage} - known
    with (
        torch.serialization.safe_globals(list(needed)),
        mock.patch('sys.stdin', io.StringIO('y\n')),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
        warnings.catch_warnings(),
    ):
        # ogb makes tensors of what pandas 3 keeps read-only, and never writes to them.
        warnings.filterwarnings('ignore', 'The given NumPy array is not writable')
        yield


def _load_nodes(root: Path, name: str, undirected: bool) -> Data:
    import torch
    from ogb.nodeproppred import PygNodePropPredDataset
    from torch_geometric.data import Data
    from torch_geometric.utils import to_undirected

    with _loading():
        dataset = PygNodePropPredDataset(name, root=str(root))
        graph, split = dataset[0], dataset.get_idx_split()
    _check_sizes(root, name, [graph])
    _check_split(root, name, split, graph.num_nodes)
    edge_index = graph.edge_index
    if undirected:
        edge_index = to_undirected(edge_index, num_nodes=graph.num_nodes)
    data = Data(x=graph.x, edge_index=edge_index, y=graph.y.view(-1).long())
    for part, mask in zip(_SPLIT, ('train_mask', 'val_mask', 'test_mask'), strict=True):
        data[mask] = torch.zeros(graph.num_nodes, dtype=torch.bool)
        data[mask][split[part]] = True
    return data


def _load_graphs(root: Path, name: str, description: str, unit: str) -> GraphDataset:
    from ogb.graphproppred import Evaluator, PygGraphPropPredDataset

    with _loading():
        dataset = PygGraphPropPredDataset(name, root=str(root))
        split = dataset.get_idx_split()
    _check_sizes(root, name, dataset)
    _check_split(root, name, split, len(dataset))
    train, valid, test = (list(dataset[split[part]]) for part in _SPLIT)
    evaluator = Evaluator(name)
    return GraphDataset(
        name=name,
        train=train,
        valid=valid,
        test=test,
        num_tasks=dataset.num_tasks,
        task='regression' if dataset.task_type == 'regression' else 'classification',
        metric=evaluator.eval_metric,
        evaluator=evaluator,
        description=description,
        unit=unit,
    )


def _check_sizes(root: Path, name: str, graphs: Sequence[Data]) -> None:
    """What was made of the raw files long ago may have been made of half of them."""
    info = next(entry for entry in ENTRIES if entry.name == name)
    path = root / info.processed_file
    nodes, edges = (read_sizes(info, root, part) for part in ('node', 'edge'))
    num_nodes = [int(graph.x.size(0)) for graph in graphs]
    num_edges = [int(graph.edge_index.size(1)) for graph in graphs]
    for things, found, expected in (
        ('nodes', num_nodes, [nodes]),
        ('edges', num_edges, [edges, [2 * number for number in edges]]),
    ):
        if found not in expected:
            raise BadFile(
                path,
                f"Expected '{path}' to hold {len(nodes):,} graphs of "
                f'{sum(expected[-1]):,} {things}, as the lists of sizes say (got '
                f'{len(found):,} of {sum(found):,})',
            )


def _check_split(root: Path, name: str, split: dict[str, Tensor], number: int) -> None:
    """Every node, or graph, is in one part of the split."""
    import torch

    info = next(entry for entry in ENTRIES if entry.name == name)
    found = torch.cat([split[part].view(-1) for part in _SPLIT])
    if not torch.equal(found.sort().values, torch.arange(number)):
        path = root / next(file for file in info.raw_files if '/split/' in file)
        inside = int(((found >= 0) & (found < number)).sum())
        raise BadFile(
            path,
            f"Expected '{path}' and the files beside it to hold each number below "
            f'{number:,} once (got {len(found):,}, {inside:,} of them below)',
        )


def _nodes(
    name: str,
    description: str,
    *,
    num_nodes: int,
    num_edges: int,
    split: str,
    undirected: bool = False,
    more_raw: tuple[str, ...] = (),
) -> DatasetInfo:
    raw = ['edge', 'node-feat', 'node-label', 'num-edge-list', 'num-node-list']
    return _entry(
        name,
        description,
        raw=[*raw, *more_raw],
        split=split,
        num_nodes=num_nodes,
        num_edges=num_edges,
        num_graphs=1,
        loader=partial(_load_nodes, name=name, undirected=undirected),
    )


def _molecules(
    name: str,
    description: str,
    *,
    num_nodes: int,
    num_edges: int,
    num_graphs: int,
    unit: str = '',
) -> DatasetInfo:
    raw = ['edge', 'node-feat', 'edge-feat', 'graph-label', 'num-edge-list']
    return _entry(
        name,
        description,
        raw=[*raw, 'num-node-list'],
        split='scaffold',
        num_nodes=num_nodes,
        num_edges=num_edges,
        num_graphs=num_graphs,
        loader=partial(_load_graphs, name=name, description=description, unit=unit),
    )


def _entry(
    name: str,
    description: str,
    *,
    raw: list[str],
    split: str,
    num_nodes: int,
    num_edges: int,
    num_graphs: int,
    loader: partial[Data] | partial[GraphDataset],
) -> DatasetInfo:
    folder = name.replace('-', '_')
    release = f'{folder}/RELEASE_v1.txt'
    return DatasetInfo(
        name=name,
        description=description,
        num_nodes=num_nodes,
        num_edges=num_edges,
        num_graphs=num_graphs,
        offline=False,
        public_split=True,
        loader=loader,
        raw_files=(
            *(f'{folder}/raw/{file}.csv.gz' for file in raw),
            *(f'{folder}/split/{split}/{part}.csv.gz' for part in _SPLIT),
            release,
        ),
        processed_file=f'{folder}/processed/geometric_data_processed.pt',
        release_file=release,
        check_raw=check_ogb,
    )


ENTRIES = [
    _nodes(
        'ogbn-arxiv',
        'computer science papers and citations (both ways), by subject',
        num_nodes=169343,
        num_edges=2315598,
        split='time',
        undirected=True,
        more_raw=('node_year',),
    ),
    _nodes(
        'ogbn-products',
        'products bought together, by category',
        num_nodes=2449029,
        num_edges=123718280,
        split='sales_ranking',
    ),
    _molecules(
        'ogbg-molhiv',
        'molecules, by whether they stop HIV from replicating',
        num_nodes=1049163,
        num_edges=2259376,
        num_graphs=41127,
    ),
    _molecules(
        'ogbg-molbace',
        'molecules, by whether they inhibit the enzyme BACE-1',
        num_nodes=51577,
        num_edges=111536,
        num_graphs=1513,
    ),
    _molecules(
        'ogbg-molesol',
        'molecules and their solubility in water',
        num_nodes=14991,
        num_edges=30856,
        num_graphs=1128,
        unit='log10(mol/l)',
    ),
]
