"""Networks that mostly propagate: SGC and APPNP."""

from torch import Tensor, nn
from torch_geometric.nn import APPNP, SGConv

from spikegraph.zoo.models.checks import check_dropout, check_sizes
from spikegraph.zoo.models.dropout import dropout


class SGC(nn.Module):
    r"""The linear network from the `"Simplifying Graph Convolutional Networks"
    <https://arxiv.org/abs/1902.07153>`_ paper.

    .. math::
        \mathbf{Y} = {\left( \mathbf{\hat{D}}^{-1/2} \mathbf{\hat{A}}
        \mathbf{\hat{D}}^{-1/2} \right)}^K \mathbf{X} \mathbf{W} + \mathbf{b}

    Args:
        in_channels (int): The number of input features.
        out_channels (int): The number of classes.
        num_hops (int, optional): The number :math:`K` of propagation steps.
            (default: :obj:`2`)

    Raises:
        ValueError: If a size is not positive.

    Shapes:
        - **input:** node features :math:`(|\mathcal{V}|, F_{in})`, edge
          indices :math:`(2, |\mathcal{E}|)`
        - **output:** class scores :math:`(|\mathcal{V}|, F_{out})`
    """

    def __init__(self, in_channels: int, out_channels: int, num_hops: int = 2) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        check_sizes(
            in_channels=in_channels, out_channels=out_channels, num_hops=num_hops
        )
        self.conv = SGConv(in_channels, out_channels, K=num_hops)

    def reset_parameters(self) -> None:
        """Draws new parameters."""
        self.conv.reset_parameters()

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Returns the class scores of every node."""
        return self.conv(x, edge_index)


class APPNPNet(nn.Module):
    r"""The network from the `"Predict then Propagate: Graph Neural Networks
    meet Personalized PageRank" <https://arxiv.org/abs/1810.05997>`_ paper.

    .. math::
        \mathbf{Z}^{(0)} &= \mathrm{ReLU} ( \mathbf{X} \mathbf{W}_1 +
        \mathbf{b}_1 ) \mathbf{W}_2 + \mathbf{b}_2

        \mathbf{Z}^{(k+1)} &= (1 - \alpha) \mathbf{\hat{D}}^{-1/2}
        \mathbf{\hat{A}} \mathbf{\hat{D}}^{-1/2} \mathbf{Z}^{(k)} +
        \alpha \mathbf{Z}^{(0)}

    with dropout before both linear layers.

    Args:
        in_channels (int): The number of input features.
        hidden_channels (int): The number of hidden features.
        out_channels (int): The number of classes.
        num_hops (int, optional): The number of propagation steps.
            (default: :obj:`10`)
        alpha (float, optional): The probability :math:`\alpha` of a return to
            the node. (default: :obj:`0.1`)
        dropout (float, optional): The probability of dropping a feature
            during training. (default: :obj:`0.5`)

    Raises:
        ValueError: If a size is not positive, or :obj:`alpha` or
            :obj:`dropout` is out of range.

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
        num_hops: int = 10,
        alpha: float = 0.1,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        check_sizes(
            in_channels=in_channels,
            hidden_channels=hidden_channels,
            out_channels=out_channels,
            num_hops=num_hops,
        )
        check_dropout(dropout)
        if not 0 <= alpha <= 1:
            raise ValueError(f"Expected 'alpha' to be in [0, 1] (got {alpha})")
        self.dropout = dropout
        self.lin1 = nn.Linear(in_channels, hidden_channels)
        self.lin2 = nn.Linear(hidden_channels, out_channels)
        self.propagation = APPNP(num_hops, alpha)

    def reset_parameters(self) -> None:
        """Draws new parameters."""
        self.lin1.reset_parameters()
        self.lin2.reset_parameters()

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Returns the class scores of every node."""
        x = dropout(x, self.dropout, self.training)
        x = self.lin1(x).relu()
        x = dropout(x, self.dropout, self.training)
        return self.propagation(self.lin2(x), edge_index)
