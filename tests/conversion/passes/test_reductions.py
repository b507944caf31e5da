import pytest
import torch
from torch import nn
from torch_geometric.utils import to_dense_batch

from spikegraph import ConversionConfig, convert, measure, simulate
from spikegraph.network.interpreter import AnalogReading


def index_of(h, target):
    return target.unsqueeze(1).expand(-1, h.size(1))


#: Functions of rows, of those at the sources, and of the targets.
GROUPED = {
    'scatter_reduce': lambda h, rows, target: torch.zeros_like(h).scatter_reduce(
        0, index_of(h, target), rows, 'amax'
    ),
    'in place': lambda h, rows, target: torch.zeros_like(h).scatter_reduce_(
        0, index_of(h, target), rows, reduce='amax'
    ),
    'without itself': lambda h, rows, target: torch.scatter_reduce(
        torch.zeros(h.size(0), h.size(1), dtype=h.dtype),
        *(0, target.view(-1, 1).expand_as(rows), rows, 'amax'),
        include_self=False,
    ),
    'smallest': lambda h, rows, target: h.new_zeros(h.shape).scatter_reduce(
        0, index_of(h, target), rows, 'amin', include_self=False
    ),
    'index_reduce': lambda h, rows, target: torch.zeros_like(h).index_reduce(
        0, target, rows, 'amax', include_self=False
    ),
    'index_reduce with itself': lambda h, rows, target: torch.index_reduce(
        torch.zeros_like(h), 0, target, rows, 'amax'
    ),
}


class Grouped(nn.Module):
    def __init__(self, reduce, act=torch.relu):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)
        self.reduce, self.act = reduce, act

    def forward(self, x, edge_index):
        h = self.act(self.a(x))
        return self.b(self.reduce(h, h[edge_index[0]], edge_index[1]))


@pytest.fixture
def call():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 6, generator=generator, dtype=torch.float64)
    edge_index = torch.randint(18, (2, 60), generator=generator)  # Two are alone.
    return x, edge_index


def check(model, call, per_channel=False):
    """That the network is exact, and its steps are; the names of its neurons."""
    torch.manual_seed(0)
    model = model.double().eval()
    config = ConversionConfig(
        num_steps=24, compensate=None, per_channel=per_channel, encode_input=False
    )
    snn = convert(model, call, config)
    assert not snn.report.analog
    with torch.no_grad():
        expected = model(*call)
        exact = AnalogReading(snn.network).run(snn.bind(*call))
    assert torch.allclose(exact, expected, rtol=1e-12, atol=1e-12)
    assert (snn(*call) - expected).norm() < 0.15 * expected.norm()
    simulation = simulate(snn, *call)
    for name, spikes in snn.spikes(*call).items():
        assert torch.equal(simulation.spike_time[name], spikes.spike_time)
    assert torch.allclose(simulation.output, snn(*call), rtol=1e-9, atol=1e-9)
    assert measure(snn, call, model).uncounted == []
    return list(snn.neurons)


@pytest.mark.filterwarnings('ignore:.*index_reduce.*is in beta')
@pytest.mark.parametrize('name', GROUPED)
def test_largest_of_groups_of_spikes(name, call):
    assert check(Grouped(GROUPED[name]), call) == ['relu']


@pytest.mark.filterwarnings('ignore:.*index_reduce.*is in beta')
@pytest.mark.parametrize('name', GROUPED)
def test_largest_of_groups_of_either_sign(name, call):
    """Zeros among what is compared are a ReLU behind it, and else not there."""
    with_zeros = name in ('scatter_reduce', 'in place', 'index_reduce with itself')
    neurons = check(Grouped(GROUPED[name], torch.tanh), call)
    assert len(neurons) == 1 + with_zeros


def starts_with(make):
    return lambda h, rows, target: make(h).scatter_reduce(
        0, index_of(h, target), rows, 'amax'
    )


