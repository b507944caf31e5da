import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader, TensorDataset

from spikegraph import ConversionConfig, convert, load, measure, predict, save, simulate
from spikegraph.conversion.passes.structure import build_structure
from spikegraph.network.interpreter import AnalogReading
from spikegraph.nn import PhaseNeuron, SpikeGate, SpikingConv
from tests.conversion.cnns import CNNS, images, make_cnn

CONFIG = ConversionConfig(per_channel=True)


def analog(model, snn, x):
    """The converted graph, run without coding."""
    structure = build_structure(model, snn.spec, snn.config)
    with torch.no_grad():
        return AnalogReading(structure.network).run({'x': x, 'input': x})


@pytest.mark.parametrize('name', CNNS)
def test_cnn_converts(name):
    model, x = make_cnn(name), images(24)
    before = copy.deepcopy(model.state_dict())
    snn = convert(model, x, CONFIG)
    assert not snn.report.analog
    relays = [name for name in snn.neurons if 'relay' in name]
    assert snn.report.num_activations == CNNS[name][1] + len(relays)
    assert len(relays) == (name == 'pointnet')  # Its maximum compares potentials.
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    with torch.no_grad():
        expected = model(x)
    assert torch.allclose(analog(model, snn, x), expected, rtol=0, atol=1e-12)
    assert snn.report.logit_relative_error < 0.08
    norms = [m for m in snn.network.modules() if isinstance(m, _BatchNorm)]
    assert len(norms) == CNNS[name][2]
    assert not any(isinstance(m, nn.ReLU) for m in snn.network.modules())


