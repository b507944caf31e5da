"""What a dataset is, loaded or not."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch_geometric.data import Data


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
class GraphDataset:
    r"""Graphs of which properties are to be predicted.

    Args:
        name (str): The name in :obj:`DATASETS`.
        train (Sequence[torch_geometric.data.Data]): The training graphs:
            :obj:`x`, :obj:`edge_index`, :obj:`edge_attr` and :obj:`y`
            :math:`(1, P)`.
        valid (Sequence[torch_geometric.data.Data]): The validation graphs.
        test (Sequence[torch_geometric.data.Data]): The test graphs.
        num_tasks (int): The number :math:`P` of properties.
        task (str): :obj:`"classification"` (every property is true or false,
            or NaN where it is not known) or :obj:`"regression"`.
        metric (str): The metric of the dataset: :obj:`"rocauc"` or
            :obj:`"rmse"`.
        evaluator (ogb.graphproppred.Evaluator): Computes the metric.
        description (str): What graphs and properties are.
        unit (str, optional): The unit of a property, if there is one.
            (default: :obj:`""`)
    """

    name: str
    train: Sequence[Data]
    valid: Sequence[Data]
    test: Sequence[Data]
    num_tasks: int
    task: str
    metric: str
    evaluator: Any
    description: str
    unit: str = ''

    def evaluate(self, y_true: Tensor, y_pred: Tensor) -> float:
        r"""Computes the metric of the dataset.

        Args:
            y_true (torch.Tensor): The labels :math:`(G, P)`.
            y_pred (torch.Tensor): The scores :math:`(G, P)`.

        Returns:
            float: ROC-AUC in :math:`[0, 1]`, or the root mean squared error.
        """
        result = self.evaluator.eval({'y_true': y_true, 'y_pred': y_pred})
        return float(result[self.metric])


@dataclass(frozen=True)
class ImageDataset:
    r"""Images that are to be classified. They stay bytes until a batch is
    normalized.

    Args:
        name (str): The name in :obj:`IMAGE_DATASETS`.
        train_x (torch.Tensor): The training images
            :math:`(N, C, H, W)`, uint8.
        train_y (torch.Tensor): Their classes :math:`(N)`.
        test_x (torch.Tensor): The test images.
        test_y (torch.Tensor): Their classes.
        num_classes (int): The number of classes.
        description (str): What images and classes are.
        mean (tuple[float, ...], optional): What is subtracted from the values
            of every channel, once they are in :math:`[0, 1]`.
            (default: :obj:`(0.0,)`)
        std (tuple[float, ...], optional): What they are then divided by.
            (default: :obj:`(1.0,)`)
        white (int, optional): The byte that stands for :obj:`1`.
            (default: :obj:`255`)
        mirrored (bool, optional): Whether the mirror image of an image looks like
            another image of the same class, as that of a photograph does.
            (default: :obj:`False`)
    """

    name: str
    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    num_classes: int
    description: str
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    white: int = 255
    mirrored: bool = False

    @property
    def image_size(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.train_x.shape[1:]
        return channels, height, width

    def normalize(self, x: Tensor) -> Tensor:
        r"""Turns images into what a network takes.

        Args:
            x (torch.Tensor): Some images :math:`(N, C, H, W)`, uint8.

        Returns:
            torch.Tensor: Their values, float32, in a tensor of that shape.
        """
        import torch

        mean, std = torch.tensor([self.mean, self.std], device=x.device)
        x = x.float() / self.white
        return (x - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)


@dataclass(frozen=True)
class DatasetInfo:
    r"""An entry of :obj:`DATASETS`.

    Args:
        name (str): The name.
        description (str): What nodes, edges and classes, or graphs and
            properties, or images, are.
        num_nodes (int): The number of nodes of all graphs; :obj:`0` for images.
        num_edges (int): The number of directed edges: an undirected one counts
            twice.
        offline (bool): Whether the data come with the installed packages.
        public_split (bool): Whether the split is a published one. If not, it
            is drawn at random: 20 training and 30 validation nodes per class,
            or 500 test images.
        loader (callable): Takes the root folder and returns the graph, the
            :class:`GraphDataset` or the :class:`ImageDataset`.
        raw_files (tuple[str, ...], optional): The files that are downloaded
            unless they are there, relative to the root folder.
            (default: :obj:`()`)
        other_files (tuple[tuple[str, ...], ...], optional): Sets of files that
            do as well, the best first. (default: :obj:`()`)
        split_seed (int, optional): The seed of a random split.
            (default: :obj:`0`)
        num_graphs (int, optional): The number of graphs. (default: :obj:`1`)
        processed_file (str, optional): What is made of the raw files, relative
            to the root folder. (default: :obj:`""`)
        release_file (str, optional): One of the raw files, which tells their
            version. (default: :obj:`""`)
        num_images (int, optional): The number of images. (default: :obj:`0`)
        image_size (tuple[int, int, int], optional): Their channels, height and
            width. (default: :obj:`(0, 0, 0)`)
        subset_files (tuple[str, ...], optional): Which of :obj:`other_files`
            hold only some of the images. (default: :obj:`()`)
        num_features (int, optional): The number of features of a node; :obj:`0`
            where nothing is published. (default: :obj:`0`)
        num_classes (int, optional): The number of classes of nodes.
            (default: :obj:`0`)
        split_sizes (tuple[int, ...], optional): The numbers of training,
            validation and test nodes of a public split. (default: :obj:`()`)
        check_raw (callable, optional): Takes this entry and the root folder and
            raises :class:`~spikegraph.zoo.datasets.reading.BadFile` where raw files are
            not whole or do not fit each other. (default: :obj:`None`)
    """

    name: str
    description: str
    num_nodes: int
    num_edges: int
    offline: bool
    public_split: bool
    loader: Callable[[Path], Any]
    raw_files: tuple[str, ...] = ()
    split_seed: int = 0
    num_graphs: int = 1
    processed_file: str = ''
    release_file: str = ''
    other_files: tuple[tuple[str, ...], ...] = ()
    num_images: int = 0
    image_size: tuple[int, int, int] = (0, 0, 0)
    subset_files: tuple[str, ...] = ()
    num_features: int = 0
    num_classes: int = 0
    split_sizes: tuple[int, ...] = ()
    check_raw: Callable[[DatasetInfo, Path], None] | None = None

    def has_subset(self, root: Path) -> bool:
        """Whether what is read from a folder is only a part of the dataset."""
        subset = [root / file for file in self.subset_files]
        return len(subset) > 0 and self.files(root) == subset

    def files(self, root: Path) -> list[Path]:
        """Returns the files that are read: of all sets the first that is complete,
        or else those that are downloaded."""
        for files in (*self.other_files, self.raw_files):
            paths = [root / file for file in files]
            if all(os.path.exists(path) for path in paths):
                break
        return paths
