"""What most networks share: convolutions one after another."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spikegraph.zoo.models.checks import check_network
from spikegraph.zoo.models.dropout import dropout


class ConvStack(nn.Module):
    r"""Graph convolutions with an activation between them,

    .. math::
        \mathbf{X}^{(l+1)} = \mathrm{Conv}_l \left( \mathrm{Dropout} \left(
        \sigma ( \mathrm{Norm}_l ( \mathbf{X}^{(l)} ) ) \right),
        \mathcal{E} \right)

    but neither normalization nor activation before the first.

    Args:
        convs (Sequence[torch.nn.Module]): The convolutions, called as
            :obj:`conv(x, edge_index)`.
        sizes (Sequence[int]): The number of features before, between and after
            them.
        dropout (float): The probability of dropping a feature in training.
        dropout_input (bool): Whether input features are dropped, too.
        norm (callable, optional): Returns the normalization before an
            activation for a number of features. (default: :obj:`None`, none)
        activation (callable, optional): The activation :math:`\sigma`, or
            :obj:`None` for convolutions that have their own.
            (default: :func:`torch.relu`)
    """

    def __init__(
        self,
        convs: Sequence[nn.Module],
        sizes: Sequence[int],
        *,
        dropout: float,
        dropout_input: bool,
        norm: Callable[[int], nn.Module] | None = None,
        activation: Callable[[Tensor], Tensor] | None = torch.relu,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = sizes[0], sizes[-1]
        self.dropout = dropout
        self.dropout_input = dropout_input
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList(
            norm(size) for size in sizes[1:-1] if norm is not None
        )
        self.activation = activation

    def reset_parameters(self) -> None:
        """Draws new parameters and forgets cached adjacencies."""
        module: Any
        for module in [*self.convs, *self.norms]:
            module.reset_parameters()

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Returns the class scores of every node."""
        for i, conv in enumerate(self.convs):
            if i > 0:
                if len(self.norms) > 0:
                    x = self.norms[i - 1](x)
                if self.activation is not None:
                    x = self.activation(x)
            if i > 0 or self.dropout_input:
                x = dropout(x, self.dropout, self.training)
            x = conv(x, edge_index)
        return x


def layer_sizes(
    in_channels: int,
    hidden_channels: int,
    out_channels: int,
    num_layers: int,
    dropout: float,
) -> list[int]:
    """Checks the shape of a network; returns the widths between its layers."""
    check_network(in_channels, hidden_channels, out_channels, num_layers, dropout)
    return [in_channels, *[hidden_channels] * (num_layers - 1), out_channels]
