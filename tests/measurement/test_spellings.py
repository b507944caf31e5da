"""Counts of hand-written layers against brute force: loops over spikes and values."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch_geometric.data import HeteroData
from torch_geometric.nn import GCNConv, GraphConv, SAGEConv, to_hetero
from torch_geometric.utils import add_remaining_self_loops, to_dense_batch

from spikegraph import ConversionConfig, convert, measure
from tests.conversion.zoo import randomize
from tests.measurement import spellings
from tests.measurement.spellings import GraphStack, MatrixStack, Stack

NUM_NODES, SIZES = 30, (6, 8, 3)
CONFIG = ConversionConfig(num_steps=8, compensate=None, input_scale='layer')


@pytest.fixture
def x():
    values = torch.rand(NUM_NODES, 6, dtype=torch.float64)
    return values * (torch.rand(NUM_NODES, 6) > 0.4)


@pytest.fixture
def edge_index():
    edges = torch.randint(NUM_NODES, (2, 90))
    return torch.unique(edges, dim=1)  # As many as the matrix has entries.


@pytest.fixture
def adj(edge_index):
    matrix = torch.zeros(NUM_NODES, NUM_NODES, dtype=torch.float64)
    matrix[edge_index[1], edge_index[0]] = torch.rand(edge_index.size(1)).double() + 0.1
    return matrix


def weights_met(spikes, num_outputs):
    """One accumulate for each weight that each spike meets."""
    count = 0
    for row in spikes.spike_time.reshape(len(spikes.spike_time), -1):
        for time in row:
            if time != spikes.code.num_steps:
                count += num_outputs
    return count


def macs_of_nonzero(values, num_outputs):
    """One multiply-accumulate for each weight that each value but zero meets."""
    return sum(num_outputs for value in values.flatten() if value != 0)


def account(model, args):
    """The network, its counts in total, its spikes in order, and the account."""
    randomize(model)
    snn = convert(model, args, CONFIG)
    measurement = measure(snn, args, model)
    assert measurement.uncounted == []
    return snn, measurement.total, list(snn.spikes(*args).values()), measurement


@pytest.mark.parametrize('name', spellings.TRANSFORMS)
def test_transforms(name, x):
    spelling = spellings.TRANSFORMS[name]
    model = Stack(spelling, (6, 8, 8) if 'weights times' in name else SIZES)
    _, total, spikes, _ = account(model, (x,))
    widths = [model.first.lin.out_features, model.last.lin.out_features]
    hidden = spelling(model.first, x).relu()
    assert total.ann_macs == NUM_NODES * (6 * widths[0] + widths[0] * widths[1])
    nonzero = macs_of_nonzero(x, widths[0]) + macs_of_nonzero(hidden, widths[1])
    assert total.ann_macs_nonzero == nonzero
    expected = sum(weights_met(s, w) for s, w in zip(spikes, widths, strict=True))
    assert total.synops == expected > 0
    assert total.snn_macs == total.ann_aggregation_macs == total.accumulates == 0


def check_graph(model, args, graph, num_edges, aggregates_first, matrix):
    """The counts of two layers of a transform and a sum over edges each."""
    _, total, spikes, _ = account(model, args)
    values, macs, nonzero, sums = args[0], 0, 0, 0
    for layer, size, width in zip(
        (model.first, model.last), SIZES[:2], SIZES[1:], strict=True
    ):
        seen = matrix @ values if aggregates_first else values
        macs += NUM_NODES * size * width
        nonzero += macs_of_nonzero(seen, width)
        sums += num_edges * (size if aggregates_first else width)
        values = model.spelling(layer, values, graph).relu()
    assert (total.ann_macs, total.ann_macs_nonzero) == (macs, nonzero)
    assert total.ann_aggregation_macs == sums
    expected = sum(weights_met(s, w) for s, w in zip(spikes, SIZES[1:], strict=True))
    assert total.synops == expected > 0
    return total


@pytest.mark.parametrize('layout', ['dense', 'coo', 'csr'])
@pytest.mark.parametrize(
    'name', [*spellings.FIRST_TRANSFORMED, *spellings.FIRST_AGGREGATED]
)
def test_products_with_a_matrix(name, layout, x, adj):
    after = spellings.FIRST_AGGREGATED.get(name)
    spelling = after or spellings.FIRST_TRANSFORMED[name]
    sparse = {'coo': adj.to_sparse(), 'csr': adj.to_sparse_csr(), 'dense': adj}
    graph, num = sparse[layout], int(adj.count_nonzero())
    model = MatrixStack(spelling)
    total = check_graph(model, (x, graph), graph, num, after is not None, adj)
    assert total.snn_macs == num * (8 + 3)  # Weighted edges.
    assert total.accumulates == 0


@pytest.mark.parametrize('name', spellings.DENSE_FIRST_TRANSFORMED)
def test_products_with_a_dense_matrix(name, x, adj):
    model = MatrixStack(spellings.DENSE_FIRST_TRANSFORMED[name])
    num = int(adj.count_nonzero())
    total = check_graph(model, (x, adj), adj, num, False, adj)
    assert total.snn_macs == num * (8 + 3) and total.accumulates == 0


@pytest.mark.parametrize(
    'name', [*spellings.EDGES_FIRST_TRANSFORMED, *spellings.EDGES_FIRST_AGGREGATED]
)
def test_sums_over_edges(name, x, edge_index, adj):
    after = spellings.EDGES_FIRST_AGGREGATED.get(name)
    spelling = after or spellings.EDGES_FIRST_TRANSFORMED[name]
    model, num = GraphStack(spelling), edge_index.size(1)
    matrix = (adj != 0).double()
    args = (x, edge_index)
    total = check_graph(model, args, edge_index, num, after is not None, matrix)
    assert total.accumulates == num * (8 + 3)
    assert total.snn_macs == 0


class Joined(nn.Module):
    """Own features beside the sum over neighbours, once and again."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(12, 8), nn.Linear(16, 3)

    def forward(self, x, adj):
        x = self.a(torch.cat([x, adj @ x], dim=1)).relu()
        return self.b(torch.cat([x, adj @ x], dim=-1))


