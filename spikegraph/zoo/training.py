"""The networks of an experiment: trained by the recipe of a dataset, or loaded."""

from __future__ import annotations

import errno
import math
import os
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn

from spikegraph.coding.phase_code import check_bools
from spikegraph.zoo.datasets import (
    DATASETS,
    GraphDataset,
    ImageDataset,
    NodeDataset,
    load_dataset,
    load_images,
)
from spikegraph.zoo.models import (
    GraphRecipe,
    ImageRecipe,
    TrainingRecipe,
    get_recipe,
    is_image_task,
    train_graph_model,
    train_image_classifier,
    train_node_classifier,
)

_LIMIT = Path('/sys/fs/cgroup/memory.max')
# The largest numbers, and why there are any.
_MOST = {
    'seeds': (10_000, 'all networks are kept until the report is written'),
    'hidden': (65_536, 'the weights between two larger layers alone take 17 GB'),
    'layers': (256, 'each has a window of time steps and is calibrated by itself'),
}

Dataset: TypeAlias = NodeDataset | GraphDataset | ImageDataset
Recipe: TypeAlias = TrainingRecipe | GraphRecipe | ImageRecipe


@dataclass
class TrainedModel:
    """A trained network and what training took.

    Args:
        model (torch.nn.Module): The network, in evaluation mode.
        seed (int): The seed of its parameters and dropout.
        epochs (int): The epochs it was trained for.
        seconds (float): The wall-clock time of the training.
    """

    model: nn.Module
    seed: int
    epochs: int
    seconds: float


def prepare(
    name: str,
    hidden: int | None,
    layers: int | None,
    seeds: int,
    root: str | PathLike[str] | None,
    model: str | None = None,
    *,
    loads_weights: bool = False,
) -> tuple[Dataset, Recipe]:
    """Loads a dataset and completes its recipe; see :func:`run_experiment`."""
    _check_range('seeds', seeds)
    if loads_weights and seeds != 1:
        raise ValueError(f"Expected 'seeds' to be 1 with 'weights' (got {seeds})")
    sizes = {'hidden_channels': hidden, 'num_layers': layers}
    given = {key: value for key, value in sizes.items() if value is not None}
    for option, number in (('hidden', hidden), ('layers', layers)):
        if number is not None:
            _check_range(option, number)
    if name not in DATASETS:
        load_dataset(name)  # Says what is wrong.
    recipe = get_recipe(name, model)
    if hidden is not None and recipe.hidden_channels == 0:
        raise ValueError(
            f"Expected 'hidden' to be None for '{recipe.model}', which has no hidden "
            f'layer of another size (got {hidden})'
        )
    if isinstance(recipe, ImageRecipe):
        if layers is not None:
            raise ValueError(
                f"Expected 'layers' to be None for '{recipe.model}', whose depth is "
                f'fixed (got {layers})'
            )
        if recipe.epochs == 0 and not loads_weights:
            raise ValueError(
                f"Expected 'weights' to be given for '{recipe.model}' on '{name}', "
                'which is not trained here (got None): a file from torch.save with a '
                "state dict, or with a dictionary that has one as 'state_dict'"
            )
    images = is_image_task(name, model)
    dataset = load_images(name, root) if images else load_dataset(name, root)
    recipe = replace(recipe, **given)  # type: ignore[arg-type]
    if given:
        _check_memory(dataset, recipe)
    return dataset, recipe


def _check_range(option: str, number: int) -> None:
    if number < 1:
        raise ValueError(f"Expected '{option}' to be at least 1 (got {number})")
    most, reason = _MOST[option]
    if number > most:
        text = str(number) if number < 10**15 else f'about 10 ** {len(f"{number}") - 1}'
        raise ValueError(
            f"Expected '{option}' to be at most {most:,}, because {reason} (got {text})"
        )


def _check_memory(dataset: Dataset, recipe: Recipe) -> None:
    """Weights, their gradients and the optimizer's two moments; and the activations
    of a step, their gradients and what dropout and the activation keep of them."""
    with torch.device('meta'):  # Where tensors have sizes and take no memory.
        model = build(dataset, recipe)
    weights = sum(parameter.numel() for parameter in model.parameters())
    width = recipe.hidden_channels * getattr(recipe, 'num_layers', 3)
    needed = 4 * 4 * (weights + _rows(dataset, recipe) * width)
    there = _memory()
    if there is not None and needed > there:
        layers = getattr(recipe, 'num_layers', None)
        depth = '' if layers is None else f' and {layers:,} layers'
        raise ValueError(
            "Expected 'hidden' and 'layers' to be such that training fits into the "
            f'{there / 1e9:.3g} GB of memory here (got {recipe.hidden_channels:,} '
            f'features{depth}, which take about {needed / 1e9:.3g} GB); choose fewer'
        )


