"""The graph convolutional network."""

from collections.abc import Callable

from torch import nn
from torch_geometric.nn import GCNConv, GraphNorm

from spikegraph.zoo.models.stack import ConvStack, layer_sizes

_NORMS: dict[str, Callable[[int], nn.Module]] = {
    'batch': nn.BatchNorm1d,
    'layer': nn.LayerNorm,
    'graph': GraphNorm,
}


class GCN(ConvStack):
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
        norm (bool or str, optional): The normalization before every ReLU:
            :obj:`"batch"` or :obj:`True`, as usual for the graphs of the Open
            Graph Benchmark; :obj:`"layer"`, over the features of a node;
            :obj:`"graph"`, over the nodes of the graph.
            (default: :obj:`False`, none)

    Raises:
        ValueError: If a size is not positive, :obj:`norm` is unknown, or
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
        dropout: float = 0.5,
        cached: bool = False,
        norm: bool | str = False,
    ) -> None:
        sizes = layer_sizes(
            in_channels, hidden_channels, out_channels, num_layers, dropout
        )
        norm = 'batch' if norm is True else norm
        if norm is not False and norm not in _NORMS:
            raise ValueError(
                f"Expected 'norm' to be a bool or one of {', '.join(_NORMS)} (got "
                f"'{norm}')"
            )
        convs = [
            GCNConv(sizes[i], sizes[i + 1], cached=cached) for i in range(num_layers)
        ]
        super().__init__(
            convs,
            sizes,
            dropout=dropout,
            dropout_input=True,
            norm=None if norm is False else _NORMS[norm],
        )