def test_weights_behind_parts_side_by_side(x, adj):
    _, total, spikes, _ = account(Joined(), (x, adj))
    num = int(adj.count_nonzero())
    assert total.ann_macs == NUM_NODES * (12 * 8 + 16 * 3)
    assert total.ann_aggregation_macs == num * (6 + 8)
    assert total.synops == 2 * (weights_met(spikes[0], 8) + weights_met(spikes[1], 3))
    assert total.snn_macs == num * (8 + 3)
    assert total.accumulates == NUM_NODES * (8 + 3) and total.adds == 0


class OwnValue(nn.Module):
    """Isomorphism layers, and a second hop."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)
        self.eps = nn.Parameter(torch.tensor([0.2]))

    def forward(self, x, adj):
        x = self.a((1 + self.eps) * x + adj @ x).relu()
        return self.b(torch.spmm(adj, adj @ x))


def test_own_values_and_second_hops(x, adj):
    _, total, spikes, _ = account(OwnValue(), (x, adj))
    num = int(adj.count_nonzero())
    assert total.ann_macs == NUM_NODES * (6 * 8 + 8 * 3)
    assert total.ann_aggregation_macs == num * (6 + 2 * 8)
    assert total.ann_multiplications == NUM_NODES * 6
    assert total.synops == weights_met(spikes[0], 8) + weights_met(spikes[1], 3)
    assert total.snn_macs == num * (8 + 2 * 3)


class ByType(nn.Module):
    """Weights of each node's type, gathered: no layer has them."""

    def __init__(self):
        super().__init__()
        self.weight, self.out = nn.Parameter(torch.randn(3, 6, 8)), nn.Linear(8, 3)

    def forward(self, x, kind):
        x = torch.bmm(x.unsqueeze(1), self.weight[kind]).squeeze(1)
        return self.out(x.relu())


def test_weights_that_are_gathered(x):
    _, total, spikes, _ = account(ByType(), (x, torch.randint(3, (NUM_NODES,))))
    assert total.ann_macs == NUM_NODES * (6 * 8 + 8 * 3)
    assert total.synops == weights_met(spikes[0], 8) + weights_met(spikes[1], 3)
    assert total.snn_macs == 0


def fired(spikes):
    """A one for each spike."""
    return (spikes.spike_time != spikes.code.num_steps).double()


def test_pygcn(x, adj):
    adj = adj.to_sparse()
    model, num = spellings.HandwrittenGCN(), adj._nnz()
    _, total, spikes, measurement = account(model, (x, adj))
    assert total.ann_macs == NUM_NODES * (6 * 8 + 8 * 3)
    hidden = model.gc1(x, adj).relu()
    nonzero = macs_of_nonzero(x, 8) + macs_of_nonzero(hidden, 3)
    assert total.ann_macs_nonzero == nonzero
    assert total.ann_aggregation_macs == total.snn_macs == num * 11
    synops = weights_met(spikes[0], 8) + weights_met(spikes[1], 3)
    assert total.synops == synops > 0
    ann, snn = 4.6 * (NUM_NODES * 72 + num * 11), 0.9 * synops + 4.6 * num * 11
    ratio = measurement.energy_ratios()['energy_ratio_compute']
    assert ratio == pytest.approx(ann / snn)
    assert ratio > 1.3


