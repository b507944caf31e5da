"""Graph layers in plain PyTorch, as in repositories that do without PyG."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from tests.foreign.registry import (
    NUM_CLASSES,
    NUM_FEATURES,
    WIDTH,
    define,
    dense,
    graph,
    with_coo,
    with_csc,
    with_csr,
    with_dense,
    with_weights,
)


def weight(rows, columns):
    bound = 1.0 / math.sqrt(rows)
    return nn.Parameter(torch.empty(rows, columns).uniform_(-bound, bound))


class Twice(nn.Module):
    """Two layers of a kind with ReLU between; the layer is what differs."""

    layer: type[nn.Module]

    def __init__(self):
        super().__init__()
        self.gc1 = self.layer(NUM_FEATURES, WIDTH)
        self.gc2 = self.layer(WIDTH, NUM_CLASSES)

    def forward(self, x, adj):
        x = F.relu(self.gc1(x, adj))
        x = F.dropout(x, 0.5, training=self.training)
        return self.gc2(x, adj)


class SpmmLayer(nn.Module):
    def __init__(self, in_features, out_features, bias=True):
        super().__init__()
        self.weight = weight(in_features, out_features)
        if bias:
            self.bias = nn.Parameter(torch.zeros(out_features))
        else:
            self.register_parameter('bias', None)

    def forward(self, input, adj):
        support = torch.mm(input, self.weight)
        output = torch.spmm(adj, support)
        if self.bias is not None:
            return output + self.bias
        return output


@define('mm with a weight, then spmm with a COO adjacency', with_coo)
class SpmmGCN(Twice):
    layer = SpmmLayer


class SparseFirst(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.lin = nn.Linear(in_features, out_features)

    def forward(self, x, adj):
        return self.lin(torch.sparse.mm(adj, x))


@define('sparse.mm in CSR in front of a linear layer', with_csr)
class SparseFirstGCN(Twice):
    layer = SparseFirst


class CscLayer(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.lin = nn.Linear(in_features, out_features, bias=False)

    def forward(self, x, adj):
        return adj @ self.lin(x)


@define('a CSC adjacency and the matrix product operator', with_csc)
class CscGCN(Twice):
    layer = CscLayer


class OperatorLayer(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.weight = weight(in_channels, out_channels)
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x, adj):
        return adj @ x @ self.weight + self.bias


@define('adj @ x @ W + b, dense', with_dense)
class OperatorGCN(Twice):
    layer = OperatorLayer


class EinsumLayer(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.weight = weight(in_channels, out_channels)

    def forward(self, x, adj):
        return torch.einsum('vw,wc,cd->vd', adj, x, self.weight)


@define('one einsum for neighbours and weights', with_dense, macs=False)
class EinsumGCN(Twice):
    layer = EinsumLayer


class AddmmLayer(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.weight = weight(in_channels, out_channels)
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x, adj):
        return torch.addmm(self.bias, torch.mm(adj, x), self.weight)


@define('addmm with a bias in front', with_dense)
class AddmmGCN(Twice):
    layer = AddmmLayer


class BareLayer(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.weight = weight(out_channels, in_channels)
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x, adj):
        return torch.matmul(adj, F.linear(x, self.weight, self.bias))


@define('F.linear with a parameter of its own', with_dense)
class BareGCN(Twice):
    layer = BareLayer


class MaskedMean(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.weight = weight(2 * in_channels, out_channels)

    def forward(self, x, adj):
        mask = (adj > 0).to(x.dtype)
        mask = mask.div(mask.sum(1, keepdim=True))
        return torch.cat([x, mask.mm(x)], dim=1).mm(self.weight)


@define('a mask divided by its row sums; self and neighbours side by side', with_dense)
class MaskedMeanSAGE(Twice):
    layer = MaskedMean


class DividedSum(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.lin = nn.Linear(in_channels, out_channels)

    def forward(self, x, adj):
        deg = torch.spmm(adj, torch.ones((adj.shape[0], 1)).to(x.device))
        return self.lin(torch.spmm(adj, x) / deg)


@define('degrees by spmm with ones, sums divided by them', with_coo)
class DividedSumGCN(Twice):
    layer = DividedSum


class TransposedLayer(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.weight = weight(out_channels, in_channels)

    def forward(self, x, adj):
        return (self.weight @ (adj @ x).t()).t()


@define('features in columns: (W @ x.t()).t()', with_dense)
class TransposedGCN(Twice):
    layer = TransposedLayer


class TensordotLayer(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.weight = weight(in_channels, out_channels)

    def forward(self, x, adj):
        return torch.tensordot(adj @ x, self.weight, dims=([1], [0]))


@define('tensordot with a weight', with_dense)
class TensordotGCN(Twice):
    layer = TensordotLayer


class OwnNorm(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.lin = nn.Linear(in_channels, out_channels)

    def forward(self, x, adj):
        adj = (adj > 0).to(x) + torch.eye(adj.size(0), device=adj.device)
        scale = torch.diag(adj.sum(dim=1).pow(-0.5))
        return torch.mm(torch.mm(torch.mm(scale, adj), scale), self.lin(x))


@define('diag(d) A diag(d) in every layer', with_dense, macs=False)
class OwnNormGCN(Twice):
    layer = OwnNorm


@define('the three-term recursion of Chebyshev by hand', with_coo)
class ChebyshevByHand(nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = nn.ParameterList([weight(NUM_FEATURES, WIDTH) for _ in range(3)])
        self.lin = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x, lap):
        t0, t1 = x, torch.spmm(lap, x)
        out = t0 @ self.weights[0] + t1 @ self.weights[1]
        for w in list(self.weights)[2:]:
            t0, t1 = t1, 2 * torch.spmm(lap, t1) - t0
            out = out + t1 @ w
        return self.lin(F.relu(out))


@define('mixed with the first state by numbers of the layer', with_coo, activations=3)
class MixedByNumbers(nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = nn.ParameterList([weight(WIDTH, WIDTH) for _ in range(2)])
        self.fcs = nn.ModuleList([nn.Linear(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, 4)])
        self.act_fn = nn.ReLU()

    def forward(self, x, adj):
        h0 = h = self.act_fn(self.fcs[0](x))
        for i, w in enumerate(self.weights):
            theta = math.log(0.5 / (i + 1) + 1)
            support = (1 - 0.1) * torch.spmm(adj, h) + 0.1 * h0
            h = self.act_fn(theta * torch.mm(support, w) + (1 - theta) * support)
        return F.log_softmax(self.fcs[-1](h), dim=1)


@define('(1 + eps[layer]) times the node itself, a read-out of each layer', with_coo)
class ReadoutOfEachLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.eps = nn.Parameter(torch.zeros(1))
        self.mlp, self.norm = nn.Linear(NUM_FEATURES, WIDTH), nn.BatchNorm1d(WIDTH)
        self.linears = nn.ModuleList([nn.Linear(n, 4) for n in (NUM_FEATURES, WIDTH)])

    def forward(self, x, adj):
        hidden = [x]
        pooled = torch.spmm(adj, x) + (1 + self.eps[0]) * x
        hidden.append(F.relu(self.norm(self.mlp(pooled))))
        score = 0
        for layer, h in enumerate(hidden):
            score += F.dropout(self.linears[layer](h), 0.5, training=self.training)
        return score


def with_batches(number):
    x = torch.stack([graph(n).x[:20] for n in range(30, 30 + number)])
    return x, torch.stack([dense(n)[:20, :20] for n in range(30, 30 + number)])


@define('a batch of dense adjacencies: bmm', with_batches, sizes=(6, 4, 9))
class BatchedProducts(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(NUM_FEATURES, WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, x, adj):
        x = torch.bmm(adj, self.lin1(x)).relu()
        return self.lin2(torch.matmul(adj, x)).mean(dim=1)


@define('a blend of two branches by the sigmoid of a parameter', with_weights)
class LearnedBlend(nn.Module):
    def __init__(self):
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(0.3))
        self.lin, self.skip = (
            nn.Linear(NUM_FEATURES, WIDTH),
            nn.Linear(NUM_FEATURES, 16),
        )
        self.out = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x, edge_index, edge_weight):
        message = edge_weight.unsqueeze(-1) * self.lin(x)[edge_index[0]]
        near = torch.zeros(x.size(0), WIDTH).index_add(0, edge_index[1], message)
        alpha = torch.sigmoid(self.alpha)
        return self.out(F.relu(alpha * near + (1 - alpha) * self.skip(x)))
