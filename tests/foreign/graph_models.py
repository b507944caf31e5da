"""Networks of PyG's layers and of message passing layers, as in its examples and
in those of OGB.
"""

import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg_nn
from torch import nn
from torch_geometric.nn import GCNConv, MessagePassing, SAGEConv
from torch_geometric.utils import add_self_loops, degree

from tests.foreign.registry import (
    NUM_CLASSES,
    NUM_FEATURES,
    WIDTH,
    define,
    with_edges,
    with_types,
    with_weights,
)


@define('a list of layers, the last of which is told by its number', with_edges)
class NumberedLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(
            [SAGEConv(NUM_FEATURES, WIDTH), SAGEConv(WIDTH, NUM_CLASSES)]
        )

    def forward(self, x, edge_index):
        for i, conv in enumerate(self.convs):
            x = conv(x, edge_index)
            if i != len(self.convs) - 1:
                x = F.dropout(F.relu(x), p=0.5, training=self.training)
        return F.log_softmax(x, dim=-1)


@define('norms in a second list, dropout at the end of a step', with_edges)
class NormsBeside(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs, self.bns = nn.ModuleList(), nn.ModuleList()
        self.convs.append(GCNConv(NUM_FEATURES, WIDTH))
        self.bns.append(nn.BatchNorm1d(WIDTH))
        self.convs.append(GCNConv(WIDTH, NUM_CLASSES))

    def forward(self, x, adj_t):
        for conv, bn in zip(self.convs[:-1], self.bns, strict=True):
            x = F.relu(bn(conv(x, adj_t)))
            x = F.dropout(x, p=0.3, training=self.training)
        return self.convs[-1](x, adj_t)


@define('an activation in place, then a norm', with_edges, activations=2)
class NormBehindActivation(nn.Module):
    def __init__(self):
        super().__init__()
        self.lins = nn.ModuleList(
            [nn.Linear(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, WIDTH)]
        )
        self.bns = nn.ModuleList([nn.BatchNorm1d(WIDTH), nn.BatchNorm1d(WIDTH)])
        self.out = SAGEConv(WIDTH, NUM_CLASSES)

    def forward(self, x, edge_index):
        for lin, bn in zip(self.lins, self.bns, strict=True):
            x = bn(lin(x).relu_())
        return self.out(x, edge_index)


class TutorialConv(MessagePassing):
    def __init__(self, in_channels, out_channels):
        super().__init__(aggr='add')
        self.lin = nn.Linear(in_channels, out_channels, bias=False)
        self.bias = nn.Parameter(torch.empty(out_channels).uniform_(-0.1, 0.1))

    def forward(self, x, edge_index):
        edge_index, _ = add_self_loops(edge_index, num_nodes=x.size(0))
        x = self.lin(x)
        row, col = edge_index
        deg = degree(col, x.size(0), dtype=x.dtype)
        deg_inv_sqrt = deg.pow(-0.5)
        deg_inv_sqrt[deg_inv_sqrt == float('inf')] = 0
        norm = deg_inv_sqrt[row] * deg_inv_sqrt[col]
        out = self.propagate(edge_index, x=x, norm=norm)
        out = out + self.bias
        return out

    def message(self, x_j, norm):
        return norm.view(-1, 1) * x_j


@define('the GCN layer of a tutorial: loops, degrees and norm by hand', with_edges)
class TutorialGCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = TutorialConv(NUM_FEATURES, WIDTH)
        self.conv2 = TutorialConv(WIDTH, NUM_CLASSES)

    def forward(self, x, edge_index):
        return self.conv2(torch.relu(self.conv1(x, edge_index)), edge_index)


@define('norm, activation, layer, then the sum: pre-activation residuals', with_edges)
class PreActivationResidual(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(NUM_FEATURES, WIDTH)
        self.norm, self.conv = nn.BatchNorm1d(WIDTH), SAGEConv(WIDTH, WIDTH)
        self.lin = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x, edge_index):
        x = self.encoder(x)
        h = self.conv(F.relu(self.norm(x)), edge_index)
        return self.lin(x + h)


@define('all states kept, stacked, and the largest taken', with_edges, activations=2)
class StackedMaximum(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = GCNConv(NUM_FEATURES, WIDTH), GCNConv(WIDTH, WIDTH)
        self.lin = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x, edge_index):
        xs = []
        for conv in (self.conv1, self.conv2):
            x = conv(x, edge_index).relu()
            xs += [x]
        return self.lin(torch.stack(xs, dim=-1).max(dim=-1)[0])


@define('JumpingKnowledge over all layers', with_edges, activations=2)
class Jumping(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(
            [GCNConv(NUM_FEATURES, WIDTH), GCNConv(WIDTH, WIDTH)]
        )
        self.jump = pyg_nn.JumpingKnowledge('cat')
        self.lin = nn.Linear(2 * WIDTH, NUM_CLASSES)

    def forward(self, x, edge_index, edge_weight=None):
        xs = []
        for conv in self.convs:
            x = F.relu(conv(x, edge_index, edge_weight))
            xs.append(x)
        return self.lin(self.jump(xs))


@define('a target set in front of the source set: conv((x, x[:n]), ...)', with_edges)
class Bipartite(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = SAGEConv(NUM_FEATURES, WIDTH), SAGEConv(WIDTH, 4)

    def forward(self, x, edge_index):
        x = self.conv1(x, edge_index).relu()
        mask = edge_index[1] < 10
        return self.conv2((x, x[:10]), edge_index[:, mask])


@define('features predicted first, propagated afterwards', with_edges)
class PredictThenPropagate(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, 4)
        self.prop = pyg_nn.APPNP(K=3, alpha=0.1)

    def forward(self, x, edge_index):
        x = F.dropout(x, training=self.training)
        x = F.relu(self.lin1(x))
        return self.prop(self.lin2(x), edge_index)


@define('no activation at all: powers of the adjacency', with_edges, activations=0)
class NoActivation(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = pyg_nn.SGConv(NUM_FEATURES, NUM_CLASSES, K=2)

    def forward(self, x, edge_index):
        return F.log_softmax(self.conv(x, edge_index), dim=1)


@define('polynomials of the Laplacian, with edge weights', with_weights)
class Polynomials(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = pyg_nn.ChebConv(NUM_FEATURES, WIDTH, K=3)
        self.conv2 = pyg_nn.TAGConv(WIDTH, NUM_CLASSES, K=2)

    def forward(self, x, edge_index, edge_weight):
        x = torch.relu(self.conv1(x, edge_index, edge_weight))
        return self.conv2(x, edge_index, edge_weight)


@define('the first state is added in every layer', with_edges, activations=3)
class InitialResidual(nn.Module):
    def __init__(self):
        super().__init__()
        self.lins = nn.ModuleList([nn.Linear(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, 4)])
        self.convs = nn.ModuleList(
            [pyg_nn.GCN2Conv(WIDTH, 0.1, 0.5, layer + 1) for layer in range(2)]
        )

    def forward(self, x, edge_index):
        x = x_0 = self.lins[0](x).relu()
        for conv in self.convs:
            x = conv(x, x_0, edge_index).relu()
        return self.lins[1](x)


@define('relations by number', with_types)
class Relations(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = pyg_nn.RGCNConv(NUM_FEATURES, WIDTH, 3, num_bases=2)
        self.conv2 = pyg_nn.RGCNConv(WIDTH, NUM_CLASSES, 3)

    def forward(self, x, edge_index, edge_type):
        x = self.conv1(x, edge_index, edge_type).relu()
        return self.conv2(x, edge_index, edge_type)


@define('both directions of the edges, added', with_edges)
class BothDirections(nn.Module):
    def __init__(self):
        super().__init__()
        self.there, self.back = (
            SAGEConv(NUM_FEATURES, WIDTH),
            SAGEConv(NUM_FEATURES, 16),
        )
        self.lin = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x, edge_index):
        h = self.there(x, edge_index) + self.back(x, edge_index.flip([0]))
        return self.lin(F.relu(0.5 * h))


@define('an MLP on the differences along the edges', with_edges, activations=2)
class EdgeDifferences(nn.Module):
    def __init__(self):
        super().__init__()
        mlp = nn.Sequential(
            nn.Linear(2 * NUM_FEATURES, 16), nn.ReLU(), nn.Linear(16, 16)
        )
        self.conv = pyg_nn.EdgeConv(mlp, aggr='max')
        self.lin = nn.Linear(16, NUM_CLASSES)

    def forward(self, x, edge_index):
        return self.lin(self.conv(x, edge_index).relu())


@define('attention over neighbours', with_edges, activations=3)
class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = pyg_nn.GATConv(NUM_FEATURES, 8, heads=2)
        self.conv2 = pyg_nn.GATConv(16, NUM_CLASSES)

    def forward(self, x, edge_index):
        return self.conv2(F.elu(self.conv1(x, edge_index)), edge_index)


@define('rows of length one between layers', with_edges, activations=2)
class UnitRows(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = SAGEConv(NUM_FEATURES, WIDTH), SAGEConv(WIDTH, 4)

    def forward(self, x, edge_index):
        x = F.normalize(self.conv1(x, edge_index).relu(), p=2.0, dim=-1)
        return self.conv2(x, edge_index)


@define('nodes weighed by a score of each', with_edges, activations=2)
class Scored(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = SAGEConv(NUM_FEATURES, WIDTH), SAGEConv(WIDTH, 4)
        self.weight = nn.Parameter(torch.randn(WIDTH))

    def forward(self, x, edge_index):
        x = self.conv1(x, edge_index).relu()
        score = torch.sigmoid((x * self.weight).sum(dim=-1) / self.weight.norm())
        return self.conv2(x * score.view(-1, 1), edge_index)


@define('layers in a Sequential of PyG, with a lambda', with_edges, activations=2)
def written_as_strings():
    return pyg_nn.Sequential(
        'x, edge_index',
        [
            (nn.Dropout(p=0.5), 'x -> x'),
            (GCNConv(NUM_FEATURES, WIDTH), 'x, edge_index -> x1'),
            nn.ReLU(inplace=True),
            (GCNConv(WIDTH, WIDTH), 'x1, edge_index -> x2'),
            nn.ReLU(inplace=True),
            (lambda x1, x2: [x1, x2], 'x1, x2 -> xs'),
            (pyg_nn.JumpingKnowledge('cat'), 'xs -> x'),
            nn.Linear(2 * WIDTH, NUM_CLASSES),
        ],
    )
