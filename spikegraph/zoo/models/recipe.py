"""How to build and train the network of a dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from spikegraph.zoo.models.attention import GAT, GPS, GraphTransformer
from spikegraph.zoo.models.cnn import CNN
from spikegraph.zoo.models.gated import FiLM, ResGated
from spikegraph.zoo.models.gcn import GCN
from spikegraph.zoo.models.mobilenet import MobileNet
from spikegraph.zoo.models.molecule import MoleculeGNN
from spikegraph.zoo.models.propagation import SGC, APPNPNet
from spikegraph.zoo.models.residual import GCN2, ResGCN
from spikegraph.zoo.models.resnet import ResNet20
from spikegraph.zoo.models.sage import GIN, SAGE
from spikegraph.zoo.models.vit import ViT


def _sage(recipe: TrainingRecipe, sizes: tuple[int, int], aggr: str) -> SAGE:
    return SAGE(
        sizes[0],
        recipe.hidden_channels,
        sizes[1],
        num_layers=recipe.num_layers,
        aggr=aggr,
        dropout=recipe.dropout,
        dropout_input=recipe.dropout_input,
        norm=recipe.norm,
    )


def _gcn(
    recipe: TrainingRecipe, sizes: tuple[int, int], norm: str | None = None
) -> GCN:
    return GCN(
        sizes[0],
        recipe.hidden_channels,
        sizes[1],
        num_layers=recipe.num_layers,
        dropout=recipe.dropout,
        norm=recipe.norm if norm is None else norm,
    )


def _attention(
    recipe: TrainingRecipe,
    sizes: tuple[int, int],
    network: Callable[..., nn.Module],
    **kwargs: bool,
) -> nn.Module:
    return network(
        sizes[0],
        recipe.hidden_channels,
        sizes[1],
        num_layers=recipe.num_layers,
        heads=recipe.heads,
        out_heads=recipe.out_heads,
        dropout=recipe.dropout,
        dropout_input=recipe.dropout_input,
        norm=recipe.norm,
        **kwargs,
    )


def _gps(recipe: TrainingRecipe, sizes: tuple[int, int]) -> GPS:
    return GPS(
        sizes[0],
        recipe.hidden_channels,
        sizes[1],
        num_layers=recipe.num_layers,
        heads=recipe.heads,
        dropout=recipe.dropout,
    )


def _stack(
    recipe: TrainingRecipe,
    sizes: tuple[int, int],
    network: type[GIN] | type[ResGated] | type[FiLM],
) -> nn.Module:
    return network(
        sizes[0],
        recipe.hidden_channels,
        sizes[1],
        num_layers=recipe.num_layers,
        dropout=recipe.dropout,
        dropout_input=recipe.dropout_input,
        norm=recipe.norm,
    )


def _sgc(recipe: TrainingRecipe, sizes: tuple[int, int]) -> SGC:
    return SGC(*sizes, num_hops=recipe.num_layers)


def _appnp(recipe: TrainingRecipe, sizes: tuple[int, int]) -> APPNPNet:
    return APPNPNet(
        sizes[0],
        recipe.hidden_channels,
        sizes[1],
        num_hops=recipe.num_layers,
        dropout=recipe.dropout,
    )


def _deep(
    recipe: TrainingRecipe, sizes: tuple[int, int], network: type[GCN2] | type[ResGCN]
) -> GCN2 | ResGCN:
    return network(
        sizes[0],
        recipe.hidden_channels,
        sizes[1],
        num_layers=recipe.num_layers,
        dropout=recipe.dropout,
    )


_BUILDERS: dict[str, Callable[[TrainingRecipe, tuple[int, int]], nn.Module]] = {
    'gcn': _gcn,
    'sage': lambda recipe, sizes: _sage(recipe, sizes, 'mean'),
    'sage-max': lambda recipe, sizes: _sage(recipe, sizes, 'max'),
    'gin': lambda recipe, sizes: _stack(recipe, sizes, GIN),
    'sgc': _sgc,
    'appnp': _appnp,
    'gcn2': lambda recipe, sizes: _deep(recipe, sizes, GCN2),
    'resgcn': lambda recipe, sizes: _deep(recipe, sizes, ResGCN),
    'gat': lambda recipe, sizes: _attention(recipe, sizes, GAT),
    'gatv2': lambda recipe, sizes: _attention(recipe, sizes, GAT, dynamic=True),
    'transformer': lambda recipe, sizes: _attention(recipe, sizes, GraphTransformer),
    'gps': _gps,
    'gcn-layernorm': lambda recipe, sizes: _gcn(recipe, sizes, 'layer'),
    'gcn-graphnorm': lambda recipe, sizes: _gcn(recipe, sizes, 'graph'),
    'resgated': lambda recipe, sizes: _stack(recipe, sizes, ResGated),
    'film': lambda recipe, sizes: _stack(recipe, sizes, FiLM),
}

# All but ResNet-20, which has one size.
_IMAGE_NETWORKS: dict[str, type[CNN] | type[MobileNet] | type[ViT]] = {
    'cnn': CNN,
    'vit': ViT,
    'mobilenet': MobileNet,
}

#: The networks for nodes, by name.
NODE_MODELS: tuple[str, ...] = tuple(_BUILDERS)

#: The networks for molecules, by name.
GRAPH_MODELS: tuple[str, ...] = ('gin', 'gcn', 'gat', 'gin-set2set')

#: The networks for images, by name.
IMAGE_MODELS: tuple[str, ...] = ('cnn', 'resnet20', 'vit', 'mobilenet')


@dataclass(frozen=True)
class TrainingRecipe:
    r"""How to build and train a node classifier on one dataset.

    Args:
        hidden_channels (int): The number of features of a hidden layer;
            :obj:`0` for networks that have none.
        num_layers (int, optional): The number of convolutions, or of
            propagation steps (SGC and APPNP). (default: :obj:`2`)
        dropout (float, optional): The dropout probability.
            (default: :obj:`0.5`)
        lr (float, optional): The learning rate of Adam.
            (default: :obj:`0.01`)
        weight_decay (float, optional): The L2 penalty.
            (default: :obj:`5e-4`)
        decay_all_layers (bool, optional): If set to :obj:`False`, the penalty
            holds for the first layer only. (default: :obj:`False`)
        epochs (int, optional): The largest number of epochs.
            (default: :obj:`200`)
        patience (int, optional): Stop after this many epochs without a better
            validation accuracy (at equal accuracy: a lower validation loss),
            and return to the best epoch. With :obj:`None`, run all epochs and
            keep the last. (default: :obj:`None`)
        model (str, optional): One of :obj:`NODE_MODELS`.
            (default: :obj:`"gcn"`)
        norm (bool, optional): If set to :obj:`True`, GCN and networks with a
            :obj:`dropout_input` have batch normalization.
            (default: :obj:`False`)
        dropout_input (bool, optional): If set to :obj:`False`, GraphSAGE, GIN,
            attention networks but GPS, and gated ones never drop input
            features. (default: :obj:`True`)
        conv_weight_decay (float, optional): The L2 penalty of convolutions,
            for networks with linear layers around them.
            (default: :obj:`None`, that of the other layers)
        heads (int, optional): The number of attention heads of a hidden layer.
            (default: :obj:`1`)
        out_heads (int, optional): That of the last layer, whose heads are
            averaged. (default: :obj:`1`)

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
    model: str = 'gcn'
    norm: bool = False
    dropout_input: bool = True
    conv_weight_decay: float | None = None
    heads: int = 1
    out_heads: int = 1

    def __post_init__(self) -> None:
        _check_optimizer(self)
        if self.patience is not None and self.patience < 1:
            raise ValueError(
                f"Expected 'patience' to be at least 1 or None (got {self.patience})"
            )
        _check_model(self.model, NODE_MODELS)

    def build_model(self, in_channels: int, out_channels: int) -> nn.Module:
        """Returns an untrained model of the recipe's shape.

        Args:
            in_channels (int): The number of input features.
            out_channels (int): The number of classes.

        Returns:
            torch.nn.Module: The model.
        """
        return _BUILDERS[self.model](self, (in_channels, out_channels))


