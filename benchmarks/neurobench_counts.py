"""NeuroBench's figures of converted networks, and our own counts, side by side.

    python benchmarks/neurobench_counts.py

Needs 'pip install spikegraph[neurobench]'. Networks are trained and converted in
float64, where spikes of the time-stepped run are those of the closed form. NeuroBench's
Benchmark runs three times: with its own metrics on the network as any PyTorch module,
with its own metrics on the adapter where they apply, and with ours of the same names.
What it prints then has to be what measure counts, what loops over the spikes of the
run find, and what the network's tensors say. --output has a file with every figure.
"""

import argparse
import math
import time
from importlib.metadata import version
from pathlib import Path

import torch
from neurobench.benchmarks import Benchmark
from neurobench.metrics import static, workload
from neurobench.models import TorchModel
from records import RESULTS, origin, write
from torch.utils.data import DataLoader, TensorDataset

from spikegraph import ConversionConfig, convert, measure, simulate
from spikegraph.export.neurobench import GraphLoader, SpikeGraphModel, metrics
from spikegraph.zoo.datasets import ImageDataset
from spikegraph.zoo.experiment.evaluation import calibration_batches
from spikegraph.zoo.training import prepare, train

OWN = [
    [static.Footprint, static.ConnectionSparsity, static.ParameterCount],
    [
        workload.ClassificationAccuracy,
        workload.ActivationSparsity,
        workload.SynapticOperations,
        workload.MembraneUpdates,
    ],
]


class AsItComes(TorchModel):
    """The converted network as any module: its closed form."""

    def __call__(self, batch):
        if isinstance(batch, torch.Tensor):
            return self.net(batch)
        return self.net(batch.data)[batch.rows]


def network_of(name, kind, arguments):
    """A converted network, what it runs on, and the loader of the harness."""
    dataset, recipe = prepare(name, None, None, 1, arguments.root, kind)
    model = train(dataset, recipe, arguments.seed).model.double()
    config = ConversionConfig(num_steps=arguments.num_steps)
    if isinstance(dataset, ImageDataset):
        x = dataset.normalize(dataset.test_x).double()[: arguments.images]
        y = dataset.test_y[: arguments.images]
        calibration = [batch.double() for batch in calibration_batches(dataset)]
        config = config.resolve(True)
        loader = DataLoader(TensorDataset(x, y), batch_size=arguments.batch_size)
        calls = [(part,) for part in x.split(arguments.batch_size)]
        return convert(model, calibration, config), calls, loader
    data = dataset.data.clone()
    data.x = data.x.double()
    snn = convert(model, data, config)
    return snn, [(data,)], GraphLoader(data, mask='test_mask')


def counted(snn, calls):
    """The same figures without the harness: of measure, and of spikes and tensors."""
    total, num = measure(snn, [call for (call,) in calls]).total, 0
    spikes = places = 0
    for call in calls:
        simulation = simulate(snn, *call)
        num += len(simulation.output)
        for name in snn.neurons:
            raster = simulation.spikes[name].raster()
            spikes, places = spikes + int(raster.sum()), places + raster.numel()
    weights = [p for p in snn.parameters() if p.dim() > 1]
    tensors = [*snn.parameters(), *snn.buffers()]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    return {
        'samples': num,
        'Effective_ACs': (total.synops + total.accumulates) / num,
        'Effective_MACs': total.snn_macs / num,
        'Dense_once': (total.ann_macs + total.ann_aggregation_macs) / num,
        'MembraneUpdates': total.membrane_updates / num,
        'ActivationSparsity': 1 - spikes / places,
        'ConnectionSparsity': zeros / sum(weight.numel() for weight in weights),
        'ParameterCount': sum(p.numel() for p in snn.parameters()),
        'weight_bytes': sum(t.numel() * t.element_size() for t in tensors),
    }


def check(ours, expected):
    """Raises if a figure is not the one that was counted without the harness."""
    flat = {**ours, **ours['SynapticOperations']}
    for name, value in expected.items():
        if name in flat:
            assert math.isclose(flat[name], value, rel_tol=1e-12), (name, flat[name])
    assert flat['Effective_ACs'] > 0 and flat['Dense'] >= flat['Dense_once']
    assert flat['Footprint'] > expected['weight_bytes']


def run(model, loader, chosen):
    bench = Benchmark(model, loader, [], [lambda out: out.argmax(-1)], chosen)
    start = time.perf_counter()
    found = bench.run(quiet=True)
    return found, time.perf_counter() - start


def show(name, rows):
    print(f'\n{name}')
    names = list(dict.fromkeys(key for row in rows.values() for key in row))
    print(f'{"":<20}' + ''.join(f'{title:>18}' for title in rows))
    for key in names:
        cells = (row.get(key) for row in rows.values())
        print(
            f'{key:<20}'
            + ''.join(f'{"-" if c is None else f"{c:.10g}":>18}' for c in cells)
        )


def flat(found):
    nested = [value for value in found.values() if isinstance(value, dict)]
    rest = {k: v for k, v in found.items() if not isinstance(v, dict)}
    for value in nested:
        if 'Dense' in value:
            rest.update(value)
    return rest


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--datasets', nargs='+', default=['cora', 'pubmed', 'digits'])
    parser.add_argument('--models', nargs='+', default=['gcn', 'gcn', 'cnn'])
    parser.add_argument('--num-steps', type=int, default=16)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--images', type=int, default=500)
    parser.add_argument('--batch-size', type=int, default=128)
    parser.add_argument('--root', help='folder of the datasets')
    parser.add_argument('--threads', type=int, nargs=1, default=[2])
    parser.add_argument('--output', type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(*arguments.threads)
    record = {
        'arguments': {
            k: v for k, v in vars(arguments).items() if k not in ('root', 'output')
        },
        'networks': {},
    }
    for name, kind in zip(arguments.datasets, arguments.models, strict=True):
        snn, calls, loader = network_of(name, kind, arguments)
        theirs, _ = run(AsItComes(snn), loader, OWN)
        ours, seconds = run(SpikeGraphModel(snn), loader, metrics())
        expected = counted(snn, calls)
        check(ours, expected)
        same = ('ActivationSparsity', 'ClassificationAccuracy')
        shared, _ = run(
            SpikeGraphModel(snn),
            loader,
            [[static.ParameterCount], [getattr(workload, each) for each in same]],
        )
        for key, value in shared.items():
            assert math.isclose(value, ours[key], rel_tol=1e-6), key
        rows = {
            'NeuroBench alone': flat(theirs),
            'with the adapter': flat(ours),
            'measure, tensors': expected,
        }
        show(f'{name} {kind}', rows)
        record['networks'][f'{name}_{kind}'] = {
            **{
                key.replace(' ', '_').replace(',', ''): row for key, row in rows.items()
            },
            'sparsity_by_population': ours['ActivationSparsityByLayer'],
            'seconds': seconds,
        }
    record |= origin(f'{torch.get_num_threads()} threads')
    record['versions'] |= {p: version(p) for p in ('neurobench', 'snntorch')}
    write(arguments.output / 'neurobench_counts.json', record)


if __name__ == '__main__':
    main()