def test_tutorial_layer(x, edge_index):
    edge_index = edge_index[:, edge_index[0] != edge_index[1]]
    model, num = spellings.TutorialGCN(), edge_index.size(1) + NUM_NODES
    _, total, spikes, measurement = account(model, (x, edge_index))
    assert total.ann_macs == NUM_NODES * (6 * 8 + 8 * 3)
    assert total.ann_aggregation_macs == num * 11
    assert total.ann_multiplications == 0  # Part of the multiply-accumulates.
    synops = weights_met(spikes[0], 8) + weights_met(spikes[1], 3)
    assert total.synops == synops > 0
    assert total.snn_macs == 0  # Weights of edges are factors of nodes.
    assert (total.accumulates, total.scalings) == (num * 11, 2 * NUM_NODES * 11)
    ann = 4.6 * (NUM_NODES * 72 + num * 11)
    snn = 0.9 * (synops + num * 11) + 3.7 * total.scalings
    ratio = measurement.energy_ratios()['energy_ratio_compute']
    assert ratio == pytest.approx(ann / snn)


def test_molecule_layer(x, edge_index):
    num = edge_index.size(1)
    batch = torch.arange(NUM_NODES) * 4 // NUM_NODES
    args = (x, edge_index, torch.randint(4, (num,)), batch)
    model = spellings.MoleculeGIN()
    snn, total, _, measurement = account(model, args)
    assert total.ann_macs == 2 * NUM_NODES * (6 * 12 + 12 * 6) + 4 * 6 * 3
    assert total.ann_aggregation_macs == 2 * num * 6 + NUM_NODES * 6
    spikes = snn.spikes(*args)
    synops = 0
    # Inputs, and the populations of edges, arrive at the first linear layer of
    # each block; its own neurons at the second one; the last ones at the mean.
    x_spikes, edges1, inner1, edges2, *rest = (fired(s) for s in spikes.values())
    if len(edges2) == NUM_NODES:  # The neurons between the layers.
        between, edges2, inner2, last = edges2, *rest
    else:
        between, inner2, last = rest
    synops = 12 * int(x_spikes.sum() + edges1.sum()) + 6 * int(inner1.sum())
    synops += 12 * int(between.sum() + edges2.sum()) + 6 * int(inner2.sum())
    synops += 3 * int(last.sum())
    assert total.synops == synops
    assert total.snn_macs == 0
    assert measurement.unit == 'graph' and measurement.num_nodes == 4
    assert measurement.energy_ratios()['energy_ratio_compute'] > 2


def test_a_layer_between_two_sets_of_nodes(x):
    edge_index = torch.stack([torch.randint(30, (50,)), torch.randint(10, (50,))])
    _, total, _, _ = account(spellings.TwoSided(), (x, edge_index))
    assert total.ann_macs == 10 * 6 * 8 + 10 * 6 * 8 + 10 * 8 * 3
    assert total.ann_aggregation_macs == 50 * 6


@pytest.mark.parametrize('conv', [GCNConv, SAGEConv, GraphConv])
def test_layers_in_their_own_order(conv, x, edge_index):
    """GCN transforms first, the others sum up first."""
    _, total, _, _ = account(spellings.Plain(conv), (x, edge_index))
    loops = add_remaining_self_loops(edge_index, num_nodes=NUM_NODES)[0].size(1)
    num = edge_index.size(1)
    if conv is GCNConv:
        assert total.ann_macs == NUM_NODES * (6 * 8 + 8 * 3)
        assert total.ann_aggregation_macs == loops * 11
    else:
        assert total.ann_macs == 2 * NUM_NODES * (6 * 8 + 8 * 3)
        assert total.ann_aggregation_macs == num * (6 + 8)


def test_pooling_before_a_linear_layer(x, edge_index):
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.out = GCNConv(6, 8), nn.Linear(8, 3)

        def forward(self, x, edge_index, batch):
            x = self.conv(x, edge_index).relu()
            return self.out(spellings.scatter(x, batch, dim=0, dim_size=5))

    batch = torch.arange(NUM_NODES) * 5 // NUM_NODES
    _, total, spikes, measurement = account(Pooled(), (x, edge_index, batch))
    assert total.ann_macs == NUM_NODES * 6 * 8 + 5 * 8 * 3
    assert total.synops == weights_met(spikes[0], 8) + weights_met(spikes[1], 3)
    assert measurement.unit == 'graph' and measurement.num_nodes == 5


