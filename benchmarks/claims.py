"""What the shift of thresholds, the base and the rest give on each network, tested.

    python benchmarks/claims.py --weights resnet20.th
    python benchmarks/claims.py --networks cora_gcn --seeds 1

Trains one network per seed with the recipe of its dataset (ResNet-20 is loaded) and
converts it with thresholds shifted or not, base 2 or one base per population, then with
one technique more in each row, and with the default options. Which test inputs the ANN
and each SNN get right is kept, so that they are compared input by input (McNemar) and
seed by seed (paired t, Wilcoxon, equivalence within half a point). Calibration reads no
label. Every network has a file in --output, written seed by seed, so that an interrupted
run goes on where it stopped.
"""

import argparse
import time
from pathlib import Path

import paired
import torch
from records import RESULTS, run_seeds, summarize_cells
from techniques import PLAIN, STEPS, added

from spikegraph import ConversionConfig, convert, measure
from spikegraph.zoo.datasets import ImageDataset
from spikegraph.zoo.experiment import default_config
from spikegraph.zoo.experiment.evaluation import (
    BATCH_SIZE,
    calibration_batches,
    measured_batches,
)
from spikegraph.zoo.training import load_weights, prepare, train

NETWORKS = (
    *('cora_gcn', 'citeseer_gcn', 'pubmed_gcn', 'photo_gcn', 'computers_gcn'),
    *('cora_sage', 'cora_gin', 'cora_gat', 'mnist_cnn', 'cifar10_resnet20'),
)
MOST_SEEDS = {'cifar10_resnet20': 1}
DEFAULT = 'default options'
UNSHIFTED = 'base of each population, not shifted'
PIXELS = 'pixels as spikes, too'
# Of every seed: what the code itself gives. One scale per channel takes longer.
FIRST = (*list(STEPS)[:3], UNSHIFTED, DEFAULT)
ROWS = (*STEPS, UNSHIFTED, PIXELS, DEFAULT)


def options_of(has_images):
    """The rows, as options of ConversionConfig."""
    # On analog pixels and one scale for all features the code is all that changes.
    first = {'encode_input': False} if has_images else {'input_scale': 'layer'}
    name, *_ = STEPS
    rows = added({**STEPS, name: {**PLAIN, **first}})
    unshifted = {**rows['+ base of each population'], 'threshold_shift': 1.0}
    rows = {name: rows[name], UNSHIFTED: unshifted, **rows}
    if has_images:
        rows[PIXELS] = {**rows['+ fitted levels'], 'encode_input': True}
        return rows
    for name in ('+ scale of each channel', '+ ridge compensation', '+ fitted levels'):
        rows[name] = {**rows[name], 'input_scale': 'auto'}
    return rows


@torch.no_grad()
def outputs(model, dataset):
    """What a network says of the test inputs."""
    if isinstance(dataset, ImageDataset):
        batches = dataset.test_x.split(BATCH_SIZE)
        return torch.cat([model(dataset.normalize(x)) for x in batches])
    data = dataset.data
    return model(data.x, data.edge_index)[data.test_mask]


def compare(ann, snn, y):
    num_ann, num_snn = (int((out.argmax(-1) == y).sum()) for out in (ann, snn))
    same = int((ann.argmax(-1) == snn.argmax(-1)).sum())
    error = (snn.double() - ann.double()).norm() / ann.double().norm()
    return {
        'ann_accuracy': 100 * num_ann / len(y),
        'snn_accuracy': 100 * num_snn / len(y),
        'loss_points': 100 * (num_ann - num_snn) / len(y),
        'agreement': 100 * same / len(y),
        'logit_relative_error': float(error),
    }


