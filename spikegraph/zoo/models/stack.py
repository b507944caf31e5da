"""What GCN, GraphSAGE and GIN share: convolutions one after another."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from spikegraph.zoo.models.checks import check_network
from spikegraph.zoo.models.dropout import dropout


class ConvStack(nn.Module):
    r"""Graph convolutions with a ReLU between them,

    .. math::
        \mathbf{X}^{(l+1)} = \mathrm{Conv}_l \left( \mathrm{Dropout} \left(
        \mathrm{ReLU} ( \mathrm{Norm}_l ( \mathbf{X}^{(l)} ) ) \right),
        \mathcal{E} \right)

    but neither normalization nor ReLU before the first.

    Args:
        convs (Sequence[torch.nn.Module]): The convolutions, called as
            :obj:`conv(x, edge_index)`.
        sizes (Sequence[int]): The number of features before, between and after
            them.
        dropout (float): The probability of dropping a feature in training.
        dropout_input (bool): Whether input features are dropped, too.
        norm (bool): Whether there is batch normalization before every ReLU.
    """

    def __init__(
        self,
        convs: Sequence[nn.Module],
        sizes: Sequence[int],
        *,
        dropout: float,
        dropout_input: bool,
        norm: bool,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = sizes[0], sizes[-1]
        self.dropout = dropout
        self.dropout_input = dropout_input
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList(nn.BatchNorm1d(size) for size in sizes[1:-1] if norm)

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
                x = x.relu()
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
