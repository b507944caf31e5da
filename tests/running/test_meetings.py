"""How networks run in which signals meet: recorded, in batches, copied, in time."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch_geometric.data import Data

from spikegraph import ConversionConfig, convert, load, save, simulate
from spikegraph.export.events import load_events, save_events
from spikegraph.kernels import dispatch
from spikegraph.network.roles import Role
from spikegraph.running.blocks import layerwise
from spikegraph.running.loaders import predict
from tests.meetings import NAMES, network
from tests.running.blocks import assert_layerwise
from tests.sampling import full_loader

CONFIG = ConversionConfig(num_steps=6, compensate=None)
NEEDS_KERNELS = pytest.mark.skipif(
    dispatch.find('digest_all', torch.empty(1)) is None, reason='no kernels'
)

_PLACE = ('node', 'channel')


@pytest.fixture(scope='module', params=NAMES)
def case(request):
    model, call = network(request.param)
    return convert(model, call if len(call) > 1 else call[0], CONFIG), call


@NEEDS_KERNELS
def test_recorded_passes(case):
    snn, (x, *rest) = copy.deepcopy(case[0]), case[1]
    for _ in range(3):
        snn(x, *rest)
    assert snn.plan.way == 'recorded', snn.plan
    for factor in (1.0, 0.5, -1.0, 0.0):
        out = snn(factor * x, *rest)
        assert snn.plan.way == 'recorded', snn.plan
        assert torch.equal(out, copy.deepcopy(snn)(factor * x, *rest))


def test_copies(case, tmp_path):
    snn, call = case
    expected = snn(*call)
    save(snn, tmp_path / 'network')
    loaded = load(tmp_path / 'network')
    for other in (copy.deepcopy(snn), pickle.loads(pickle.dumps(snn)), loaded):
        assert torch.equal(other(*call), expected)
        assert other.report == snn.report
        times = {name: s.spike_time for name, s in other.spikes(*call).items()}
        for name, spikes in snn.spikes(*call).items():
            assert torch.equal(times[name], spikes.spike_time)
    for value in (*loaded.parameters(), *loaded.buffers()):
        value.data.zero_()
    loaded.load_state_dict(snn.state_dict())
    assert torch.equal(loaded(*call), expected)


def test_data_types(case):
    snn, call = copy.deepcopy(case[0]).to(torch.float32), case[1]
    call = [v.float() if v.is_floating_point() else v for v in call]
    out, expected = snn(*call), case[0](*case[1])
    assert out.dtype == torch.float32
    assert torch.allclose(out.double(), expected, atol=0.1)


def test_events(case, tmp_path):
    """Gates are layers of their own; no neuron fires twice."""
    snn, call = case
    simulation = simulate(snn, *call)
    events, names = simulation.events(), list(simulation.spikes)
    fires = {n.record.label for n in snn.network.nodes if n.role.fires}
    assert set(names) == fires
    assert len(events) == sum(s.num_spikes for s in simulation.spikes.values())
    assert events['t'].max() < simulation.num_steps == snn.latency_steps
    for layer, name in enumerate(names):
        spikes = simulation.spikes[name]
        own = events[events['layer'] == layer]
        flat = spikes.spike_time.reshape(len(spikes.spike_time), -1)
        assert len(set(zip(own['node'], own['channel'], strict=True))) == len(own)
        sign = torch.zeros(flat.shape, dtype=torch.int8)
        at = [torch.tensor(own[name].tolist(), dtype=torch.long) for name in _PLACE]
        sign[at[0], at[1]] = torch.tensor(own['polarity'].tolist(), dtype=torch.int8)
        assert torch.equal(sign, spikes.polarity().reshape(flat.shape))
    save_events(events, tmp_path / 'events.npz', names)
    assert load_events(tmp_path / 'events.npz')[1] == names


def test_products_come_after_both(case):
    """In time, none is before either of the two that it is made of."""
    snn, call = case
    start = simulate(snn, *call).start_step
    for node in snn.network.nodes:
        if node.role is Role.GATE:
            for source in node.all_input_nodes:
                while source.role is Role.MOVE:
                    source = source.all_input_nodes[0]
                known = start.get(source.record.label, 0)
                assert start[node.record.label] >= known


def edges():
    model, _ = network('edges')
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(40, 5, generator=generator, dtype=torch.float64)
    data = Data(x=x, edge_index=torch.randint(40, (2, 120), generator=generator))
    return convert(model, (data.x, data.edge_index), CONFIG), data


def test_loaders():
    """All neighbours are sampled, so that seeds see what the whole graph shows."""
    snn, data = edges()
    expected = snn(data.x, data.edge_index)
    found = predict(snn, full_loader(data, num_hops=2, batch_size=7))
    assert torch.allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize('name', ['product', 'gated', 'norm', 'edges'])
def test_layer_by_layer(name):
    """Products within rows, and along edges, are those of blocks of rows."""
    model, call = network(name)
    assert_layerwise(convert(model, call if len(call) > 1 else call[0], CONFIG), *call)


@pytest.mark.parametrize('name', ['attention', 'mask'])
def test_what_mixes_rows_is_refused(name):
    model, call = network(name)
    snn = convert(model, call if len(call) > 1 else call[0], CONFIG)
    with pytest.raises(
        NotImplementedError, match=r"layer by layer: .*'forward', or a l"
    ):
        layerwise(snn, *call)


class Scaled(nn.Module):
    """Rows relative to their lengths, which are repeated, and may be too small."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(5, 4, bias=False), nn.Linear(4, 3)

    def forward(self, x, rows):
        h = self.a(x)
        length = torch.sqrt((h * h).sum(-1, keepdim=True) + 1e-12)
        return self.b((h[rows] / length[rows]).relu())


def test_what_divides_comes_at_the_last_step_at_the_latest():
    torch.manual_seed(0)
    model = Scaled().double()
    x, rows = torch.rand(9, 5, dtype=torch.float64), torch.randint(9, (20,))
    snn = convert(model, (x, rows), ConversionConfig(num_steps=6, compensate=None))
    for factor in (1.0, 1e-2, 1e-6, 0.0):
        simulation, spikes = (
            simulate(snn, factor * x, rows),
            snn.spikes(factor * x, rows),
        )
        assert torch.isfinite(simulation.output).all()
        assert torch.allclose(simulation.output, snn(factor * x, rows))
        for name, each in spikes.items():
            assert torch.equal(each.spike_time, simulation.spike_time[name]), name
    silent = spikes['sqrt'].code.num_steps
    assert bool((spikes['sqrt'].spike_time == silent).all())
