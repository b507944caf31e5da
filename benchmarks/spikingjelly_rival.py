"""SpikingJelly's conversion of the same networks: accuracy, spikes and milliseconds.

    pip install spikingjelly==2.0.0  # In an environment of its own.
    python benchmarks/spikingjelly_rival.py --weights resnet20.th
    python benchmarks/spikingjelly_rival.py --weights resnet20.th --only-timing

Without SpikingJelly, one line says so and nothing is written. Its rate coding (largest
value, 99.9th percentile, a share of the largest; with one threshold per channel, too)
and its local threshold balancing (LTB; these images in batches of 16, ten times, as its
thresholds grow a little with each batch; read from the first step on, or late, as it
estimates) are calibrated on the images that spikegraph is, and run on the same test
images: a trained ResNet-20 on CIFAR-10, and a perceptron on
digits. One run of the longest time gives the outputs at all times before; pixels are
analog currents in its first layer. Functional activations are tried as they are, and
then written as modules, so that no technicality decides. A few PyG networks tell what
becomes of graphs. Times are measured in one process, in turn, with one thread; its
networks run step by step and all steps at once, of which the shorter time counts.
"""

import argparse
import copy
import importlib.util
import json
import warnings
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F
from records import RESULTS, measure_in_turn, origin, processor, write
from torch import nn
from torch_geometric.nn import GATConv, GCNConv

from spikegraph import ConversionConfig, convert, measure
from spikegraph.zoo.datasets import load_images
from spikegraph.zoo.experiment.evaluation import calibration_batches, compare
from spikegraph.zoo.training import load_weights, prepare

METHODS = {
    'LTB': None,
    'rate, 99.9 %, by channel, half': dict(
        mode='99.9%', channel_wise=True, half_threshold=True
    ),
    'rate, 99.9 %': dict(mode='99.9%'),
    'rate, max': dict(mode='Max'),
    'rate, 0.5 max': dict(mode=0.5),
}
LTB_EPOCHS = 10
OURS = {'pixels as spikes': {}, 'pixels analog': {'encode_input': False}}


def is_installed():
    return importlib.util.find_spec('spikingjelly') is not None


class Residual(nn.Module):
    """A block of the zoo's ResNet-20 of modules only; the shortcut that leaves out
    every other pixel and adds channels of zeros is a convolution that does the same."""

    def __init__(self, block):
        super().__init__()
        names = ('conv1', 'bn1', 'conv2', 'bn2')
        for name in names:
            self.add_module(name, copy.deepcopy(getattr(block, name)))
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.shortcut = nn.Identity()
        channels, wider = block.conv1.in_channels, block.conv1.out_channels
        if channels != wider or block.conv1.stride != (1, 1):
            stride = block.conv1.stride
            self.shortcut = nn.Conv2d(channels, wider, 1, stride, bias=False)
            nn.init.zeros_(self.shortcut.weight)
            first = (wider - channels) // 2
            for i in range(channels):
                self.shortcut.weight.data[first + i, i] = 1.0

    def forward(self, x):
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(out + self.shortcut(x))


def of_modules(model):
    """The zoo's ResNet-20 with modules in the place of functions."""
    blocks = [
        Residual(b) for s in (model.layer1, model.layer2, model.layer3) for b in s
    ]
    first = copy.deepcopy(model.conv1), copy.deepcopy(model.bn1)
    ends = nn.AdaptiveAvgPool2d(1), nn.Flatten(), copy.deepcopy(model.linear)
    return nn.Sequential(*first, nn.ReLU(), *blocks, *ends).eval()


def perceptron(data, epochs):
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()),
        nn.Linear(128, 10),
    )
    x, optimizer = (
        data.normalize(data.train_x).flatten(1),
        torch.optim.Adam(model.parameters(), lr=0.005),
    )
    for _ in range(epochs):
        optimizer.zero_grad()
        F.cross_entropy(model(x), data.train_y).backward()
        optimizer.step()
    return model.eval()


