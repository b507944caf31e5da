"""What conversion changes, in the metric of the task."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from tqdm import tqdm

from spikegraph.calls.deprecation import takes_old_order
from spikegraph.coding.phase_code import check_bools
from spikegraph.measurement import peak_memory
from spikegraph.running.model import SpikingModel
from spikegraph.zoo.datasets import GraphDataset, ImageDataset
from spikegraph.zoo.models import predict

_TIMED_CALLS = 3

#: How many graphs or images are in a batch, in how many of these a network for
#: molecules is calibrated, and in how many it is measured.
BATCH_SIZE, CALIBRATION_BATCHES, MEASURED_BATCHES = 128, 8, 4
#: How many images a network for images is calibrated on: as many of ten classes each.
CALIBRATION_IMAGES = 1020


@takes_old_order(SpikingModel, 'model', 'snn', 'data')
@torch.no_grad()
def evaluate(snn: SpikingModel, data: Data, model: nn.Module) -> dict[str, float]:
    r"""Compares a network with its spiking twin on the test nodes.

    Args:
        snn (SpikingModel): The converted network.
        data (torch_geometric.data.Data): The graph, with :obj:`y` and
            :obj:`test_mask`.
        model (torch.nn.Module): The ANN, in evaluation mode.

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
    ann = model(data.x, data.edge_index)[mask]
    return compare(ann, snn(data.x, data.edge_index)[mask], data.y[mask])


def compare(ann_out: Tensor, snn_out: Tensor, y: Tensor) -> dict[str, float]:
    """Accuracies and agreement in percent, the loss in points, and the logit error."""
    ann, spiking = ann_out.argmax(-1), snn_out.argmax(-1)
    num_ann, num_snn = int((ann == y).sum()), int((spiking == y).sum())
    num_same = int((ann == spiking).sum())
    return {
        'ann_accuracy': 100 * num_ann / y.numel(),
        'snn_accuracy': 100 * num_snn / y.numel(),
        'loss_points': 100 * (num_ann - num_snn) / y.numel(),
        'agreement': 100 * num_same / y.numel(),
        'logit_relative_error': _relative_error(ann_out.double(), snn_out.double()),
    }


@takes_old_order(SpikingModel, 'model', 'snn', 'dataset', 'progress')
@torch.no_grad()
def evaluate_images(
    snn: nn.Module, dataset: ImageDataset, model: nn.Module, progress: bool = False
) -> dict[str, float]:
    r"""Compares a network with its spiking twin on the test images.

    Args:
        snn (SpikingModel): The converted network.
        dataset (ImageDataset): The images.
        model (torch.nn.Module): The ANN, in evaluation mode.
        progress (bool, optional): Whether a bar is shown.
            (default: :obj:`False`)

    Returns:
        Dict[str, float]: What :func:`evaluate` returns.

    Raises:
        ValueError: If there is no test image.
    """
    check_bools(progress=progress)
    if len(dataset.test_x) == 0:
        raise ValueError("Expected 'dataset.test_x' to hold at least one image (got 0)")
    outs = []
    for name, network in (('ANN', model), ('SNN', snn)):
        batches = tqdm(
            dataset.test_x.split(BATCH_SIZE),
            f'Testing the {name}',
            leave=False,
            disable=not progress,
        )
        outs.append(torch.cat([network(dataset.normalize(x)) for x in batches]))
    return compare(outs[0], outs[1], dataset.test_y)


