import numpy as np
import pytest
import torch
from torch_geometric.nn.models import GraphSAGE

from spikegraph import ConversionConfig, convert, simulate
from spikegraph.export.events import (
    EVENT_DTYPE,
    load_events,
    save_events,
)
from spikegraph.zoo.models import RECIPES
from tests.conversion.zoo import MODELS, make


@pytest.mark.parametrize('name', MODELS)
@pytest.mark.parametrize('num_steps', [1, 7, 31])
def test_time_steps_equal_the_closed_form(name, num_steps, graph):
    snn = convert(make(name), graph, ConversionConfig(num_steps=num_steps))
    simulation = simulate(snn, graph)
    spikes = snn.spikes(graph)
    assert list(spikes) == list(simulation.spikes)
    for population in spikes:
        expected = spikes[population].spike_time
        assert torch.equal(simulation.spike_time[population], expected), population
    assert torch.allclose(simulation.output, snn(graph), rtol=1e-11, atol=1e-11)
    assert simulation.num_steps == snn.latency_steps


def test_membranes_are_the_potentials(graph):
    snn = convert(make('F.relu'), graph, ConversionConfig(num_steps=8))
    simulation = simulate(snn, graph)
    first = simulation.spikes['input_x']
    expected = snn.network.conv1(first, graph.edge_index)
    assert torch.allclose(simulation.membrane['relu'], expected, rtol=1e-12)
    assert torch.equal(simulation.membrane['input_x'], graph.x)


def test_events(graph, tmp_path):
    snn = convert(make('JK max'), graph, ConversionConfig(num_steps=8))
    simulation = simulate(snn, graph)
    events = simulation.events()
    assert len(events) == sum(s.num_spikes for s in simulation.spikes.values())
    assert (np.diff(events['t']) >= 0).all() and events[
        't'
    ].max() < simulation.num_steps
    names = list(simulation.spikes)
    # The windows follow one another; the gate shares that of its last source.
    starts = [simulation.start_step[name] for name in names]
    assert starts == [0, 8, 16, 24, 24]
    layer = names.index('act_1')
    mine = events[events['layer'] == layer]
    times = simulation.spike_time['act_1']
    rebuilt = torch.full_like(times, 8)
    for t, _, node, channel, polarity in mine:
        rebuilt[node, channel] = int(t) - 16
        assert polarity == 1
    assert torch.equal(rebuilt, times)
    path = tmp_path / 'events.npz'
    save_events(events, path, names)
    loaded, layers = load_events(path)
    assert loaded.dtype == EVENT_DTYPE and (loaded == events).all() and layers == names


def test_event_errors(tmp_path):
    events = np.zeros(3, dtype=EVENT_DTYPE)
    with pytest.raises(ValueError, match=r"'.npz', '.h5' or '.hdf5' \(got 'a.csv'\)"):
        save_events(events, 'a.csv', [])
    with pytest.raises(ValueError, match=r'\(got int64\)'):
        save_events(np.zeros(3, dtype=np.int64), tmp_path / 'a.npz', [])
    np.savez(tmp_path / 'other.npz', x=np.zeros(3))
    with pytest.raises(ValueError, match=r'to hold spike events \(got x\)'):
        load_events(tmp_path / 'other.npz')


def test_batches_and_single_graphs_agree(graph):
    snn = convert(make('F.relu'), graph)
    twice = torch.cat([graph.x, graph.x])
    edges = torch.cat([graph.edge_index, graph.edge_index + 60], dim=1)
    spikes = snn.spikes(twice, edges)['relu'].spike_time
    assert torch.equal(spikes[:60], spikes[60:])
    assert torch.equal(spikes[:60], snn.spikes(graph)['relu'].spike_time)


@pytest.mark.slow
@pytest.mark.parametrize(
    'name', ['digits', 'cora', 'citeseer', 'pubmed', 'photo', 'computers']
)
@pytest.mark.parametrize('fold_degree', [False, True])
def test_real_graphs(name, fold_degree, load_data):
    """Identical in float64; in float32 only ties within rounding may differ."""
    dataset = load_data(name)
    data = dataset.data
    torch.manual_seed(0)
    model = RECIPES[name].build_model(dataset.num_features, dataset.num_classes)
    config = ConversionConfig(num_steps=8, fold_degree=fold_degree)
    double = data.clone()
    double.x = data.x.double()
    snn = convert(model.double(), double, config)
    simulation = simulate(snn, double)
    for population, spikes in snn.spikes(double).items():
        assert torch.equal(spikes.spike_time, simulation.spike_time[population])
    snn = snn.float()
    simulation = simulate(snn, data)
    for population, spikes in snn.spikes(data).items():
        differs = spikes.spike_time != simulation.spike_time[population]
        potential = simulation.membrane[population][differs].double()
        thresholds = spikes.code.thresholds
        scale = spikes.scale.expand_as(differs)[differs].double()
        ratio = (potential / scale).view(-1, 1) / thresholds
        assert ((ratio - 1).abs().amin(dim=1) < 1e-4).all()
        assert differs.sum() <= 1e-3 * differs.numel(), (population, int(differs.sum()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs CUDA')
def test_gates_run_on_the_device_of_the_features(graph):
    model = GraphSAGE(5, 8, 2, 3, aggr='max', jk='max').double()
    snn = convert(model, graph).cuda()
    graph = graph.clone().cuda()
    assert simulate(snn, graph).output.is_cuda
