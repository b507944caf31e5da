"""What integer weights cost, without retraining: accuracy at 8, 6 and 4 bits.

    python benchmarks/weight_bits.py --datasets cora pubmed --num-steps 4 8 16
    python benchmarks/weight_bits.py --datasets cifar10 --weights resnet20.th
    python benchmarks/weight_bits.py --datasets ogbg-molhiv --weights gin.pt

Converts networks with each number of steps and of bits per weight (0 stands for
floating point): two-layer GCNs, one trained per seed with the recipe of its dataset,
or a network whose state dict is given. Calibration reads no label. Beside the loss to
the ANN stands that to the spiking network with floating-point weights. Every dataset
has a file in --output, written seed by seed, so that an interrupted run goes on where
it stopped.
"""

import argparse
import math
from pathlib import Path

from records import RESULTS, run_seeds, summarize_cells

from spikegraph import ConversionConfig
from spikegraph.zoo.experiment import run_conversion
from spikegraph.zoo.training import load_weights, prepare, train

MODELS = {'cifar10': 'resnet20', 'ogbg-molhiv': 'gin'}  # Of all else a GCN.


def cells_for(arguments):
    return {
        (num_steps, bits): ConversionConfig(
            num_steps=num_steps,
            weight_bits=bits or None,
            per_channel=arguments.per_channel,
        )
        for num_steps in arguments.num_steps
        for bits in arguments.bits
    }


def run_seed(name, seed, arguments):
    model, path = MODELS.get(name), arguments.weights
    dataset, recipe = prepare(
        name, None, None, 1, arguments.root, model, loads_weights=path is not None
    )
    if path is None:
        trained = train(dataset, recipe, seed, progress=False)
    else:
        trained = load_weights(dataset, recipe, path, seed)
    cells = {}
    for (num_steps, bits), config in cells_for(arguments).items():
        run = run_conversion(trained, dataset, config)
        cells[f'T={num_steps} bits={bits}'] = {
            **run.metrics,
            'bits_per_activation': math.log2(num_steps + 1),
            'conversion_seconds': run.seconds['conversion'],
        }
    for cell, row in cells.items():
        reference = cells.get(cell.partition(' bits=')[0] + ' bits=0')
        if reference is not None:
            loss = row['loss_points'] - reference['loss_points']
            row['loss_of_rounding_points'] = loss
    return {'cells': cells}


def run_dataset(name, arguments):
    model = MODELS.get(name, 'gcn')
    return run_seeds(
        arguments.output / f'weight_bits_{name}_{model}.json',
        name,
        1 if arguments.weights is not None else arguments.seeds,
        lambda seed: run_seed(name, seed, arguments),
        summarize=summarize_cells,
        dataset=name,
        model=model,
        num_steps=arguments.num_steps,
        bits=arguments.bits,
    )


def print_table(name, summary):
    first = next(iter(summary.values()))
    metric = next(
        key for key in first if key.startswith('ann_') and 'seconds' not in key
    )
    metric = metric.removeprefix('ann_')
    for cell, row in summary.items():
        rounding = row.get('loss_of_rounding_points')
        rounding = '' if rounding is None else f'{rounding["mean"]:>+9.3f}'
        print(
            f'{name:<12} {cell:<13} {row[f"ann_{metric}"]["mean"]:>7.2f} '
            f'{row[f"snn_{metric}"]["mean"]:>7.2f} {row["loss_points"]["mean"]:>+8.3f} '
            f'± {row["loss_points"]["std"]:<5.3f} {rounding:>9} '
            f'{row["agreement"]["mean"]:>10.2f} '
            f'{100 * row["logit_relative_error"]["mean"]:>9.2f}'
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ['cora', 'citeseer', 'pubmed', 'photo', 'computers']
    parser.add_argument('--datasets', nargs='+', default=names)
    parser.add_argument('--num-steps', nargs='+', type=int, default=[4, 8, 16])
    parser.add_argument('--bits', nargs='+', type=int, default=[0, 8, 6, 4])
    parser.add_argument('--seeds', type=int, default=10)
    parser.add_argument('--weights', type=Path, help='a state dict')
    parser.add_argument('--per-channel', action=argparse.BooleanOptionalAction)
    parser.add_argument('--root', help='folder of the datasets')
    parser.add_argument('--output', type=Path, default=RESULTS)
    arguments = parser.parse_args()
    records = {name: run_dataset(name, arguments) for name in arguments.datasets}
    print(
        f'{"dataset":<12} {"cell":<13} {"ANN %":>7} {"SNN %":>7} {"loss, points":>16} '
        f'{"rounding":>9} {"agree %":>10} {"error %":>9}'
    )
    for name, record in records.items():
        print_table(name, record['summary'])


if __name__ == '__main__':
    main()
