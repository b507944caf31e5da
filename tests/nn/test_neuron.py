import copy
from functools import partial

import pytest
import torch
from torch import nn

from spikegraph.coding import PhaseCode, Spikes
from spikegraph.kernels import reference
from spikegraph.nn import ACTIVATIONS, PhaseNeuron, charge, fire
from spikegraph.nn.activation import Formula, Ramp

CODES = [
    PhaseCode(8, 2),
    PhaseCode(15, 2**0.5),
    PhaseCode(6, 1.4, signed=True),
    PhaseCode.from_levels([1.0, 0.8, 0.3, 0.1]),
]


@pytest.mark.parametrize('code', CODES, ids=str)
def test_charge_window_leaves_the_decoded_values(code):
    values = torch.randn(40, 3, dtype=torch.float64)
    spikes = Spikes.from_values(values, code, 1.7)
    membrane = torch.zeros_like(values)
    for step in range(code.num_steps):
        membrane = charge(membrane, spikes.current(step), code, step)
    potential = membrane * float(code.levels[-1])
    assert torch.allclose(potential, spikes.decode(), rtol=1e-13)


@pytest.mark.parametrize('code', CODES, ids=str)
@pytest.mark.parametrize('scale', [1.0, torch.tensor([0.3, 1.0, 2.0]).double()])
def test_fire_window_is_the_encoder(code, scale):
    potential = torch.randn(200, 3, dtype=torch.float64) * 2
    spikes = PhaseNeuron(code, scale, activation='identity')(potential)
    raster, num_compared = reference.fire_window(potential, code, scale)
    assert raster.abs().sum(dim=0).max() == 1
    assert torch.equal(raster.bool(), spikes.raster())
    assert torch.equal(raster.sum(dim=0).to(torch.int8), spikes.polarity())
    waited = spikes.phase().clamp(max=code.num_steps - 1).long() + 1
    assert torch.equal(num_compared, waited)
    has_fired = torch.zeros_like(potential, dtype=torch.bool)
    for step in range(code.num_steps):
        now = fire(potential, code, step, has_fired, scale)
        assert torch.equal(now, raster[step])
        has_fired |= now != 0


def test_relu_in_a_signed_code_never_fires_off():
    code = PhaseCode(6, 1.4, signed=True)
    potential = torch.randn(200, 3, dtype=torch.float64)
    spikes = PhaseNeuron(code)(potential)
    assert (spikes.polarity() >= 0).all()
    expected = PhaseNeuron(code, activation='identity')(potential.relu())
    assert torch.equal(spikes.spike_time, expected.spike_time)


def test_threshold_can_be_read():
    neuron = PhaseNeuron(PhaseCode(3, 2), scale=torch.tensor([1.0, 4.0]))
    assert neuron.threshold.tolist() == [[0.75, 3.0], [0.375, 1.5], [0.1875, 0.75]]
    assert PhaseNeuron(PhaseCode(2, 2), 2).threshold.tolist() == [1.5, 0.75]


def test_node_scale_codes_each_row_relative_to_its_peak():
    neuron = PhaseNeuron(PhaseCode(4, 2), node_scale=True)
    x = torch.tensor([[0.0, 0.0], [3.0, 1.5], [0.02, 0.01]])
    assert torch.equal(neuron(x).decode(), x)
    assert neuron(x).spike_time.tolist() == [[4, 4], [0, 1], [0, 1]]


def test_state_dict_is_complete():
    neuron = PhaseNeuron(
        PhaseCode.from_levels([1.0, 0.4]), torch.tensor([1.0, 2.0]), True
    )
    other = PhaseNeuron(PhaseCode(5, 2), torch.tensor([3.0, 3.0]))
    other.load_state_dict(neuron.state_dict())
    assert other.code == neuron.code and other.node_scale
    assert torch.equal(other.scale, neuron.scale)
    for code in (
        PhaseCode(5, 1.7, threshold_shift=1.0, signed=True),
        PhaseCode.nearest(5, 1.7),
    ):
        geometric = PhaseNeuron(code)
        other = copy.deepcopy(neuron)
        other.scale = torch.tensor(1.0)
        other.load_state_dict(geometric.state_dict())
        assert other.code == code


def test_scale_errors():
    with pytest.raises(ValueError, match=r'positive and finite \(got -2\)'):
        PhaseNeuron(PhaseCode(4, 2), -2.0)


POTENTIALS = torch.cat(
    [
        torch.linspace(-9, 9, 600, dtype=torch.float64),
        torch.logspace(-12, 3, 300, dtype=torch.float64),
        -torch.logspace(-12, 3, 300, dtype=torch.float64),
    ]
).view(300, 4)
DIVISORS = {
    'rows': torch.logspace(-3, 3, 300, dtype=torch.float64)[:, None],
    'columns': torch.tensor([0.01, 0.7, 1.0, 300.0], dtype=torch.float64),
    'each': torch.rand(300, 4, dtype=torch.float64) + 0.01,
    'one': torch.tensor(2.7, dtype=torch.float64),
}
FOLDED = {kind.__name__: kind for kind in ACTIVATIONS if kind is not Formula}
FOLDED['Threshold'] = partial(nn.Threshold, 0.1, -0.2)
FOLDED |= {
    'formula': lambda: Formula(nn.Softplus()),
    'ramp of leaky': lambda: Ramp(nn.LeakyReLU(), 1.5),
    'prelu per channel': lambda: nn.PReLU(4, 0.1).double(),
    'relu': lambda: 'relu',
    'identity': lambda: 'identity',
}


