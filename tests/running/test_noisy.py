"""Networks on unreliable hardware."""

import copy

import pytest
import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn.models import GCN

from spikegraph import (
    ConversionConfig,
    NoisyModel,
    PhaseCode,
    SpikeNoise,
    convert,
    disturb,
    measure,
    predict,
    save,
    simulate,
)
from spikegraph.zoo.models import MoleculeGNN, ResNet20
from tests.conversion.test_hetero import Hetero, hetero_data
from tests.conversion.zoo import randomize
from tests.export.models import NODE_MODELS, made

MUCH = SpikeNoise(0.3, 0.1, 0.2, 0.1, 0.05, 0.05, 0.1)


def graph(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(30, 5, generator=generator, dtype=torch.float64)
    return x, torch.randint(30, (2, 100), generator=generator)


def molecules():
    return dict(
        x=torch.zeros(12, 9, dtype=torch.long),
        edge_index=torch.randint(12, (2, 30)),
        edge_attr=torch.zeros(30, 3, dtype=torch.long),
        batch=torch.arange(12) // 6,
    )


def network(name):
    """A network, and what it is called with."""
    torch.manual_seed(0)
    if name in NODE_MODELS:
        model, args = made(name), graph()
    elif name == 'resnet':
        model = randomize(ResNet20(3, 10)).eval()
        args = (torch.rand(3, 3, 16, 16).double() - 0.5,)
    elif name == 'transformer':
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        model, args = layer.double().eval(), (torch.rand(3, 5, 8).double(),)
    elif name == 'molecules':
        model = MoleculeGNN(2, hidden_channels=8, num_layers=2).double().eval()
        given = molecules()
        return convert(model, given, ConversionConfig(num_steps=8)), (), given
    else:
        data = hetero_data(20, 15)
        model, args = Hetero().double(), (data.x_dict, data.edge_index_dict)
    given = args[0] if len(args) == 1 else args
    return convert(model, given, ConversionConfig(num_steps=8)), args, {}


NAMES = [
    *('gcn', 'gcn, tanh', 'gin', 'gat', 'transformer', 'pna'),
    *('resnet', 'molecules', 'hetero'),
]


@pytest.fixture(scope='module', params=NAMES)
def converted(request):
    return network(request.param)


@pytest.fixture(scope='module')
def gcn():
    return network('gcn')[:2]


def again(noisy, inference=0):
    noisy.inference = inference
    return noisy


def is_same(a, b):
    return torch.equal(a.nan_to_num(), b.nan_to_num())  # Fitted codes have no base.


def times(spikes):
    return {name: s.spike_time for name, s in spikes.items()}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_without_noise_nothing_changes(converted):
    snn, args, kwargs = converted
    noisy = disturb(snn, SpikeNoise())
    assert torch.equal(noisy(*args, **kwargs), snn(*args, **kwargs))
    # This one is read node by node.
    assert_same(
        times(noisy.spikes(*args, **kwargs)), times(snn.spikes(*args, **kwargs))
    )
    assert noisy.inference == 2


def test_the_steps_see_the_same(converted):
    snn, args, kwargs = converted
    state = copy.deepcopy(snn.state_dict())
    before = times(snn.spikes(*args, **kwargs))
    noisy = disturb(snn, MUCH)
    for number in (0, 7):
        output = again(noisy, number)(*args, **kwargs)
        spikes = times(again(noisy, number).spikes(*args, **kwargs))
        simulation = again(noisy, number).simulate(*args, **kwargs)
        assert_same(spikes, simulation.spike_time)
        torch.testing.assert_close(output, simulation.output)
        assert bool(output.isfinite().all())
        different = [n for n in before if not torch.equal(before[n], spikes[n])]
        assert {*different} >= {*snn.neurons}  # Every population is disturbed.
    assert_same(before, times(snn.spikes(*args, **kwargs)))
    for name, value in snn.state_dict().items():
        assert is_same(value, state[name]), name


def test_extremes(converted):
    snn, args, kwargs = converted
    for noise, fires in [
        (SpikeNoise(drop=1.0), False),
        (SpikeNoise(stuck_silent=1.0), False),
        (SpikeNoise(stuck_firing=1.0), True),
        (SpikeNoise(extra=1.0), True),
    ]:
        noisy = disturb(snn, noise)
        spikes = noisy.spikes(*args, **kwargs)
        assert bool(noisy(*args, **kwargs).isfinite().all())
        for name in snn.neurons:
            share = spikes[name].num_spikes / spikes[name].spike_time.numel()
            assert share == float(fires), (name, noise)


def test_thresholds_neuron_by_neuron(gcn):
    snn, (x, edge_index) = gcn
    noise = SpikeNoise(threshold=0.3, seed=2)
    noisy = disturb(snn, noise, populations=['relu'])
    found = noisy.spikes(x, edge_index)['relu']
    simulation = simulate(snn, x, edge_index)
    potential = simulation.membrane['relu']
    gain = noisy.disturbance(noise, 0, False).gain('relu', potential)
    code, scale = snn.neurons['relu'].code, snn.neurons['relu'].scale
    scale = scale.expand_as(potential)
    num_changed = 0
    for i in range(potential.size(0)):
        for j in range(potential.size(1)):
            cuts = gain[i, j] * scale[i, j] * code.thresholds
            reached = [t for t in range(8) if potential[i, j] >= cuts[t]]
            assert int(found.spike_time[i, j]) == min(reached, default=8)
            num_changed += int(found.spike_time[i, j]) != int(
                simulation.spike_time['relu'][i, j]
            )
    assert num_changed > 10


def test_thresholds_of_nodes_are_relative_to_what_they_get():
    x, edge_index = graph()
    x[:15] *= 1000
    config = ConversionConfig(input_scale='node')
    snn = convert(made('gcn'), (x, edge_index), config)
    (name,) = (n for n, p in snn.neurons.items() if p.node_scale)
    noisy = disturb(snn, SpikeNoise(threshold=0.2), populations=[name])
    found, before = noisy.spikes(x, edge_index)[name], snn.spikes(x, edge_index)[name]
    assert torch.equal(found.scale, before.scale)
    assert not torch.equal(found.spike_time, before.spike_time)


def test_weights_by_hand(gcn):
    snn, args = gcn
    noise = SpikeNoise(weight=0.2, seed=4)
    noisy = disturb(snn, noise)
    ratios = []
    for name, value in snn.state_dict().items():
        found = noisy.model.state_dict()[name]
        if name.endswith('weight'):
            ratios.append((found / value).flatten())
        else:
            assert is_same(found, value), name
    ratios = torch.cat(ratios)
    assert len(ratios) == 5 * 8 + 8 * 3 and len(ratios.unique()) == len(ratios)
    assert 0.15 < float(ratios.std()) < 0.25 and abs(float(ratios.mean()) - 1) < 0.1
    assert torch.equal(noisy(*args), noisy.model(*args)) and noise.is_quiet
    assert torch.equal(noisy(*args), disturb(snn, noise)(*args))
    other = disturb(snn, SpikeNoise(weight=0.2, seed=5))
    assert not torch.equal(noisy(*args), other(*args))


def changed(snn, noisy):
    pairs = zip(
        snn.state_dict().items(), noisy.model.state_dict().values(), strict=True
    )
    return {name for (name, a), b in pairs if not is_same(a, b)}


def test_weights_that_spikes_of_a_population_meet(gcn):
    snn, _ = gcn
    noise = SpikeNoise(weight=0.2)
    inputs, relu = (
        changed(snn, disturb(snn, noise, populations=p)) for p in snn.neurons
    )
    assert len(inputs) == len(relu) == 1 and not inputs & relu
    assert inputs | relu == changed(snn, disturb(snn, noise))


def test_weights_of_attention():
    snn, _, _ = network('gat')
    found = changed(snn, disturb(snn, SpikeNoise(weight=0.2)))
    assert {name for name in found if 'att_' in name and not name.endswith('bias')}
    assert not {name for name in found if name.endswith('lin.bias')}


def test_one_population(gcn):
    snn, args = gcn
    before = times(snn.spikes(*args))
    noisy = disturb(snn, SpikeNoise(drop=0.5), populations=['relu'])
    found = times(noisy.spikes(*args))
    assert torch.equal(found['input_x'], before['input_x'])
    assert not torch.equal(found['relu'], before['relu'])
    assert torch.equal(
        disturb(snn, SpikeNoise(drop=0.5), populations=[])(*args), snn(*args)
    )


def test_inferences_are_drawn_anew_and_again(gcn):
    snn, args = gcn
    noisy = disturb(snn, SpikeNoise(drop=0.2))
    first, second = noisy(*args), noisy(*args)
    assert noisy.inference == 2 and not torch.equal(first, second)
    assert torch.equal(again(noisy)(*args), first)
    copied = copy.deepcopy(noisy)
    assert torch.equal(copied(*args), second) and noisy.inference == 1
    assert torch.equal(noisy(*args), second)
    assert not torch.equal(disturb(snn, SpikeNoise(drop=0.2, seed=1))(*args), first)
    assert torch.equal(disturb(snn, SpikeNoise(drop=0.2))(*args), first)
    for number in (-1, 1.5, 'a'):
        noisy.inference = number
        with pytest.raises(ValueError, match=rf"'inference' .*\(got {number!r}\)"):
            noisy(*args)


def test_a_relu_with_a_signed_code_never_fires_off(gcn):
    snn, args = copy.deepcopy(gcn[0]), gcn[1]
    neuron = snn.neurons['relu']
    levels, thresholds = neuron.code.levels, neuron.code.thresholds
    neuron.code = PhaseCode.from_levels(levels, thresholds, signed=True)
    for noise in (SpikeNoise(stuck_firing=1.0), SpikeNoise(extra=1.0)):
        found = disturb(snn, noise).spikes(*args)['relu']
        assert found.code.signed and bool((found.spike_time < 8).all())


def test_images_share_the_neurons_of_a_device():
    snn, (x,), _ = network('resnet')
    noise = SpikeNoise(stuck_silent=0.2, stuck_firing=0.2)
    for name, found in disturb(snn, noise).spikes(x[:1].expand(4, -1, -1, -1)).items():
        if name in snn.neurons:
            assert bool((found.spike_time == found.spike_time[:1]).all()), name
    snn, (x, edge_index), _ = network('gcn')
    found = disturb(snn, noise).spikes(x[:1].expand(30, -1), edge_index)['input_x']
    assert not bool((found.spike_time == found.spike_time[:1]).all())


def test_loaders_and_data(gcn):
    snn, (x, edge_index) = gcn
    noisy, data = disturb(snn, SpikeNoise(drop=0.2)), Data(x, edge_index)
    outputs = predict(noisy, [data, data])
    assert torch.equal(outputs, torch.cat([again(noisy)(data), noisy(x, edge_index)]))


def test_float32_and_devices_of_parameters():
    x, edge_index = graph()
    model = GCN(5, 8, 2, 3).eval()
    snn = convert(model, (x.float(), edge_index))
    noisy = disturb(snn, MUCH)
    assert noisy(x.float(), edge_index).dtype == torch.float32
    assert noisy.spec is noisy.model.spec and 'drop=0.1' in repr(noisy)


def test_errors(gcn, tmp_path):
    snn, args = gcn
    noisy = disturb(snn, MUCH)
    assert isinstance(noisy, NoisyModel)
    with pytest.raises(
        ValueError, match=r"\(got 'nose'\); there are 'input_x', 'relu'"
    ):
        disturb(snn, MUCH, populations=['relu', 'nose'])
    with pytest.raises(ValueError, match=r'names of populations \(got 5\)'):
        disturb(snn, MUCH, populations=5)
    with pytest.raises(ValueError, match=r"'noise' to be a SpikeNoise \(got 0.1\)"):
        disturb(snn, 0.1)
    with pytest.raises(ValueError, match=r'got GCN\); convert the model first'):
        disturb(GCN(5, 8, 2, 3), MUCH)
    with pytest.raises(
        ValueError, match=r"got NoisyModel\); use its own .* 'snn.model'"
    ):
        simulate(noisy, *args)
    with pytest.raises(ValueError, match='NoisyModel'):
        measure(noisy, Data(*args))
    with pytest.raises(ValueError, match='NoisyModel'):
        save(noisy, tmp_path / 'noisy')
    with pytest.raises(ValueError, match='finite'):
        noisy(args[0] * float('nan'), args[1])
