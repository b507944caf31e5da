"""How to train a network that classifies images."""

import math
import time
from collections.abc import Callable
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from spikegraph.coding.phase_code import check_bools
from spikegraph.zoo.models.epochs import single_thread
from spikegraph.zoo.models.recipe import ImageRecipe

_EVAL_BATCH = 500


def train_image_classifier(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    recipe: ImageRecipe,
    *,
    normalize: Callable[[Tensor], Tensor] = torch.Tensor.float,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, float]:
    r"""Trains a model from scratch, in place, and leaves it in evaluation mode.

    Minimizes the cross entropy of nine tenths of the images, each shifted at
    random in every epoch, and returns to the epoch with the best accuracy (at
    equal accuracy: the lowest loss) on the last tenth. It runs on one thread,
    so that the result depends on the seed and not on the number of threads.

    Args:
        model (torch.nn.Module): The model, called as :obj:`model(x)`. Its
            method :obj:`reset_parameters` draws its parameters anew.
        x (torch.Tensor): The images :math:`(N, C, H, W)`, of any type.
        y (torch.Tensor): Their classes :math:`(N)`.
        recipe (ImageRecipe): How to train; the model's own shape holds.
        normalize (callable, optional): What makes the model's input of a batch
            of images. (default: :meth:`torch.Tensor.float`)
        seed (int, optional): The seed of parameters, order and shifts. The
            global random state is left as it was. (default: :obj:`0`)
        progress (bool, optional): Whether a bar is shown. (default: :obj:`False`)

    Returns:
        dict[str, float]: The accuracy of the best epoch on the last tenth in
        :math:`[0, 1]` (:obj:`val_accuracy`), its number (:obj:`best_epoch`),
        the number of :obj:`epochs` run, and the :obj:`seconds` they took.

    Raises:
        ValueError: If the tensors do not fit, or the recipe has no epochs.
    """
    check_bools(progress=progress)
    if x.dim() != 4 or y.shape != x.shape[:1]:
        raise ValueError(
            f"Expected 'x' of shape (N, C, H, W) and 'y' of shape (N,) (got "
            f'{tuple(x.shape)} and {tuple(y.shape)})'
        )
    if len(x) < 10:
        raise ValueError(f"Expected 'x' to hold at least 10 images (got {len(x)})")
    if recipe.epochs == 0:
        raise ValueError("Expected 'recipe.epochs' to be at least 1 (got 0)")
    start = time.perf_counter()
    with torch.random.fork_rng(devices=[]), single_thread():
        torch.manual_seed(seed)
        # The faster layout of images on a CPU.
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        model.reset_parameters()  # type: ignore[operator]
        order = torch.randperm(len(x))
        val, train = order[: len(x) // 10], order[len(x) // 10 :]
        optimizer = torch.optim.Adam(
            model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay
        )
        steps = math.ceil(len(train) / recipe.batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, recipe.lr, epochs=recipe.epochs, steps_per_epoch=steps
        )
        best, best_epoch, best_state = (-1.0, 0.0), 0, model.state_dict()
        bar = tqdm(
            range(1, recipe.epochs + 1), 'Training', leave=False, disable=not progress
        )
        for epoch in bar:
            model.train()
            for batch in train[torch.randperm(len(train))].split(recipe.batch_size):
                images = normalize(_shifted(x[batch], recipe.shift))
                optimizer.zero_grad()
                F.cross_entropy(model(images), y[batch]).backward()
                optimizer.step()
                schedule.step()
            score = _score(model, x, y, val, normalize)
            bar.set_postfix(valid=f'{score[0]:.3f}')
            if score > best:
                best, best_epoch = score, epoch
                best_state = deepcopy(model.state_dict())
    model.load_state_dict(best_state)
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    model.eval()
    return {
        'val_accuracy': best[0],
        'best_epoch': best_epoch,
        'epochs': epoch,
        'seconds': time.perf_counter() - start,
    }


def _shifted(x: Tensor, shift: int) -> Tensor:
    """Moves every image by up to so many pixels each way; what comes in is zero."""
    if shift == 0:
        return x
    num_images, _, height, width = x.shape
    offset = torch.randint(2 * shift + 1, (2, num_images, 1))
    rows = (offset[0] + torch.arange(height)).view(num_images, 1, height, 1)
    columns = (offset[1] + torch.arange(width)).view(num_images, 1, 1, width)
    image = torch.arange(num_images).view(-1, 1, 1, 1)
    channel = torch.arange(x.size(1)).view(1, -1, 1, 1)
    return F.pad(x, 4 * [shift])[image, channel, rows, columns]


@torch.no_grad()
def _score(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    images: Tensor,
    normalize: Callable[[Tensor], Tensor],
) -> tuple[float, float]:
    """The accuracy and minus the loss."""
    model.eval()
    batches = images.split(_EVAL_BATCH)
    out = torch.cat([model(normalize(x[batch])) for batch in batches])
    accuracy = float((out.argmax(dim=-1) == y[images]).float().mean())
    return accuracy, -float(F.cross_entropy(out, y[images]))
