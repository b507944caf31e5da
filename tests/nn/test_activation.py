import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spikegraph.coding import (
    PhaseCode,
    dynamic_range,
    encode,
    max_absolute_error,
    max_relative_error,
)
from spikegraph.nn import ACTIVATIONS, PhaseNeuron, pre_activation_thresholds
from spikegraph.nn.activation import bracket_of, lowest_of


def channel_prelu():
    prelu = nn.PReLU(3)
    prelu.weight.data.copy_(torch.tensor([0.0, 0.5, 2.0]))
    return prelu


MODULES = {
    'ReLU': nn.ReLU(),
    'ReLU6': nn.ReLU6(),
    'Hardtanh': nn.Hardtanh(),
    'Hardtanh(0, 2)': nn.Hardtanh(0.0, 2.0),
    'Hardtanh(-inf, 1)': nn.Hardtanh(-math.inf, 1.0),
    'Hardtanh(0.5, 2)': nn.Hardtanh(0.5, 2.0),
    'Hardtanh(-2, -1)': nn.Hardtanh(-2.0, -1.0),
    'LeakyReLU': nn.LeakyReLU(0.2),
    'PReLU': nn.PReLU(),
    'PReLU per channel': channel_prelu(),
    'ELU': nn.ELU(1.5),
    'CELU': nn.CELU(0.7),
    'SELU': nn.SELU(),
    'GELU': nn.GELU(),
    'GELU tanh': nn.GELU(approximate='tanh'),
    'SiLU': nn.SiLU(),
    'Mish': nn.Mish(),
    'Hardswish': nn.Hardswish(),
    'Tanh': nn.Tanh(),
    'Sigmoid': nn.Sigmoid(),
    'Hardsigmoid': nn.Hardsigmoid(),
    'Softplus': nn.Softplus(2.0),
    'LogSigmoid': nn.LogSigmoid(),
    'Softsign': nn.Softsign(),
    'Softshrink': nn.Softshrink(),
    'Hardshrink': nn.Hardshrink(),
    'Threshold': nn.Threshold(0.1, -0.2),
    'Tanhshrink': nn.Tanhshrink(),
}
CODES = [
    PhaseCode(1, 2),
    PhaseCode(4, 2, threshold_shift=1.0),
    PhaseCode.nearest(16, 1.3),
    PhaseCode(126, 1.05),
]
SCALES = [0.6, 1.0, [0.1, 0.9, 2.5]]
# How far the activation's own rounding may reach, relative and absolute.
ROUNDING = {
    torch.float64: (1e-9, 1e-14),
    torch.float32: (1e-5, 2e-6),
    torch.bfloat16: (2e-2, 1e-2),
    torch.float16: (2e-3, 1e-3),
}


def make(name, code, scale, signed, dtype=torch.float64):
    if signed:
        code = PhaseCode.from_levels(code.levels, code.thresholds, signed=True)
    activation = copy.deepcopy(MODULES[name]).to(dtype)
    return PhaseNeuron(code, torch.tensor(scale, dtype=dtype), activation=activation)


def potentials(neuron, dtype=torch.float64):
    """A fine grid, every threshold and its neighbours, and large values."""
    values = [torch.linspace(-9, 9, 1501), torch.linspace(-40, 40, 101)]
    values += [torch.tensor([0.0, -0.0, 1e4, -1e4, 1e-5, -1e-5])]
    if torch.finfo(dtype).max > 1e6:
        values += [torch.tensor([1e6, -1e6, 1e20, -1e20])]
    tables = neuron.thresholds_for(torch.zeros(1, 3, dtype=dtype))
    for table in (tables.on, tables.off_high, tables.off_low):
        if table is not None:
            ties = table[table.isfinite()]
            for end in (-math.inf, math.inf):
                values += [ties, torch.nextafter(ties, torch.tensor(end).to(ties))]
    column = torch.cat([v.to(dtype) for v in values])
    return column.view(-1, 1).repeat(1, 3)


