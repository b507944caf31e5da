"""Networks that predict a property of a whole molecule."""

from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import (
    GATConv,
    GCNConv,
    GINEConv,
    MessagePassing,
    Set2Set,
    global_add_pool,
    global_mean_pool,
)

from spikegraph.zoo.models.checks import check_dropout, check_heads, check_sizes
from spikegraph.zoo.models.dropout import dropout

_CONVS = ('gin', 'gcn', 'gat')
_READOUTS = ('mean', 'set2set')
_HEADS, _READINGS = 4, 3  # Of attention, and of how often Set2Set looks at all atoms.
_RESET = (nn.Linear, nn.BatchNorm1d, MessagePassing, Set2Set)


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
    linear function of the mean over the atoms, or of what a recurrent cell reads
    from them with attention, as in the `"Order Matters: Sequence to sequence for
    sets" <https://arxiv.org/abs/1511.06391>`_ paper.

    Args:
        out_channels (int): The number of properties.
        conv (str, optional): The convolution: :obj:`"gin"`, whose messages
            hold the bonds (:class:`~torch_geometric.nn.conv.GINEConv`),
            :obj:`"gcn"`, which sees no bonds, or :obj:`"gat"`, four heads of
            whose attention look at the bonds
            (:class:`~torch_geometric.nn.conv.GATConv`). (default: :obj:`"gin"`)
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
        readout (str, optional): What is read of the atoms: their :obj:`"mean"`,
            or three readings of :class:`~torch_geometric.nn.aggr.Set2Set`
            (:obj:`"set2set"`). (default: :obj:`"mean"`)

    Raises:
        ValueError: If :obj:`conv` or :obj:`readout` is unknown, a size is not
            positive, :obj:`hidden_channels` no multiple of the heads, or
            :obj:`dropout` not in :math:`[0, 1)`.

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
        readout: str = 'mean',
    ) -> None:
        # Takes seconds, and node classifiers do without.
        from ogb.graphproppred.mol_encoder import AtomEncoder, BondEncoder

        super().__init__()
        for name, kind, kinds in (
            ('conv', conv, _CONVS),
            ('readout', readout, _READOUTS),
        ):
            if kind not in kinds:
                raise ValueError(
                    f"Expected '{name}' to be one of {', '.join(kinds)} (got '{kind}')"
                )
        check_sizes(
            out_channels=out_channels,
            hidden_channels=hidden_channels,
            num_layers=num_layers,
        )
        check_dropout(dropout)
        if conv == 'gat':
            check_heads(hidden_channels, heads=_HEADS)
        self.hidden_channels = hidden_channels
        self.out_channels = out_channels
        self.dropout = dropout
        self.residual = residual
        width, inner = hidden_channels, range(num_layers - 1)
        self.atom_encoder = AtomEncoder(width)
        self.bond_encoders = nn.ModuleList(
            BondEncoder(width) for _ in range(0 if conv == 'gcn' else num_layers)
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
        self.pool = Set2Set(width, _READINGS) if readout == 'set2set' else None
        in_channels = width if self.pool is None else 2 * width
        self.readout = nn.Linear(in_channels, out_channels)

        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new parameters."""
        module: Any
        for module in self.modules():
            if isinstance(module, _RESET):
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
        pool = global_mean_pool if self.pool is None else self.pool
        return self.readout(pool(x, batch))


def _conv(kind: str, width: int) -> nn.Module:
    if kind == 'gcn':
        return GCNConv(width, width)
    if kind == 'gat':
        return GATConv(width, width // _HEADS, heads=_HEADS, edge_dim=width)
    return GINEConv(nn.Sequential(*_mlp(width)), train_eps=True)


def _mlp(width: int) -> list[nn.Module]:
    return [
        nn.Linear(width, 2 * width),
        nn.BatchNorm1d(2 * width),
        nn.ReLU(),
        nn.Linear(2 * width, width),
    ]
