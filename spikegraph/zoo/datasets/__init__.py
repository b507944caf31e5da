"""The graphs and images of the examples and benchmarks, by name or generated."""

from spikegraph.zoo.datasets.entries import (
    DatasetInfo,
    GraphDataset,
    ImageDataset,
    NodeDataset,
)
from spikegraph.zoo.datasets.files import default_root
from spikegraph.zoo.datasets.generated import power_law_graph
from spikegraph.zoo.datasets.registry import (
    DATASETS,
    IMAGE_DATASETS,
    load_dataset,
    load_images,
)

__all__ = [
    'DATASETS',
    'DatasetInfo',
    'GraphDataset',
    'IMAGE_DATASETS',
    'ImageDataset',
    'NodeDataset',
    'default_root',
    'load_dataset',
    'load_images',
    'power_law_graph',
]
