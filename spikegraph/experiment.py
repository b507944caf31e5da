"""Train, convert, evaluate, measure: one network, several seeds, or a sweep."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from os import PathLike
from typing import Any

import torch
from torch import nn
from torch_geometric.data import Data
from tqdm import tqdm

from spikegraph.conversion import ConversionConfig, SpikingModel, convert
from spikegraph.datasets import NodeDataset
from spikegraph.measurement import Measurement, measure
from spikegraph.models import TrainingRecipe
from spikegraph.training import TrainedModel, load_weights, prepare, train

_PACKAGES = ('torch', 'torch-geometric', 'numpy')
_TIMED_CALLS = 3


@dataclass
class Run:
    """One trained network, converted, evaluated and measured.

    Args:
        trained (TrainedModel): The network.
        snn (SpikingModel): The converted network.
        measurement (Measurement): Counts and energies of one inference over
            the whole graph.
        metrics (Dict[str, float]): What :func:`evaluate` finds on the test
            nodes; spikes per neuron and energy ratios of the whole graph.
        seconds (Dict[str, float]): Wall-clock times of training, conversion
            and the two forward passes.
    """

    trained: TrainedModel
    snn: SpikingModel
    measurement: Measurement
    metrics: dict[str, float]
    seconds: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The run as JSON types, in the units of :class:`Experiment`."""
        return {
            'seed': self.trained.seed,
            'epochs': self.trained.epochs,
            **self.metrics,
            'energy_pj': self.measurement.energy_pj(),
            'seconds': self.seconds,
            'conversion': self.snn.report.to_dict(),
        }


@dataclass
class Experiment:
    """The runs of several seeds on one dataset. Accuracies and agreement are
    in percent, the loss is in points, energies are in pJ per node, times in
    seconds.

    Args:
        dataset (NodeDataset): The dataset.
        recipe (TrainingRecipe): How the networks were built and trained.
        config (ConversionConfig): How they were converted.
        runs (List[Run]): One run per seed.
    """

    dataset: NodeDataset
    recipe: TrainingRecipe
    config: ConversionConfig
    runs: list[Run]

    def summary(self) -> dict[str, Any]:
        """Mean and sample standard deviation (0 for a single seed) of every
        metric, and the latency and number of populations of the first seed.
        """
        snn = self.runs[0].snn
        return {
            **summarize([run.metrics for run in self.runs]),
            'latency_steps': snn.latency_steps,
            'populations': len(snn.neurons),
        }

    def energy_pj(self) -> dict[str, dict[str, float]]:
        """Mean and standard deviation of the energies, in pJ per node."""
        return summarize([run.measurement.energy_pj() for run in self.runs])

    def seconds(self) -> dict[str, dict[str, float]]:
        """Mean and standard deviation of the wall-clock times."""
        return summarize([run.seconds for run in self.runs])

    def to_dict(self) -> dict[str, Any]:
        """The experiment as JSON types; ``layers`` holds the operation counts
        of the first seed.
        """
        measurement = self.runs[0].measurement.to_dict()
        return {
            **describe(self.dataset, self.recipe),
            'summary': self.summary(),
            'energy_pj': self.energy_pj(),
            'seconds': self.seconds(),
            'seeds': [run.trained.seed for run in self.runs],
            'config': self.config.to_dict(),
            'versions': versions(),
            **{k: measurement[k] for k in ('layers', 'energy_table', 'uncounted')},
            'per_seed': [run.to_dict() for run in self.runs],
        }


@dataclass
class Sweep:
    """The same trained networks, converted with different codes; units as in
    :class:`Experiment`.

    Args:
        dataset (NodeDataset): The dataset.
        recipe (TrainingRecipe): How the networks were built and trained.
        config (ConversionConfig): The options that all cells share.
        seeds (List[int]): The seeds.
        rows (List[Dict[str, Any]]): One entry per cell: ``num_steps``,
            ``base``, ``energy_pj`` and what :meth:`Experiment.summary` holds.
    """

    dataset: NodeDataset
    recipe: TrainingRecipe
    config: ConversionConfig
    seeds: list[int]
    rows: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """The sweep as JSON types."""
        config = self.config.to_dict()
        del config['num_steps'], config['base']
        return {
            **describe(self.dataset, self.recipe),
            'rows': self.rows,
            'seeds': self.seeds,
            'config': config,
            'versions': versions(),
        }


