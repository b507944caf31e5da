"""The epochs that every node classifier is trained for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from spikegraph.zoo.models.recipe import TrainingRecipe


def run_epochs(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    recipe: TrainingRecipe,
    *,
    train: Callable[[], tuple[Tensor, Tensor]],
    val: Callable[[], tuple[Tensor, Tensor]],
    progress: bool,
) -> int:
    """Takes one step on the cross entropy per epoch, until the recipe's patience
    ends; then returns to the best epoch.

    Args:
        model (torch.nn.Module): The model.
        optimizer (torch.optim.Optimizer): The optimizer of its parameters.
        recipe (TrainingRecipe): How long to train.
        train (callable): Returns the scores and classes of the training nodes.
        val (callable): Returns those of the validation nodes.
        progress (bool): Whether a bar is shown.

    Returns:
        int: The number of epochs run.
    """
    best_score, best_epoch, best_state = (-1.0, 0.0), 0, model.state_dict()
    bar = tqdm(
        range(1, recipe.epochs + 1), 'Training', leave=False, disable=not progress
    )
    for epoch in bar:
        optimizer.zero_grad()
        F.cross_entropy(*train()).backward()
        optimizer.step()
        if recipe.patience is None:
            continue
        with torch.no_grad():
            out, y = val()
            accuracy = float((out.argmax(dim=-1) == y).float().mean())
            score = (accuracy, -float(F.cross_entropy(out, y)))
        if score > best_score:
            best_score, best_epoch = score, epoch
            best_state = deepcopy(model.state_dict())
        elif epoch - best_epoch >= recipe.patience:
            break
    bar.close()
    if recipe.patience is not None:
        model.load_state_dict(best_state)
    return epoch


@contextmanager
def single_thread() -> Iterator[None]:
    """Runs PyTorch on one thread, so that sums have one order."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
