import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spikegraph import ConversionConfig, convert, measure
from spikegraph.nn import SpikingConv
from tests.conversion.cnns import CNNS, images, make_cnn


def macs_by_hooks(model, x):
    """Output values times the weights of each, of every layer with weights."""
    total = 0

    def count(module, args, out):
        nonlocal total
        if isinstance(module, nn.Linear):
            total += out.numel() * module.in_features
        elif isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            total += out.numel() * module.weight[0].numel()
        elif isinstance(module, nn.ConvTranspose2d):
            total += args[0].numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in model.modules()]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return total


@pytest.mark.parametrize('name', CNNS)
def test_counts(name):
    model, x = make_cnn(name), images(4, seed=3)
    snn = convert(model, images(24), ConversionConfig(per_channel=True))
    measurement = measure(snn, list(x.split(2)), model)
    total = measurement.total
    interpolated = 4 * 6 * 16 * 16 * 4 if name == 'unet' else 0
    assert total.ann_macs == macs_by_hooks(model, x) + interpolated
    assert 0 < total.synops < total.ann_macs
    assert total.ann_macs_nonzero < total.ann_macs
    assert total.spikes == sum(spikes.num_spikes for spikes in snn.spikes(x).values())
    assert measurement.uncounted == []


def test_synops_are_weights_times_spikes():
    """Counted again by convolving the spikes with ones."""
    model, x = make_cnn('resnet-b'), images(3, seed=3)
    snn = convert(model, images(24), ConversionConfig(num_steps=6))
    spikes = snn.spikes(x)
    rows = {row.name: row.counts for row in measure(snn, x, model).layers}
    sources = {
        'conv1': 'input_x',
        'layer1_0_conv2': 'layer1_0_relu',
        'layer2_conv2': 'layer2_relu',
        'layer2_downsample_0': 'layer1_1_relu_2',
    }
    for layer, source in sources.items():
        path = next(str(n.target) for n in snn.network.nodes if n.name == layer)
        conv = snn.network.get_submodule(path)
        assert isinstance(conv, SpikingConv)
        fired = spikes[source].spike_time != 6
        ones = torch.ones_like(conv.weight)
        options = {k: getattr(conv.conv, k) for k in ('stride', 'padding', 'groups')}
        met = F.conv2d(fired.double(), ones, **options)
        assert rows[layer].synops == int(met.sum()), layer
        assert rows[layer].snn_macs == 0


def test_average_pools_add_what_they_average():
    model = nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AvgPool2d(3, 2), nn.Flatten()),
        nn.Linear(4 * 36, 2),
    ).double()
    snn = convert(model, images(24))
    rows = {row.name: row.counts for row in measure(snn, images(2), model).layers}
    assert rows['_2'].adds == 2 * 4 * 36 * 9
    assert rows['_4'].snn_macs == 2 * 4 * 36 * 2  # Reads averages, not spikes.
    assert rows['_4'].synops == 0


def test_gates_are_no_neurons():
    """They pass spikes on, which costs what a spike costs, but send none."""
    model = nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        nn.Linear(4 * 49, 2),
    ).double()
    snn = convert(model, images(24))
    x = images(2)
    measurement, spikes = measure(snn, x, model), snn.spikes(x)
    rows = {row.name: row for row in measurement.layers}
    gate = rows['_2']
    assert gate.role == 'gate' and gate.counts.neurons == 0
    assert gate.counts.spikes == spikes['2'].num_spikes > 0
    assert gate.counts.comparisons == 2 * 4 * 49 * 3  # Of windows of four.
    senders = [spikes['input_input'], spikes['_1']]
    num_neurons = sum(each.shape.numel() for each in senders)
    expected = sum(each.num_spikes for each in senders) / num_neurons
    assert measurement.spikes_per_neuron == expected
    assert measurement.total.neurons == num_neurons
    assert measurement.total.spikes == sum(s.num_spikes for s in spikes.values())