def is_close_to_a_threshold(neuron, quotient):
    """Whether rounding decides when a neuron fires."""
    tables = neuron.thresholds_for(quotient)
    if tables is None:
        on = neuron.threshold.double()
        on = on.view(len(on), *[1] * (quotient.dim() + 1 - on.dim()), *on.shape[1:])
        found = [on, -on]
    else:
        found = [tables.on, tables.off_high, tables.off_low]
        dim = quotient.dim() + 1
        found = [
            t.view(len(t), *[1] * (dim - t.dim()), *t.shape[1:])
            for t in found
            if t is not None
        ]
    close = [(quotient - t).abs() <= 1e-14 * quotient.abs() for t in found]
    return torch.cat([c.expand(len(c), *quotient.shape) for c in close]).any(0)


@pytest.mark.parametrize('name', FOLDED)
@pytest.mark.parametrize('signed', [False, True])
@pytest.mark.parametrize('scale', [1.5, torch.tensor([0.3, 1.0, 2.0, 0.9]).double()])
def test_a_divisor_moves_the_thresholds(name, signed, scale):
    for code in (PhaseCode(9, 1.6, signed=signed), PhaseCode.nearest(4, 2, signed)):
        neuron = PhaseNeuron(code, scale, activation=FOLDED[name]())
        for divisor in DIVISORS.values():
            quotient = POTENTIALS / divisor
            expected = neuron(quotient)
            found = neuron(POTENTIALS, divisor=divisor)
            assert found.code == expected.code
            assert torch.equal(found.scale, expected.scale)
            differs = found.spike_time != expected.spike_time
            is_close = is_close_to_a_threshold(neuron, quotient)
            assert not (differs & ~is_close).any()
            assert is_close.double().mean() < 0.05
            times = expected.spike_time.unique()
            assert len(times) > 1 or isinstance(neuron.activation, nn.LogSigmoid)


@pytest.mark.parametrize('name', FOLDED)
@pytest.mark.parametrize('signed', [False, True])
def test_a_moving_threshold_fires_in_steps(name, signed):
    code = PhaseCode(9, 1.6, signed=signed)
    neuron = PhaseNeuron(code, 1.5, activation=FOLDED[name]())
    for divisor in DIVISORS.values():
        tables = neuron.moved_thresholds(POTENTIALS, divisor)
        spikes = neuron(POTENTIALS, divisor=divisor)
        has_fired = torch.zeros_like(POTENTIALS, dtype=torch.bool)
        for step in range(code.num_steps):
            now = tables.fire(POTENTIALS, step, has_fired)
            assert torch.equal(now != 0, spikes.raster()[step])
            assert torch.equal(now[now != 0], spikes.polarity()[now != 0])
            has_fired |= now != 0


def test_a_moving_threshold_is_the_quotient_at_powers_of_two():
    """Which round nothing, ties and infinite potentials included."""
    code = PhaseCode(6, 1.6, signed=True)
    always = nn.Hardtanh(0.3, 1.0), nn.Hardtanh(-1.0, -0.3)  # Fire on all.
    for activation in ('identity', nn.Sigmoid(), nn.SiLU(), Ramp(), *always):
        neuron = PhaseNeuron(code, 0.25, activation=activation)
        thresholds = neuron.threshold.double().flatten()
        ends = thresholds.new_tensor([float('inf'), -float('inf'), 0.0, 1e308, -1e308])
        quotient = torch.cat([thresholds[thresholds.abs() < 1e9], -thresholds, ends])
        for divisor in (0.25, 1.0, 8.0):
            z = torch.full_like(quotient, divisor)
            potential = quotient * z
            expected = neuron(potential / z)
            found = neuron(potential, divisor=z)
            assert torch.equal(found.spike_time, expected.spike_time)


@pytest.mark.parametrize(
    'activation, given, match',
    [
        ('relu', True, r'\(got one for relu\)'),
        (Ramp(), True, r'\(got one for Ramp\(starts=False\)\)'),
        (Ramp(starts=True), False, r'\(got none for Ramp\(starts=True\)\)'),
    ],
)
def test_starts_are_of_ramps_that_have_them(activation, given, match):
    neuron, x = PhaseNeuron(PhaseCode(8, 2), activation=activation), torch.rand(3, 4)
    with pytest.raises(ValueError, match=match):
        neuron(x, start=x if given else None)
    if activation != 'relu':
        start = None if given else torch.tensor([[1.0], [2.0], [0.5]])
        expected = x - (0 if start is None else start)
        found, plain = (
            neuron(x, start=start),
            PhaseNeuron(neuron.code, activation=Ramp()),
        )
        assert torch.equal(found.spike_time, plain(expected).spike_time)