def assert_encodes_activation(neuron, x, spike_time):
    value = neuron.analog(x)
    expected = encode(value, neuron.code, neuron.scale)
    differs = spike_time != expected
    relative, absolute = ROUNDING[x.dtype]
    thresholds = neuron.code.thresholds.view(-1, 1, 1) * neuron.scale.double()
    magnitude = value.double().abs() if neuron.code.signed else value.double()
    distance = (magnitude - thresholds).abs() - relative * thresholds
    assert bool((distance.amin(dim=0)[differs] <= absolute).all())
    assert differs.double().mean() < 0.2  # Most potentials are no ties.


def assert_fires_step_by_step(neuron, x):
    """The time-stepped run reads the same tables: equal, ties included."""
    spikes, tables = neuron(x), neuron.thresholds_for(x)
    has_fired = torch.zeros_like(x, dtype=torch.bool)
    for step in range(neuron.code.num_steps):
        fired = tables.fire(x, step, has_fired)
        assert torch.equal(fired, spikes.polarity() * (spikes.phase() == step))
        assert not (has_fired & (fired != 0)).any()
        has_fired |= fired != 0
    assert torch.equal(has_fired, spikes.polarity() != 0)


@pytest.mark.parametrize('name', MODULES)
@pytest.mark.parametrize('code', CODES, ids=str)
@pytest.mark.parametrize('scale', SCALES, ids=str)
@pytest.mark.parametrize('signed', [False, True])
def test_thresholds_replace_the_activation(name, code, scale, signed):
    neuron = make(name, code, scale, signed)
    x = potentials(neuron)
    assert_encodes_activation(neuron, x, neuron(x).spike_time)
    assert_fires_step_by_step(neuron, x)


@pytest.mark.parametrize('name', MODULES)
@pytest.mark.parametrize('code', CODES, ids=str)
@pytest.mark.parametrize('signed', [False, True])
def test_error_bound(name, code, signed):
    neuron = make(name, code, 0.6, signed)
    x = potentials(neuron)
    value = neuron.analog(x)
    value = value if signed else value.clamp(min=0)
    decoded = neuron(x).decode()
    error, magnitude = (decoded - value).abs(), value.abs()
    slack = 1 + 1e-9
    inside = magnitude <= 0.6 * slack
    assert (error[inside] <= 0.6 * max_absolute_error(code) * slack).all()
    low, high = (0.6 * end for end in dynamic_range(code))
    inside = (magnitude >= low * slack) & (magnitude <= high)
    bound = max_relative_error(code) * slack
    assert (error[inside] <= bound * magnitude[inside]).all()
    clipped = magnitude > 0.6 * slack
    assert torch.allclose(decoded[clipped], 0.6 * value[clipped].sign())


@pytest.mark.parametrize('name', MODULES)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize('scale', SCALES[1:], ids=str)
def test_other_data_types(name, dtype, scale):
    neuron = make(name, PhaseCode(12, 1.4), scale, True, dtype)
    x = potentials(neuron, dtype)
    spikes = neuron(x)
    assert spikes.decode().dtype == dtype
    assert_encodes_activation(neuron, x, spikes.spike_time)


@pytest.mark.parametrize('name', MODULES)
@pytest.mark.parametrize('signed', [False, True])
def test_not_a_number_and_infinity(name, signed):
    neuron = make(name, PhaseCode(4, 2), 1.0, signed)
    ends = torch.tensor([-math.inf, math.inf, math.nan], dtype=torch.float64)
    x = ends.repeat(3, 1).t().contiguous()
    spikes = neuron(x)
    assert_fires_step_by_step(neuron, x)
    ends = ends.nan_to_num()  # Infinity is the largest number.
    assert torch.equal(
        spikes.spike_time[:2], neuron(ends[:2].repeat(3, 1).t()).spike_time
    )
    assert (spikes.spike_time[2] == 4).all()


def test_relu_by_thresholds_is_the_fast_path():
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        for scale in (0.7, [0.3, 1.1, 5.0]):
            neuron = make('ReLU', PhaseCode(20, 1.3), scale, False, dtype)
            plain = PhaseNeuron(neuron.code, neuron.scale)
            x = potentials(neuron, dtype)
            assert torch.equal(neuron(x).spike_time, plain(x).spike_time)
            assert torch.equal(neuron.threshold, plain.threshold)
            assert torch.equal(neuron.analog(x), plain.analog(x))