@takes_old_order(SpikingModel, 'model', 'snn', 'dataset', 'progress')
def evaluate_graphs(
    snn: nn.Module, dataset: GraphDataset, model: nn.Module, progress: bool = False
) -> dict[str, float]:
    r"""Compares a network with its spiking twin on the test graphs, in the metric
    of the dataset.

    Args:
        snn (SpikingModel): The converted network.
        dataset (GraphDataset): The graphs.
        model (torch.nn.Module): The ANN, in evaluation mode.
        progress (bool, optional): Whether a bar is shown.
            (default: :obj:`False`)

    Returns:
        Dict[str, float]: For classification ``ann_rocauc``, ``snn_rocauc`` and
        ``agreement`` (same sign of the logit as the ANN) in percent and
        ``loss_points`` (the first minus the second). For regression
        ``ann_rmse``, ``snn_rmse`` and ``loss_rmse`` (the second minus the
        first) in the unit of the property, ``loss_percent`` of the ANN's, and
        ``correlation`` of both networks' values. For both
        ``logit_relative_error`` :math:`\|Y_{SNN} - Y_{ANN}\| / \|Y_{ANN}\|`.

    Raises:
        ValueError: If there is no test graph.
    """
    check_bools(progress=progress)
    if len(dataset.test) == 0:
        raise ValueError("Expected 'dataset.test' to hold at least one graph (got 0)")
    loader = DataLoader(list(dataset.test), batch_size=BATCH_SIZE)
    outs: dict[str, Tensor] = {}
    for name, network in (('ann', model), ('snn', snn)):
        batches = tqdm(
            loader, f'Testing the {name.upper()}', leave=False, disable=not progress
        )
        y, outs[name] = predict(network, batches)
    ann, spiking = outs['ann'], outs['snn']
    ann_score, snn_score = dataset.evaluate(y, ann), dataset.evaluate(y, spiking)
    error = {'logit_relative_error': _relative_error(ann.double(), spiking.double())}
    if dataset.task == 'regression':
        both = torch.stack([ann.double().view(-1), spiking.double().view(-1)])
        return {
            f'ann_{dataset.metric}': ann_score,
            f'snn_{dataset.metric}': snn_score,
            f'loss_{dataset.metric}': snn_score - ann_score,
            'loss_percent': 100 * (snn_score - ann_score) / ann_score,
            'correlation': float(torch.corrcoef(both)[0, 1]),
            **error,
        }
    same = (ann > 0) == (spiking > 0)
    return {
        f'ann_{dataset.metric}': 100 * ann_score,
        f'snn_{dataset.metric}': 100 * snn_score,
        'loss_points': 100 * (ann_score - snn_score),
        'agreement': 100 * float(same.double().mean()),
        **error,
    }


def calibration_batches(
    dataset: GraphDataset | ImageDataset, mirror: bool = False
) -> list[Any]:
    """What to calibrate on, drawn at random, or all if there is less:
    :obj:`CALIBRATION_BATCHES` times :obj:`BATCH_SIZE` training graphs, or
    :obj:`CALIBRATION_IMAGES` training images, each batch of them together with its
    mirror images if :obj:`mirror` is set."""
    if isinstance(dataset, ImageDataset):
        x = dataset.train_x
        batches = _images(dataset, x[_order(len(x))[:CALIBRATION_IMAGES]])
        return [torch.cat([x, x.flip(-1)]) for x in batches] if mirror else batches
    order = _order(len(dataset.train)).tolist()
    return _batches([dataset.train[i] for i in order], CALIBRATION_BATCHES)


def _order(size: int) -> Tensor:
    return torch.randperm(size, generator=torch.Generator().manual_seed(0))


def measured_batches(dataset: GraphDataset | ImageDataset) -> list[Any]:
    """The test graphs or images whose operations are counted."""
    if isinstance(dataset, ImageDataset):
        return _images(dataset, dataset.test_x[: MEASURED_BATCHES * BATCH_SIZE])
    return _batches(dataset.test, MEASURED_BATCHES)


def _images(dataset: ImageDataset, x: Tensor) -> list[Tensor]:
    return [dataset.normalize(batch) for batch in x.split(BATCH_SIZE)]


def _batches(graphs: Sequence[Data], num_batches: int) -> list[Batch]:
    return list(DataLoader(list(graphs[: num_batches * BATCH_SIZE]), BATCH_SIZE))


def _relative_error(ann: Tensor, snn: Tensor) -> float:
    size = ann.norm().clamp(min=torch.finfo(torch.double).tiny)
    return float((snn - ann).norm() / size)


@torch.no_grad()
def time_forward(model: nn.Module, data: Data | Tensor) -> float:
    """The median wall-clock time of an inference over a graph or batch."""
    inputs = _inputs(data)
    model(*inputs)  # Compiles kernels, fills caches.
    times = []
    for _ in range(_TIMED_CALLS):
        start = time.perf_counter()
        model(*inputs)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


@torch.no_grad()
def forward_memory(model: nn.Module, data: Data | Tensor) -> int | None:
    """The bytes by which memory grows at its peak in an inference over a graph or
    batch, after one that prepares it; :obj:`None` where the system does not tell."""
    inputs = _inputs(data)
    model(*inputs)  # Compiles kernels, fills caches.
    try:
        return peak_memory(lambda: model(*inputs), inputs[0].device)[0]
    except NotImplementedError:
        return None


def _inputs(data: Data | Tensor) -> list[Tensor]:
    inputs = [data] if isinstance(data, Tensor) else [data.x, data.edge_index]
    if isinstance(data, Batch):
        inputs += [data.edge_attr, data.batch]
    return inputs