def run_experiment(
    name: str = 'digits',
    config: ConversionConfig | None = None,
    *,
    hidden: int | None = None,
    layers: int | None = None,
    seeds: int = 1,
    root: str | PathLike[str] | None = None,
    weights: str | PathLike[str] | None = None,
    progress: bool = True,
) -> Experiment:
    """Trains networks on a dataset, converts them, and finds what that cost.

    Args:
        name (str, optional): The dataset. (default: :obj:`"digits"`)
        config (ConversionConfig, optional): How to convert.
            (default: :obj:`ConversionConfig()`)
        hidden (int, optional): Features of a hidden layer.
            (default: :obj:`None`, what the dataset's recipe says)
        layers (int, optional): The number of layers.
            (default: :obj:`None`, what the dataset's recipe says)
        seeds (int, optional): How many networks are trained, with the seeds
            0, 1, ... The split of the data stays the same.
            (default: :obj:`1`)
        root (str or os.PathLike, optional): The folder of the datasets.
            (default: :func:`~spikegraph.datasets.default_root`)
        progress (bool, optional): Whether bars are shown. (default: :obj:`True`)

    Returns:
        Experiment: The runs.

    Raises:
        ValueError: If an option is out of range or the dataset unknown.
        FileNotFoundError: If files are missing and cannot be downloaded.
    """
    config = ConversionConfig() if config is None else config
    dataset, recipe = prepare(name, hidden, layers, seeds, root)
    if weights is not None:
        if seeds != 1:
            raise ValueError(f"Expected 'seeds' to be 1 with 'weights' (got {seeds})")
        trained = load_weights(dataset, recipe, weights)
        run = run_conversion(trained, dataset, config)
        return Experiment(dataset, recipe, config, [run])
    runs = []
    for seed in tqdm(range(seeds), 'Seeds', leave=False, disable=not progress):
        trained = train(dataset, recipe, seed, progress)
        runs.append(run_conversion(trained, dataset, config))
    return Experiment(dataset, recipe, config, runs)


def run_sweep(
    name: str,
    num_steps: Sequence[int],
    bases: Sequence[Any],
    config: ConversionConfig | None = None,
    *,
    hidden: int | None = None,
    layers: int | None = None,
    seeds: int = 1,
    root: str | PathLike[str] | None = None,
    progress: bool = True,
) -> Sweep:
    """Converts the same networks with every number of steps and every base.

    Args:
        name (str): The dataset.
        num_steps (Sequence[int]): The numbers of time steps.
        bases (Sequence[float or str]): The bases, numbers or :obj:`"auto"`.
        config (ConversionConfig, optional): The other options.
            (default: :obj:`ConversionConfig()`)
        hidden, layers, seeds, root, progress: See :func:`run_experiment`.

    Returns:
        Sweep: One row per cell. Every network is trained only once.

    Raises:
        ValueError: If an option is out of range or the dataset unknown.
        FileNotFoundError: If files are missing and cannot be downloaded.
    """
    config = ConversionConfig() if config is None else config
    cells = [replace(config, num_steps=t, base=q) for t in num_steps for q in bases]
    if not cells:
        raise ValueError(
            "Expected 'num_steps' and 'bases' to hold a value each (got "
            f'{list(num_steps)} and {list(bases)})'
        )
    dataset, recipe = prepare(name, hidden, layers, seeds, root)
    models = [train(dataset, recipe, seed, progress) for seed in range(seeds)]
    rows = []
    for cell in tqdm(cells, 'Conversions', leave=False, disable=not progress):
        runs = [run_conversion(trained, dataset, cell) for trained in models]
        one = Experiment(dataset, recipe, cell, runs)
        row = {'num_steps': cell.num_steps, 'base': cell.base}
        rows.append({**row, **one.summary(), 'energy_pj': one.energy_pj()})
    return Sweep(dataset, recipe, config, list(range(seeds)), rows)


