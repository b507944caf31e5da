import pytest
import torch
from torch import nn
from torch_geometric.nn import GCNConv

from spikegraph import ConversionConfig, convert
from spikegraph.export import PlainNetwork
from tests.conversion.zoo import randomize
from tests.export.graphs import odd_graphs, random_graph, relative_error
from tests.export.models import (
    NODE_MODELS,
    Layers,
    Molecules,
    Relations,
    Residual,
    SizedPool,
    Weighted,
    made,
    molecules,
)

CONFIG = ConversionConfig(num_steps=8)
EXAMPLE = random_graph(30, 90, seed=1)


def agrees(snn, plain, *args):
    with torch.no_grad():
        found = plain(*args)
    return relative_error(found, snn(*args)) < 1e-12


@pytest.mark.parametrize('name', NODE_MODELS)
def test_networks_on_nodes(name):
    x, edge_index, _ = EXAMPLE
    snn = convert(made(name), (x, edge_index), CONFIG)
    plain = PlainNetwork(snn, x, edge_index)
    assert plain.names == ('x', 'edge_index')
    for x, edge_index, _ in odd_graphs():
        assert agrees(snn, plain, x, edge_index)
    found, expected = plain.spikes(x, edge_index), snn.spikes(x, edge_index)
    assert list(found) == list(expected)
    for label, spikes in expected.items():
        assert torch.equal(found[label].spike_time, spikes.spike_time.int())


@pytest.mark.parametrize(
    'config',
    [
        ConversionConfig(num_steps=8, fold_degree=True),
        ConversionConfig(num_steps=8, encode_input=False),
        ConversionConfig(num_steps=8, per_channel=True, levels='fitted'),
        ConversionConfig(num_steps=8, input_scale='node', order='aggregate'),
        ConversionConfig(num_steps=8, allow_analog=True, products='analog'),
    ],
    ids=str,
)
def test_all_ways_to_convert(config):
    for name in ('gcn', 'sage, max', 'gat'):
        x, edge_index, _ = EXAMPLE
        snn = convert(made(name), (x, edge_index), config)
        plain = PlainNetwork(snn, x, edge_index)
        for x, edge_index, _ in odd_graphs():
            assert agrees(snn, plain, x, edge_index)


@pytest.mark.parametrize('improved', [False, True])
def test_edge_weights(improved):
    model = randomize(Weighted(improved)).eval()
    snn = convert(model, EXAMPLE, CONFIG)
    plain = PlainNetwork(snn, *EXAMPLE)
    for graph in odd_graphs():
        assert agrees(snn, plain, *graph)


def test_relations():
    x, edge_index, weight = EXAMPLE
    model = randomize(Relations()).eval()
    snn = convert(model, (x, edge_index, (3 * weight).long()), CONFIG)
    plain = PlainNetwork(snn, x, edge_index, (3 * weight).long())
    for x, edge_index, weight in odd_graphs():
        assert agrees(snn, plain, x, edge_index, (3 * weight).long())


def test_whole_graphs():
    model = randomize(Molecules()).eval()
    snn = convert(model, molecules(20), CONFIG)
    plain = PlainNetwork(snn, *molecules(20))
    for number in (1, 2, 9, 50):
        batch = molecules(number, seed=number)
        assert agrees(snn, plain, *batch)
        assert len(plain(*batch)) == number


def test_the_number_of_graphs_may_be_given():
    x, edge_index, _ = EXAMPLE
    batch = torch.arange(30) // 8
    model = randomize(SizedPool()).eval()
    snn = convert(model, (x, edge_index, batch, 4), CONFIG)
    plain = PlainNetwork(snn, x, edge_index, batch, 4)
    assert plain.names == ('x', 'edge_index', 'batch', 'batch_size')
    assert agrees(snn, plain, x, edge_index, batch, 6)


def test_images():
    torch.manual_seed(0)
    model, x = randomize(Residual()).eval(), torch.rand(6, 1, 8, 8).double()
    snn = convert(model, x, CONFIG)
    plain = PlainNetwork(snn, x)
    assert agrees(snn, plain, x) and agrees(snn, plain, x[:1])


def test_it_leaves_the_network_as_it_is():
    x, edge_index, _ = EXAMPLE
    snn = convert(made('gcn'), (x, edge_index), CONFIG)
    before = snn(x, edge_index)
    plain = PlainNetwork(snn, x, edge_index)
    plain(x, edge_index)
    assert torch.equal(snn(x, edge_index), before)
    assert torch.equal(plain(edge_index=edge_index, x=x), plain(x, edge_index))


def test_networks_that_keep_a_graph_are_refused():
    x, edge_index, _ = EXAMPLE
    layers = GCNConv(5, 8, cached=True), GCNConv(8, 3, cached=True)
    snn = convert(randomize(Layers(*layers)).eval(), (x, edge_index), CONFIG)
    plain = PlainNetwork(snn, x, edge_index)
    with pytest.raises(
        NotImplementedError, match=r"'first' \(SpikingGCNConv\).*cached"
    ):
        plain(x, edge_index)


def test_hooks_are_refused():
    x, edge_index, _ = EXAMPLE
    snn = convert(made('gcn'), (x, edge_index), CONFIG)
    snn.network.first.register_forward_hook(lambda *_: None)
    plain = PlainNetwork(snn, x, edge_index)
    with pytest.raises(NotImplementedError, match="'first'.*hooks.*remove them"):
        plain(x, edge_index)


def test_other_modules_are_refused():
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"'snn' to be a SpikingModel \(got Linear\)"):
        PlainNetwork(model, torch.ones(1, 2))
