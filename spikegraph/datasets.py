"""The graphs of the examples and benchmarks, by name."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

# The list of datasets is shown without torch, whose import takes seconds.
if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from torch_geometric.data import Data

_NUM_TRAIN, _NUM_VAL = 20, 30  # Per class, as in arXiv 1811.05868.
# Accuracy varies by points from split to split. This is the first split on which
# the networks for both graphs come near their published averages over many.
_AMAZON_SPLIT = 4
_NOISE = ('Processing...\n', 'Done!\n')


@dataclass(frozen=True)
class NodeDataset:
    r"""A graph whose nodes are to be classified.

    Args:
        name (str): The name in :obj:`DATASETS`.
        data (torch_geometric.data.Data): The graph: :obj:`x`,
            :obj:`edge_index`, :obj:`y`, :obj:`train_mask`, :obj:`val_mask`
            and :obj:`test_mask`.
        num_features (int): The number of features of a node.
        num_classes (int): The number of classes.
        description (str): What nodes, edges and classes are.
    """

    name: str
    data: Data
    num_features: int
    num_classes: int
    description: str


@dataclass(frozen=True)
class DatasetInfo:
    r"""An entry of :obj:`DATASETS`.

    Args:
        name (str): The name.
        description (str): What nodes, edges and classes are.
        num_nodes (int): The number of nodes.
        num_edges (int): The number of directed edges: an undirected one counts
            twice.
        offline (bool): Whether the data come with the installed packages.
        public_split (bool): Whether the split is a published one. If not, it
            is drawn at random: 20 training and 30 validation nodes per class.
        loader (callable): Takes the root folder and returns the graph.
        raw_files (tuple[str, ...], optional): The files that are downloaded
            unless they are there, relative to the root folder.
            (default: :obj:`()`)
        split_seed (int, optional): The seed of a random split.
            (default: :obj:`0`)
    """

    name: str
    description: str
    num_nodes: int
    num_edges: int
    offline: bool
    public_split: bool
    loader: Callable[[Path], Data]
    raw_files: tuple[str, ...] = ()
    split_seed: int = 0


def default_root() -> Path:
    r"""Returns the folder that holds the datasets.

    Returns:
        pathlib.Path: The environment variable :obj:`SPIKEGRAPH_ROOT`, or else
        :obj:`spikegraph` in the user's cache folder.
    """
    root = os.environ.get('SPIKEGRAPH_ROOT')
    if root:
        return Path(root).expanduser()
    cache = os.environ.get('XDG_CACHE_HOME')
    return (Path(cache) if cache else Path.home() / '.cache') / 'spikegraph'


def load_dataset(
    name: str, root: str | os.PathLike[str] | None = None, seed: int | None = None
) -> NodeDataset:
    r"""Loads a graph, and downloads it if its files are not there.

    Args:
        name (str): One of :obj:`DATASETS`.
        root (str or os.PathLike, optional): The folder that holds the
            datasets; those that are embedded need none. With :obj:`None`, that
            of :func:`default_root`. (default: :obj:`None`)
        seed (int, optional): The seed of the split, for datasets that have no
            public one. It has nothing to do with that of a model.
            (default: :obj:`None`, the dataset's :obj:`split_seed`)

    Returns:
        NodeDataset: The graph.

    Raises:
        ValueError: If there is no dataset of that name, or it has a public
            split and :obj:`seed` is given.
        FileNotFoundError: If files are missing and cannot be downloaded.
        NotADirectoryError: If :obj:`root` is not a folder.
        PermissionError: If :obj:`root` cannot be read, or cannot be written
            while there is something to write.
    """
    info = DATASETS.get(name)
    if info is None:
        close = difflib.get_close_matches(str(name).lower(), DATASETS, n=1)
        hint = f". Did you mean '{close[0]}'?" if close else ''
        raise ValueError(
            f"Expected 'name' to be one of {', '.join(DATASETS)} (got '{name}'){hint}"
        )
    if info.public_split and seed is not None:
        raise ValueError(
            f"Expected 'seed' to be None for '{name}', whose split is public (got {seed})"
        )
    folder = default_root() if root is None else Path(root).expanduser()
    data = info.loader(folder) if info.offline else _load_files(info, folder)
    if not info.public_split:
        _split(data, info.split_seed if seed is None else seed)
    return NodeDataset(
        name=name,
        data=data,
        num_features=data.num_features,
        num_classes=int(data.y.max()) + 1,
        description=info.description,
    )


def _load_files(info: DatasetInfo, root: Path) -> Data:
    paths = [root / file for file in info.raw_files]
    missing = [path for path in paths if not os.path.exists(path)]
    processed = paths[0].parents[1] / 'processed' / 'data.pt'
    _check_root(root, to_write=[p for p in [*missing, processed] if not p.exists()])
    folders = [paths[0].parent, *paths[0].absolute().parent.parents]
    new_folders = [folder for folder in folders if not folder.exists()]
    try:
        with _quiet():
            return info.loader(root)
    except BaseException as error:
        for path in missing:  # Half a file would be taken for the whole next time.
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # Where one is not empty, stop.
            for folder in new_folders:
                folder.rmdir()
        # All that a download raises is an OSError, from aiohttp and urllib too.
        if not missing or not isinstance(error, OSError):
            raise
        files = '\n'.join(f'  {path}' for path in missing)
        raise FileNotFoundError(
            f"Expected 'root' to hold the files of '{info.name}' (got '{root}'), and "
            f'their download failed: {error}. Missing:\n{files}\nRun this once with a '
            f'network, or copy the files there from another machine, or set '
            f"SPIKEGRAPH_ROOT to a folder that has them. The dataset 'digits' needs "
            f'no files'
        ) from error


def _check_root(root: Path, *, to_write: list[Path]) -> None:
    existing = _existing(root)
    if not os.path.isdir(existing):
        raise NotADirectoryError(
            f"Expected 'root' to be a folder (got '{root}'; '{existing}' is a file)"
        )
    if not os.access(existing, os.R_OK | os.X_OK):
        raise PermissionError(
            f"Expected 'root' to be readable (got '{root}'). Change the permissions "
            f"of '{existing}' or pass another 'root'"
        )
    for path in to_write:
        existing = _existing(path.parent)
        if not os.access(existing, os.W_OK | os.X_OK):
            raise PermissionError(
                f"Expected 'root' to be writable (got '{root}'), because '{path}' has "
                f"to be written. Change the permissions of '{existing}' or copy the "
                f"files to another 'root'"
            )


def _existing(path: Path) -> Path:
    return next(p for p in [path, *path.absolute().parents] if os.path.exists(p))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps PyG's 'Processing...' and 'Done!' from stderr, and nothing else."""
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            yield
    finally:
        lines = stderr.getvalue().splitlines(keepends=True)
        sys.stderr.writelines(x for x in lines if x not in _NOISE)


def _split(data: Data, seed: int) -> None:
    import torch

    generator = torch.Generator().manual_seed(seed)
    train_mask = torch.zeros(data.num_nodes, dtype=torch.bool)
    val_mask = torch.zeros(data.num_nodes, dtype=torch.bool)
    for label in range(int(data.y.max()) + 1):
        nodes = (data.y == label).nonzero().view(-1)
        nodes = nodes[torch.randperm(nodes.numel(), generator=generator)]
        train_mask[nodes[:_NUM_TRAIN]] = True
        val_mask[nodes[_NUM_TRAIN : _NUM_TRAIN + _NUM_VAL]] = True
    data.train_mask, data.val_mask = train_mask, val_mask
    data.test_mask = ~(train_mask | val_mask)


def _load_digits(root: Path) -> Data:
    import torch
    from sklearn.datasets import load_digits
    from torch_geometric.data import Data

    pixels, labels = load_digits(return_X_y=True)  # [N, 64], integers in 0 .. 16.
    return Data(
        x=torch.from_numpy(pixels / 16).float(),
        edge_index=_nearest_neighbors(pixels, k=8),
        y=torch.from_numpy(labels).long(),
    )


def _nearest_neighbors(points: np.ndarray, *, k: int) -> Tensor:
    import numpy as np
    import torch

    # Integers all the way, and ties go to the smaller index: the graph is the same
    # on every machine.
    points = points.astype(np.int64)
    num_nodes = len(points)
    norm = np.square(points).sum(axis=1)
    distance = norm[:, None] + norm - 2 * (points @ points.T)  # [N, N]
    np.fill_diagonal(distance, distance.max() + 1)
    distance = distance * num_nodes + np.arange(num_nodes)
    neighbors = np.argpartition(distance, k, axis=1)[:, :k]
    adj = np.zeros((num_nodes, num_nodes), dtype=bool)
    np.put_along_axis(adj, neighbors, True, axis=1)
    return torch.from_numpy(np.stack((adj | adj.T).nonzero()))


def _load_planetoid(root: Path, name: str) -> Data:
    from torch_geometric.datasets import Planetoid
    from torch_geometric.transforms import NormalizeFeatures

    return Planetoid(str(root), name, transform=NormalizeFeatures())[0]


def _load_amazon(root: Path, name: str) -> Data:
    from torch_geometric.datasets import Amazon

    return Amazon(str(root), name)[0]


def _load_coauthor(root: Path, name: str) -> Data:
    from torch_geometric.datasets import Coauthor

    return Coauthor(str(root), name)[0]


def _planetoid(
    name: str, description: str, *, num_nodes: int, num_edges: int
) -> DatasetInfo:
    parts = ['x', 'tx', 'allx', 'y', 'ty', 'ally', 'graph', 'test.index']
    return _downloaded(
        name,
        description,
        num_nodes=num_nodes,
        num_edges=num_edges,
        loader=_load_planetoid,
        raw_files=[f'ind.{name.lower()}.{part}' for part in parts],
        public_split=True,
    )


def _downloaded(
    name: str,
    description: str,
    *,
    num_nodes: int,
    num_edges: int,
    loader: Callable[..., Data],
    raw_files: list[str],
    public_split: bool = False,
    split_seed: int = 0,
) -> DatasetInfo:
    return DatasetInfo(
        name=name.lower(),
        description=description,
        num_nodes=num_nodes,
        num_edges=num_edges,
        offline=False,
        public_split=public_split,
        loader=partial(loader, name=name),
        raw_files=tuple(f'{name}/raw/{file}' for file in raw_files),
        split_seed=split_seed,
    )


_ENTRIES = [
    DatasetInfo(
        name='digits',
        description='handwritten digits, linked to their nearest neighbors',
        num_nodes=1797,
        num_edges=19858,
        offline=True,
        public_split=False,
        loader=_load_digits,
    ),
    _planetoid(
        'Cora',
        'machine learning papers and citations, by topic',
        num_nodes=2708,
        num_edges=10556,
    ),
    _planetoid(
        'CiteSeer',
        'computer science papers and citations, by topic',
        num_nodes=3327,
        num_edges=9104,
    ),
    _planetoid(
        'PubMed',
        'diabetes papers and citations, by kind of diabetes',
        num_nodes=19717,
        num_edges=88648,
    ),
    _downloaded(
        'Photo',
        'photo equipment bought together, by category',
        num_nodes=7650,
        num_edges=238162,
        loader=_load_amazon,
        raw_files=['amazon_electronics_photo.npz'],
        split_seed=_AMAZON_SPLIT,
    ),
    _downloaded(
        'Computers',
        'computer equipment bought together, by category',
        num_nodes=13752,
        num_edges=491722,
        loader=_load_amazon,
        raw_files=['amazon_electronics_computers.npz'],
        split_seed=_AMAZON_SPLIT,
    ),
    _downloaded(
        'CS',
        'computer scientists who wrote papers together, by field',
        num_nodes=18333,
        num_edges=163788,
        loader=_load_coauthor,
        raw_files=['ms_academic_cs.npz'],
    ),
    _downloaded(
        'Physics',
        'physicists who wrote papers together, by field',
        num_nodes=34493,
        num_edges=495924,
        loader=_load_coauthor,
        raw_files=['ms_academic_phy.npz'],
    ),
]

#: All datasets, by name.
DATASETS: dict[str, DatasetInfo] = {info.name: info for info in _ENTRIES}
