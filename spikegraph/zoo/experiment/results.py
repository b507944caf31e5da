"""What an experiment finds."""

from __future__ import annotations

import platform
import statistics
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from spikegraph.conversion import ConversionConfig, SpikingModel
from spikegraph.measurement import Measurement
from spikegraph.zoo.datasets import GraphDataset, ImageDataset
from spikegraph.zoo.experiment.evaluation import (
    BATCH_SIZE,
    CALIBRATION_BATCHES,
    CALIBRATION_IMAGES,
    MEASURED_BATCHES,
)
from spikegraph.zoo.training import Dataset, Recipe, TrainedModel

_PACKAGES = ('torch', 'torch-geometric', 'numpy')


# Of the measurement of the first seed.
_MEASURED = ('layers', 'energy_table', 'energies', 'machines', 'uncounted')


@dataclass
class Run:
    """One trained network, converted, evaluated and measured.

    Args:
        trained (TrainedModel): The network.
        snn (SpikingModel): The converted network.
        measurement (Measurement): Counts and energies of one inference over
            the whole graph, or over some test graphs or images.
        metrics (Dict[str, float]): What :func:`evaluate`,
            :func:`evaluate_graphs` or :func:`evaluate_images` finds; spikes per
            neuron and energy ratios.
        seconds (Dict[str, float]): Wall-clock times of training, conversion
            and the two forward passes.
        peak_memory_bytes (Dict[str, int], optional): By how much memory grows at
            its peak in each of the two forward passes; :obj:`None` in place of a
            number where the system does not tell.
            (default: :obj:`None`, not measured)
    """

    trained: TrainedModel
    snn: SpikingModel
    measurement: Measurement
    metrics: dict[str, float]
    seconds: dict[str, float]
    peak_memory_bytes: dict[str, int | None] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The run as JSON types, in the units of :class:`Experiment`."""
        memory = self.peak_memory_bytes
        return {
            'seed': self.trained.seed,
            'epochs': self.trained.epochs,
            **self.metrics,
            'energy_pj': self.measurement.energy_pj(),
            'seconds': self.seconds,
            **({} if memory is None else {'peak_memory_bytes': memory}),
            'conversion': self.snn.report.to_dict(),
        }


@dataclass
class Experiment:
    """The runs of several seeds on one dataset. Accuracies, ROC-AUC and
    agreement are in percent, the loss is in points, or for regression in the
    unit of the property; energies are in pJ per node, or per graph or image
    where these are classified, unless something else was asked for; times in
    seconds, memory in bytes.

    Args:
        dataset (NodeDataset, GraphDataset or ImageDataset): The dataset.
        recipe (TrainingRecipe, GraphRecipe or ImageRecipe): How the networks were
            built and trained.
        config (ConversionConfig): How they were converted.
        runs (List[Run]): One run per seed.
        weights (str, optional): The file that the network was loaded from;
            :obj:`None` if it was trained. (default: :obj:`None`)
        mirror (bool, optional): Whether mirror images were calibrated on, too.
            (default: :obj:`False`)
    """

    dataset: Dataset
    recipe: Recipe
    config: ConversionConfig
    runs: list[Run]
    weights: str | None = None
    mirror: bool = False

    def summary(self) -> dict[str, Any]:
        """Mean and sample standard deviation (0 for a single seed) of every
        metric, and the latency and number of populations of the first seed.
        """
        snn = self.runs[0].snn
        return {
            **summarize([run.metrics for run in self.runs]),
            'latency_steps': snn.latency_steps,
            'pipelined_steps': snn.pipelined_steps,
            'populations': len(snn.neurons),
        }

    def energy_pj(self) -> dict[str, dict[str, float]]:
        """Mean and standard deviation of the energies, in pJ per node,
        graph or image, as :attr:`energy_per` says."""
        return summarize([run.measurement.energy_pj() for run in self.runs])

    @property
    def energy_per(self) -> str:
        """What energies are divided by."""
        return self.runs[0].measurement.unit

    def seconds(self) -> dict[str, dict[str, float]]:
        """Mean and standard deviation of the wall-clock times."""
        return summarize([run.seconds for run in self.runs])

    def peak_memory_bytes(self) -> dict[str, dict[str, float] | None] | None:
        """Mean and standard deviation of the bytes that the forward passes take at
        their peak, :obj:`None` for those not available; :obj:`None` if nothing was
        measured."""
        if self.runs[0].peak_memory_bytes is None:
            return None
        result: dict[str, dict[str, float] | None] = {}
        for name in self.runs[0].peak_memory_bytes:
            sizes = [(run.peak_memory_bytes or {}).get(name) for run in self.runs]
            known = [{name: float(size)} for size in sizes if size is not None]
            result[name] = summarize(known)[name] if known else None
        return result

    def to_dict(self) -> dict[str, Any]:
        """The experiment as JSON types; ``layers`` holds the operation counts
        of the first seed.
        """
        measurement = self.runs[0].measurement.to_dict()
        memory = self.peak_memory_bytes()
        return {
            **describe(self.dataset, self.recipe),
            'summary': self.summary(),
            'energy_pj': self.energy_pj(),
            'seconds': self.seconds(),
            **({} if memory is None else {'peak_memory_bytes': memory}),
            'seeds': [run.trained.seed for run in self.runs],
            'config': self.config.to_dict(),
            **_mirrored(self),
            'versions': versions(),
            'energy_per': self.energy_per,
            **{k: measurement[k] for k in _MEASURED},
            'per_seed': [run.to_dict() for run in self.runs],
        }


@dataclass
class Sweep:
    """The same trained networks, converted with different codes; units as in
    :class:`Experiment`.

    Args:
        dataset (NodeDataset, GraphDataset or ImageDataset): The dataset.
        recipe (TrainingRecipe, GraphRecipe or ImageRecipe): How the networks were
            built and trained.
        config (ConversionConfig): The options that all cells share.
        seeds (List[int]): The seeds.
        rows (List[Dict[str, Any]]): One entry per cell: ``num_steps``,
            ``base``, ``energy_pj``, ``energy_per`` and what
            :meth:`Experiment.summary` holds.
        weights (str, optional): As in :class:`Experiment`.
            (default: :obj:`None`)
        mirror (bool, optional): As in :class:`Experiment`.
            (default: :obj:`False`)
    """

    dataset: Dataset
    recipe: Recipe
    config: ConversionConfig
    seeds: list[int]
    rows: list[dict[str, Any]]
    weights: str | None = None
    mirror: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The sweep as JSON types."""
        config = self.config.to_dict()
        del config['num_steps'], config['base']
        return {
            **describe(self.dataset, self.recipe),
            'rows': self.rows,
            'seeds': self.seeds,
            'config': config,
            **_mirrored(self),
            'versions': versions(),
        }