def networks(arguments):
    """Name, model as written, model of modules, calibration batches, test images."""
    digits, num = load_images('digits', arguments.root), arguments.images
    model = perceptron(digits, arguments.epochs)
    batches = [x.flatten(1) for x in calibration_batches(digits)]
    test = digits.normalize(digits.test_x[:num]).flatten(1)
    yield 'digits_mlp', model, model, batches, test, digits.test_y[:num]
    if arguments.weights is None:
        return
    data, recipe = prepare(
        'cifar10', None, None, 1, arguments.root, 'resnet20', loads_weights=True
    )
    model = load_weights(data, recipe, arguments.weights).model
    x, y = data.normalize(data.test_x[:num]), data.test_y[:num]
    yield 'cifar10_resnet20', model, of_modules(model), calibration_batches(data), x, y


def spiking(model, method, batches):
    """The network as SpikingJelly converts it; the model is left as it was."""
    from spikingjelly.activation_based import ann2snn

    options = METHODS[method]
    if options is None:
        small = [part for batch in batches for part in batch.split(16)]
        recipe = ann2snn.LocalThresholdBalancingRecipe(small * LTB_EPOCHS)
    else:
        recipe = ann2snn.RateCodingRecipe(batches, **options)
    return ann2snn.Converter(recipe).convert(copy.deepcopy(model))


def spiking_neurons(snn):
    from spikingjelly.activation_based.neuron import BaseNode

    return {k: m for k, m in snn.named_modules() if isinstance(m, BaseNode)}


def attempt(model, method, batches):
    """What becomes of a model: how many populations, or which error."""
    try:
        snn = spiking(model, method, batches)
    except Exception as error:  # Any; it is what users would see.
        lines = str(error).strip().splitlines() or ['']
        return {'error': type(error).__name__, 'message': lines[0][:300]}
    return {'populations': len(spiking_neurons(snn))}


@torch.no_grad()
def run_steps(snn, x, num_steps):
    """Outputs of every step :math:`(T, N, C)`, and the spikes per neuron up to it."""
    from spikingjelly.activation_based import functional

    functional.reset_net(snn)
    counts, handles, num = torch.zeros(num_steps), [], [0, 0]

    def count(module, inputs, out):
        counts[num[0]] += float(out.sum())
        num[1] += out.numel()

    for neuron in spiking_neurons(snn).values():
        handles.append(neuron.register_forward_hook(count))
    outs = []
    for step in range(num_steps):
        num[:] = [step, 0]
        outs.append(snn(x))
    for handle in handles:
        handle.remove()
    return torch.stack(outs), counts.cumsum(0), num[1]


def late_starts(snn, batches, num_steps):
    """From which step on outputs are to be read, for each number of steps."""
    from spikingjelly.activation_based.ann2snn import estimate_delay_start

    with (
        warnings.catch_warnings()
    ):  # Where there are too few, it says so: from the first.
        warnings.simplefilter('ignore', RuntimeWarning)
        return {
            steps: min(steps - 1, estimate_delay_start(snn, batches, 'cpu', steps))
            for steps in num_steps
        }


def their_run(snn, x, num_steps):
    """Sums of outputs up to each step :math:`(T, N, C)`, and spikes per neuron."""
    outs, spikes, neurons = [], 0, 0
    for part in x.split(50):
        out, counts, num = run_steps(snn, part, num_steps)
        outs.append(out.cumsum(0))
        spikes, neurons = spikes + counts, neurons + num
    return torch.cat(outs, dim=1), spikes / neurons


def their_cells(out, spikes, ann_out, y, num_steps, starts):
    cells = {}
    for steps in num_steps:
        found, start = out[steps - 1], starts.get(steps, 0)
        if start:
            found = found - out[start - 1]
        cells[f'T={steps}'] = {
            **compare(ann_out, found / (steps - start), y),
            'spikes_per_neuron': float(spikes[steps - 1]),
            'read_from_step': start,
        }
    return cells


