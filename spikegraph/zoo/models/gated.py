"""Networks whose messages are multiplied by what their target makes of them."""

from torch import nn
from torch_geometric.nn import FiLMConv, ResGatedGraphConv

from spikegraph.zoo.models.stack import ConvStack, layer_sizes


class ResGated(ConvStack):
    r"""The network from the `"Residual Gated Graph ConvNets"
    <https://arxiv.org/abs/1711.07553>`_ paper.

    .. math::
        \mathbf{x}^{(l+1)}_i = \mathrm{ReLU} \Big( \mathbf{W}_1
        \mathbf{x}^{(l)}_i + \sum_{j \in \mathcal{N}(i)} \sigma ( \mathbf{W}_3
        \mathbf{x}^{(l)}_i + \mathbf{W}_4 \mathbf{x}^{(l)}_j ) \odot
        \mathbf{W}_2 \mathbf{x}^{(l)}_j \Big)

    with biases, the sigmoid :math:`\sigma`, and no ReLU after the last
    convolution.

    Args:
        in_channels (int): The number of input features.
        hidden_channels (int): The number of features of a hidden layer.
        out_channels (int): The number of classes.
        num_layers (int, optional): The number of convolutions.
            (default: :obj:`2`)
        dropout (float, optional): The probability of dropping an input of a
            convolution during training. (default: :obj:`0.5`)
        dropout_input (bool, optional): If set to :obj:`False`, input features
            are never dropped. (default: :obj:`True`)
        norm (bool, optional): If set to :obj:`True`, there is batch
            normalization before every ReLU. (default: :obj:`False`)

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
        dropout_input: bool = True,
        norm: bool = False,
    ) -> None:
        sizes = layer_sizes(
            in_channels, hidden_channels, out_channels, num_layers, dropout
        )
        super().__init__(
            [ResGatedGraphConv(sizes[i], sizes[i + 1]) for i in range(num_layers)],
            sizes,
            dropout=dropout,
            dropout_input=dropout_input,
            norm=nn.BatchNorm1d if norm else None,
        )


class FiLM(ConvStack):
    r"""The network from the `"GNN-FiLM: Graph Neural Networks with
    Feature-wise Linear Modulation" <https://arxiv.org/abs/1906.12192>`_ paper,
    for one type of edges.

    .. math::
        \mathbf{x}^{(l+1)}_i &= \mathbf{m}_{ii} + \frac{1}{|\mathcal{N}(i)|}
        \sum_{j \in \mathcal{N}(i)} \mathbf{m}_{ij}

        \mathbf{m}_{ij} &= \mathrm{ReLU} ( \gamma ( \mathbf{x}^{(l)}_i ) \odot
        \mathbf{W} \mathbf{x}^{(l)}_j + \beta ( \mathbf{x}^{(l)}_i ) )

    with linear :math:`\beta` and :math:`\gamma`, weights of their own for
    :math:`\mathbf{m}_{ii}`, and no ReLU in the last convolution.

    Args:
        in_channels (int): The number of input features.
        hidden_channels (int): The number of features of a hidden layer.
        out_channels (int): The number of classes.
        num_layers (int, optional): The number of convolutions.
            (default: :obj:`2`)
        dropout (float, optional): The probability of dropping an input of a
            convolution during training. (default: :obj:`0.5`)
        dropout_input (bool, optional): If set to :obj:`False`, input features
            are never dropped. (default: :obj:`True`)
        norm (bool, optional): If set to :obj:`True`, there is batch
            normalization between convolutions. (default: :obj:`False`)

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
        dropout_input: bool = True,
        norm: bool = False,
    ) -> None:
        sizes = layer_sizes(
            in_channels, hidden_channels, out_channels, num_layers, dropout
        )
        hidden = [FiLMConv(a, b) for a, b in zip(sizes[:-2], sizes[1:-1], strict=True)]
        super().__init__(
            [*hidden, FiLMConv(sizes[-2], sizes[-1], act=None)],
            sizes,
            dropout=dropout,
            dropout_input=dropout_input,
            norm=nn.BatchNorm1d if norm else None,
            activation=None,
        )
