"""The graphs of the examples and benchmarks, by name."""

from spikegraph.datasets.entries import DatasetInfo, GraphDataset, NodeDataset
from spikegraph.datasets.files import default_root
from spikegraph.datasets.registry import DATASETS, load_dataset

__all__ = [
    'DATASETS',
    'DatasetInfo',
    'GraphDataset',
    'NodeDataset',
    'default_root',
    'load_dataset',
]
