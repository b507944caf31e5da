"""The datasets, by name."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

from spikegraph.zoo.datasets import images, node, ogb
from spikegraph.zoo.datasets.entries import (
    DatasetInfo,
    GraphDataset,
    ImageDataset,
    NodeDataset,
)
from spikegraph.zoo.datasets.files import default_root, load_files

#: The datasets of images, by name.
IMAGE_DATASETS: dict[str, DatasetInfo] = {info.name: info for info in images.ENTRIES}

#: All datasets, by name. The digits are a graph here, and images in
#: :obj:`IMAGE_DATASETS`.
DATASETS: dict[str, DatasetInfo] = {
    info.name: info for info in [*node.ENTRIES, *ogb.ENTRIES]
}
DATASETS |= {name: IMAGE_DATASETS[name] for name in ('mnist', 'cifar10')}


def load_dataset(
    name: str, root: str | os.PathLike[str] | None = None, seed: int | None = None
) -> NodeDataset | GraphDataset | ImageDataset:
    r"""Loads a dataset, and downloads it if its files are not there.

    Args:
        name (str): One of :obj:`DATASETS`.
        root (str or os.PathLike, optional): The folder that holds the
            datasets; those that are embedded need none. With :obj:`None`, that
            of :func:`default_root`. (default: :obj:`None`)
        seed (int, optional): The seed of the split, for datasets that have no
            public one. It has nothing to do with that of a model.
            (default: :obj:`None`, the dataset's :obj:`split_seed`)

    Returns:
        NodeDataset, GraphDataset or ImageDataset: The graph with its nodes,
        the graphs, or the images.

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
    data = _load(info, root)
    if isinstance(data, (GraphDataset, ImageDataset)):
        return data
    if not info.public_split:
        node.draw_split(data, info.split_seed if seed is None else seed)
    return NodeDataset(
        name=name,
        data=data,
        num_features=data.num_features,
        num_classes=int(data.y.max()) + 1,
        description=info.description,
    )


def load_images(name: str, root: str | os.PathLike[str] | None = None) -> ImageDataset:
    r"""Loads images, as :func:`load_dataset`.

    Args:
        name (str): One of :obj:`IMAGE_DATASETS`.
        root (str or os.PathLike, optional): The folder that holds the
            datasets. (default: :obj:`None`, that of :func:`default_root`)

    Returns:
        ImageDataset: The images.

    Raises:
        ValueError: If there is no dataset of that name, or it is not of
            images, or its files hold something else.
    """
    info = IMAGE_DATASETS.get(name)
    if info is None:
        raise ValueError(
            f"Expected 'name' to be one of {', '.join(IMAGE_DATASETS)} (got '{name}')"
        )
    return _load(info, root)


def _load(info: DatasetInfo, root: str | os.PathLike[str] | None) -> Any:
    folder = default_root() if root is None else Path(root).expanduser()
    return info.loader(folder) if info.offline else load_files(info, folder)