@torch.no_grad()
def our_cells(model, ann_out, batches, x, y, num_steps, options):
    cells = {}
    for steps in num_steps:
        snn = convert(model, batches, ConversionConfig(num_steps=steps, **options))
        parts = x.split(50)
        measured = measure(snn, list(parts))
        rows = [each.counts for each in measured.layers if each.role == 'neurons']
        cells[f'T={steps}'] = {
            **compare(ann_out, torch.cat([snn(part) for part in parts]), y),
            'spikes_per_neuron': sum(c.spikes for c in rows)
            / sum(c.neurons for c in rows),
            'spikes_per_neuron_with_pixels': measured.spikes_per_neuron,
            'network_steps': snn.latency_steps,
        }
    return cells


def times(model, modules, batches, x, arguments):
    """Milliseconds per image of both tools and of the ANN, in turn."""
    from spikingjelly.activation_based import functional

    x = x[: arguments.timed_images]
    ours = convert(model, batches, ConversionConfig(num_steps=16))
    theirs = spiking(modules, 'rate, 99.9 %', batches)
    together = copy.deepcopy(theirs)
    functional.set_step_mode(together, 'm')

    def by_step(num_steps):
        functional.reset_net(theirs)
        return sum(theirs(x) for _ in range(num_steps)) / num_steps

    def at_once(num_steps):
        functional.reset_net(together)
        repeated = x.unsqueeze(0).expand(num_steps, *x.shape)
        return together(repeated).mean(0)

    operations = {'ANN': lambda: model(x), 'spikegraph T=16': lambda: ours(x)}
    for steps in arguments.timed_steps:
        expected = by_step(steps)
        torch.testing.assert_close(at_once(steps), expected, rtol=1e-3, atol=1e-3)
        for name, run in (('step by step', by_step), ('at once', at_once)):
            operations[f'SpikingJelly T={steps}, {name}'] = lambda r=run, s=steps: r(s)
    with torch.no_grad():
        found = measure_in_turn(operations, arguments.repeats, warm_up=1)
    return {
        name: {k: 1e3 * seconds / len(x) for k, seconds in row.items()}
        for name, row in found.items()
    }


class Graph(nn.Module):
    """Two graph layers with a function or a module between them; the graph is an
    argument, or a part of the network."""

    def __init__(self, conv, activation, edge_index=None):
        super().__init__()
        self.conv1, self.conv2 = conv(8, 16), conv(16, 4)
        self.act, self.graph = activation, edge_index

    def forward(self, x, edge_index=None):
        graph = edge_index if self.graph is None else self.graph
        return self.conv2(self.act(self.conv1(x, graph)), graph)


class Functional(nn.Module):
    """A perceptron whose activation is a function."""

    def __init__(self):
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x):
        return self.linear2(F.relu(self.linear1(x)))


def graphs():
    """What becomes of PyG networks, and of a function between linear layers."""
    torch.manual_seed(0)
    x, edges, found = torch.rand(30, 8), torch.randint(30, (2, 120)), {}
    kinds = {
        'GCN, F.relu': (GCNConv, F.relu),
        'GCN, nn.ReLU': (GCNConv, nn.ReLU()),
        'GAT, nn.ReLU': (GATConv, nn.ReLU()),
    }
    for name, (conv, activation) in kinds.items():
        model = Graph(conv, activation).eval()
        inside = Graph(conv, activation, edges).eval()
        snn = convert(model, (x, edges))
        found[name] = {
            'as it is': attempt(model, 'rate, max', [(x, edges)]),
            'graph inside': attempt(inside, 'rate, max', [x]),
            'spikegraph': {'populations': len(snn.neurons)},
        }
    model = Functional().eval()
    found['perceptron, F.relu'] = {
        'as it is': attempt(model, 'rate, max', [x]),
        'spikegraph': {'populations': len(convert(model, x).neurons)},
    }
    return found