@dataclass(frozen=True)
class GraphRecipe:
    r"""How to build and train a :class:`MoleculeGNN` on one dataset. The
    learning rate rises and falls once, as in the `"Super-Convergence"
    <https://arxiv.org/abs/1708.07120>`_ paper.

    Args:
        model (str, optional): Its convolution and what reads the atoms, one of
            :obj:`GRAPH_MODELS`. (default: :obj:`"gin"`)
        hidden_channels (int, optional): The number of features of a layer.
            (default: :obj:`64`)
        num_layers (int, optional): The number of convolutions.
            (default: :obj:`5`)
        dropout (float, optional): The dropout probability.
            (default: :obj:`0.3`)
        lr (float, optional): The largest learning rate of Adam.
            (default: :obj:`0.003`)
        weight_decay (float, optional): The L2 penalty.
            (default: :obj:`0.0`)
        epochs (int, optional): The number of epochs. (default: :obj:`20`)
        batch_size (int, optional): The number of graphs per step.
            (default: :obj:`256`)
        virtual_node (bool, optional): If set to :obj:`False`, there is no
            virtual node. (default: :obj:`True`)
        residual (bool, optional): If set to :obj:`True`, layers add their
            input. (default: :obj:`False`)

    Raises:
        ValueError: If a value is out of its range.
    """

    model: str = 'gin'
    hidden_channels: int = 64
    num_layers: int = 5
    dropout: float = 0.3
    lr: float = 0.003
    weight_decay: float = 0.0
    epochs: int = 20
    batch_size: int = 256
    virtual_node: bool = True
    residual: bool = False

    def __post_init__(self) -> None:
        _check_optimizer(self)
        _check_batch_size(self)
        _check_model(self.model, GRAPH_MODELS)

    def build_model(self, out_channels: int) -> MoleculeGNN:
        """Returns an untrained model of the recipe's shape.

        Args:
            out_channels (int): The number of properties.

        Returns:
            MoleculeGNN: The model.
        """
        conv, _, readout = self.model.partition('-')
        return MoleculeGNN(
            out_channels,
            conv=conv,
            hidden_channels=self.hidden_channels,
            num_layers=self.num_layers,
            dropout=self.dropout,
            virtual_node=self.virtual_node,
            residual=self.residual,
            readout=readout or 'mean',
        )


