"""What it costs to run in integers: membranes of 16, 24 and 32 bits, held or growing.

    python benchmarks/integers.py --datasets cora pubmed --seeds 3
    python benchmarks/integers.py --datasets cifar10 --weights resnet20.th --images 500

Converts a GCN per seed, trained with the recipe of its dataset, or a network whose state
dict is given, with weights of so many bits, writes it in integers, and counts how many
predictions and spikes are others than those of the spiking network in floating point, how
often a membrane is full, and what a bundle takes: bytes, fan-in, fan-out, cycles. What
a bundle's replay makes of it is compared bit by bit. Integers are chosen on inputs other
than those of the test where there are any. The file in --output is written seed by seed.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from records import RESULTS, run_seeds

from spikegraph import ConversionConfig, convert, export
from spikegraph.zoo.experiment.evaluation import calibration_batches
from spikegraph.zoo.training import load_weights, prepare, train

FEW = 2  # Images in a bundle.
CHOSEN_ON = 64  # Images.


def network(name, seed, arguments):
    """A network, what it is calibrated on, what its integers are chosen on, test inputs
    by batches, labels, and the inputs of the bundle.
    """
    if name != 'cifar10':
        dataset, recipe = prepare(name, None, None, 1, arguments.root, arguments.model)
        model = train(dataset, recipe, seed, progress=False).model
        data = dataset.data
        inputs = data.x, data.edge_index
        labels = data.y[data.test_mask]
        return model, data, inputs, [inputs], labels, inputs, data.test_mask
    dataset, recipe = prepare(
        name, None, None, 1, arguments.root, 'resnet20', loads_weights=True
    )
    model = load_weights(dataset, recipe, arguments.weights).model
    x = dataset.test_x[: arguments.images]
    batches = [(dataset.normalize(part),) for part in x.split(50)]
    own = (dataset.normalize(dataset.train_x[:CHOSEN_ON]),)
    few = (batches[0][0][:FEW],)
    labels = dataset.test_y[: arguments.images]
    return model, calibration_batches(dataset), own, batches, labels, few, ...


def run_seed(name, seed, arguments):
    model, calibration, own, batches, labels, few, rows = network(name, seed, arguments)
    model.eval()
    cells = {}
    with torch.no_grad():
        expected = torch.cat([model(*batch) for batch in batches])[rows].argmax(1)
    for bits in arguments.bits:
        config = ConversionConfig(num_steps=arguments.num_steps, weight_bits=bits)
        snn = convert(model, calibration, config)
        floats = torch.cat([snn(*batch) for batch in batches])[rows]
        for width in arguments.widths:
            for membrane in arguments.membranes:
                integer = snn.to_integer(*own, width=width, membrane=membrane)
                runs = [integer.run(*batch) for batch in batches]
                found = torch.cat([run.output for run in runs])[rows]
                cell = cells[f'{bits} bits, {width}, {membrane}'] = {
                    'ann_accuracy': accuracy(expected, labels),
                    'snn_accuracy': accuracy(floats.argmax(1), labels),
                    'accuracy': accuracy(found.argmax(1), labels),
                    'agreement_with_snn': accuracy(found.argmax(1), floats.argmax(1)),
                    'relative_error': float((found - floats).norm() / floats.norm()),
                    'full': sum(sum(run.saturated.values()) for run in runs),
                }
                if membrane == 'held':
                    cell['bundle'] = bundle_of(integer, few)
    return {'cells': cells}


def accuracy(found, labels):
    return 100 * float((found == labels).double().mean())


def bundle_of(integer, inputs):
    with tempfile.TemporaryDirectory() as folder:
        summary = export(integer, folder, *inputs)
        command = [sys.executable, f'{folder}/replay.py']
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.stdout.endswith('the same, bit by bit\n'), done.stdout + done.stderr
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
    return {**summary, 'folder_bytes': size}


def summarize(seeds):
    found = list(seeds.values())
    keys = ('ann_accuracy', 'snn_accuracy', 'accuracy', 'agreement_with_snn')
    keys += ('relative_error', 'full')
    return {
        cell: {
            key: statistics.fmean(s['cells'][cell][key] for s in found) for key in keys
        }
        for cell in found[0]['cells']
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--datasets', nargs='+', default=['cora', 'citeseer', 'pubmed'])
    parser.add_argument('--model', default='gcn', help='of node classifiers')
    parser.add_argument('--num-steps', type=int, default=16)
    parser.add_argument('--bits', nargs='+', type=int, default=[8, 4])
    parser.add_argument('--widths', nargs='+', type=int, default=[16, 24, 32])
    parser.add_argument(
        '--membranes',
        nargs='+',
        choices=['held', 'growing'],
        default=['held', 'growing'],
    )
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--weights', type=Path, help='the state dict of ResNet-20')
    parser.add_argument('--images', type=int, default=200, help='test images')
    parser.add_argument('--root', help='folder of the datasets')
    parser.add_argument('--output', type=Path, default=RESULTS)
    arguments = parser.parse_args()
    print(
        f'{"network":<16} {"integers":<24} {"ANN %":>7} {"SNN %":>7} {"integers %":>10} '
        f'{"same as SNN %":>13} {"error %":>8} {"full":>9}'
    )
    for name in arguments.datasets:
        model = 'resnet20' if name == 'cifar10' else arguments.model
        record = run_seeds(
            arguments.output / f'integers_{name}_{model}.json',
            f'{name} {model}',
            1 if name == 'cifar10' else arguments.seeds,
            lambda seed, name=name: run_seed(name, seed, arguments),
            summarize=summarize,
            dataset=name,
            model=model,
            num_steps=arguments.num_steps,
            bits=arguments.bits,
            widths=arguments.widths,
        )
        for cell, row in record['summary'].items():
            print(
                f'{name + " " + model:<16} {cell:<24} {row["ann_accuracy"]:>7.2f} '
                f'{row["snn_accuracy"]:>7.2f} {row["accuracy"]:>10.2f} '
                f'{row["agreement_with_snn"]:>13.2f} '
                f'{100 * row["relative_error"]:>8.2f} {row["full"]:>9,.0f}'
            )


if __name__ == '__main__':
    main()