def _mirrored(result: Experiment | Sweep) -> dict[str, bool]:
    is_images = isinstance(result.dataset, ImageDataset)
    return {'mirrored_calibration': result.mirror} if is_images else {}


def summarize(values: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and sample standard deviation per key; 0 for a single value."""
    result = {}
    for name in values[0]:
        samples = [item[name] for item in values]
        std = statistics.stdev(samples) if len(samples) > 1 else 0.0
        result[name] = {'mean': statistics.fmean(samples), 'std': std}
    return result


def describe(dataset: Dataset, recipe: Recipe) -> dict[str, Any]:
    """What was trained on what, as JSON types."""
    values = asdict(recipe)
    return {
        'dataset': {
            'name': dataset.name,
            'description': dataset.description,
            **_sizes(dataset),
        },
        'model': {'name': values.pop('model'), **values},
    }


def _sizes(dataset: Dataset) -> dict[str, Any]:
    if isinstance(dataset, ImageDataset):
        num_train, num_test = len(dataset.train_x), len(dataset.test_x)
        return {
            'num_train': num_train,
            'num_test': num_test,
            'image_size': list(dataset.image_size),
            'num_classes': dataset.num_classes,
            'num_calibration': min(num_train, CALIBRATION_IMAGES),
            'num_measured': min(num_test, MEASURED_BATCHES * BATCH_SIZE),
        }
    if isinstance(dataset, GraphDataset):
        num_train, num_test = len(dataset.train), len(dataset.test)
        return {
            'num_train': num_train,
            'num_val': len(dataset.valid),
            'num_test': num_test,
            'num_tasks': dataset.num_tasks,
            'task': dataset.task,
            'metric': dataset.metric,
            'unit': dataset.unit,
            'num_calibration': min(num_train, CALIBRATION_BATCHES * BATCH_SIZE),
            'num_measured': min(num_test, MEASURED_BATCHES * BATCH_SIZE),
        }
    data = dataset.data
    return {
        'num_nodes': data.num_nodes,
        'num_edges': data.num_edges,
        'num_features': dataset.num_features,
        'num_classes': dataset.num_classes,
        'num_train': int(data.train_mask.sum()),
        'num_val': int(data.val_mask.sum()),
        'num_test': int(data.test_mask.sum()),
    }


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that matter."""
    from spikegraph import __version__

    found = {name: version(name) for name in _PACKAGES}
    return {'spikegraph': __version__, 'python': platform.python_version(), **found}