def test_known_tables():
    code = PhaseCode(2, 2, threshold_shift=1.0, signed=True)
    leaky = PhaseNeuron(code, 3.0, activation=nn.LeakyReLU(0.5))
    tables = leaky.thresholds_for(torch.zeros(1))
    assert tables.on.tolist() == leaky.threshold.tolist() == [3.0, 1.5]
    assert tables.off_high.tolist() == [-6.0, -3.0] and tables.off_low is None
    swish = PhaseNeuron(code, 0.5, activation=nn.Hardswish().double())
    tables = swish.thresholds_for(torch.zeros(1, dtype=torch.float64))
    root = math.sqrt(9 / 4 - 6 / 4)  # v (v + 3) / 6 = -1/4.
    assert tables.off_low.tolist() == pytest.approx([math.inf, -1.5 - root], 1e-12)
    assert tables.off_high.tolist() == pytest.approx([-math.inf, -1.5 + root], 1e-12)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
def test_levels_that_are_just_reached(dtype):
    code = PhaseCode(3, 2, threshold_shift=1.0, signed=True)

    def threshold(activation, scale):
        neuron = PhaseNeuron(code, torch.tensor(scale, dtype=dtype), False, activation)
        tables = neuron.thresholds_for(torch.zeros(1, dtype=dtype))
        return float(tables.on[0]), float(tables.off_high[0])

    assert threshold(nn.ReLU6(), 6.0) == (6.0, -math.inf)
    assert threshold(nn.ReLU6(), 6.001) == (math.inf, -math.inf)
    assert threshold(nn.Hardtanh(), 1.0) == (1.0, -1.0)
    assert threshold(nn.Hardtanh(0.5, 2.0), 0.5) == (-math.inf, -math.inf)
    assert threshold(nn.Hardtanh(-2.0, -1.0), 1.0) == (math.inf, math.inf)
    assert threshold(nn.Tanh(), 1.01) == (math.inf, -math.inf)
    on, off = threshold(nn.Tanh(), 1.0)  # Where rounding makes tanh(v) = 1.
    assert 8 < on < 20 and off == pytest.approx(-on)


def test_minima_of_the_windows():
    falls = [kind for kind, bracket in ACTIVATIONS.items() if bracket is not None]
    assert set(falls) == {nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish}
    x = torch.linspace(-9, 9, 3601, dtype=torch.float64)
    for name, module in MODULES.items():
        value = copy.deepcopy(module).double()(x.view(-1, 1).repeat(1, 3))[:, 0]
        rises = bool((value.diff() >= -1e-12).all())
        assert rises == (bracket_of(module) is None), name


@pytest.mark.parametrize('shape', [(6, 3), (6, 3, 4), (2, 3, 4, 5)])
def test_channels_of_prelu_are_those_of_pytorch(shape):
    x = torch.randn(shape, dtype=torch.float64)
    neuron = make('PReLU per channel', CODES[2], 1.3, True)
    expected = encode(F.prelu(x, neuron.activation.weight), neuron.code, 1.3)
    assert torch.equal(neuron(x).spike_time, expected)
    scale = torch.rand(shape[-1], dtype=torch.float64) + 0.1
    neuron.scale = scale
    expected = encode(F.prelu(x, neuron.activation.weight), neuron.code, scale)
    assert torch.equal(neuron(x).spike_time, expected)


def test_tables_are_kept_while_they_hold():
    neuron = make('PReLU', CODES[2], 1.0, True)
    x = torch.randn(50, 3, dtype=torch.float64)
    first = neuron.thresholds_for(x)
    assert neuron.thresholds_for(x) is first
    changes = [
        lambda: neuron.activation.weight.data.mul_(2),
        lambda: neuron.scale.mul_(2),
        lambda: setattr(neuron, 'scale', torch.tensor([1.0, 2.0, 3.0]).double()),
        lambda: setattr(neuron, 'code', PhaseCode(7, 2, signed=True)),
        lambda: setattr(neuron, 'activation', nn.LeakyReLU(0.1)),
        lambda: setattr(neuron.activation, 'negative_slope', 0.5),
    ]
    for change in changes:
        change()
        assert neuron.thresholds_for(x) is not first
        first = neuron.thresholds_for(x)
        assert_encodes_activation(neuron, x, neuron(x).spike_time)
    assert neuron.thresholds_for(x.float()).on.dtype == torch.float32
    assert neuron.float()(x.float()).decode().dtype == torch.float32


