import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree
from torch_geometric.data import HeteroData
from torch_geometric.nn import (
    GATConv,
    GCNConv,
    GraphConv,
    HeteroConv,
    SAGEConv,
    to_hetero,
)
from torch_geometric.nn.models import GraphSAGE

from spikegraph import ConversionConfig, convert, load, measure, save, simulate
from spikegraph.running.loaders import predict
from tests.conversion.convolutions import TOLERANCE, deviation
from tests.conversion.zoo import randomize
from tests.running.blocks import assert_layerwise

pytestmark = pytest.mark.filterwarnings('ignore:There exist node types:UserWarning')

TO, REV, SELF = ('a', 'to', 'b'), ('b', 'rev', 'a'), ('a', 'self', 'a')


class Hetero(nn.Module):
    """Dictionaries in, one tensor out."""

    def __init__(self):
        super().__init__()
        self.lin = nn.ModuleDict({'a': nn.Linear(6, 8), 'b': nn.Linear(4, 8)})
        self.convs = nn.ModuleList(
            HeteroConv(
                {
                    TO: SAGEConv((8, 8), 8),
                    REV: GraphConv((8, 8), 8),
                    SELF: GCNConv(8, 8),
                }
            )
            for _ in range(2)
        )
        self.out = nn.Linear(8, 3)

    def forward(self, x_dict, edge_index_dict):
        x_dict = {key: self.lin[key](x).relu() for key, x in x_dict.items()}
        for conv in self.convs:
            x_dict = conv(x_dict, edge_index_dict)
            x_dict = {key: x.relu() for key, x in x_dict.items()}
        return self.out(x_dict['a'])


class Sink(nn.Module):
    """No edge ends in a node of type 'a'."""

    def __init__(self):
        super().__init__()
        self.conv1 = HeteroConv({TO: SAGEConv((6, 4), 8)})
        self.conv2 = HeteroConv({TO: SAGEConv((6, 8), 8)})
        self.out = nn.Linear(8, 3)

    def forward(self, x_dict, edge_index_dict):
        out = self.conv1(x_dict, edge_index_dict)
        x_dict = {**x_dict, **{key: x.relu() for key, x in out.items()}}
        return self.out(self.conv2(x_dict, edge_index_dict)['b'].relu())


class Bipartite(nn.Module):
    """A tuple of features for sources and destinations."""

    def __init__(self, aggr='mean'):
        super().__init__()
        self.conv = SAGEConv((6, 4), 8, aggr=aggr)
        self.out = nn.Linear(8, 3)

    def forward(self, x_source, x_target, edge_index):
        return self.out(self.conv((x_source, x_target), edge_index).relu())


class SourcesOnly(Bipartite):
    """Destinations without features, their number given by a size."""

    def forward(self, x_source, edge_index, size):
        out = self.conv((x_source, None), edge_index, size=size)
        return self.out(out.relu())


def hetero_data(num_a, num_b, seed=0):
    generator = torch.Generator().manual_seed(seed)
    data = HeteroData()
    options = dict(generator=generator, dtype=torch.float64)
    data['a'].x = torch.rand(num_a, 6, **options)
    data['b'].x = torch.rand(num_b, 4, **options)
    source = torch.randint(num_a, (60,), generator=generator)
    target = torch.randint(num_b - 1, (60,), generator=generator)  # One isolated.
    data[TO].edge_index = torch.stack([source, target])
    data[REV].edge_index = data[TO].edge_index.flip(0)
    data[SELF].edge_index = torch.randint(num_a, (2, 50), generator=generator)
    return data


@pytest.fixture
def data():
    return hetero_data(20, 15)


def lifted(aggr, data):
    model = to_hetero(GraphSAGE((-1, -1), 8, 2, 3, aggr=aggr), data.metadata())
    with torch.no_grad():  # Gives lazy layers their sizes.
        x_dict = {key: x.float() for key, x in data.x_dict.items()}
        model(x_dict, data.edge_index_dict)
    return model


