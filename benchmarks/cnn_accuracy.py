"""What each technique of the conversion gives on a trained ResNet-20, on CIFAR-10.

    python benchmarks/cnn_accuracy.py --weights resnet20.th
    python benchmarks/cnn_accuracy.py --weights resnet20.th --num-steps 16 --images 2000

Converts the network, calibrated on 1,020 training images without labels, with one
technique more in each row, for each number of time steps; the last row encodes the
pixels, too. Losses are those on the test images. The results are written cell by
cell, so that an interrupted run goes on where it stopped.
"""

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch
from records import RESULTS, origin, write
from techniques import STEPS, added
from tqdm import tqdm

from spikegraph import ConversionConfig, convert
from spikegraph.zoo.experiment import evaluate_images
from spikegraph.zoo.experiment.evaluation import calibration_batches
from spikegraph.zoo.training import load_weights, prepare

# Each adds to the one before.
FIRST = next(iter(STEPS))
TECHNIQUES = {
    **STEPS,
    FIRST: {**STEPS[FIRST], 'encode_input': False},
    '+ mirrored calibration images': {'mirrored': True},
    'pixels as spikes, too': {'encode_input': True},
}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--weights', type=Path, required=True, help='the state dict')
    parser.add_argument('--num-steps', type=int, nargs='+', default=[8, 12, 16, 24, 32])
    parser.add_argument('--images', type=int, default=10_000, help='test images')
    parser.add_argument('--root', help='folder of the dataset')
    parser.add_argument('--output', type=Path, default=RESULTS)
    return parser.parse_args()


def run_cell(model, dataset, num_steps, options):
    options = dict(options)
    batches = calibration_batches(dataset, mirror=options.pop('mirrored', False))
    start = time.perf_counter()
    snn = convert(model, batches, ConversionConfig(num_steps=num_steps, **options))
    seconds = time.perf_counter() - start
    populations = snn.report.populations
    return {
        **evaluate_images(snn, dataset, model),
        'calibration_logit_error': snn.report.logit_relative_error,
        'mean_coding_error': statistics.fmean(p.coding_error for p in populations),
        'conversion_seconds': seconds,
    }


def run(arguments):
    root = arguments.root
    dataset, recipe = prepare(
        'cifar10', None, None, 1, root, 'resnet20', loads_weights=True
    )
    num = arguments.images
    dataset = replace(dataset, test_x=dataset.test_x[:num], test_y=dataset.test_y[:num])
    model = load_weights(dataset, recipe, arguments.weights).model
    path = arguments.output / 'cnn_accuracy_cifar10_resnet20.json'
    record = json.loads(path.read_text()) if path.exists() else {'cells': {}}
    if record.setdefault('num_test', len(dataset.test_x)) != len(dataset.test_x):
        raise ValueError(
            f"Expected '--images' to be {record['num_test']} as in '{path}' "
            f"(got {arguments.images}). Pass another '--output'"
        )
    cells = [
        (name, num_steps, options)
        for name, options in added(TECHNIQUES).items()
        for num_steps in arguments.num_steps
    ]
    for name, num_steps, options in tqdm(cells, 'Conversions'):
        row = record['cells'].setdefault(name, {})
        if str(num_steps) in row:
            continue
        row[str(num_steps)] = run_cell(model, dataset, num_steps, options)
        record |= origin(f'{torch.get_num_threads()} threads')
        write(path, record)
    return record


def print_table(record, num_steps):
    heads = '  '.join(f'{f"T = {t}":>14}' for t in num_steps)
    ann = next(iter(next(iter(record['cells'].values())).values()))['ann_accuracy']
    print(
        f'ANN {ann:.2f} % of {record["num_test"]:,} images; loss in points, agreement'
    )
    print(f'{"":<32}{heads}')
    for name, row in record['cells'].items():
        cells = [row[str(t)] for t in num_steps]
        texts = [f'{c["loss_points"]:.2f}, {c["agreement"]:.2f} %' for c in cells]
        print(f'{name:<32}' + '  '.join(f'{text:>14}' for text in texts))


if __name__ == '__main__':
    arguments = parse_arguments()
    print_table(run(arguments), arguments.num_steps)
