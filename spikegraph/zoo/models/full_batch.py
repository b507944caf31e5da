"""How to train any node classifier, a step per epoch on the whole graph."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import to_torch_csr_tensor

from spikegraph.zoo.models.epochs import run_epochs
from spikegraph.zoo.models.recipe import TrainingRecipe

_CACHES = ('_cached_edge_index', '_cached_adj_t')


def fit(model: nn.Module, data: Data, recipe: TrainingRecipe, *, progress: bool) -> int:
    """Trains a model in place; returns the number of epochs run."""
    groups = []
    for i, layer in enumerate(_layers(model)):
        decay = recipe.weight_decay if i == 0 or recipe.decay_all_layers else 0.0
        if recipe.conv_weight_decay is not None and isinstance(layer, MessagePassing):
            decay = recipe.conv_weight_decay
        groups.append({'params': list(layer.parameters()), 'weight_decay': decay})
    optimizer = torch.optim.Adam(groups, lr=recipe.lr)
    adj = _adjacency(data, model)

    def scores(mask: Tensor) -> tuple[Tensor, Tensor]:
        return model(data.x, adj)[mask], data.y[mask]

    def train() -> tuple[Tensor, Tensor]:
        model.train()
        return scores(data.train_mask)

    def val() -> tuple[Tensor, Tensor]:
        model.eval()
        return scores(data.val_mask)

    with _constants_kept(model, data.x):
        return run_epochs(
            model, optimizer, recipe, train=train, val=val, progress=progress
        )


def _layers(model: nn.Module) -> list[nn.Module]:
    """The children that have parameters, with those of module lists apart."""
    layers: list[nn.Module] = []
    for child in model.children():
        layers += child if isinstance(child, nn.ModuleList) else [child]
    return [layer for layer in layers if any(True for _ in layer.parameters())]


def _adjacency(data: Data, model: nn.Module) -> Tensor:
    """The transposed adjacency as a sparse matrix, which PyG multiplies with in a
    fraction of the time; or the edges, where a matrix would merge some of them or
    PyG would treat its diagonal in another way, or where it looks at each edge."""
    edge_index, num_nodes = data.edge_index, data.num_nodes
    if not all(m.fuse for m in model.modules() if isinstance(m, MessagePassing)):
        return edge_index
    parallel = edge_index.size(1) > edge_index.unique(dim=1).size(1)
    if parallel or bool((edge_index[0] == edge_index[1]).any()):
        return edge_index
    with warnings.catch_warnings():  # Of PyTorch, that its sparse layouts are new.
        warnings.simplefilter('ignore', UserWarning)
        return to_torch_csr_tensor(edge_index.flip(0), size=(num_nodes, num_nodes))


@contextmanager
def _constants_kept(model: nn.Module, x: Tensor) -> Iterator[None]:
    """Computes only once what is the same in every epoch: the normalized adjacency,
    and the input features summed over neighbors."""
    convs: list[Any] = [m for m in model.modules() if isinstance(m, MessagePassing)]
    # SGConv would keep features, too, and not notice when some of them are dropped.
    cached = [
        conv
        for conv in convs
        if getattr(conv, 'cached', None) is False and not hasattr(conv, '_cached_x')
    ]
    for conv in cached:
        conv.cached = True
    for conv in convs:
        conv.propagate = _Remembering(conv.propagate, x)
    try:
        yield
    finally:
        for conv in convs:
            del conv.propagate
        for conv in cached:
            conv.cached = False
            for name in _CACHES:
                setattr(conv, name, None)


class _Remembering:
    """Returns what an earlier call of a function has returned for the same tensor,
    if that is an input or was computed from one alone."""

    def __init__(self, propagate: Any, x: Tensor) -> None:
        self.propagate = propagate
        self.known = [(x, None)]

    def __call__(self, edge_index: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        x = kwargs.get('x')
        x = x[0] if isinstance(x, tuple) else x
        for i, (source, result) in enumerate(self.known):
            if source is x:
                if result is None:
                    result = self.propagate(edge_index, *args, **kwargs)
                    self.known[i] = (source, result)
                    self.known.append((result, None))
                return result
        return self.propagate(edge_index, *args, **kwargs)