def test_copies_and_state_dict():
    neuron = make('PReLU per channel', CODES[2], [0.5, 1.0, 2.0], True)
    x = torch.randn(50, 3, dtype=torch.float64)
    expected = neuron(x).spike_time
    assert torch.equal(copy.deepcopy(neuron)(x).spike_time, expected)
    other = PhaseNeuron(CODES[0], torch.ones(3).double(), activation=nn.PReLU(3))
    other.double()(x)
    other.load_state_dict(neuron.state_dict())
    assert torch.equal(other(x).spike_time, expected)
    assert not torch.equal(other.activation.weight, nn.PReLU(3).double().weight)


def test_in_place_modules_are_copied():
    module = nn.SELU(inplace=True)
    neuron = PhaseNeuron(CODES[2], activation=module)
    x = torch.randn(9)
    before = x.clone()
    neuron(x), neuron.analog(x)
    assert torch.equal(x, before) and module.inplace


def test_comparisons():
    signed = PhaseCode(4, 2, signed=True)
    for activation, expected in [
        ('relu', 1),  # Never fires OFF.
        ('identity', 2),
        (nn.ELU(), 2),
        (nn.GELU(), 3),
    ]:
        assert (
            PhaseNeuron(signed, activation=activation).comparisons_per_step == expected
        )
        neuron = PhaseNeuron(PhaseCode(4, 2), activation=activation)
        assert neuron.comparisons_per_step == 1


def negative_prelu():
    prelu = nn.PReLU(2)
    prelu.weight.data[1] = -0.25
    return prelu


@pytest.mark.parametrize(
    'activation, match',
    [
        ('gelu', r"'relu', 'identity' or a module \(got 'gelu'\)"),
        (nn.RReLU(), r'one of CELU, ELU.*\(got RReLU\)'),
        (nn.LeakyReLU(-0.1), r"'negative_slope' of LeakyReLU.*0.*\(got -0.1\)"),
        (nn.ELU(-1.0), r"'alpha' of ELU.*not monotone \(got -1\)"),
        (nn.Softplus(threshold=1.0), r"'threshold' of Softplus.*at least 20.*got 1\)"),
        (nn.Threshold(0.0, 2.0), r"'threshold' of Threshold.*at least 2.*got 0\)"),
        (negative_prelu(), r"'weight' of PReLU.*not monotone \(got -0.25\)"),
    ],
    ids=str,
)
def test_activation_errors(activation, match):
    with pytest.raises(ValueError, match=match):
        PhaseNeuron(PhaseCode(4, 2), activation=activation)(torch.zeros(1, 2))
    if isinstance(activation, nn.Module):
        with pytest.raises(ValueError, match=match):
            pre_activation_thresholds(activation, torch.ones(1, 2))


def test_activations_are_not_homogeneous():
    with pytest.raises(ValueError, match=r"'node_scale' to be False.*\(got GELU\)"):
        PhaseNeuron(PhaseCode(4, 2), 1.0, True, nn.GELU())
    neuron = PhaseNeuron(PhaseCode(4, 2), activation=nn.GELU())
    with pytest.raises(ValueError, match=r"'factor' to be None.*GELU"):
        neuron(torch.zeros(3, 2), torch.ones(3, 1))


@pytest.mark.parametrize('name', MODULES)
def test_the_lowest_value_is_a_bound(name):
    activation = MODULES[name]
    width = max(1, sum(p.numel() for p in activation.parameters()))
    grid = torch.linspace(-40, 40, 8001).view(-1, 1).expand(-1, width)
    values = activation(grid).detach()
    lowest = lowest_of(activation)
    assert lowest <= float(values.min()) + 1e-6
    if math.isfinite(lowest) and lowest > -1e6:  # And one that is reached.
        assert lowest >= float(values.min()) - 0.03


def test_lowest_values():
    assert lowest_of(nn.ELU(1.5)) == -1.5 and lowest_of(nn.Tanh()) == -1
    assert lowest_of(nn.Hardtanh(0.5, 2.0)) == 0.5 and lowest_of(nn.ReLU()) == 0
    assert lowest_of(nn.LeakyReLU()) < -1e6
