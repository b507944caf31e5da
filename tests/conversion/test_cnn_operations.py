"""Operations in CNNs that are easily taken for something else."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spikegraph import ConversionConfig, convert, measure, register_rule, simulate
from spikegraph.conversion.operations.rules import RULES
from tests.conversion.cnns import images

FINE = ConversionConfig(num_steps=100, base=1.05, per_channel=True, compensate=None)


class Net(nn.Module):
    def __init__(self, forward, **modules):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.deep = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.pool = nn.ReLU(inplace=True), nn.MaxPool2d(2)
        self.compute = forward
        for name, module in modules.items():
            setattr(self, name, module)
        self.double().eval()

    def forward(self, x):
        return self.compute(self, x)


def shared_in_place(s, x):
    y = s.relu(s.conv(x))
    y = s.deep(y)
    z = s.relu(y)
    return z + y  # It was changed in place.


CONVERTS = {
    'data': (lambda s, x: F.relu(s.deep(F.relu(s.conv(x)).data)).mean((2, 3)), 2),
    'pool, then PReLU': (lambda s, x: s.act(s.pool(s.conv(x))).flatten(1), 1),
    'shared in-place ReLU': (shared_in_place, 2),
    'chunks joined again': (
        lambda s, x: F.max_pool2d(torch.cat(s.conv(x).relu().chunk(2, 1), 1), 2),
        2,  # And a relay: what is split is no population any more.
    ),
    'nested concatenation': (
        lambda s, x: s.pool(
            torch.cat(
                [
                    torch.cat([s.conv(x).relu(), s.conv(-x).relu()], 1),
                    x[..., 1:-1, 1:-1].relu(),
                ],
                1,
            )
        ),
        3,
    ),
    'pool of joined potentials': (
        lambda s, x: s.pool(torch.cat([s.conv(x), s.conv(-x)], 1)).relu(),
        1,
    ),
    'same view': (
        lambda s, x: (
            s.deep(s.conv(x).relu())
            .transpose(2, 3)
            .contiguous()
            .view_as(x[:, :1].expand(-1, 4, -1, -1)[..., 1:-1, 1:-1])
        ),
        1,
    ),
    'one channel for all': (lambda s, x: s.norm(s.conv(x) + s.one(x)).relu(), 1),
    'linear on sequences': (lambda s, x: s.lines(s.lin(x.flatten(1, 2))).relu(), 1),
    'select': (lambda s, x: s.conv(x).relu().select(2, 1), 1),
    'module called input': (lambda s, x: s.deep(s.input_act(s.conv(x))), 1),
    'concatenate': (
        lambda s, x: s.pool(
            torch.concatenate([s.conv(x).relu(), s.conv(-x).relu()], 1)
        ),
        2,
    ),
    'split': (lambda s, x: sum(s.part(p) for p in s.conv(x).relu().split(2, 1)), 1),
}


@pytest.mark.parametrize('name', CONVERTS)
def test_operations(name):
    forward, num_activations = CONVERTS[name]
    modules = dict(
        act=nn.PReLU(4),
        norm=nn.BatchNorm2d(4),
        one=nn.Conv2d(3, 1, 3),
        lin=nn.Linear(16, 1),
        lines=nn.BatchNorm1d(48),
        input_act=nn.ReLU(),
        part=nn.Conv2d(2, 4, 1),
    )
    model = Net(forward, **modules)
    nn.init.uniform_(model.norm.running_var, 0.5, 2)
    snn = convert(model, images(12), FINE)
    x = images(5, seed=9)  # Another number of samples.
    with torch.no_grad():
        expected = model(x)
    assert (snn(x) - expected).norm() < 0.06 * expected.norm()
    assert snn.report.num_activations == num_activations
    found, spikes = simulate(snn, x).spike_time, snn.spikes(x)
    assert all(torch.equal(found[k], v.spike_time) for k, v in spikes.items())


@pytest.mark.parametrize(
    'forward, shape',
    [
        (lambda s, x: s.conv(x)[:, :, 0].relu(), (4, 1)),
        (lambda s, x: s.conv(x).unbind(2)[1].relu(), (4, 1)),
        (lambda s, x: s.conv(x).movedim(1, -1).relu(), (4,)),
        (lambda s, x: F.unfold(s.conv(x), 3).relu(), (36, 1)),
        (lambda s, x: F.conv2d(x, s.conv.weight, padding=1).relu(), (4, 1, 1)),
    ],
)
def test_scales_are_never_those_of_samples(forward, shape):
    """They are per channel, or else along the last dimension."""
    model = Net(forward)
    snn = convert(model, images(12), FINE)
    assert tuple(snn.neurons['relu'].scale.shape) == shape
    x = images(5, seed=9)
    assert (snn(x) - model(x)).norm() < 0.2 * model(x).norm()


REFUSED = {
    'statistics of a batch': lambda s, x: F.batch_norm(
        s.conv(x), None, None, training=True
    ),
    'signal as weight': lambda s, x: F.batch_norm(
        s.conv(x),
        torch.zeros(4).double(),
        torch.ones(4).double(),
        s.conv(x).mean((0, 2, 3)),
    ),
    'division by a signal': lambda s, x: torch.div(
        x,
        other=s.conv(x).mean(),  # It may be negative.
    ),
    'indices of a function': lambda s, x: F.max_pool2d(
        s.conv(x), 2, return_indices=True
    )[0],
    'computed stride': lambda s, x: F.max_pool2d(s.conv(x).relu(), 2, x.size(2) // 4),
}


@pytest.mark.parametrize('name', REFUSED)
def test_refusals(name):
    with pytest.raises(NotImplementedError):
        convert(Net(REFUSED[name]), images(12), FINE)


def test_number_of_parts_is_fixed():
    model = Net(lambda s, x: sum(s.conv(p).mean((2, 3)) for p in x.split(8, 2)))
    snn = convert(model, images(12), FINE)
    with pytest.raises(
        ValueError, match=r'a length of 2.*\(got 3\).*test_cnn_operations.py, line \d+'
    ):
        snn(torch.zeros(2, 3, 24, 16, dtype=torch.float64))


def test_scores_that_are_no_matrix():
    """As of a discriminator or a regressor."""
    model = Net(lambda s, x: s.deep(s.conv(x).relu()).mean((1, 2, 3)).squeeze())
    snn = convert(model, images(12), FINE)
    assert snn(images(5)).shape == (5,) and snn.report.agreement > 90


def test_events_beyond_a_byte():
    """A spike time is a byte; the time of a run is not."""
    model = Net(lambda s, x: s.deep(s.deep(s.conv(x).relu()).relu()).relu())
    snn = convert(model, images(12), FINE)
    simulation = simulate(snn, images(2))
    times = simulation.events()['t']
    for i, name in enumerate(simulation.spikes):
        found = times[simulation.events()['layer'] == i]
        assert 100 * i <= found.min() and found.max() < 100 * (i + 1), name


def test_gate_that_is_called_twice():
    model = Net(lambda s, x: s.pool(s.deep(s.pool(s.conv(x).relu())).relu()))
    snn = convert(model, images(12), FINE)
    spikes = snn.spikes(images(2))
    assert list(spikes) == ['input_x', 'relu', 'pool', 'relu_1', 'pool_1']
    simulation = simulate(snn, images(2))
    assert len(simulation.events()) == sum(s.num_spikes for s in spikes.values())


class Swish(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)


def test_claims_of_a_rule_are_checked():
    register_rule(Swish)(lambda module: nn.SiLU())
    try:
        model = nn.Sequential(nn.Conv2d(3, 4, 3), Swish(), nn.Conv2d(4, 2, 1)).double()
        with pytest.raises(ValueError, match=r"rule for '1'.*\(got SiLU"):
            convert(model, images(12), FINE)
    finally:
        del RULES[Swish]


def test_energy_is_that_of_an_image():
    """However many outputs there are, and whether or not there is a batch."""
    one = Net(lambda s, x: s.conv(x).relu().mean((2, 3)))
    two = Net(lambda s, x: (s.conv(x).relu().mean((2, 3)), x.mean((2, 3))))
    x = images(12)
    found = [measure(convert(m, x, FINE), x, m) for m in (one, two)]
    assert [m.num_nodes for m in found] == [12, 12]
    calls = [(image,) for image in x]
    plane = Net(lambda s, x: s.conv(x).relu().mean((1, 2)))
    unbatched = measure(convert(plane, calls, FINE), calls, plane)
    assert unbatched.num_nodes == 12
    assert unbatched.total.ann_macs == found[0].total.ann_macs


def test_spikes_are_followed_through_splits():
    model = Net(
        lambda s, x: s.part(s.conv(x).relu().chunk(2, 1)[1]), part=nn.Conv2d(2, 4, 1)
    )
    snn = convert(model, images(12), FINE)
    rows = {row.name: row.counts for row in measure(snn, images(2), model).layers}
    fired = snn.spikes(images(2))['relu'].spike_time[:, 2:] != 100
    assert rows['part'].synops == 4 * int(fired.sum())
    assert rows['part'].snn_macs == 0