def _rows(dataset: Dataset, recipe: Recipe) -> int:
    """How many nodes, or pixels, are in a step of training."""
    if isinstance(dataset, NodeDataset):
        return int(dataset.data.num_nodes)
    assert not isinstance(recipe, TrainingRecipe)
    if isinstance(dataset, ImageDataset):
        return recipe.batch_size * math.prod(dataset.image_size[1:])
    return recipe.batch_size * int(dataset.train[0].num_nodes)


def _memory() -> int | None:
    """The bytes of memory of this machine or container, where the system tells."""
    found = []
    try:
        found.append(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'))
        found.append(int(_LIMIT.read_text()))
    except (AttributeError, OSError, ValueError):  # No such file, or no limit in it.
        pass
    return min(found, default=None)


def train(
    dataset: Dataset, recipe: Recipe, seed: int, progress: bool = False
) -> TrainedModel:
    """Builds and trains the network of a recipe."""
    check_bools(progress=progress)
    model = build(dataset, recipe)
    if isinstance(dataset, GraphDataset):
        assert isinstance(recipe, GraphRecipe)
        result = train_graph_model(
            model,
            dataset.train,
            dataset.valid,
            recipe,
            task=dataset.task,
            score=dataset.evaluate,
            seed=seed,
            progress=progress,
        )
    elif isinstance(dataset, ImageDataset):
        assert isinstance(recipe, ImageRecipe)
        result = train_image_classifier(
            model,
            dataset.train_x,
            dataset.train_y,
            recipe,
            normalize=dataset.normalize,
            seed=seed,
            progress=progress,
        )
    else:
        assert isinstance(recipe, TrainingRecipe)
        result = train_node_classifier(
            model, dataset.data, recipe, seed=seed, progress=progress
        )
    return TrainedModel(model, seed, int(result['epochs']), result['seconds'])


def load_weights(
    dataset: Dataset, recipe: Recipe, path: str | PathLike[str], seed: int = 0
) -> TrainedModel:
    """Builds the network of a recipe and loads a state dict, which runs no code.

    The file holds the state dict, or a dictionary that has it as
    :obj:`"state_dict"`; all its keys may start with :obj:`"module."`, which
    :class:`torch.nn.DataParallel` puts there.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no state dict, or that of another network.
    """
    model = build(dataset, recipe)
    expected = f'the state dict of a {type(model).__name__}{_shape(recipe)}'
    if not os.path.isfile(path):
        found = 'something else' if os.path.exists(path) else 'no such file'
        raise FileNotFoundError(
            f"Expected '{path}' to be a file with {expected} (got {found}); "
            "'torch.save(model.state_dict(), path)' writes one"
        )
    expected = f"Expected '{path}' to hold {expected}"
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # Unpickling foreign bytes raises nearly anything.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise ValueError(
            f'{expected} (got something else than tensors by name: other bytes, or a '
            "whole module); 'torch.save(model.state_dict(), path)' writes one"
        ) from error
    state = _state_dict(content)
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise ValueError(
            f'{expected} (got a {type(state).__name__}, not tensors by name)'
        )
    try:
        model.load_state_dict(state)
    except Exception as error:
        raise ValueError(f'{expected} (got {error})') from error
    return TrainedModel(model.eval(), seed=seed, epochs=0, seconds=0.0)


def _state_dict(content: Any) -> Any:
    state = content.get('state_dict', content) if isinstance(content, dict) else content
    prefix = 'module.'
    if isinstance(state, dict) and all(str(key).startswith(prefix) for key in state):
        return {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _shape(recipe: Recipe) -> str:
    if not isinstance(recipe, ImageRecipe):
        features = f'{recipe.hidden_channels} hidden features'
        return f' with {recipe.num_layers} layers and {features}'
    width = recipe.hidden_channels
    return f' with {width} channels in the first layer' if width > 0 else ''


def build(dataset: Dataset, recipe: Recipe) -> nn.Module:
    """Builds the untrained network of a recipe."""
    if isinstance(dataset, GraphDataset):
        assert isinstance(recipe, GraphRecipe)
        return recipe.build_model(dataset.num_tasks)
    if isinstance(dataset, ImageDataset):
        assert isinstance(recipe, ImageRecipe)
        return recipe.build_model(dataset.image_size, dataset.num_classes)
    assert isinstance(recipe, TrainingRecipe)
    return recipe.build_model(dataset.num_features, dataset.num_classes)