def run_conversion(
    trained: TrainedModel, dataset: NodeDataset, config: ConversionConfig
) -> Run:
    """Converts a network, calibrated on the features of the whole graph and on
    no label, evaluates it on the test nodes and measures it.
    """
    model, data = trained.model, dataset.data
    start = time.perf_counter()
    snn = convert(model, data, config)
    seconds = {
        'training': trained.seconds,
        'conversion': time.perf_counter() - start,
        'ann_forward': _time_forward(model, data),
        'snn_forward': _time_forward(snn, data),
    }
    measurement = measure(model, snn, data)
    metrics = {
        **evaluate(model, snn, data),
        'spikes_per_neuron': measurement.spikes_per_neuron,
        **measurement.energy_ratios(),
    }
    return Run(trained, snn, measurement, metrics, seconds)


@torch.no_grad()
def evaluate(model: nn.Module, snn: SpikingModel, data: Data) -> dict[str, float]:
    r"""Compares a network with its spiking twin on the test nodes.

    Args:
        model (torch.nn.Module): The ANN, in evaluation mode.
        snn (SpikingModel): The converted network.
        data (torch_geometric.data.Data): The graph, with :obj:`y` and
            :obj:`test_mask`.

    Returns:
        Dict[str, float]: ``ann_accuracy``, ``snn_accuracy`` and ``agreement``
        (same prediction as the ANN) in percent, ``loss_points`` (the first
        minus the second), and ``logit_relative_error``
        :math:`\|Y_{SNN} - Y_{ANN}\| / \|Y_{ANN}\|`.

    Raises:
        ValueError: If there is no test node.
    """
    mask = data.test_mask
    if not bool(mask.any()):
        raise ValueError(
            "Expected 'data.test_mask' to select at least one node (got 0)"
        )
    ann_out = model(data.x, data.edge_index)[mask].double()
    snn_out = snn(data.x, data.edge_index)[mask].double()
    ann, spiking, y = ann_out.argmax(-1), snn_out.argmax(-1), data.y[mask]
    num_ann, num_snn = int((ann == y).sum()), int((spiking == y).sum())
    num_same = int((ann == spiking).sum())
    size = ann_out.norm().clamp(min=torch.finfo(torch.double).tiny)
    return {
        'ann_accuracy': 100 * num_ann / y.numel(),
        'snn_accuracy': 100 * num_snn / y.numel(),
        'loss_points': 100 * (num_ann - num_snn) / y.numel(),
        'agreement': 100 * num_same / y.numel(),
        'logit_relative_error': float((snn_out - ann_out).norm() / size),
    }


def summarize(values: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and sample standard deviation per key; 0 for a single value."""
    result = {}
    for name in values[0]:
        samples = [item[name] for item in values]
        std = statistics.stdev(samples) if len(samples) > 1 else 0.0
        result[name] = {'mean': statistics.fmean(samples), 'std': std}
    return result


def describe(dataset: NodeDataset, recipe: TrainingRecipe) -> dict[str, Any]:
    """What was trained on what, as JSON types."""
    data = dataset.data
    return {
        'dataset': {
            'name': dataset.name,
            'description': dataset.description,
            'num_nodes': data.num_nodes,
            'num_edges': data.num_edges,
            'num_features': dataset.num_features,
            'num_classes': dataset.num_classes,
            'num_train': int(data.train_mask.sum()),
            'num_val': int(data.val_mask.sum()),
            'num_test': int(data.test_mask.sum()),
        },
        'model': {'name': 'gcn', **asdict(recipe)},
    }


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that matter."""
    from spikegraph import __version__

    found = {name: version(name) for name in _PACKAGES}
    return {'spikegraph': __version__, 'python': platform.python_version(), **found}


@torch.no_grad()
def _time_forward(model: nn.Module, data: Data) -> float:
    """The median wall-clock time of an inference over the whole graph."""
    model(data.x, data.edge_index)  # Compiles kernels, fills caches.
    times = []
    for _ in range(_TIMED_CALLS):
        start = time.perf_counter()
        model(data.x, data.edge_index)
        times.append(time.perf_counter() - start)
    return statistics.median(times)