MODELS = {
    'HeteroConv': lambda data: Hetero(),
    'no incoming edges': lambda data: Sink(),
    'to_hetero mean': lambda data: lifted('mean', data),
    'to_hetero max': lambda data: lifted('max', data),
}


def build(name, data):
    if name == 'no incoming edges':
        del data[REV], data[SELF]
    return randomize(MODELS[name](data))


def assert_equal(out, expected, atol=0.0):
    a, b = pytree.tree_leaves(out), pytree.tree_leaves(expected)
    assert len(a) == len(b) > 0
    for left, right in zip(a, b, strict=True):
        assert torch.allclose(left, right, rtol=0, atol=atol)


@pytest.mark.parametrize('name', MODELS)
def test_convert(name, data, tmp_path):
    model = build(name, data)
    snn = convert(model, data)
    out = snn(data)
    ann = model(data.x_dict, data.edge_index_dict)
    assert type(out) is type(ann)
    if isinstance(ann, dict):
        assert out.keys() == ann.keys()
    assert snn.report.logit_relative_error < 0.15
    assert_equal(snn(data.x_dict, data.edge_index_dict), out)
    by_name = dict(
        zip(snn.spec.inputs, (data.x_dict, data.edge_index_dict), strict=True)
    )
    assert_equal(snn(**by_name), out)

    simulation = simulate(snn, data)
    for population, spikes in snn.spikes(data).items():
        times = simulation.spike_time[population]
        assert torch.equal(times, spikes.spike_time), population
    assert_equal(simulation.output, out, atol=1e-11)

    path = tmp_path / 'model.safetensors'
    save(snn, path)
    assert_equal(load(path, model)(data), out)

    measurement = measure(snn, data, model)
    assert measurement.total.synops > 0 and not measurement.uncounted


@pytest.mark.parametrize('name', MODELS)
def test_graphs_of_other_sizes(name, data):
    """Numbers of nodes are no constants."""
    model = build(name, data)
    other = hetero_data(31, 7, seed=1)
    if name == 'no incoming edges':
        del other[REV], other[SELF]
    config = ConversionConfig(compensate=None)  # It may add biases.
    both = convert(model, [data, other], config)
    alone = convert(model, other, config)
    alone.network.load_state_dict(both.network.state_dict())
    assert_equal(both(other), alone(other))
    with torch.no_grad():
        ann = model(other.x_dict, other.edge_index_dict)
    spiking = convert(model, [data, other])(other)
    for a, b in zip(pytree.tree_leaves(ann), pytree.tree_leaves(spiking), strict=True):
        assert float((a - b).norm() / a.norm()) < 0.2


@pytest.mark.parametrize('given', ['tuple', 'arguments'])
def test_calibration_by_dictionaries(given, data):
    model = build('HeteroConv', data)
    arguments = {'x_dict': data.x_dict, 'edge_index_dict': data.edge_index_dict}
    calls = tuple(arguments.values()) if given == 'tuple' else arguments
    assert_equal(convert(model, calls)(data), convert(model, data)(data))


def test_keys_must_be_those_of_the_calibration(data):
    snn = convert(build('HeteroConv', data), data)
    x_dict, edges = data.x_dict, data.edge_index_dict
    with pytest.raises(ValueError, match=r"'x_dict' .*\['a', 'b'\].*nothing for 'b'"):
        snn({'a': x_dict['a']}, edges)
    with pytest.raises(ValueError, match=r"'x_dict' .*\(got 'c', too\)"):
        snn({**x_dict, 'c': x_dict['a']}, edges)
    some = {key: value for key, value in edges.items() if key != REV}
    match = r"'edge_index_dict' .*nothing for \('b', 'rev', 'a'\)"
    with pytest.raises(ValueError, match=match):
        snn(x_dict, some)
    with pytest.raises(TypeError, match="'edge_index_dict', which the calibration"):
        snn(x_dict)
    with pytest.raises(
        ValueError, match=r"'x_dict' to be a dictionary.*\(got Tensor\)"
    ):
        snn(x_dict['a'], edges)
    del data[REV]
    with pytest.raises(ValueError, match=match):
        snn(data)


