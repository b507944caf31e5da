"""Train, convert, evaluate, measure."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

from tqdm import tqdm

from spikegraph.coding.phase_code import check_bools
from spikegraph.conversion import ConversionConfig, convert
from spikegraph.measurement import HOROWITZ_45NM_FP32, EnergyTable, measure
from spikegraph.measurement.units import Unit
from spikegraph.zoo.datasets import GraphDataset, ImageDataset
from spikegraph.zoo.experiment.evaluation import (
    calibration_batches,
    evaluate,
    evaluate_graphs,
    evaluate_images,
    forward_memory,
    measured_batches,
    time_forward,
)
from spikegraph.zoo.experiment.results import Experiment, Run, Sweep
from spikegraph.zoo.models import is_image_task
from spikegraph.zoo.training import (
    Dataset,
    Recipe,
    TrainedModel,
    load_weights,
    prepare,
    train,
)


def run_experiment(
    name: str = 'digits',
    config: ConversionConfig | None = None,
    *,
    model: str | None = None,
    hidden: int | None = None,
    layers: int | None = None,
    seeds: int = 1,
    root: str | PathLike[str] | None = None,
    weights: str | PathLike[str] | None = None,
    profile: bool = False,
    mirror: bool | None = None,
    per: Unit | None = None,
    energy_table: EnergyTable = HOROWITZ_45NM_FP32,
    on_progress: Callable[[Experiment], object] | None = None,
    progress: bool = False,
) -> Experiment:
    """Trains networks on a dataset, converts them, and finds what that cost.

    Args:
        name (str, optional): The dataset. (default: :obj:`"digits"`)
        config (ConversionConfig, optional): How to convert.
            (default: :func:`default_config`)
        model (str, optional): One of :obj:`~spikegraph.zoo.models.NODE_MODELS`, for
            molecules of :obj:`~spikegraph.zoo.models.GRAPH_MODELS`, for images of
            :obj:`~spikegraph.zoo.models.IMAGE_MODELS`. (default: :obj:`None`, see
            :func:`~spikegraph.zoo.models.get_recipe`)
        hidden (int, optional): Features of a hidden layer, or channels of the
            first convolution of images.
            (default: :obj:`None`, what the dataset's recipe says)
        layers (int, optional): The number of layers.
            (default: :obj:`None`, what the dataset's recipe says)
        seeds (int, optional): How many networks are trained, with the seeds
            0, 1, ... The split of the data stays the same.
            (default: :obj:`1`)
        root (str or os.PathLike, optional): The folder of the datasets.
            (default: :func:`~spikegraph.zoo.datasets.default_root`)
        weights (str or os.PathLike, optional): The state dict of the network,
            which is then not trained. (default: :obj:`None`)
        profile (bool, optional): Whether the peak memory of a forward pass is
            measured, too. (default: :obj:`False`)
        mirror (bool, optional): Whether mirror images of the calibration images
            are calibrated on, too.
            (default: :obj:`None`, where the dataset says that they look alike)
        per (str, optional): What energies are divided by: :obj:`"node"` or
            :obj:`"graph"`, of images :obj:`"image"`.
            (default: :obj:`None`, see :func:`~spikegraph.measurement.measure`)
        energy_table (EnergyTable, optional): The energies of single operations.
            (default: :obj:`HOROWITZ_45NM_FP32`)
        on_progress (callable, optional): Called after every seed with the
            experiment so far, so that an interrupt loses no finished one.
            (default: :obj:`None`)
        progress (bool, optional): Whether bars are shown. (default: :obj:`False`)

    Returns:
        Experiment: The runs.

    Raises:
        ValueError: If an option is out of range or the dataset unknown.
        FileNotFoundError: If files are missing and cannot be downloaded.
    """
    check_bools(profile=profile, progress=progress)
    config = (config or ConversionConfig()).resolve(is_image_task(name, model))
    dataset, recipe = prepare(
        name, hidden, layers, seeds, root, model, loads_weights=weights is not None
    )
    mirror = _mirror(dataset, mirror)
    _check_unit(dataset, per)
    result = Experiment(dataset, recipe, config, [], _path(weights), mirror)
    for seed in tqdm(range(seeds), 'Seeds', leave=False, disable=not progress):
        trained = _network(dataset, recipe, seed, weights, progress)
        run = run_conversion(
            trained, dataset, config, progress, profile, mirror, per, energy_table
        )
        result = replace(result, runs=[*result.runs, run])
        if on_progress is not None:
            on_progress(result)
    return result


def run_sweep(
    name: str,
    num_steps: Sequence[int],
    bases: Sequence[Any],
    config: ConversionConfig | None = None,
    *,
    model: str | None = None,
    hidden: int | None = None,
    layers: int | None = None,
    seeds: int = 1,
    root: str | PathLike[str] | None = None,
    weights: str | PathLike[str] | None = None,
    mirror: bool | None = None,
    per: Unit | None = None,
    energy_table: EnergyTable = HOROWITZ_45NM_FP32,
    on_progress: Callable[[Sweep], object] | None = None,
    progress: bool = False,
) -> Sweep:
    """Converts the same networks with every number of steps and every base.

    Args:
        name (str): The dataset.
        num_steps (Sequence[int]): The numbers of time steps.
        bases (Sequence[float or str]): The bases, numbers or :obj:`"auto"`.
        config (ConversionConfig, optional): The other options.
            (default: :func:`default_config`)
        model, hidden, layers, seeds, root, weights, mirror, per, energy_table, progress:
            See :func:`run_experiment`.
        on_progress (callable, optional): Called after every cell with the sweep
            so far. (default: :obj:`None`)

    Returns:
        Sweep: One row per cell. Every network is trained only once.

    Raises:
        ValueError: If an option is out of range or the dataset unknown.
        FileNotFoundError: If files are missing and cannot be downloaded.
    """
    check_bools(progress=progress)
    config = replace(config or ConversionConfig(), base=_first_number(bases))
    config = config.resolve(is_image_task(name, model))
    cells = [replace(config, num_steps=t, base=q) for t in num_steps for q in bases]
    if not cells:
        raise ValueError(
            "Expected 'num_steps' and 'bases' to hold a value each (got "
            f'{list(num_steps)} and {list(bases)})'
        )
    dataset, recipe = prepare(
        name, hidden, layers, seeds, root, model, loads_weights=weights is not None
    )
    mirror = _mirror(dataset, mirror)
    _check_unit(dataset, per)
    models = [
        _network(dataset, recipe, seed, weights, progress) for seed in range(seeds)
    ]
    numbers = list(range(seeds))
    result = Sweep(dataset, recipe, config, numbers, [], _path(weights), mirror)
    for cell in tqdm(cells, 'Conversions', leave=False, disable=not progress):
        runs = [
            run_conversion(
                trained,
                dataset,
                cell,
                progress,
                mirror=mirror,
                per=per,
                energy_table=energy_table,
            )
            for trained in models
        ]
        one = Experiment(dataset, recipe, cell, runs)
        row = {'num_steps': cell.num_steps, 'base': cell.base}
        row = {**row, **one.summary(), 'energy_pj': one.energy_pj()}
        row['energy_per'] = one.energy_per
        result = replace(result, rows=[*result.rows, row])
        if on_progress is not None:
            on_progress(result)
    return result


def default_config(
    name: str, model: str | None = None, **options: Any
) -> ConversionConfig:
    """How the network of a dataset is converted unless told otherwise: where it
    classifies images with one scale per channel, and with fitted levels unless a
    base or a scale is given.

    Args:
        name (str): The dataset.
        model (str, optional): The model. (default: :obj:`None`, the dataset's)
        **options (Any): Other arguments of :class:`ConversionConfig`.

    Returns:
        ConversionConfig: The configuration.
    """
    return ConversionConfig(**options).resolve(is_image_task(name, model))


def _first_number(bases: Sequence[Any]) -> Any:
    return next((base for base in bases if base != 'auto'), 'auto')


def _mirror(dataset: Dataset, mirror: bool | None) -> bool:
    is_images = isinstance(dataset, ImageDataset)
    if mirror is None:
        return isinstance(dataset, ImageDataset) and dataset.mirrored
    check_bools(mirror=mirror)
    if mirror and not is_images:
        raise ValueError(
            f"Expected 'mirror' to be None or False for '{dataset.name}', whose inputs "
            'are no images (got True)'
        )
    return mirror


def _check_unit(dataset: Dataset, per: Unit | None) -> None:
    """Before a network is trained, and not after it."""
    units = ('image',) if isinstance(dataset, ImageDataset) else ('node', 'graph')
    if per is not None and per not in units:
        raise ValueError(
            f"Expected 'per' to be {' or '.join(map(repr, units))} for "
            f"'{dataset.name}' (got {per!r})"
        )


def _network(
    dataset: Dataset,
    recipe: Recipe,
    seed: int,
    weights: str | PathLike[str] | None,
    progress: bool,
) -> TrainedModel:
    if weights is None:
        return train(dataset, recipe, seed, progress)
    return load_weights(dataset, recipe, weights)


def _path(weights: str | PathLike[str] | None) -> str | None:
    return None if weights is None else str(weights)


def run_conversion(
    trained: TrainedModel,
    dataset: Dataset,
    config: ConversionConfig,
    progress: bool = False,
    profile: bool = False,
    mirror: bool = False,
    per: Unit | None = None,
    energy_table: EnergyTable = HOROWITZ_45NM_FP32,
) -> Run:
    """Converts a network, calibrated on no label, evaluates it on the test nodes,
    graphs or images and measures it.

    A node classifier is calibrated on the features of the whole graph and measured
    on all nodes; a network for molecules or images is calibrated on some training
    graphs or images and measured on some for testing. With :obj:`profile`, the peak
    memory of a forward pass of each network is measured, too.
    """
    check_bools(progress=progress, profile=profile, mirror=mirror)
    model = trained.model
    calibration: Any
    if isinstance(dataset, (GraphDataset, ImageDataset)):
        calibration = calibration_batches(dataset, mirror)
        measured = measured_batches(dataset)
    else:
        calibration, measured = dataset.data, [dataset.data]
    start = time.perf_counter()
    snn = convert(model, calibration, config, progress)
    seconds = {
        'training': trained.seconds,
        'conversion': time.perf_counter() - start,
        'ann_forward': time_forward(model, measured[0]),
        'snn_forward': time_forward(snn, measured[0]),
    }
    memory: dict[str, int | None] | None = None
    if profile:
        memory = {
            'ann_forward': forward_memory(model, measured[0]),
            'snn_forward': forward_memory(snn, measured[0]),
        }
    measurement = measure(snn, measured, model, energy_table, per)
    if isinstance(dataset, GraphDataset):
        found = evaluate_graphs(snn, dataset, model, progress)
    elif isinstance(dataset, ImageDataset):
        found = evaluate_images(snn, dataset, model, progress)
    else:
        found = evaluate(snn, dataset.data, model)
    metrics = {
        **found,
        'spikes_per_neuron': measurement.spikes_per_neuron,
        'delays': measurement.total.delays,
        **measurement.energy_ratios(),
    }
    return Run(trained, snn, measurement, metrics, seconds, memory)
