"""Networks with attention: over neighbors, and over all nodes."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import (
    GATConv,
    GATv2Conv,
    GCNConv,
    GPSConv,
    MessagePassing,
    TransformerConv,
)

from spikegraph.zoo.models.checks import check_heads, check_network
from spikegraph.zoo.models.dropout import dropout
from spikegraph.zoo.models.stack import ConvStack, layer_sizes


class GAT(ConvStack):
    r"""The network from the `"Graph Attention Networks"
    <https://arxiv.org/abs/1710.10903>`_ paper, or that from `"How Attentive are
    Graph Attention Networks?" <https://arxiv.org/abs/2105.14491>`_ (GATv2).

    .. math::
        \mathbf{x}^{(l+1)}_i = \mathrm{ELU} \Big( \sum_{j \in \mathcal{N}(i)
        \cup \{ i \}} \alpha_{ij} \mathbf{W}^{(l)} \mathbf{x}^{(l)}_j +
        \mathbf{b}^{(l)} \Big)

    for each head, whose outputs are concatenated. The heads of the last
    convolution are averaged, with no ELU after it. Coefficients are the
    softmax over neighbors of

    .. math::
        \mathrm{LeakyReLU} \left( \mathbf{a}^{\top} [ \mathbf{W} \mathbf{x}_i
        \, \Vert \, \mathbf{W} \mathbf{x}_j ] \right) \quad \mathrm{or} \quad
        \mathbf{a}^{\top} \mathrm{LeakyReLU} \left( \mathbf{W}_1 \mathbf{x}_i
        + \mathbf{W} \mathbf{x}_j + \mathbf{b}_1 \right).

    Args:
        in_channels (int): The number of input features.
        hidden_channels (int): The number of features of a hidden layer, those
            of all heads together.
        out_channels (int): The number of classes.
        num_layers (int, optional): The number of convolutions.
            (default: :obj:`2`)
        heads (int, optional): The number of heads of a hidden layer.
            (default: :obj:`8`)
        out_heads (int, optional): The number of heads of the last layer.
            (default: :obj:`1`)
        dynamic (bool, optional): If set to :obj:`True`, scores are the second
            ones (GATv2). (default: :obj:`False`)
        dropout (float, optional): The probability of dropping an input of a
            convolution, or a coefficient, during training.
            (default: :obj:`0.6`)
        dropout_input (bool, optional): If set to :obj:`False`, input features
            are never dropped. (default: :obj:`True`)
        norm (bool, optional): If set to :obj:`True`, there is batch
            normalization before every ELU. (default: :obj:`False`)

    Raises:
        ValueError: If a size is not positive, :obj:`hidden_channels` is no
            multiple of :obj:`heads`, or :obj:`dropout` is not in
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
        heads: int = 8,
        out_heads: int = 1,
        dynamic: bool = False,
        dropout: float = 0.6,
        dropout_input: bool = True,
        norm: bool = False,
    ) -> None:
        sizes = layer_sizes(
            in_channels, hidden_channels, out_channels, num_layers, dropout
        )
        conv = GATv2Conv if dynamic else GATConv
        super().__init__(
            _layers(conv, sizes, heads, out_heads, dropout),
            sizes,
            dropout=dropout,
            dropout_input=dropout_input,
            norm=nn.BatchNorm1d if norm else None,
            activation=F.elu,
        )


