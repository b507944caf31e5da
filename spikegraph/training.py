"""The networks of an experiment: trained by the recipe of a dataset, or loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike

import torch

from spikegraph.datasets import NodeDataset, load_dataset
from spikegraph.models import GCN, RECIPES, TrainingRecipe, train_node_classifier


@dataclass
class TrainedModel:
    """A trained network and what training took.

    Args:
        model (GCN): The network, in evaluation mode.
        seed (int): The seed of its parameters and dropout.
        epochs (int): The epochs it was trained for.
        seconds (float): The wall-clock time of the training.
    """

    model: GCN
    seed: int
    epochs: int
    seconds: float


def prepare(
    name: str,
    hidden: int | None,
    layers: int | None,
    seeds: int,
    root: str | PathLike[str] | None,
) -> tuple[NodeDataset, TrainingRecipe]:
    """Loads a dataset and completes its recipe; see :func:`run_experiment`."""
    if seeds < 1:
        raise ValueError(f"Expected 'seeds' to be at least 1 (got {seeds})")
    for option, value in (('hidden', hidden), ('layers', layers)):
        if value is not None and value < 1:
            raise ValueError(f"Expected '{option}' to be at least 1 (got {value})")
    dataset = load_dataset(name, root)
    recipe = RECIPES[name]
    return dataset, replace(
        recipe,
        hidden_channels=recipe.hidden_channels if hidden is None else hidden,
        num_layers=recipe.num_layers if layers is None else layers,
    )


def train(
    dataset: NodeDataset, recipe: TrainingRecipe, seed: int, progress: bool = True
) -> TrainedModel:
    """Builds and trains the network of a recipe."""
    model = recipe.build_model(dataset.num_features, dataset.num_classes)
    result = train_node_classifier(
        model, dataset.data, recipe, seed=seed, progress=progress
    )
    return TrainedModel(model, seed, int(result['epochs']), result['seconds'])


def load_weights(
    dataset: NodeDataset, recipe: TrainingRecipe, path: str | PathLike[str]
) -> TrainedModel:
    """Builds the network of a recipe and loads a state dict, which runs no code.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no state dict, or that of another network.
    """
    model = recipe.build_model(dataset.num_features, dataset.num_classes)
    try:
        model.load_state_dict(torch.load(path, map_location='cpu', weights_only=True))
    except FileNotFoundError:
        raise
    except Exception as error:  # Unpickling foreign bytes raises nearly anything.
        raise ValueError(
            f"Expected '{path}' to hold the state dict of a GCN with "
            f'{recipe.num_layers} layers and {recipe.hidden_channels} hidden features '
            f'(got {type(error).__name__}: {error})'
        ) from error
    return TrainedModel(model.eval(), seed=0, epochs=0, seconds=0.0)