@pytest.mark.parametrize(
    'reduce, match',
    [
        (starts_with(torch.ones_like), r"start with 'torch.zeros\(...\)'"),
        (starts_with(lambda h: h), r"start with 'torch.zeros\(...\)'"),
        (
            lambda h, rows, target: torch.zeros_like(h).scatter_reduce(
                0, index_of(h, target), rows, 'amin'
            ),
            'pass include_self=False',
        ),
        (
            lambda h, rows, target: torch.zeros_like(h).scatter_reduce(
                1, index_of(h, target % 8)[:20], rows[:20], 'amax'
            ),
            'along another dimension than the rows',
        ),
        (
            lambda h, rows, target: torch.ones_like(h).scatter_reduce(
                0, index_of(h, target), rows, 'prod'
            ),
            'multiplies signals with each other',
        ),
    ],
)
def test_what_is_no_gate(reduce, match, call):
    with pytest.raises(NotImplementedError, match=match):
        convert(Grouped(reduce), (call[0].float(), call[1]))


#: Of values [B, N, F].
ALONG = {
    'max': lambda h: h.max(dim=1).values,
    'first of max': lambda h: torch.max(h, 1)[0],
    'amax': lambda h: h.amax(dim=-2),
    'kept': lambda h: h.amax(1, keepdim=True).squeeze(1),
    'rows': lambda h: h.max(0).values,
    'min': lambda h: torch.min(h, dim=1)[0],
    'amin': lambda h: torch.amin(h, (1,)),
}


class Along(nn.Module):
    def __init__(self, reduce, act):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)
        self.reduce, self.act = reduce, act

    def forward(self, x):
        return self.b(self.reduce(self.act(self.a(x))))


@pytest.mark.parametrize('per_channel', [False, True])
@pytest.mark.parametrize('act', [torch.relu, torch.tanh])
@pytest.mark.parametrize('name', ALONG)
def test_largest_along_a_dimension(name, act, per_channel, call):
    x = call[0].view(4, 5, 6)
    assert len(check(Along(ALONG[name], act), (x,), per_channel)) == 1


CHANNELS = {
    'max': lambda h: h.max(dim=-1, keepdim=True)[0].expand(-1, 8),
    'min': lambda h: h - torch.amin(h, 1, True),
}


@pytest.mark.parametrize('per_channel', [False, True])
@pytest.mark.parametrize('act', [torch.relu, torch.tanh])
@pytest.mark.parametrize('name', CHANNELS)
def test_channels_that_compare_have_one_scale(name, act, per_channel, call):
    model = Along(CHANNELS[name], act)
    (compared,) = check(model, (call[0],), per_channel)
    config = ConversionConfig(per_channel=per_channel)
    snn = convert(model.double(), (call[0],), config)
    assert snn.neurons[compared].scale.numel() == 1


def test_channels_do_not_tell_which_is_largest(call):
    model = Along(lambda h: h + h.max(dim=-1, keepdim=True)[1], torch.relu)
    with pytest.raises(NotImplementedError, match="'max'.* indices"):
        convert(model, (call[0].float(),))


class Dense(nn.Module):
    def __init__(self, number, act=torch.relu):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)
        self.number, self.act = number, act

    def forward(self, x, batch):
        h, mask = to_dense_batch(self.act(self.a(x)), batch)
        if self.number is not None:
            h = h.masked_fill(~mask.unsqueeze(-1), self.number)
        return self.b(h.max(dim=1).values)


@pytest.mark.parametrize('number', [None, 0.0, -1e9, float('-inf')])
def test_what_fills_dense_batches_is_silent(number, call):
    batch = torch.tensor([0] * 7 + [1] * 3 + [2] * 10)
    assert check(Dense(number), (call[0], batch)) == ['relu']


@pytest.mark.parametrize(
    'act',
    [
        lambda h: torch.where(h > 0, h, 0.0),
        lambda h: torch.where(h > 0, h, 0),
        lambda h: torch.pow(torch.relu(h), 1.0),
    ],
)
def test_numbers_beside_symbolic_values(act, call):
    """PyTorch looks into what passes for a tensor where a number may stand."""
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))

    class Acts(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = model[0], model[2]

        def forward(self, x):
            return self.b(act(self.a(x)))

    assert len(check(Acts(), call[:1])) == 1