def test_values_must_be_finite(data):
    model = build('HeteroConv', data)
    snn = convert(model, data)
    data['b'].x[3, 1] = float('nan')
    with pytest.raises(ValueError, match=r"x_dict\['b'\]' to be finite \(got nan"):
        snn(data)
    with pytest.raises(ValueError, match=r"x_dict\['b'\]' to be finite \(got nan"):
        convert(model, data)


@pytest.mark.parametrize('aggr', ['mean', 'max', 'sum'])
def test_bipartite_tuples(aggr, data):
    model = randomize(Bipartite(aggr))
    arguments = (data['a'].x, data['b'].x, data[TO].edge_index)
    snn = convert(model, arguments)
    out = snn(*arguments)
    assert out.shape == (15, 3) and snn.report.logit_relative_error < 0.15
    simulation = simulate(snn, *arguments)
    for population, spikes in snn.spikes(*arguments).items():
        assert torch.equal(simulation.spike_time[population], spikes.spike_time)
    other = hetero_data(33, 4, seed=1)
    assert snn(other['a'].x, other['b'].x, other[TO].edge_index).shape == (4, 3)


@pytest.mark.parametrize('aggr', ['mean', 'max'])
def test_sizes_of_bipartite_graphs_are_inputs(aggr, data):
    model = randomize(SourcesOnly(aggr))
    snn = convert(model, (data['a'].x, data[TO].edge_index, (20, 15)))
    other = hetero_data(33, 9, seed=1)
    arguments = (other['a'].x, other[TO].edge_index, (33, 9))
    assert snn(*arguments).shape == model(*arguments).shape == (9, 3)


def test_predict_keeps_the_seeds(data):
    """As NeighborLoader does, some nodes of one type come first."""
    data['a'].n_id, data['b'].n_id = torch.arange(20), torch.arange(15)
    data['a'].batch_size = 5
    for name in ('HeteroConv', 'to_hetero mean'):
        plain = hetero_data(20, 15)
        model = build(name, plain)
        snn = convert(model, plain)
        out, expected = predict(snn, [data, data], progress=False), snn(plain)
        if name == 'HeteroConv':
            out, expected = {'a': out}, {'a': expected}
        assert list(out) == ['a']
        assert torch.equal(out['a'], expected['a'][:5].repeat(2, 1))
        assert predict(model, [plain], progress=False) is not None


@pytest.mark.parametrize('name', MODELS)
def test_layerwise(name, data):
    snn = convert(build(name, data), data)
    assert_layerwise(snn, data)


@pytest.mark.parametrize('aggr', ['mean', 'max'])
def test_layerwise_on_bipartite_graphs(aggr, data):
    arguments = (data['a'].x, data['b'].x, data[TO].edge_index)
    assert_layerwise(convert(randomize(Bipartite(aggr)), arguments), *arguments)
    arguments = (data['a'].x, data[TO].edge_index, (20, 15))
    assert_layerwise(convert(randomize(SourcesOnly(aggr)), arguments), *arguments)


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        convs = {key: GATConv((6, 6), 8, add_self_loops=False) for key in (TO, REV)}
        self.conv, self.out = HeteroConv(convs), nn.Linear(8, 3)

    def forward(self, x_dict, edge_index_dict):
        found = self.conv(x_dict, edge_index_dict)
        return self.out(found['a'].relu()), self.out(found['b'].relu())


@pytest.mark.parametrize('empty', [(TO,), (TO, REV)], ids=len)
def test_attention_over_no_edges_of_a_type(empty):
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(2, 9, 6, generator=generator, dtype=torch.float64)
    edges = torch.randint(0, 9, (2, 2, 30), generator=generator)
    x, edge_index = dict(zip('ab', real, strict=True)), {TO: edges[0], REV: edges[1]}
    model = randomize(Attending()).eval()
    snn = convert(model, (x, edge_index), ConversionConfig(compensate=None))
    without = {
        key: e[:, : 0 if key in empty else None] for key, e in edge_index.items()
    }
    for given in (edge_index, without):
        assert deviation(snn, model, (x, given)) < TOLERANCE
