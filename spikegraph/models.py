"""The graph network used in examples and benchmarks, and how to train it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from tqdm import tqdm


class GCN(nn.Module):
    r"""The graph convolutional network from the `"Semi-Supervised
    Classification with Graph Convolutional Networks"
    <https://arxiv.org/abs/1609.02907>`_ paper.

    .. math::
        \mathbf{X}^{(l+1)} = \mathrm{ReLU} \left( \mathbf{\hat{D}}^{-1/2}
        \mathbf{\hat{A}} \mathbf{\hat{D}}^{-1/2} \mathbf{X}^{(l)}
        \mathbf{W}^{(l)} + \mathbf{b}^{(l)} \right)

    with dropout before, and no ReLU after the last, convolution.

    Args:
        in_channels (int): The number of input features.
        hidden_channels (int): The number of features of a hidden layer.
        out_channels (int): The number of classes.
        num_layers (int, optional): The number of convolutions.
            (default: :obj:`2`)
        dropout (float, optional): The probability of dropping an input of a
            convolution during training. (default: :obj:`0.5`)
        cached (bool, optional): If set to :obj:`True`, every layer keeps the
            normalized adjacency of the first graph it sees, for models that
            only ever see one. (default: :obj:`False`)

    Raises:
        ValueError: If a size is not positive, or :obj:`dropout` is not in
            :math:`[0, 1)`.

    Shapes:
        - **input:** node features :math:`(|\mathcal{V}|, F_{in})`, edge
          indices :math:`(2, |\mathcal{E}|)`
        - **output:** class scores :math:`(|\mathcal{V}|, F_{out})`
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        num_layers: int = 2,
        dropout: float = 0.5,
        cached: bool = False,
    ) -> None:
        super().__init__()
        for name, size in [
            ('in_channels', in_channels),
            ('hidden_channels', hidden_channels),
            ('out_channels', out_channels),
            ('num_layers', num_layers),
        ]:
            if size < 1:
                raise ValueError(f"Expected '{name}' to be at least 1 (got {size})")
        if not 0 <= dropout < 1:
            raise ValueError(f"Expected 'dropout' to be in [0, 1) (got {dropout})")
        sizes = [in_channels, *[hidden_channels] * (num_layers - 1), out_channels]
        self.dropout = dropout
        self.convs = nn.ModuleList(
            GCNConv(sizes[i], sizes[i + 1], cached=cached) for i in range(num_layers)
        )

    def reset_parameters(self) -> None:
        """Draws new parameters and forgets cached adjacencies."""
        conv: Any
        for conv in self.convs:
            conv.reset_parameters()

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Returns the class scores of every node."""
        for i, conv in enumerate(self.convs):
            if i > 0:
                x = x.relu()
            x = F.dropout(x, p=self.dropout, training=self.training)
            x = conv(x, edge_index)
        return x


@dataclass(frozen=True)
class TrainingRecipe:
    r"""How to build and train a :class:`GCN` on one dataset.

    Args:
        hidden_channels (int): The number of features of a hidden layer.
        num_layers (int, optional): The number of convolutions.
            (default: :obj:`2`)
        dropout (float, optional): The dropout probability.
            (default: :obj:`0.5`)
        lr (float, optional): The learning rate of Adam.
            (default: :obj:`0.01`)
        weight_decay (float, optional): The L2 penalty.
            (default: :obj:`5e-4`)
        decay_all_layers (bool, optional): If set to :obj:`False`, the penalty
            holds for the first convolution only. (default: :obj:`False`)
        epochs (int, optional): The largest number of epochs.
            (default: :obj:`200`)
        patience (int, optional): Stop after this many epochs without a better
            validation accuracy (at equal accuracy: a lower validation loss),
            and return to the best epoch. With :obj:`None`, run all epochs and
            keep the last. (default: :obj:`None`)

    Raises:
        ValueError: If a value is out of its range.
    """

    hidden_channels: int
    num_layers: int = 2
    dropout: float = 0.5
    lr: float = 0.01
    weight_decay: float = 5e-4
    decay_all_layers: bool = False
    epochs: int = 200
    patience: int | None = None

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ValueError(f"Expected 'lr' to be positive (got {self.lr})")
        if self.weight_decay < 0:
            raise ValueError(
                f"Expected 'weight_decay' to be at least 0 (got {self.weight_decay})"
            )
        if self.epochs < 1:
            raise ValueError(f"Expected 'epochs' to be at least 1 (got {self.epochs})")
        if self.patience is not None and self.patience < 1:
            raise ValueError(
                f"Expected 'patience' to be at least 1 or None (got {self.patience})"
            )

    def build_model(self, in_channels: int, out_channels: int) -> GCN:
        """Returns an untrained model of the recipe's shape.

        Args:
            in_channels (int): The number of input features.
            out_channels (int): The number of classes.

        Returns:
            GCN: The model.
        """
        return GCN(
            in_channels,
            self.hidden_channels,
            out_channels,
            num_layers=self.num_layers,
            dropout=self.dropout,
        )


_KIPF = TrainingRecipe(hidden_channels=16)
_WIDE = TrainingRecipe(hidden_channels=64, epochs=1000, patience=100)

#: The recipe of every dataset, by name.
RECIPES: dict[str, TrainingRecipe] = {
    'digits': TrainingRecipe(hidden_channels=64, weight_decay=0.0),
    'cora': _KIPF,
    'citeseer': _KIPF,
    'pubmed': _KIPF,
    'photo': _WIDE,
    'computers': _WIDE,
    'cs': _WIDE,
    'physics': _WIDE,
}


def train_node_classifier(
    model: GCN,
    data: Data,
    recipe: TrainingRecipe,
    *,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, float]:
    r"""Trains a model from scratch, in place, and leaves it in evaluation mode.

    Every epoch is one step of Adam on the cross entropy of all training nodes.
    An epoch only computes what these nodes depend on (their
    :obj:`num_layers`-hop neighborhood), and draws dropout for the features
    that are not zero already. Both leave the distribution of every gradient
    as it is. It runs on one thread, so that the result depends on the seed and
    not on the number of threads.

    Args:
        model (GCN): The model. Its parameters are drawn anew.
        data (torch_geometric.data.Data): The graph, with :obj:`x`,
            :obj:`edge_index`, :obj:`y` and the three masks.
        recipe (TrainingRecipe): How to train. Its shape and dropout are those
            of :meth:`TrainingRecipe.build_model`; here the model's own hold.
        seed (int, optional): The seed of parameters and dropout. The global
            random state is left as it was. (default: :obj:`0`)
        progress (bool, optional): If set to :obj:`False`, shows no progress
            bar. (default: :obj:`True`)

    Returns:
        dict[str, float]: The accuracies on validation and test nodes in
        :math:`[0, 1]` (:obj:`val_accuracy`, :obj:`test_accuracy`), the number
        of :obj:`epochs` run, and the :obj:`seconds` they took.

    Raises:
        ValueError: If the model is not a :class:`GCN` or does not fit the data,
            the data lack a tensor or a mask is empty, or anything is not on the
            CPU.
    """
    _check(model, data)
    start = time.perf_counter()
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]), _single_thread():
        torch.manual_seed(seed)
        model.reset_parameters()
        epochs = _fit(model, data, recipe, rng=rng, progress=progress)
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


def _check(model: GCN, data: Data) -> None:
    if not isinstance(model, GCN):
        raise ValueError(
            f"Expected 'model' to be a GCN (got {type(model).__name__}). Train other "
            f'models with a loop of your own'
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
    device = model.convs[0].bias.device
    if device.type != 'cpu':
        raise ValueError(
            f"Expected 'model' to be on the CPU (got {device}). Call 'model.cpu()'"
        )
    if model.convs[0].in_channels != data.num_features:
        raise ValueError(
            f"Expected 'model' to take {data.num_features} features (got "
            f'{model.convs[0].in_channels})'
        )
    if model.convs[-1].out_channels <= data.y.max():
        raise ValueError(
            f"Expected 'model' to have at least {int(data.y.max()) + 1} classes (got "
            f'{model.convs[-1].out_channels})'
        )


def _fit(
    model: GCN,
    data: Data,
    recipe: TrainingRecipe,
    *,
    rng: np.random.Generator,
    progress: bool,
) -> int:
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
    best_score, best_epoch, best_state = (-1.0, 0.0), 0, model.state_dict()
    bar = tqdm(
        range(1, recipe.epochs + 1), 'Training', leave=False, disable=not progress
    )
    for epoch in bar:
        optimizer.zero_grad()
        loss = F.cross_entropy(train.forward(model, rng), train.y)
        loss.backward()
        optimizer.step()
        if recipe.patience is None:
            continue
        with torch.no_grad():
            out = val.forward(model)
            accuracy = float((out.argmax(dim=-1) == val.y).float().mean())
            score = (accuracy, -float(F.cross_entropy(out, val.y)))
        if score > best_score:
            best_score, best_epoch = score, epoch
            best_state = deepcopy(model.state_dict())
        elif epoch - best_epoch >= recipe.patience:
            break
    bar.close()
    if recipe.patience is not None:
        model.load_state_dict(best_state)
    return epoch


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


@contextmanager
def _single_thread() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