def run(arguments):
    path = arguments.output / 'spikingjelly.json'
    record = json.loads(path.read_text()) if path.exists() else {'networks': {}}
    given = {'images': arguments.images, 'num_steps': arguments.num_steps}
    if record.setdefault('arguments', given) != given:
        raise ValueError(
            f"Expected '--images' and '--num-steps' to be {record['arguments']} as in "
            f"'{path}' (got {given}). Pass another '--output'"
        )

    def save():
        record.update(origin(f'{torch.get_num_threads()} threads'))
        record['processor'] = processor()
        record['versions']['spikingjelly'] = version('spikingjelly')
        write(path, record)

    record['graphs'] = graphs()
    for name, model, modules, batches, x, y in networks(arguments):
        row = record['networks'].setdefault(name, {'cells': {}})
        with torch.no_grad():
            ann = torch.cat([model(part) for part in x.split(100)])
            same = torch.cat([modules(part) for part in x.split(100)])
        torch.testing.assert_close(same, ann, rtol=1e-3, atol=1e-3)
        if arguments.only_timing or 'ms_per_image' not in row:
            row['ms_per_image'] = times(model, modules, batches, x, arguments)
            save()
        if not arguments.only_timing:
            row['as_written'] = attempt(model, 'rate, max', batches)
            for kind, options in OURS.items():
                if f'spikegraph, {kind}' not in row['cells']:
                    row['cells'][f'spikegraph, {kind}'] = our_cells(
                        model, ann, batches, x, y, arguments.our_steps, options
                    )
                    save()
            for method in METHODS:
                if method in row['cells']:
                    continue
                snn = spiking(modules, method, batches)
                row['populations'] = len(spiking_neurons(snn))
                num_steps = arguments.num_steps
                found = *their_run(snn, x, max(num_steps)), ann, y, num_steps
                row['cells'][method] = their_cells(*found, {})
                if method == 'LTB':
                    starts = late_starts(snn, batches, num_steps)
                    row['cells']['LTB, read late'] = their_cells(*found, starts)
                save()
    return record


def print_record(record):
    for name, row in record['networks'].items():
        print(f'\n{name}; as it is written: {row.get("as_written")}')
        for method, cells in row['cells'].items():
            for steps, cell in cells.items():
                print(
                    f'  {method:<32} {steps:<6} loss {cell["loss_points"]:6.2f}, '
                    f'agreement {cell["agreement"]:6.2f} %, '
                    f'{cell["spikes_per_neuron"]:.3f} spikes/neuron'
                )
        for what, time in row['ms_per_image'].items():
            print(f'  {what:<32} {time["min"]:.3f} ms ({time["median"]:.3f})')
    for name, found in record['graphs'].items():
        print(f'{name}: {found}')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--weights', type=Path, help='the state dict of the ResNet-20')
    parser.add_argument(
        '--num-steps', type=int, nargs='+', default=[8, 16, 32, 64, 128]
    )
    parser.add_argument('--our-steps', type=int, nargs='+', default=[4, 8, 16, 32])
    parser.add_argument('--images', type=int, default=1000, help='test images')
    parser.add_argument('--epochs', type=int, default=200, help='of the perceptron')
    parser.add_argument(
        '--only-timing', action='store_true', help='anew, in the record that there is'
    )
    parser.add_argument('--timed-images', type=int, default=32)
    parser.add_argument('--timed-steps', type=int, nargs='+', default=[8, 16, 32])
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--root', help='folder of the datasets')
    parser.add_argument('--threads', type=int, nargs=1, default=[1])
    parser.add_argument('--output', type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if not is_installed():
        print(
            "SpikingJelly is not installed: skipped. 'pip install spikingjelly==2.0.0'"
        )
        return
    torch.set_num_threads(*arguments.threads)
    print_record(run(arguments))


if __name__ == '__main__':
    main()