class GraphTransformer(ConvStack):
    r"""The graph transformer from the `"Masked Label Prediction: Unified
    Message Passing Model for Semi-Supervised Classification"
    <https://arxiv.org/abs/2009.03509>`_ paper, without labels as inputs.

    .. math::
        \mathbf{x}^{(l+1)}_i = \mathrm{ReLU} \Big( \mathbf{W}_1
        \mathbf{x}^{(l)}_i + \mathbf{b}_1 + \sum_{j \in \mathcal{N}(i)}
        \alpha_{ij} ( \mathbf{W}_2 \mathbf{x}^{(l)}_j + \mathbf{b}_2 ) \Big),
        \quad \alpha_{ij} = \mathrm{softmax}_j \left( \mathbf{q}_i^{\top}
        \mathbf{k}_j / \sqrt{d} \right)

    with queries :math:`\mathbf{q}` and keys :math:`\mathbf{k}` of :math:`d`
    features that are linear in :math:`\mathbf{x}^{(l)}`. The heads of the last
    convolution are averaged, with no ReLU after it.

    Args:
        in_channels (int): The number of input features.
        hidden_channels (int): The number of features of a hidden layer, those
            of all heads together.
        out_channels (int): The number of classes.
        num_layers (int, optional): The number of convolutions.
            (default: :obj:`2`)
        heads (int, optional): The number of heads of a hidden layer.
            (default: :obj:`4`)
        out_heads (int, optional): The number of heads of the last layer.
            (default: :obj:`1`)
        dropout (float, optional): The probability of dropping an input of a
            convolution, or a coefficient, during training.
            (default: :obj:`0.5`)
        dropout_input (bool, optional): If set to :obj:`False`, input features
            are never dropped. (default: :obj:`True`)
        norm (bool, optional): If set to :obj:`True`, there is batch
            normalization before every ReLU. (default: :obj:`False`)

    Raises:
        ValueError: If a size is not positive, :obj:`hidden_channels` is no
            multiple of :obj:`heads`, or :obj:`dropout` is not in
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
        heads: int = 4,
        out_heads: int = 1,
        dropout: float = 0.5,
        dropout_input: bool = True,
        norm: bool = False,
    ) -> None:
        sizes = layer_sizes(
            in_channels, hidden_channels, out_channels, num_layers, dropout
        )
        super().__init__(
            _layers(TransformerConv, sizes, heads, out_heads, dropout),
            sizes,
            dropout=dropout,
            dropout_input=dropout_input,
            norm=nn.BatchNorm1d if norm else None,
        )


class GPS(nn.Module):
    r"""The network from the `"Recipe for a General, Powerful, Scalable Graph
    Transformer" <https://arxiv.org/abs/2205.12454>`_ paper, without positional
    encodings. Each layer computes

    .. math::
        \mathbf{Z} &= \mathrm{LayerNorm} ( \mathbf{X} + \mathrm{GCNConv} (
        \mathbf{X}, \mathcal{E} ) ) + \mathrm{LayerNorm} ( \mathbf{X} +
        \mathrm{Attention} ( \mathbf{X} ) )

        \mathbf{X}' &= \mathrm{LayerNorm} ( \mathbf{Z} + \mathrm{MLP} (
        \mathbf{Z} ) )

    with attention between all nodes, a linear layer with ReLU before all of them,
    and one after. Statistics of the batch, of a few labelled nodes, would not do.

    Args:
        in_channels (int): The number of input features.
        hidden_channels (int): The number of features of a hidden layer.
        out_channels (int): The number of classes.
        num_layers (int, optional): The number of layers. (default: :obj:`2`)
        heads (int, optional): The number of attention heads.
            (default: :obj:`1`)
        dropout (float, optional): The probability of dropping a feature
            during training. (default: :obj:`0.5`)

    Raises:
        ValueError: If a size is not positive, :obj:`hidden_channels` is no
            multiple of :obj:`heads`, or :obj:`dropout` is not in
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
        heads: int = 1,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        check_network(in_channels, hidden_channels, out_channels, num_layers, dropout)
        check_heads(hidden_channels, heads=heads)
        width = hidden_channels
        self.dropout = dropout
        self.lin1 = nn.Linear(in_channels, width)
        self.convs = nn.ModuleList(
            GPSConv(
                width,
                GCNConv(width, width),
                heads=heads,
                dropout=dropout,
                norm='layer_norm',
                attn_kwargs={'dropout': dropout},
            )
            for _ in range(num_layers)
        )
        self.lin2 = nn.Linear(width, out_channels)

    def reset_parameters(self) -> None:
        """Draws new parameters."""
        module: Any
        for module in self.convs:
            module.attn.out_proj.reset_parameters()  # Which its own method leaves.
        for module in [self.lin1, *self.convs, self.lin2]:
            module.reset_parameters()

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Returns the class scores of every node."""
        x = dropout(x, self.dropout, self.training)
        x = dropout(self.lin1(x).relu(), self.dropout, self.training)
        for conv in self.convs:
            x = conv(x, edge_index)
        x = dropout(x, self.dropout, self.training)
        return self.lin2(x)


def _layers(
    conv: type[MessagePassing],
    sizes: list[int],
    heads: int,
    out_heads: int,
    dropout: float,
) -> list[nn.Module]:
    check_heads(*sizes[1:-1], heads=heads, out_heads=out_heads)
    hidden: list[nn.Module] = [
        conv(before, after // heads, heads=heads, dropout=dropout)
        for before, after in zip(sizes[:-2], sizes[1:-1], strict=True)
    ]
    last = conv(sizes[-2], sizes[-1], heads=out_heads, concat=False, dropout=dropout)
    return [*hidden, last]