def run_seed(network, seed, arguments):
    name, _, kind = network.partition('_')
    weights = arguments.weights if kind == 'resnet20' else None
    dataset, recipe = prepare(
        name, None, None, 1, arguments.root, kind, loads_weights=weights is not None
    )
    if weights is None:
        trained = train(dataset, recipe, seed, progress=False)
    else:
        trained = load_weights(dataset, recipe, weights)
    has_images = isinstance(dataset, ImageDataset)
    mirror = has_images and dataset.mirrored
    y = dataset.test_y if has_images else dataset.data.y[dataset.data.test_mask]
    model, ann = trained.model, outputs(trained.model, dataset)
    right = ann.argmax(-1) == y
    cells, differ = {}, {}
    wanted = arguments.rows if seed < arguments.seeds_of_all_rows else FIRST
    for num_steps in arguments.num_steps:
        rows = {
            row: (ConversionConfig(num_steps=num_steps, **options), False)
            for row, options in options_of(has_images).items()
        }
        rows[DEFAULT] = default_config(name, kind, num_steps=num_steps), mirror
        for row in [row for row in rows if row in wanted]:
            cell, (config, mirrored) = f'T={num_steps} {row}', rows[row]
            calibration, measured = dataset_parts(dataset, mirrored)
            start = time.perf_counter()
            snn = convert(model, calibration, config)
            seconds = time.perf_counter() - start
            out = outputs(snn, dataset)
            cells[cell] = {**compare(ann, out, y), 'conversion_seconds': seconds}
            if row == DEFAULT:
                found = measure(snn, measured, model)
                cells[cell]['spikes_per_neuron'] = found.spikes_per_neuron
                cells[cell] |= found.energy_ratios()
            differ[cell] = paired.pack((out.argmax(-1) == y) != right)
    bits = {'ann_right': paired.pack(right), 'differs': differ, 'inputs': len(y)}
    return {'cells': cells, 'correct': bits}


def dataset_parts(dataset, mirrored):
    """What to calibrate on, and what operations are counted on."""
    if isinstance(dataset, ImageDataset):
        return calibration_batches(dataset, mirrored), measured_batches(dataset)
    return dataset.data, [dataset.data]


def summarize(seeds):
    """Figures of each cell, over seeds, and tests of its losses."""
    table = summarize_cells(seeds)
    for cell, row in table.items():
        pairs = []
        having = [seed for seed in seeds.values() if cell in seed['cells']]
        for seed in having:
            bits = seed['correct']
            right = paired.unpack(bits['ann_right'], bits['inputs'])
            differs = paired.unpack(bits['differs'][cell], bits['inputs'])
            pairs.append(paired.mcnemar(right, right ^ differs))
        losses = [seed['cells'][cell]['loss_points'] for seed in having]
        if len(losses) > 1:
            row['over_seeds'] = paired.of_losses(losses)
        first = {key: pairs[0][key] for key in ('lost', 'won', 'inputs')}
        row['over_inputs_of_seed_0'] = paired.of_pairs(**first)
        row['mcnemar'] = pairs
    return table


def run_network(network, arguments):
    seeds = min(arguments.seeds, MOST_SEEDS.get(network, arguments.seeds))
    return run_seeds(
        arguments.output / f'claims_{network}.json',
        network,
        seeds,
        lambda seed: run_seed(network, seed, arguments),
        summarize=summarize,
        network=network,
        num_steps=arguments.num_steps,
    )


def print_rows(network, summary):
    for cell, row in summary.items():
        test = row.get('over_seeds', row['over_inputs_of_seed_0'])
        low, high = test['interval']
        small = sum(pair['p'] < 0.05 for pair in row['mcnemar'])
        print(
            f'{network:<17} {cell:<43} {row["ann_accuracy"]["mean"]:>6.2f} '
            f'{test["loss_points"]:>7.2f} [{low:>6.2f}, {high:>6.2f}] {test["p"]:>8.3g} '
            f'{test["equivalence_p"]:>8.3g} {small:>3} of {len(row["mcnemar"])} '
            f'{row["agreement"]["mean"]:>7.2f}'
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--networks', nargs='+', default=list(NETWORKS))
    parser.add_argument('--num-steps', nargs='+', type=int, default=[8, 16])
    parser.add_argument('--seeds', type=int, default=10)
    parser.add_argument('--rows', nargs='+', choices=ROWS, default=list(ROWS))
    parser.add_argument(
        '--seeds-of-all-rows',
        type=int,
        default=3,
        help='later seeds have the first rows and the default options',
    )
    parser.add_argument('--weights', type=Path, help='the state dict of ResNet-20')
    parser.add_argument('--root', help='folder of the datasets')
    parser.add_argument('--output', type=Path, default=RESULTS)
    arguments = parser.parse_args()
    found = {name: run_network(name, arguments) for name in arguments.networks}
    print(
        f'{"network":<17} {"cell":<43} {"ANN %":>6} {"loss, points, interval":>24} '
        f'{"p":>8} {"equal p":>8} {"McNemar":>7} {"agree":>8}'
    )
    for name, record in found.items():
        print_rows(name, record['summary'])


if __name__ == '__main__':
    main()
