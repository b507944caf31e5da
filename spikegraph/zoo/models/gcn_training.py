"""How to train a GCN in seconds: on what the training nodes depend on."""

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from spikegraph.zoo.models.epochs import run_epochs
from spikegraph.zoo.models.gcn import GCN
from spikegraph.zoo.models.recipe import TrainingRecipe


def fit(
    model: GCN,
    data: Data,
    recipe: TrainingRecipe,
    *,
    rng: np.random.Generator,
    progress: bool,
) -> int:
    """Trains a model in place; returns the number of epochs run."""
    first, rest = model.convs[0], model.convs[1:]
    decay = recipe.weight_decay
    optimizer = torch.optim.Adam(
        [
            {'params': list(first.parameters()), 'weight_decay': decay},
            {
                'params': list(rest.parameters()),
                'weight_decay': decay if recipe.decay_all_layers else 0.0,
            },
        ],
        lr=recipe.lr,
    )
    train = _Neighborhood(data, data.train_mask, num_layers=len(model.convs))
    val = _Neighborhood(data, data.val_mask, num_layers=len(model.convs))
    return run_epochs(
        model,
        optimizer,
        recipe,
        train=lambda: (train.forward(model, rng), train.y),
        val=lambda: (val.forward(model), val.y),
        progress=progress,
    )


class _Neighborhood:
    """What some nodes depend on: one block of the adjacency per layer, and the
    features where the first block begins."""

    def __init__(self, data: Data, mask: Tensor, *, num_layers: int) -> None:
        edge_index, weight = gcn_norm(data.edge_index, None, data.num_nodes)
        adj = sp.csr_array(
            (weight.numpy(), edge_index.flip(0).numpy()),
            shape=(data.num_nodes, data.num_nodes),
        )
        nodes = mask.nonzero().view(-1).numpy()
        self.y = data.y[mask]
        self.blocks: list[sp.csr_array] = []
        for _ in range(num_layers):
            block = adj[nodes]
            nodes = np.unique(block.indices)  # Self-loops keep the nodes themselves.
            self.blocks.insert(0, block[:, nodes])
        self.x = sp.csr_array(data.x[nodes].numpy())

    def forward(self, model: GCN, rng: np.random.Generator | None = None) -> Tensor:
        """Computes the scores of the nodes, with dropout if given a :obj:`rng`."""
        p = 0.0 if rng is None else model.dropout
        values = _dropout(torch.from_numpy(self.x.data), p, rng)
        features = sp.csr_array(
            (values.numpy(), self.x.indices, self.x.indptr), shape=self.x.shape
        )
        convs: list[Any] = list(model.convs)
        first, *rest = convs
        x = _MatMul.apply(features, first.lin.weight.t())
        x = _MatMul.apply(self.blocks[0], x) + first.bias
        for conv, block in zip(rest, self.blocks[1:], strict=True):
            x = conv.lin(_dropout(x.relu(), p, rng))
            x = _MatMul.apply(block, x) + conv.bias
        return x


def _dropout(x: Tensor, p: float, rng: np.random.Generator | None) -> Tensor:
    # NumPy draws a random number in a fifth of the time PyTorch needs for it.
    if p == 0 or rng is None:
        return x
    keep = torch.from_numpy(rng.random(x.shape, dtype=np.float32)) >= p
    return x * keep / (1 - p)


class _MatMul(torch.autograd.Function):
    """A constant sparse matrix times a dense one: PyTorch's own product would
    transpose the matrix in every backward pass, which takes longest."""

    @staticmethod
    def forward(ctx: Any, matrix: sp.csr_array, other: Tensor) -> Tensor:
        ctx.matrix = matrix
        return torch.from_numpy(matrix @ other.numpy())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        return None, torch.from_numpy(ctx.matrix.T @ grad.numpy())
