"""Networks whose convolutions aggregate without degree normalization."""

from torch import nn
from torch_geometric.nn import GINConv, SAGEConv

from spikegraph.zoo.models.stack import ConvStack, layer_sizes

_AGGREGATIONS = ('mean', 'max')


class SAGE(ConvStack):
    r"""GraphSAGE from the `"Inductive Representation Learning on Large Graphs"
    <https://arxiv.org/abs/1706.02216>`_ paper.

    .. math::
        \mathbf{x}^{(l+1)}_i = \mathrm{ReLU} \left( \mathbf{W}^{(l)}_1
        \mathbf{x}^{(l)}_i + \mathbf{W}^{(l)}_2 \, \mathrm{aggr}_{j \in
        \mathcal{N}(i)} \, \mathbf{x}^{(l)}_j + \mathbf{b}^{(l)} \right)

    with no ReLU after the last convolution.

    Args:
        in_channels (int): The number of input features.
        hidden_channels (int): The number of features of a hidden layer.
        out_channels (int): The number of classes.
        num_layers (int, optional): The number of convolutions.
            (default: :obj:`2`)
        aggr (str, optional): The aggregation of the neighbors, :obj:`"mean"`
            or :obj:`"max"`. (default: :obj:`"mean"`)
        dropout (float, optional): The probability of dropping an input of a
            convolution during training. (default: :obj:`0.5`)
        dropout_input (bool, optional): If set to :obj:`False`, input features
            are never dropped. (default: :obj:`True`)
        norm (bool, optional): If set to :obj:`True`, there is batch
            normalization before every ReLU. (default: :obj:`False`)

    Raises:
        ValueError: If a size is not positive, :obj:`aggr` is unknown, or
            :obj:`dropout` is not in :math:`[0, 1)`.

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
        aggr: str = 'mean',
        dropout: float = 0.5,
        dropout_input: bool = True,
        norm: bool = False,
    ) -> None:
        sizes = layer_sizes(
            in_channels, hidden_channels, out_channels, num_layers, dropout
        )
        if aggr not in _AGGREGATIONS:
            raise ValueError(
                f"Expected 'aggr' to be one of {', '.join(_AGGREGATIONS)} (got '{aggr}')"
            )
        super().__init__(
            [SAGEConv(sizes[i], sizes[i + 1], aggr=aggr) for i in range(num_layers)],
            sizes,
            dropout=dropout,
            dropout_input=dropout_input,
            norm=nn.BatchNorm1d if norm else None,
        )


class GIN(ConvStack):
    r"""The graph isomorphism network from the `"How Powerful are Graph Neural
    Networks?" <https://arxiv.org/abs/1810.00826>`_ paper.

    .. math::
        \mathbf{x}^{(l+1)}_i = \mathrm{ReLU} \Big( \mathrm{MLP}^{(l)} \Big(
        (1 + \epsilon) \mathbf{x}^{(l)}_i +
        \sum_{j \in \mathcal{N}(i)} \mathbf{x}^{(l)}_j \Big) \Big)

    with no ReLU after the last layer. The MLP is a linear layer, ReLU, and
    another linear layer.

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
        norm (bool, optional): If set to :obj:`False`, there is no batch
            normalization before the ReLU in the MLP. (default: :obj:`True`)

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
        norm: bool = True,
    ) -> None:
        sizes = layer_sizes(
            in_channels, hidden_channels, out_channels, num_layers, dropout
        )
        convs = []
        for i in range(num_layers):
            mlp = [
                nn.Linear(sizes[i], hidden_channels),
                *([nn.BatchNorm1d(hidden_channels)] if norm else []),
                nn.ReLU(),
                nn.Linear(hidden_channels, sizes[i + 1]),
            ]
            convs.append(GINConv(nn.Sequential(*mlp)))
        super().__init__(
            convs,
            sizes,
            dropout=dropout,
            dropout_input=dropout_input,
        )
