"""How to train a node classifier."""

import time

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from spikegraph.coding.phase_code import check_bools
from spikegraph.zoo.models import full_batch, gcn_training
from spikegraph.zoo.models.epochs import single_thread
from spikegraph.zoo.models.gcn import GCN
from spikegraph.zoo.models.recipe import TrainingRecipe


def train_node_classifier(
    model: nn.Module,
    data: Data,
    recipe: TrainingRecipe,
    *,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, float]:
    r"""Trains a model from scratch, in place, and leaves it in evaluation mode.

    Every epoch is one step of Adam on the cross entropy of all training nodes.
    An epoch of a :class:`GCN` without normalization only computes what these
    nodes depend on (their :obj:`num_layers`-hop neighborhood), and draws
    dropout for the features that are not zero already. Both leave the
    distribution of every gradient as it is. It runs on one thread, so that the
    result depends on the seed and not on the number of threads.

    Args:
        model (torch.nn.Module): The model, called as :obj:`model(x,
            edge_index)`. Its method :obj:`reset_parameters` draws its
            parameters anew.
        data (torch_geometric.data.Data): The graph, with :obj:`x`,
            :obj:`edge_index`, :obj:`y` and the three masks.
        recipe (TrainingRecipe): How to train. Its shape and dropout are those
            of :meth:`TrainingRecipe.build_model`; here the model's own hold.
        seed (int, optional): The seed of parameters and dropout. The global
            random state is left as it was. (default: :obj:`0`)
        progress (bool, optional): Whether a bar is shown. (default: :obj:`False`)

    Returns:
        dict[str, float]: The accuracies on validation and test nodes in
        :math:`[0, 1]` (:obj:`val_accuracy`, :obj:`test_accuracy`), the number
        of :obj:`epochs` run, and the :obj:`seconds` they took.

    Raises:
        ValueError: If the model cannot draw its parameters anew or does not
            fit the data, the data lack a tensor or a mask is empty, or
            anything is not on the CPU.
    """
    check_bools(progress=progress)
    _check(model, data)
    start = time.perf_counter()
    with torch.random.fork_rng(devices=[]), single_thread():
        torch.manual_seed(seed)
        model.reset_parameters()  # type: ignore[operator]
        if isinstance(model, GCN) and len(model.norms) == 0:
            rng = np.random.default_rng(seed)
            epochs = gcn_training.fit(model, data, recipe, rng=rng, progress=progress)
        else:
            epochs = full_batch.fit(model, data, recipe, progress=progress)
    seconds = time.perf_counter() - start
    model.eval()
    with torch.no_grad():
        correct = model(data.x, data.edge_index).argmax(dim=-1) == data.y
    return {
        'val_accuracy': float(correct[data.val_mask].float().mean()),
        'test_accuracy': float(correct[data.test_mask].float().mean()),
        'epochs': epochs,
        'seconds': seconds,
    }


def _check(model: nn.Module, data: Data) -> None:
    if not hasattr(model, 'reset_parameters'):
        raise ValueError(
            f"Expected 'model' to have a method 'reset_parameters' (got "
            f'{type(model).__name__})'
        )
    for name in ['x', 'edge_index', 'y', 'train_mask', 'val_mask', 'test_mask']:
        value = data.get(name)
        if not isinstance(value, Tensor):
            raise ValueError(
                f"Expected 'data.{name}' to be a tensor (got {type(value).__name__})"
            )
        if value.device.type != 'cpu':
            raise ValueError(
                f"Expected 'data.{name}' to be on the CPU (got {value.device}). Call "
                f"'data.cpu()'"
            )
        if name.endswith('mask') and not value.any():
            raise ValueError(
                f"Expected 'data.{name}' to select at least one node (got none)"
            )
    device = next(model.parameters()).device
    if device.type != 'cpu':
        raise ValueError(
            f"Expected 'model' to be on the CPU (got {device}). Call 'model.cpu()'"
        )
    num_features = getattr(model, 'in_channels', data.num_features)
    if num_features != data.num_features:
        raise ValueError(
            f"Expected 'model' to take {data.num_features} features (got "
            f'{num_features})'
        )
    num_classes = int(data.y.max()) + 1
    if getattr(model, 'out_channels', num_classes) < num_classes:
        raise ValueError(
            f"Expected 'model' to have at least {num_classes} classes (got "
            f'{model.out_channels})'
        )
