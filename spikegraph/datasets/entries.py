"""What a dataset is, loaded or not."""

from __future__ import annotations

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
class DatasetInfo:
    r"""An entry of :obj:`DATASETS`.

    Args:
        name (str): The name.
        description (str): What nodes, edges and classes, or graphs and
            properties, are.
        num_nodes (int): The number of nodes of all graphs.
        num_edges (int): The number of directed edges: an undirected one counts
            twice.
        offline (bool): Whether the data come with the installed packages.
        public_split (bool): Whether the split is a published one. If not, it
            is drawn at random: 20 training and 30 validation nodes per class.
        loader (callable): Takes the root folder and returns the graph, or the
            :class:`GraphDataset`.
        raw_files (tuple[str, ...], optional): The files that are downloaded
            unless they are there, relative to the root folder.
            (default: :obj:`()`)
        split_seed (int, optional): The seed of a random split.
            (default: :obj:`0`)
        num_graphs (int, optional): The number of graphs. (default: :obj:`1`)
        processed_file (str, optional): What is made of the raw files, relative
            to the root folder. (default: :obj:`""`)
        release_file (str, optional): One of the raw files, which tells their
            version. (default: :obj:`""`)
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
