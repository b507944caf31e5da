"""What conversion costs a two-layer GCN: accuracy, agreement, spikes, energy.

    python benchmarks/gcn_accuracy.py --datasets cora pubmed --num-steps 4 8 16

Trains one network per seed with the recipe of its dataset, converts it with
every number of steps (default options, and fitted levels), and, on Cora, with
the paper's ablations: thresholds shifted or not, base 2 or its square root,
largest value as scale. Also checks that the time steps repeat the closed form:
exactly in float64, and in float32 but for potentials within rounding of a
threshold. Calibration reads all node features and no label. Every dataset has
a file in --output, written seed by seed, so that an interrupted run goes on
where it stopped.
"""

import argparse
import copy
import statistics
from pathlib import Path

import torch
from records import RESULTS, run_seeds, summarize_cells

from spikegraph import ConversionConfig, convert, simulate
from spikegraph.zoo.experiment import run_conversion
from spikegraph.zoo.training import prepare, train

ABLATIONS = {
    'T=8 base=2 max unshifted': dict(num_steps=8, base=2.0, threshold_shift=1.0),
    'T=8 base=2 max shifted': dict(num_steps=8, base=2.0, threshold_shift=0.75),
    'T=15 base=sqrt2 max shifted': dict(
        num_steps=15, base=2**0.5, threshold_shift=(1 + 2**-0.5) / 2
    ),
}
PAPER = dict(scale='max', compensate=None, input_scale='layer')


def cells_for(name, arguments):
    cells = {}
    for levels in ('geometric', 'fitted'):
        for num_steps in arguments.num_steps:
            config = ConversionConfig(num_steps=num_steps, levels=levels)
            cells[f'T={num_steps} {levels}'] = config
    if name == 'cora':
        cells |= {k: ConversionConfig(**v, **PAPER) for k, v in ABLATIONS.items()}
    return cells


def check_simulation(model, data, config):
    """Differing spikes per data type, and how near a threshold they were."""
    result = {}
    for dtype in (torch.float64, torch.float32):
        inputs = data.clone()
        inputs.x = data.x.to(dtype)
        snn = convert(copy.deepcopy(model).to(dtype), inputs, config)
        simulation, closed = simulate(snn, inputs), snn.spikes(inputs)
        num_different, farthest, num_neurons = 0, 0.0, 0
        for name, spikes in closed.items():
            differs = spikes.spike_time != simulation.spike_time[name]
            num_neurons += differs.numel()
            num_different += int(differs.sum())
            assert spikes.raster().sum(dim=0).max() <= 1
            if differs.any():
                potential = simulation.membrane[name][differs].double()
                scale = spikes.scale.expand_as(differs)[differs].double()
                ratio = (potential / scale).view(-1, 1) / spikes.code.thresholds
                distance = float((ratio - 1).abs().amin(dim=1).max())
                farthest = max(farthest, distance)
        assert dtype == torch.float32 or num_different == 0
        assert farthest < 1e-4
        key = str(dtype).removeprefix('torch.')
        result[key] = {
            'different_spikes': num_different,
            'neurons': num_neurons,
            'farthest_from_threshold_relative': farthest,
        }
    return result


def run_seed(name, seed, arguments):
    dataset, recipe = prepare(name, None, None, 1, arguments.root)
    trained = train(dataset, recipe, seed, progress=False)
    rows = {}
    for cell, config in cells_for(name, arguments).items():
        run = run_conversion(trained, dataset, config)
        rows[cell] = {**run.metrics, 'conversion_seconds': run.seconds['conversion']}
    checks = {}
    if seed == 0:
        config = cells_for(name, arguments)[f'T={arguments.num_steps[0]} geometric']
        checks = check_simulation(trained.model, dataset.data, config)
    return {'cells': rows, 'simulate_equals_forward': checks}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ['cora', 'citeseer', 'pubmed', 'photo', 'computers']
    parser.add_argument('--datasets', nargs='+', default=names)
    parser.add_argument('--num-steps', nargs='+', type=int, default=[4, 8, 16])
    parser.add_argument(
        '--levels', choices=['geometric', 'fitted'], default='geometric'
    )
    parser.add_argument('--seeds', type=int, default=10)
    parser.add_argument('--root', help='folder of the datasets')
    parser.add_argument('--output', type=Path, default=RESULTS)
    arguments = parser.parse_args()
    entries = {name: run_dataset(name, arguments) for name in arguments.datasets}
    print(
        f'{"dataset":<10} {"cell":<28} {"ANN %":>6} {"loss, points":>15} '
        f'{"agreement %":>12} {"logit error %":>13} {"spikes/neuron":>13}'
    )
    for name, entry in entries.items():
        for cell, row in entry['summary'].items():
            print_row(name, cell, row)
    if len(entries) > 1:
        common = set.intersection(*(set(e['summary']) for e in entries.values()))
        for cell in [
            c for c in entries[arguments.datasets[0]]['summary'] if c in common
        ]:
            rows = [entry['summary'][cell] for entry in entries.values()]
            mean = {
                key: {
                    how: statistics.fmean(r[key][how] for r in rows)
                    for how in rows[0][key]
                }
                for key in rows[0]
            }
            print_row('mean', cell, mean)


def run_dataset(name, arguments):
    return run_seeds(
        arguments.output / f'gcn_accuracy_{name}.json',
        name,
        arguments.seeds,
        lambda seed: run_seed(name, seed, arguments),
        summarize=summarize_cells,
        dataset=name,
        num_steps=arguments.num_steps,
    )


def print_row(name, cell, row):
    loss = row['loss_points']
    print(
        f'{name:<10} {cell:<28} {row["ann_accuracy"]["mean"]:>6.2f} '
        f'{loss["mean"]:>7.3f} ± {loss["std"]:<5.3f} '
        f'{row["agreement"]["mean"]:>12.2f} '
        f'{100 * row["logit_relative_error"]["mean"]:>13.2f} '
        f'{row["spikes_per_neuron"]["mean"]:>13.3f}'
    )


if __name__ == '__main__':
    main()