@dataclass(frozen=True)
class ImageRecipe:
    r"""How to build and train an image classifier on one dataset. The learning
    rate rises and falls once, as in the `"Super-Convergence"
    <https://arxiv.org/abs/1708.07120>`_ paper.

    Args:
        model (str, optional): One of :obj:`IMAGE_MODELS`.
            (default: :obj:`"cnn"`)
        hidden_channels (int, optional): The number of channels of the first
            layer; :obj:`0` for networks of one size.
            (default: :obj:`16`)
        lr (float, optional): The largest learning rate of Adam.
            (default: :obj:`0.01`)
        weight_decay (float, optional): The L2 penalty.
            (default: :obj:`0.0`)
        epochs (int, optional): The number of epochs; :obj:`0` for networks
            that are not trained, but loaded. (default: :obj:`20`)
        batch_size (int, optional): The number of images per step.
            (default: :obj:`128`)
        shift (int, optional): By how many pixels images are moved at random,
            at most. (default: :obj:`1`)

    Raises:
        ValueError: If a value is out of its range.
    """

    model: str = 'cnn'
    hidden_channels: int = 16
    lr: float = 0.01
    weight_decay: float = 0.0
    epochs: int = 20
    batch_size: int = 128
    shift: int = 1

    def __post_init__(self) -> None:
        _check_optimizer(self, min_epochs=0)
        _check_batch_size(self)
        if self.shift < 0:
            raise ValueError(f"Expected 'shift' to be at least 0 (got {self.shift})")
        _check_model(self.model, IMAGE_MODELS)

    def build_model(
        self, image_size: tuple[int, int, int], out_channels: int
    ) -> nn.Module:
        """Returns an untrained model of the recipe's shape.

        Args:
            image_size (tuple[int, int, int]): Channels, height and width of an
                image.
            out_channels (int): The number of classes.

        Returns:
            torch.nn.Module: The model.
        """
        if self.model == 'resnet20':
            return ResNet20(image_size[0], out_channels)
        return _IMAGE_NETWORKS[self.model](
            image_size, out_channels, self.hidden_channels
        )


def _check_optimizer(
    recipe: TrainingRecipe | GraphRecipe | ImageRecipe, min_epochs: int = 1
) -> None:
    if recipe.lr <= 0:
        raise ValueError(f"Expected 'lr' to be positive (got {recipe.lr})")
    if recipe.weight_decay < 0:
        raise ValueError(
            f"Expected 'weight_decay' to be at least 0 (got {recipe.weight_decay})"
        )
    if recipe.epochs < min_epochs:
        raise ValueError(
            f"Expected 'epochs' to be at least {min_epochs} (got {recipe.epochs})"
        )


def _check_batch_size(recipe: GraphRecipe | ImageRecipe) -> None:
    if recipe.batch_size < 1:
        raise ValueError(
            f"Expected 'batch_size' to be at least 1 (got {recipe.batch_size})"
        )


def _check_model(model: str, choices: tuple[str, ...]) -> None:
    if model not in choices:
        raise ValueError(
            f"Expected 'model' to be one of {', '.join(choices)} (got '{model}')"
        )
