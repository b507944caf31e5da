"""How to train a network that predicts a property of a whole graph."""

import math
import time
from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from tqdm import tqdm

from spikegraph.coding.phase_code import check_bools
from spikegraph.zoo.models.epochs import single_thread
from spikegraph.zoo.models.recipe import GraphRecipe

_EVAL_BATCH = 1024


def train_graph_model(
    model: nn.Module,
    train: Sequence[Data],
    valid: Sequence[Data],
    recipe: GraphRecipe,
    *,
    task: str,
    score: Callable[[Tensor, Tensor], float],
    seed: int = 0,
    progress: bool = False,
) -> dict[str, float]:
    r"""Trains a model from scratch, in place, and leaves it in evaluation mode,
    with the parameters of the epoch that was best on the validation graphs.

    Minimizes the binary cross entropy of all labels that are not NaN, or the
    squared error. It runs on one thread, so that the result depends on the seed
    and not on the number of threads.

    Args:
        model (torch.nn.Module): The model, called as :obj:`model(x, edge_index,
            edge_attr, batch)`. It has a method :obj:`reset_parameters`, because
            its parameters are drawn anew.
        train (Sequence[torch_geometric.data.Data]): The training graphs.
        valid (Sequence[torch_geometric.data.Data]): The validation graphs.
        recipe (GraphRecipe): How to train; the model's own shape holds.
        task (str): :obj:`"classification"`, of which a higher score is better,
            or :obj:`"regression"`, of which a lower one is.
        score (callable): Takes true and predicted values of all graphs.
        seed (int, optional): The seed of parameters, order and dropout. The
            global random state is left as it was. (default: :obj:`0`)
        progress (bool, optional): Whether a bar is shown. (default: :obj:`False`)

    Returns:
        dict[str, float]: The validation score of the best epoch
        (:obj:`val_score`), its number (:obj:`best_epoch`), the number of
        :obj:`epochs` run, and the :obj:`seconds` they took.

    Raises:
        ValueError: If there are no graphs, or the task is unknown.
    """
    check_bools(progress=progress)
    if task not in ('classification', 'regression'):
        raise ValueError(
            f"Expected 'task' to be 'classification' or 'regression' (got '{task}')"
        )
    for name, graphs in (('train', train), ('valid', valid)):
        if len(graphs) == 0:
            raise ValueError(f"Expected '{name}' to hold at least one graph (got 0)")
    sign = 1.0 if task == 'classification' else -1.0
    loss_of = _cross_entropy if task == 'classification' else F.mse_loss
    start = time.perf_counter()
    with torch.random.fork_rng(devices=[]), single_thread():
        torch.manual_seed(seed)
        model.reset_parameters()  # type: ignore[operator]
        optimizer = torch.optim.Adam(
            model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay
        )
        loader = DataLoader(list(train), batch_size=recipe.batch_size, shuffle=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, recipe.lr, epochs=recipe.epochs, steps_per_epoch=len(loader)
        )
        checks = list(DataLoader(list(valid), batch_size=_EVAL_BATCH))
        best, best_epoch, best_state = -math.inf, 0, deepcopy(model.state_dict())
        bar = tqdm(
            range(1, recipe.epochs + 1), 'Training', leave=False, disable=not progress
        )
        for epoch in bar:
            model.train()
            for batch in loader:
                optimizer.zero_grad()
                loss_of(_scores(model, batch), batch.y.float()).backward()
                optimizer.step()
                schedule.step()
            y_true, y_pred = predict(model, checks)
            value = sign * float(score(y_true, y_pred))
            bar.set_postfix(valid=f'{sign * value:.3f}')
            if value > best:
                best, best_epoch = value, epoch
                best_state = deepcopy(model.state_dict())
    model.load_state_dict(best_state)
    return {
        'val_score': sign * best,
        'best_epoch': best_epoch,
        'epochs': epoch,
        'seconds': time.perf_counter() - start,
    }


@torch.no_grad()
def predict(model: nn.Module, batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
    """Returns the true and the predicted values of some batches, after switching
    the model to evaluation mode."""
    model.eval()
    y_pred = torch.cat([_scores(model, batch) for batch in batches])
    return torch.cat([batch.y for batch in batches]), y_pred


def _scores(model: nn.Module, batch: Batch) -> Tensor:
    return model(batch.x, batch.edge_index, batch.edge_attr, batch.batch)


def _cross_entropy(scores: Tensor, y: Tensor) -> Tensor:
    known = ~y.isnan()
    return F.binary_cross_entropy_with_logits(scores[known], y[known])