def test_heterogeneous_network():
    data = HeteroData()
    data['a'].x, data['b'].x = torch.rand(20, 6).double(), torch.rand(15, 6).double()
    sizes = {('a', 'to', 'b'): (20, 15), ('b', 'to', 'a'): (15, 20)}
    for kind, (source, target) in sizes.items():
        ends = [torch.randint(source, (40,)), torch.randint(target, (40,))]
        data[kind].edge_index = torch.stack(ends)
    model = to_hetero(spellings.Plain(SAGEConv), data.metadata())
    _, total, _, _ = account(model, (data.x_dict, data.edge_index_dict))
    assert total.ann_macs == 2 * 35 * (6 * 8 + 8 * 3)
    assert total.ann_aggregation_macs == 2 * 40 * (6 + 8)


class Images(nn.Module):
    """Spikes that are moved between two convolutions."""

    def __init__(self, move):
        super().__init__()
        self.move = move
        self.first, self.last = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 3, 3)

    def forward(self, x):
        return self.last(self.move(self.first(x).relu())).mean((2, 3))


MOVES = {
    'up-sampled': lambda x: F.interpolate(x, scale_factor=2),
    'padded': lambda x: F.pad(x, (1, 2, 1, 0)),
    'padded around': lambda x: F.pad(x, (1, 1, 1, 1), mode='circular'),
    'halved': lambda x: x / 2,
    'shuffled': lambda x: x.flip(3).roll(1, 2),
    'repeated': lambda x: x.repeat_interleave(2, 3),
    'joined': lambda x: torch.cat([x[:, 2:], x[:, :2]], dim=1),
}


@pytest.mark.parametrize('name', MOVES)
def test_spikes_that_are_moved(name):
    model, x = Images(MOVES[name]), torch.rand(2, 2, 7, 7).double()
    _, total, spikes, measurement = account(model, (x,))
    moved = MOVES[name](fired(spikes[1])) * (2 if name == 'halved' else 1)
    synops = 0
    for values, layer in ((fired(spikes[0]), model.first), (moved, model.last)):
        out_channels, _, *kernel = layer.weight.shape
        windows = F.unfold(values, kernel)  # The spikes that each place sees.
        synops += out_channels * int(windows.sum())
    assert total.synops == synops > 0
    assert total.snn_macs == 0
    assert measurement.unit == 'image' and measurement.num_nodes == 2


def test_bilinear_interpolation_by_its_matrix():
    def move(x):
        return F.interpolate(x, scale_factor=2, mode='bilinear')

    model, x = Images(move), torch.rand(1, 2, 7, 7).double()
    _, total, spikes, _ = account(model, (x,))
    eye = torch.eye(25, dtype=torch.float64).view(25, 1, 5, 5)
    fan_out = (move(eye) != 0).sum((1, 2, 3)).view(5, 5)
    windows = F.unfold(fired(spikes[0]), (3, 3))
    synops = 4 * int(windows.sum()) + int((fired(spikes[1]) * fan_out).sum())
    assert total.synops == synops
    assert total.snn_macs == 3 * 4 * 9 * 8 * 8  # Reads what was interpolated.
    macs = 4 * 2 * 9 * 25 + 4 * 4 * 100 + total.snn_macs
    assert total.ann_macs == macs


@pytest.mark.parametrize('layout', ['dense', 'coo', 'csr'])
def test_normalised_matrices_only_add(layout, x, adj):
    """Factors of nodes are multiplications of nodes; edges have none."""
    pattern = ((adj != 0) | (adj != 0).t()).double()
    scale = pattern.sum(dim=1).clamp(min=1).rsqrt()
    adj = scale[:, None] * pattern * scale
    graph = {'dense': adj, 'coo': adj.to_sparse(), 'csr': adj.to_sparse_csr()}[layout]
    model, num = MatrixStack(spellings.FIRST_TRANSFORMED['spmm']), int(pattern.sum())
    _, total, _, _ = account(model, (x, graph))
    assert total.ann_aggregation_macs == total.accumulates == num * (8 + 3)
    assert total.snn_macs == 0
    assert total.scalings == 2 * NUM_NODES * (8 + 3)


class DenseBatch(nn.Module):
    """Spikes that are written into zeros, and summed up."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x, batch):
        dense, _ = to_dense_batch(self.a(x).relu(), batch)
        return self.b(dense.sum(dim=1))


def test_spikes_in_dense_batches(x):
    batch = torch.arange(NUM_NODES) // 7
    _, total, spikes, _ = account(DenseBatch(), (x, batch))
    assert total.synops == weights_met(spikes[0], 8) + weights_met(spikes[1], 3)
    assert total.snn_macs == 0
