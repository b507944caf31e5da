"""The networks of an experiment: trained by the recipe of a dataset, or loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike
from typing import TypeAlias

import torch
from torch import nn

from spikegraph.datasets import DATASETS, GraphDataset, NodeDataset, load_dataset
from spikegraph.models import (
    GraphRecipe,
    TrainingRecipe,
    get_recipe,
    train_graph_model,
    train_node_classifier,
)

Dataset: TypeAlias = NodeDataset | GraphDataset
Recipe: TypeAlias = TrainingRecipe | GraphRecipe


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
) -> tuple[Dataset, Recipe]:
    """Loads a dataset and completes its recipe; see :func:`run_experiment`."""
    if seeds < 1:
        raise ValueError(f"Expected 'seeds' to be at least 1 (got {seeds})")
    for option, value in (('hidden', hidden), ('layers', layers)):
        if value is not None and value < 1:
            raise ValueError(f"Expected '{option}' to be at least 1 (got {value})")
    if name in DATASETS:  # Otherwise loading says what is wrong.
        recipe = get_recipe(name, model)
        if hidden is not None and recipe.hidden_channels == 0:
            raise ValueError(
                f"Expected 'hidden' to be None for '{model}', which has no hidden layer "
                f'(got {hidden})'
            )
    dataset = load_dataset(name, root)
    return dataset, replace(
        recipe,
        hidden_channels=recipe.hidden_channels if hidden is None else hidden,
        num_layers=recipe.num_layers if layers is None else layers,
    )


def train(
    dataset: Dataset, recipe: Recipe, seed: int, progress: bool = True
) -> TrainedModel:
    """Builds and trains the network of a recipe."""
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

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no state dict, or that of another network.
    """
    model = build(dataset, recipe)
    try:
        model.load_state_dict(torch.load(path, map_location='cpu', weights_only=True))
    except FileNotFoundError:
        raise
    except Exception as error:  # Unpickling foreign bytes raises nearly anything.
        raise ValueError(
            f"Expected '{path}' to hold the state dict of a {type(model).__name__} with "
            f'{recipe.num_layers} layers and {recipe.hidden_channels} hidden features '
            f'(got {type(error).__name__}: {error})'
        ) from error
    return TrainedModel(model.eval(), seed=seed, epochs=0, seconds=0.0)


def build(dataset: Dataset, recipe: Recipe) -> nn.Module:
    """Builds the untrained network of a recipe."""
    if isinstance(dataset, GraphDataset):
        assert isinstance(recipe, GraphRecipe)
        return recipe.build_model(dataset.num_tasks)
    assert isinstance(recipe, TrainingRecipe)
    return recipe.build_model(dataset.num_features, dataset.num_classes)
