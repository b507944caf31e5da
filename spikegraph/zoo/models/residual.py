"""Deep networks, whose layers add what came before: GCNII and a residual GCN."""

from typing import Any

from torch import Tensor, nn
from torch_geometric.nn import GCN2Conv, GCNConv

from spikegraph.zoo.models.checks import check_network
from spikegraph.zoo.models.dropout import dropout


class GCN2(nn.Module):
    r"""The network from the `"Simple and Deep Graph Convolutional Networks"
    <https://arxiv.org/abs/2007.02133>`_ paper (GCNII).

    .. math::
        \mathbf{H}^{(0)} &= \mathrm{ReLU} ( \mathbf{X} \mathbf{W}_0 +
        \mathbf{b}_0 )

        \mathbf{H}^{(l)} &= \mathrm{ReLU} \left( \left( (1 - \alpha)
        \mathbf{\hat{P}} \mathbf{H}^{(l-1)} + \alpha \mathbf{H}^{(0)} \right)
        \left( (1 - \beta_l) \mathbf{I} + \beta_l \mathbf{W}_l \right) \right),
        \quad \beta_l = \log ( \theta / l + 1 )

    followed by a linear layer, with dropout before every layer;
    :math:`\mathbf{\hat{P}}` is the normalized adjacency of a GCN.

    Args:
        in_channels (int): The number of input features.
        hidden_channels (int): The number of features of a hidden layer.
        out_channels (int): The number of classes.
        num_layers (int, optional): The number of convolutions.
            (default: :obj:`8`)
        alpha (float, optional): The strength of the initial features.
            (default: :obj:`0.1`)
        theta (float, optional): The strength :math:`\theta` of the weights.
            (default: :obj:`0.5`)
        dropout (float, optional): The probability of dropping a feature
            during training. (default: :obj:`0.6`)
        shared_weights (bool, optional): If set to :obj:`False`, the initial
            features have weights of their own (GCNII*).
            (default: :obj:`True`)

    Raises:
        ValueError: If a size is not positive, or a number is out of range.

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
        num_layers: int = 8,
        alpha: float = 0.1,
        theta: float = 0.5,
        dropout: float = 0.6,
        shared_weights: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        check_network(in_channels, hidden_channels, out_channels, num_layers, dropout)
        if not 0 <= alpha <= 1:
            raise ValueError(f"Expected 'alpha' to be in [0, 1] (got {alpha})")
        if theta <= 0:
            raise ValueError(f"Expected 'theta' to be positive (got {theta})")
        self.dropout = dropout
        self.lin1 = nn.Linear(in_channels, hidden_channels)
        self.convs = nn.ModuleList(
            GCN2Conv(
                hidden_channels,
                alpha=alpha,
                theta=theta,
                layer=layer,
                shared_weights=shared_weights,
            )
            for layer in range(1, num_layers + 1)
        )
        self.lin2 = nn.Linear(hidden_channels, out_channels)

    def reset_parameters(self) -> None:
        """Draws new parameters."""
        module: Any
        for module in [self.lin1, *self.convs, self.lin2]:
            module.reset_parameters()

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Returns the class scores of every node."""
        x = dropout(x, self.dropout, self.training)
        x = initial = self.lin1(x).relu()
        for conv in self.convs:
            x = dropout(x, self.dropout, self.training)
            x = conv(x, initial, edge_index).relu()
        x = dropout(x, self.dropout, self.training)
        return self.lin2(x)


class ResGCN(nn.Module):
    r"""A deep graph convolutional network with residual connections, as in the
    `"DeepGCNs: Can GCNs Go as Deep as CNNs?"
    <https://arxiv.org/abs/1904.03751>`_ paper.

    .. math::
        \mathbf{H}^{(0)} &= \mathrm{ReLU} ( \mathbf{X} \mathbf{W}_0 +
        \mathbf{b}_0 )

        \mathbf{H}^{(l)} &= \mathbf{H}^{(l-1)} + \mathrm{ReLU} (
        \mathrm{BatchNorm} ( \mathrm{GCNConv}_l ( \mathbf{H}^{(l-1)},
        \mathcal{E} ) ) )

    followed by a linear layer, with dropout before every layer.

    Args:
        in_channels (int): The number of input features.
        hidden_channels (int): The number of features of a hidden layer.
        out_channels (int): The number of classes.
        num_layers (int, optional): The number of convolutions.
            (default: :obj:`4`)
        dropout (float, optional): The probability of dropping a feature
            during training. (default: :obj:`0.5`)

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
        num_layers: int = 4,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        check_network(in_channels, hidden_channels, out_channels, num_layers, dropout)
        width = hidden_channels
        self.dropout = dropout
        self.lin1 = nn.Linear(in_channels, width)
        self.convs = nn.ModuleList(GCNConv(width, width) for _ in range(num_layers))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(num_layers))
        self.lin2 = nn.Linear(width, out_channels)

    def reset_parameters(self) -> None:
        """Draws new parameters."""
        module: Any
        for module in [self.lin1, *self.convs, *self.norms, self.lin2]:
            module.reset_parameters()

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Returns the class scores of every node."""
        x = dropout(x, self.dropout, self.training)
        x = self.lin1(x).relu()
        for conv, norm in zip(self.convs, self.norms, strict=True):
            out = dropout(x, self.dropout, self.training)
            x = x + norm(conv(out, edge_index)).relu()
        x = dropout(x, self.dropout, self.training)
        return self.lin2(x)
