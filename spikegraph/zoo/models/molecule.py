"""Networks that predict a property of a whole molecule."""

from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import (
    GCNConv,
    GINEConv,
    MessagePassing,
    global_add_pool,
    global_mean_pool,
)

from spikegraph.zoo.models.checks import check_dropout, check_sizes
from spikegraph.zoo.models.dropout import dropout

_CONVS = ('gin', 'gcn')


class MoleculeGNN(nn.Module):
    r"""The graph networks for molecules from the `"Open Graph Benchmark:
    Datasets for Machine Learning on Graphs"
    <https://arxiv.org/abs/2005.00687>`_ paper. Each layer computes

    .. math::
        \mathbf{X}' &= \mathrm{BatchNorm} \left( \mathrm{Conv} \left(
        \mathbf{X} + \mathbf{v}_{\mathrm{batch}}, \mathbf{E} \right) \right)

        \mathbf{v}'_g &= \mathrm{MLP} \Big( \mathbf{v}_g +
        \sum_{i \in g} ( \mathbf{x}_i + \mathbf{v}_g ) \Big)

    with a ReLU after all layers but the last. The vector
    :math:`\mathbf{v}_g` is the virtual node of graph :math:`g`. Scores are a
    linear function of the mean over the atoms.

    Args:
        out_channels (int): The number of properties.
        conv (str, optional): The convolution: :obj:`"gin"`, whose messages
            hold the bonds (:class:`~torch_geometric.nn.conv.GINEConv`), or
            :obj:`"gcn"`, which sees no bonds. (default: :obj:`"gin"`)
        hidden_channels (int, optional): The number of features of a layer.
            (default: :obj:`64`)
        num_layers (int, optional): The number of convolutions.
            (default: :obj:`5`)
        dropout (float, optional): The probability of dropping a feature
            during training. (default: :obj:`0.5`)
        virtual_node (bool, optional): If set to :obj:`False`, atoms have no
            virtual node. (default: :obj:`True`)
        residual (bool, optional): If set to :obj:`True`, every layer and
            virtual node adds its input. (default: :obj:`False`)

    Raises:
        ValueError: If :obj:`conv` is unknown, a size is not positive, or
            :obj:`dropout` is not in :math:`[0, 1)`.

    Shapes:
        - **input:** atom features :math:`(|\mathcal{V}|, 9)`, edge indices
          :math:`(2, |\mathcal{E}|)`, bond features :math:`(|\mathcal{E}|, 3)`,
          graph of each atom :math:`(|\mathcal{V}|)`; all integers
        - **output:** scores :math:`(|\mathcal{G}|, F_{out})`
    """

    def __init__(
        self,
        out_channels: int,
        conv: str = 'gin',
        hidden_channels: int = 64,
        num_layers: int = 5,
        dropout: float = 0.5,
        virtual_node: bool = True,
        residual: bool = False,
    ) -> None:
        # Takes seconds, and node classifiers do without.
        from ogb.graphproppred.mol_encoder import AtomEncoder, BondEncoder

        super().__init__()
        if conv not in _CONVS:
            raise ValueError(
                f"Expected 'conv' to be one of {', '.join(_CONVS)} (got '{conv}')"
            )
        check_sizes(
            out_channels=out_channels,
            hidden_channels=hidden_channels,
            num_layers=num_layers,
        )
        check_dropout(dropout)
        self.hidden_channels = hidden_channels
        self.out_channels = out_channels
        self.dropout = dropout
        self.residual = residual
        width, inner = hidden_channels, range(num_layers - 1)
        self.atom_encoder = AtomEncoder(width)
        self.bond_encoders = nn.ModuleList(
            BondEncoder(width) for _ in range(num_layers if conv == 'gin' else 0)
        )
        self.convs = nn.ModuleList(_conv(conv, width) for _ in range(num_layers))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(num_layers))
        self.virtual_node = (
            nn.Parameter(torch.zeros(1, width)) if virtual_node else None
        )
        self.virtual_mlps = nn.ModuleList(
            nn.Sequential(*_mlp(width), nn.BatchNorm1d(width), nn.ReLU())
            for _ in inner
            if virtual_node
        )
        self.readout = nn.Linear(width, out_channels)

        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new parameters."""
        module: Any
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.BatchNorm1d, MessagePassing)):
                module.reset_parameters()
            elif isinstance(module, nn.Embedding):
                nn.init.xavier_uniform_(module.weight)
        if self.virtual_node is not None:
            nn.init.zeros_(self.virtual_node)

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor
    ) -> Tensor:
        """Returns the scores of every graph."""
        last = len(self.convs) - 1
        virtual: Any = self.virtual_node  # [1, F], and [G, F] after the first layer.
        x = self.atom_encoder(x)
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if self.virtual_node is not None:
                x = x + (virtual if i == 0 else virtual[batch])
            if len(self.bond_encoders) > 0:
                out = conv(x, edge_index, self.bond_encoders[i](edge_attr))
            else:
                out = conv(x, edge_index)
            out = norm(out)
            out = out.relu() if i < last else out
            out = dropout(out, self.dropout, self.training)
            if self.virtual_node is not None and i < last:
                new = self.virtual_mlps[i](global_add_pool(x, batch) + virtual)
                new = dropout(new, self.dropout, self.training)
                virtual = virtual + new if self.residual else new
            x = x + out if self.residual else out
        return self.readout(global_mean_pool(x, batch))


def _conv(kind: str, width: int) -> nn.Module:
    if kind == 'gcn':
        return GCNConv(width, width)
    return GINEConv(nn.Sequential(*_mlp(width)), train_eps=True)


def _mlp(width: int) -> list[nn.Module]:
    return [
        nn.Linear(width, 2 * width),
        nn.BatchNorm1d(2 * width),
        nn.ReLU(),
        nn.Linear(2 * width, width),
    ]