@pytest.mark.parametrize('name', CNNS)
def test_simulation_repeats_the_closed_form(name):
    model, x = make_cnn(name), images(3, seed=1)
    snn = convert(model, images(24), CONFIG)
    simulation, spikes = simulate(snn, x), snn.spikes(x)
    assert list(simulation.spikes) == list(spikes)
    for population, found in simulation.spike_time.items():
        assert torch.equal(found, spikes[population].spike_time), population
    assert torch.allclose(simulation.output, snn(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize('name', ['resnet-a', 'vgg', 'mobilenet'])
def test_layout_and_batch_size_do_not_matter(name):
    model, x = make_cnn(name), images(5, seed=1)
    snn = convert(model, images(24), CONFIG)
    expected = snn.spikes(x)
    moved = snn.spikes(x.to(memory_format=torch.channels_last))
    for population, spikes in expected.items():
        assert torch.equal(moved[population].spike_time, spikes.spike_time)
    for i in range(5):
        single = snn.spikes(x[i : i + 1])
        for population, spikes in expected.items():
            assert torch.equal(single[population].spike_time[0], spikes.spike_time[i])


def test_no_images():
    snn = convert(make_cnn('vgg'), images(24), CONFIG)
    assert snn(images(0)).shape == (0, 10)


def test_max_pooling_is_exact():
    """Its output is the maximum of what it is given, to the bit, of any sign."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.MaxPool2d(3, 2, 1))
    model = nn.Sequential(net, nn.Flatten(), nn.Linear(4 * 49, 10)).double()
    snn = convert(model, images(24), ConversionConfig(compensate=None))
    spikes = snn.spikes(images(6, seed=2))
    _, before, after = spikes.values()
    pooled = F.max_pool2d(before.decode(), 3, 2, 1)
    assert bool((pooled < 0).any()) and bool((pooled > 0).any())
    assert torch.equal(after.decode(), pooled)


def test_activation_moves_in_front_of_the_pool():
    """As monotone functions commute with the maximum."""
    snn = convert(make_cnn('lenet'), images(24), CONFIG)
    nodes = [n for n in snn.network.nodes if n.op == 'call_module']
    modules = [snn.network.get_submodule(n.target) for n in nodes]
    for module, after in zip(modules, modules[1:], strict=False):
        if isinstance(after, SpikeGate):
            assert isinstance(module, PhaseNeuron)
    assert sum(isinstance(module, SpikeGate) for module in modules) == 2


def test_scales_are_those_of_channels():
    model = make_cnn('vgg')
    snn = convert(model, images(24), CONFIG)
    shapes = [tuple(neuron.scale.shape) for neuron in snn.neurons.values()]
    assert shapes == [(3, 1, 1), (8, 1, 1), *[(16, 1, 1)] * 3, (32,)]
    for how in ('layer', 'node'):
        config = ConversionConfig(input_scale=how, per_channel=False)
        one = convert(model, images(24), config)
        assert one.neurons['input_x'].node_scale == (how == 'node')
        assert all(neuron.scale.dim() == 0 for neuron in one.neurons.values())
    scale = one.spikes(images(5))['input_x'].scale
    assert scale.shape == (5, 1, 1, 1)  # Relative to each image.


def test_analog_first_layer_is_billed_as_macs():
    model, x = make_cnn('resnet-a'), images(24)
    config = ConversionConfig(per_channel=True, encode_input=False)
    snn = convert(model, x, config)
    assert snn.report.currents == ['x'] and 'input_x' not in snn.neurons
    rows = {row.name: row.counts for row in measure(snn, x[:2], model).layers}
    assert rows['conv1'].snn_macs == rows['conv1'].ann_macs == 2 * 16 * 16 * 27 * 8
    assert rows['conv1'].synops == 0 and rows['layer1_0_conv1'].snn_macs == 0


def test_identity_and_layer_are_corrected_together():
    """What the identity of a block loses, its last convolution makes up for."""
    model, x = make_cnn('resnet-a'), images(64)
    errors = {}
    for compensate in (None, 'bias', 'ridge'):
        options = dict(levels='geometric', per_channel=False, compensate=compensate)
        config = ConversionConfig(num_steps=6, **options)
        snn = convert(model, x, config)
        with torch.no_grad():
            errors[compensate] = float(
                (snn(images(64, 5)) - model(images(64, 5))).norm()
            )
    assert errors['ridge'] < 0.8 * errors[None]
    assert errors['bias'] < errors[None]
    assert len(snn.report.compensated) == len(snn.report.layers) == 8


def test_layer_makes_up_for_what_an_identity_loses():
    """Its own weights are zero, so that all of the error is that of the identity."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.conv = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1)
            nn.init.zeros_(self.conv.weight)

        def forward(self, x):
            x = self.stem(x).relu()
            return self.conv(x) + x

    torch.manual_seed(0)
    model = Block().double()
    config = ConversionConfig(num_steps=3, per_channel=True)
    snn = convert(model, images(24), config)
    assert 'conv' in snn.report.compensated
    assert bool((snn.network.get_submodule('conv').weight != 0).any())


def test_labels_of_a_loader_are_dropped():
    model, x = make_cnn('vgg'), images(24)
    loader = DataLoader(TensorDataset(x, torch.arange(24)), batch_size=8)
    snn = convert(model, loader, CONFIG)
    expected = convert(model, list(x.split(8)), CONFIG)
    assert torch.equal(snn(x), expected(x))
    assert torch.equal(predict(snn, loader, progress=False), snn(x))


def test_save_and_load(tmp_path):
    model, x = make_cnn('lenet'), images(24)
    config = ConversionConfig(per_channel=True, levels='fitted')
    snn = convert(model, x, config)
    save(snn, tmp_path / 'snn.safetensors')
    loaded = load(tmp_path / 'snn.safetensors', make_cnn('lenet'))
    assert torch.equal(loaded(x), snn(x))


def test_precision_is_kept():
    model, x = make_cnn('vgg').float(), images(24).float()
    snn = convert(model, x, CONFIG)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        out = snn(x)
    assert torch.equal(out, snn(x)) and out.dtype == torch.float32
    with pytest.raises(ValueError, match=r'torch\.float32 \(got torch\.float16\)'):
        snn(x.half())
    brain = convert(model.bfloat16(), x.bfloat16(), CONFIG)
    found = brain(x.bfloat16())
    assert found.dtype == torch.bfloat16
    assert (found - out).norm() < 0.05 * out.norm()


class _Indices(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 4, 3), nn.MaxPool2d(2, return_indices=True)

    def forward(self, x):
        return self.pool(self.conv(x).relu())[0].flatten(1)


class _Excite(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 4)

    def forward(self, x):
        x = self.conv(x).relu()
        return x * self.fc(x.mean((2, 3))).sigmoid().view(-1, 4, 1, 1)


class _Ratio(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 4)

    def forward(self, x):
        x = self.conv(x).relu()
        return x / self.fc(x.mean((2, 3))).view(-1, 4, 1, 1)


def normed(norm):
    layers = nn.Conv2d(3, 4, 3), norm, nn.ReLU(), nn.Conv2d(4, 3, 3)
    return nn.Sequential(*layers)


MEETINGS = {
    'group norm': lambda: normed(nn.GroupNorm(2, 4)),
    'instance norm': lambda: normed(nn.InstanceNorm2d(4, affine=True)),
    'local response norm': lambda: normed(nn.LocalResponseNorm(3)),
    'excitation': _Excite,
}


@pytest.mark.parametrize('name', MEETINGS)
def test_norms_and_gates_spike(name):
    torch.manual_seed(0)
    model, x = MEETINGS[name]().double(), images(8)
    snn = convert(model, x, ConversionConfig(num_steps=32, base=1.15))
    simulation, spikes = simulate(snn, x), snn.spikes(x)
    assert snn.report.analog == {} and len(spikes) > len(snn.neurons)  # And gates.
    assert snn.report.logit_relative_error < 0.08
    assert list(simulation.spikes) == list(spikes)
    for population, found in simulation.spike_time.items():
        assert torch.equal(found, spikes[population].spike_time), population
    assert torch.allclose(simulation.output, snn(x), rtol=0, atol=1e-12)
    with torch.no_grad():
        expected = model(x)
    assert torch.allclose(analog(model, snn, x), expected, rtol=1e-9, atol=1e-12)


REFUSALS = {
    'lp pool': (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.LPPool2d(2, 2)),
        r"'2' \(LPPool2d\)",
    ),
    'indices': (_Indices, r"'pool' \(MaxPool2d\): it returns indices"),
    'ratio': (_Ratio, r"'truediv' .*: it divides by a signal; spikes do so"),
}


@pytest.mark.parametrize('name', REFUSALS)
def test_refusals_name_the_module(name):
    make_model, match = REFUSALS[name]
    with pytest.raises(NotImplementedError, match=match):
        convert(make_model().double(), images(24))


@pytest.mark.parametrize(
    'shape', [(4, 16, 16), (2, 4, 16, 16), (2, 3), (1, 2, 3, 8, 8)]
)
def test_wrong_images(shape):
    for per_channel in (True, False):
        config = ConversionConfig(per_channel=per_channel)
        snn = convert(make_cnn('resnet-a'), images(24), config)
        with pytest.raises(ValueError, match=rf'\b3\b.* \(got .*\[{shape[0]}'):
            snn(torch.zeros(shape, dtype=torch.float64))


def test_unbatched_images():
    model = nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 2, 3)),
    ).double()
    snn = convert(model, images(24), CONFIG)
    x = images(1)
    assert torch.allclose(snn(x[0]), snn(x)[0], rtol=0, atol=1e-12)
    assert isinstance(snn.network.get_submodule('0'), SpikingConv)
