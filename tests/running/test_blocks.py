import os

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils import _pytree as pytree
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import (
    APPNP,
    GCNConv,
    SAGEConv,
    TAGConv,
    global_add_pool,
    global_max_pool,
    global_mean_pool,
)
from torch_geometric.nn.models import GCN, GIN, GraphSAGE

from spikegraph import ConversionConfig, convert, measure, simulate
from spikegraph.running.blocks import layerwise
from spikegraph.running.closed import ClosedForm
from spikegraph.running.loaders import predict
from spikegraph.running.parts import stages
from tests.conversion.zoo import TakesData, make, randomize
from tests.running.blocks import assert_layerwise
from tests.sampling import full_loader


class Propagating(nn.Module):
    def __init__(self, steps=5):
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(5, 8), nn.Linear(8, 3)
        self.propagate = APPNP(steps, 0.1)

    def forward(self, x, edge_index):
        x = self.lin2(self.lin1(x).relu())
        return self.propagate(x, edge_index).log_softmax(dim=-1)


class Polynomial(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = TAGConv(5, 8, K=3), TAGConv(8, 3, K=2)

    def forward(self, x, edge_index):
        return self.conv2(self.conv1(x, edge_index).relu(), edge_index)


class Weighted(nn.Module):
    """Edge weights made of edge features, a parameter for each node."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = GCNConv(5, 8), GCNConv(8, 3)
        self.position = nn.Parameter(torch.zeros(60, 8))
        self.gain = nn.Parameter(torch.zeros(8))

    def forward(self, x, edge_index, edge_attr):
        weight = 2 * edge_attr.abs().view(-1)
        x = self.conv1(x, edge_index, weight) * self.gain + self.position
        return F.normalize(self.conv2(x.relu(), edge_index, weight))


class Pooled(nn.Module):
    def __init__(self, pool=global_mean_pool):
        super().__init__()
        self.conv, self.lin, self.pool = SAGEConv(5, 8), nn.Linear(8, 3), pool

    def forward(self, x, edge_index, batch):
        return self.lin(self.pool(self.conv(x, edge_index).relu(), batch))


class SoftmaxOverNodes(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = GCNConv(5, 8), GCNConv(8, 3)

    def forward(self, x, edge_index):
        x = self.conv2(self.conv1(x, edge_index).relu(), edge_index)
        return F.log_softmax(x, dim=0)


MODELS = {
    'GCN': lambda: GCN(5, 8, 2, 3),
    'GraphSAGE mean': lambda: GraphSAGE(5, 8, 2, 3),
    'GraphSAGE max': lambda: GraphSAGE(5, 8, 2, 3, aggr='max'),
    'GIN': lambda: GIN(5, 8, 2, 3),
    'APPNP': Propagating,
    'TAG': Polynomial,
    'residual': lambda: make('residual'),
    'JK max': lambda: make('JK max'),
    'data': TakesData,
    'weights': Weighted,
}
SAMPLED = ['GraphSAGE mean', 'GraphSAGE max', 'GIN']


def build(name):
    return randomize(MODELS[name]())


@pytest.fixture
def data(graph, request):
    """The graph, with edge features for the model that reads them."""
    if 'weights' in request.node.name:
        graph.edge_attr = torch.rand(graph.num_edges, 1, dtype=torch.float64)
    return graph


@pytest.fixture
def graphs():
    """Small graphs of several sizes, one without edges."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for num_nodes in (4, 9, 1, 6, 13):
        x = torch.rand(num_nodes, 5, generator=generator, dtype=torch.float64)
        shape = (2, 3 * num_nodes if num_nodes > 1 else 0)
        edge_index = torch.randint(num_nodes, shape, generator=generator)
        found.append(Data(x=x, edge_index=edge_index))
    return found


def seeds_of(spikes, batch):
    return spikes.spike_time[: batch.batch_size]


# Loaders.


@pytest.mark.parametrize('pool', [global_mean_pool, global_max_pool])
@pytest.mark.parametrize('batch_size', [1, 2, 5])
def test_batches_of_graphs(graphs, pool, batch_size):
    whole = Batch.from_data_list(graphs)
    model = randomize(Pooled(pool))
    snn = convert(model, whole)
    loader = DataLoader(graphs, batch_size=batch_size)
    out = predict(snn, loader, progress=False)
    assert out.shape == (5, 3)
    assert torch.allclose(out, snn(whole), rtol=0, atol=1e-12)
    times = [snn.spikes(batch)['relu'].spike_time for batch in loader]
    assert torch.equal(torch.cat(times), snn.spikes(whole)['relu'].spike_time)
    ann = predict(model, loader, progress=False)
    expected = model(whole.x, whole.edge_index, whole.batch)
    assert torch.allclose(ann, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize('batch_size', [1, 7, 60])
@pytest.mark.parametrize('name', SAMPLED)
def test_complete_neighborhoods_equal_full_batch(data, name, batch_size):
    snn = convert(build(name), data)
    nodes = torch.randperm(60)
    loader = full_loader(data, 2, batch_size=batch_size, input_nodes=nodes)
    out = predict(snn, loader, progress=False)
    assert torch.allclose(out, snn(data)[nodes], rtol=0, atol=1e-12)
    whole = snn.spikes(data)
    found = [(batch, snn.spikes(batch)) for batch in loader]
    for population, spikes in whole.items():
        times = torch.cat([seeds_of(each[population], b) for b, each in found])
        assert torch.equal(times, spikes.spike_time[nodes]), population


@pytest.mark.parametrize('name', SAMPLED)
def test_complete_neighborhoods_in_single_precision(data, name):
    data.x = data.x.float()
    snn = convert(build(name).float(), data)
    out = predict(snn, full_loader(data, 2, batch_size=8), progress=False)
    assert torch.equal(out.argmax(dim=-1), snn(data).argmax(dim=-1))


def test_shuffled_loader_keeps_its_own_order(data):
    snn = convert(build('GIN'), data)
    generator = torch.Generator().manual_seed(3)
    loader = full_loader(data, 2, batch_size=9, shuffle=True, generator=generator)
    state = generator.get_state()
    order = torch.cat([batch.n_id[: batch.batch_size] for batch in loader])
    generator.set_state(state)
    out = predict(snn, loader, progress=False)
    assert not torch.equal(order, torch.arange(60))
    assert torch.allclose(out, snn(data)[order], rtol=0, atol=1e-12)


@pytest.mark.parametrize('name', SAMPLED)
def test_calibration_on_a_loader(data, name):
    model = build(name)
    loader = full_loader(data, 2, batch_size=20)
    snn = convert(model, loader)
    # The very calls, given as tuples.
    other = convert(model, [(batch.x, batch.edge_index) for batch in loader])
    for population, neuron in snn.neurons.items():
        assert torch.equal(neuron.scale, other.neurons[population].scale)
    out = predict(snn, loader, progress=False)
    assert torch.allclose(out, snn(data), rtol=0, atol=1e-12)
    assert snn.report.logit_relative_error < 0.2


def trimmed(batch):
    return {
        'x': batch.x,
        'edge_index': batch.edge_index,
        'num_sampled_nodes_per_hop': batch.num_sampled_nodes,
        'num_sampled_edges_per_hop': batch.num_sampled_edges,
    }


@pytest.mark.parametrize('name', SAMPLED)
def test_trimming(data, name):
    model = build(name)
    first = next(iter(full_loader(data, 2, batch_size=20)))
    snn = convert(model, trimmed(first))
    whole = convert(model, data)
    whole.network.load_state_dict(snn.network.state_dict())
    expected, spikes = whole(data), whole.spikes(data)
    for batch_size in (1, 7, 60):
        for batch in full_loader(data, 2, batch_size=batch_size):
            seeds = batch.n_id[: batch.batch_size]
            out = snn(**trimmed(batch))
            # The last layer sees the seeds and their neighbours only.
            assert len(out) == sum(batch.num_sampled_nodes[:2])
            out = out[: batch.batch_size]
            assert torch.allclose(out, expected[seeds], rtol=0, atol=1e-12)
            for population, each in snn.spikes(**trimmed(batch)).items():
                times = spikes[population].spike_time[seeds]
                assert torch.equal(seeds_of(each, batch), times), population


@pytest.mark.parametrize('name', SAMPLED)
def test_time_steps_of_a_trimmed_network(data, name):
    model = build(name)
    batch = next(iter(full_loader(data, 2, batch_size=20)))
    snn = convert(model, trimmed(batch))
    simulation = simulate(snn, **trimmed(batch))
    for population, spikes in snn.spikes(**trimmed(batch)).items():
        times = simulation.spike_time[population]
        assert torch.equal(times, spikes.spike_time), population
    # No population beside those of the whole network.
    assert list(simulation.spikes) == list(convert(model, data).spikes(data))
    assert measure(snn, trimmed(batch), model).total.synops > 0


def test_trimmed_calibration_on_batches_of_several_sizes(data):
    loader = full_loader(data, 2, batch_size=25)
    snn = convert(build('GraphSAGE mean'), [trimmed(batch) for batch in loader])
    batches = list(full_loader(data, 2, batch_size=3))
    outs = [snn(**trimmed(batch))[: batch.batch_size] for batch in batches]
    assert torch.allclose(torch.cat(outs), snn_untrimmed(snn, data), atol=1e-12)


def snn_untrimmed(snn, data):
    sizes = {
        'num_sampled_nodes_per_hop': [data.num_nodes, 0, 0],
        'num_sampled_edges_per_hop': [data.num_edges, 0],
    }
    return snn(x=data.x, edge_index=data.edge_index, **sizes)


def test_list_of_subgraphs(data):
    """As ClusterData and ClusterLoader give: whatever they hold is kept."""
    snn = convert(build('GraphSAGE mean'), data)
    parts = [data.subgraph(nodes) for nodes in torch.arange(60).split(17)]
    out = predict(snn, parts, progress=False)
    assert out.shape == (60, 3)
    # A union of separate parts is one graph.
    whole = Batch.from_data_list(parts)
    assert torch.allclose(out, snn(whole.x, whole.edge_index), rtol=0, atol=1e-12)
    pairs = [(part.x, part.edge_index) for part in parts]
    assert torch.equal(predict(snn, pairs, progress=False), out)


def test_tensors_as_batches():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    x = torch.rand(10, 4)
    snn = convert(model, x)
    out = predict(snn, x.split(3), progress=False)
    assert torch.allclose(out, snn(x), atol=1e-6)
    assert torch.allclose(predict(model, x.split(3), False), model(x), atol=1e-6)


def test_empty_loader(data):
    snn = convert(build('GIN'), data)
    with pytest.raises(
        ValueError, match=r"'loader' to hold at least one .*\(got none\)"
    ):
        predict(snn, [], progress=False)


# Layer by layer.


@pytest.mark.parametrize('name', MODELS)
def test_layerwise_equals_forward(data, name):
    assert_layerwise(convert(build(name), data), data)


@pytest.mark.parametrize(
    'config',
    [dict(fold_degree=True), dict(encode_input=False), dict(per_channel=True)],
    ids=str,
)
@pytest.mark.parametrize('name', ['GCN', 'residual', 'weights'])
def test_layerwise_options(data, name, config):
    assert_layerwise(convert(build(name), data, ConversionConfig(**config)), data)


@pytest.mark.parametrize('name', ['GCN', 'GraphSAGE mean', 'GraphSAGE max', 'APPNP'])
def test_layerwise_without_edges(data, name):
    snn = convert(build(name), data)
    data.edge_index = data.edge_index[:, :0]
    assert_layerwise(snn, data)


@pytest.mark.parametrize('name', ['GCN', 'GraphSAGE mean', 'GraphSAGE max', 'APPNP'])
def test_layerwise_on_one_node(data, name):
    snn = convert(build(name), data)
    assert_layerwise(snn, Data(x=data.x[:1], edge_index=data.edge_index[:, :0]))


def test_layerwise_on_arguments(data):
    snn = convert(build('GCN'), (data.x, data.edge_index))
    expected = layerwise(snn, data, progress=False)
    out = layerwise(snn, data.x, edge_index=data.edge_index, progress=False)
    assert torch.equal(out, expected)


@pytest.mark.parametrize('name', ['GraphSAGE mean', 'GraphSAGE max', 'GCN'])
def test_layerwise_holds_a_block_and_its_neighbors(name, monkeypatch):
    """On a ring, a block of 4 nodes has 2 more neighbours."""
    ring = torch.arange(60)
    edge_index = torch.stack([ring, (ring + 1) % 60])
    edge_index = torch.cat([edge_index, edge_index.flip(0)], dim=1)
    data = Data(x=torch.rand(60, 5).double(), edge_index=edge_index)
    snn = convert(build(name), data)
    rows = []

    class Watched(ClosedForm):
        """Notes how many rows of real values there are of each node of a stage."""

        def call(self, node):
            value = super().call(node)
            for leaf in pytree.tree_leaves(value):
                if isinstance(leaf, torch.Tensor) and leaf.is_floating_point():
                    rows.append(len(leaf))
            return value

    monkeypatch.setattr(stages, 'ClosedForm', Watched)
    layerwise(snn, data, block_size=4, progress=False)
    assert rows and max(rows) <= 6


@pytest.mark.parametrize('pool', [global_mean_pool, global_max_pool, global_add_pool])
def test_layerwise_on_batches_of_graphs(graphs, pool):
    batch = Batch.from_data_list(graphs)
    assert_layerwise(convert(randomize(Pooled(pool)), batch), batch)


def test_layerwise_refuses_what_mixes_nodes(data):
    snn = convert(randomize(SoftmaxOverNodes()), data)
    with pytest.raises(NotImplementedError, match=r"'log_softmax.*layer by layer"):
        layerwise(snn, data, progress=False)


@pytest.mark.parametrize('block_size', [0, -3])
def test_block_size_error(data, block_size):
    snn = convert(build('GCN'), data)
    match = rf"'block_size' to be at least 1 \(got {block_size}\)"
    with pytest.raises(ValueError, match=match):
        layerwise(snn, data, block_size=block_size)


def test_outputs_in_a_file(data, tmp_path):
    snn, path = convert(build('GCN'), data), tmp_path / 'out.npy'
    out = layerwise(snn, data, block_size=7, output=path)
    assert torch.equal(out, snn(data))
    assert np.array_equal(np.load(path), out.numpy())
    data.x = 2 * data.x
    out = layerwise(snn, data, block_size=7, output=path)  # In its place.
    assert torch.equal(out, snn(data)) and os.listdir(tmp_path) == ['out.npy']


def test_outputs_that_no_file_can_hold(data, tmp_path):
    snn = convert(build('GCN'), data)
    with pytest.raises(
        ValueError, match=r"'output' to be an .npy file \(got 'out.pt'\)"
    ):
        layerwise(snn, data, output='out.pt')
    with pytest.raises(FileNotFoundError, match='missing/out.npy'):
        layerwise(snn, data, output=tmp_path / 'missing' / 'out.npy')

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = SAGEConv(5, 8)

        def forward(self, x, edge_index):
            x = self.conv(x, edge_index)
            return x, x.relu()

    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = SAGEConv(5, 8)

        def forward(self, x, edge_index):
            return self.conv(x, edge_index).relu().t()

    snn = convert(randomize(Two()), data)
    for network in (snn, convert(randomize(Turned()), data)):
        with pytest.raises(ValueError, match='one tensor, of a row for each node'):
            layerwise(
                network, data, storage=tmp_path / 'kept', output=tmp_path / 'o.npy'
            )
    assert os.listdir(tmp_path) == []  # Nothing is computed before.


@pytest.mark.parametrize('block_size', [True, 'x', 2.0])
def test_block_sizes_are_integers(data, block_size):
    snn = convert(build('GCN'), data)
    with pytest.raises(ValueError, match="Expected 'block_size' to be an integer"):
        layerwise(snn, data, block_size=block_size)
    out = layerwise(snn, data, block_size=np.int64(7))
    assert torch.equal(out, snn(data))


def test_nothing_to_be_emptied(data):
    snn = convert(build('GCN'), data)
    with pytest.raises(ValueError, match="'storage' beside 'resume=False'"):
        layerwise(snn, data, resume=False)


@pytest.mark.parametrize('model', [GCN, GraphSAGE])
def test_a_single_node_has_a_scale_of_its_own(model, tmp_path):
    """Which is on disk beside its spikes."""
    torch.manual_seed(0)
    x, edge_index = torch.rand(20, 4), torch.randint(20, (2, 60))
    snn = convert(model(4, 8, 2, 3).eval(), (x, edge_index))
    one = 3 * x[:1], edge_index[:, :0]
    out = layerwise(snn, *one, storage=tmp_path / 'kept')
    assert torch.equal(out, snn(*one))
    assert torch.equal(layerwise(snn, *one, storage=tmp_path / 'kept'), snn(*one))
