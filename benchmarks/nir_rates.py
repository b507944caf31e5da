"""How far off integrate-and-fire neurons of NIR are, which fire many times.

    python benchmarks/nir_rates.py

Needs 'pip install spikegraph[nir]'. Small networks are trained on scikit-learn's digits
(a multilayer perceptron on pixels, a CNN with average pooling) and on a part of their
graph of neighbours (a GCN), converted, and written as graphs of NIR, once with phase
neurons, which is exact, and for several numbers of steps with integrate-and-fire neurons.
The Euclidean error of the output is relative to that of the spiking network; that of the
ANN is what remains, as the spiking network rounds too. --output has a file with every
figure.
"""

import argparse
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F
from records import RESULTS, origin, write
from torch import nn
from torch_geometric.nn import GCNConv

from spikegraph import ConversionConfig, convert, simulate
from spikegraph.export import to_nir
from spikegraph.zoo.datasets import load_dataset, load_images


class Graph(nn.Module):
    def __init__(self, num_features, num_classes):
        super().__init__()
        self.conv1 = GCNConv(num_features, 16)
        self.conv2 = GCNConv(16, num_classes)

    def forward(self, x, edge_index):
        return self.conv2(self.conv1(x, edge_index).relu(), edge_index)


def trained(model, x, y, *graph, epochs):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(epochs):
        optimizer.zero_grad()
        F.cross_entropy(model(x, *graph), y).backward()
        optimizer.step()
    return model.eval()


def networks(arguments):
    """Trained networks, what they are calibrated on, and what they run on."""
    images = load_images('digits', arguments.root)
    x, test = (images.normalize(v) for v in (images.train_x, images.test_x))
    y, num = images.train_y, arguments.samples
    perceptron = nn.Sequential(
        *(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU()), nn.Linear(32, 10)
    )
    model = trained(perceptron, x.flatten(1), y, epochs=arguments.epochs)
    yield 'perceptron', model, (x.flatten(1),), (test[:num].flatten(1),)
    convolutions = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(64, 10)),
    )
    model = trained(convolutions, x, y, epochs=arguments.epochs)
    yield 'CNN', model, (x,), (test[:num],)
    data = load_dataset('digits', arguments.root).data
    data = data.subgraph(torch.arange(arguments.nodes))
    model = Graph(data.num_features, int(data.y.max()) + 1)
    graph = data.x, data.edge_index
    model = trained(model, data.x, data.y, data.edge_index, epochs=arguments.epochs)
    yield 'GCN', model, graph, graph


@torch.no_grad()
def errors(model, calibration, args, arguments):
    config = ConversionConfig(num_steps=arguments.num_steps)
    snn = convert(model, calibration, config)
    out = simulate(snn, *args).output
    ann = float((model(*args) - out).norm() / out.norm())
    phase = to_nir(snn, *args)
    assert phase.metadata['neuron'] == 'phase'
    rows = {}
    for steps in arguments.rate_steps:
        found = to_nir(snn, *args, neuron='IF', rate_steps=steps).metadata
        rows[steps] = {k: found[k] for k in ('relative_error', 'agreement', 'layout')}
    errors = [row['relative_error'] for row in rows.values()]
    assert errors[-1] < errors[0], errors
    return {'ann_relative_error': ann, 'nodes': len(phase.nodes), 'rate_steps': rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--rate-steps', type=int, nargs='+', default=[64, 256, 1024, 4096]
    )
    parser.add_argument('--num-steps', type=int, default=16)
    parser.add_argument('--samples', type=int, default=100)
    parser.add_argument('--nodes', type=int, default=60)
    parser.add_argument('--epochs', type=int, default=100)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--root', help='folder of the datasets')
    parser.add_argument('--threads', type=int, nargs=1, default=[2])
    parser.add_argument('--output', type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(*arguments.threads)
    torch.manual_seed(arguments.seed)
    found = {}
    for name, model, calibration, args in networks(arguments):
        found[name] = errors(model, calibration, args, arguments)
        print(f'{name}: the ANN is off by {found[name]["ann_relative_error"]:.3f}')
        for steps, row in found[name]['rate_steps'].items():
            print(
                f'  {steps:>5} steps: off by {row["relative_error"]:.3f}, agreement '
                f'{100 * row["agreement"]:.1f} %'
            )
    given = {k: v for k, v in vars(arguments).items() if k not in ('root', 'output')}
    record = {
        'arguments': given,
        'networks': found,
        **origin(f'{torch.get_num_threads()} threads'),
    }
    record['versions']['nir'] = version('nir')
    write(arguments.output / 'nir_rates.json', record)


if __name__ == '__main__':
    main()
