"""What one inference takes, under two machines and several tables of energies.

    python benchmarks/energy.py --weights cifar10=resnet20.th
    python benchmarks/energy.py --datasets cora --num-steps 4 16

Trains the network of each dataset as `spikegraph run` does (or loads weights), converts
it with each number of time steps, and counts: the ANN, dense and with zeros skipped, and
the spiking network on a clocked machine and on one that is driven by events. What both
assume is in docs/energy.md. The results are written row by row, so that an interrupted
run goes on where it stopped.
"""

import argparse
import json
from pathlib import Path

import torch
from records import RESULTS, origin, processor, write

from spikegraph.measurement import ENERGY_TABLES, MACHINES
from spikegraph.zoo.experiment import default_config, run_conversion
from spikegraph.zoo.training import load_weights, prepare, train

DATASETS = (
    *('cora', 'citeseer', 'pubmed', 'photo', 'computers'),
    *('mnist', 'cifar10', 'ogbg-molhiv'),
)
SHOWN = ('horowitz-fp32', 'horowitz-int8-int32', 'spikingjelly-fp32')
METRICS = ('accuracy', 'rocauc', 'rmse')


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--datasets', nargs='+', default=list(DATASETS))
    parser.add_argument('--num-steps', type=int, nargs='+', default=[4, 16])
    parser.add_argument(
        '--weights',
        nargs='+',
        default=[],
        metavar='DATASET=FILE',
        help='state dicts, not to train; resnet20 (cifar10) needs one',
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--root', help='folder of the datasets')
    parser.add_argument('--output', type=Path, default=RESULTS)
    arguments = parser.parse_args()
    pairs = [text.partition('=') for text in arguments.weights]
    if not all(separator and path for _, separator, path in pairs):
        parser.error(
            "Expected '--weights' to be DATASET=FILE (got "
            f'{" ".join(arguments.weights)})'
        )
    arguments.weights = {name: Path(path) for name, _, path in pairs}
    return arguments


def trained(name, arguments):
    weights = arguments.weights.get(name)
    dataset, recipe = prepare(
        name, None, None, 1, arguments.root, loads_weights=weights is not None
    )
    if weights is not None:
        return dataset, recipe, load_weights(dataset, recipe, weights)
    return dataset, recipe, train(dataset, recipe, arguments.seed, progress=False)


def check(measured):
    """What has to hold of every network and table, before anything is written."""
    total = measured.total
    assert measured.uncounted == [], measured.uncounted
    assert total.moved <= total.accumulates and total.encoded <= total.spikes
    assert total.spikes <= total.neurons + sum(
        row.counts.spikes for row in measured.layers if row.role == 'gate'
    )
    for table in ENERGY_TABLES.values():
        pj = measured.energy_pj(table)
        for name in ('ann_{}', 'ann_{}_sparse', 'snn_{}', 'snn_event_{}'):
            compute, memory = (pj[name.format(w)] for w in ('compute', 'memory'))
            assert 0 <= compute <= memory, (table.name, name)
        assert pj['snn_event_compute'] <= pj['snn_compute']
        assert pj['ann_memory_sparse'] <= pj['ann_memory']


def share_of_inputs(measured):
    """Of the energy of the clocked machine, what input neurons take, most of which are
    silent: updates and comparisons at every step."""
    table, energy = measured.table, 0.0
    for row in measured.layers:
        if row.role == 'input encoding':
            each = 2 * table.state_word + table.state_multiplication
            energy += row.counts.membrane_updates * each
            energy += row.counts.comparisons * table.add
    return energy / table.snn_pj(measured.total, memory=True)


def row_of(name, dataset, recipe, network, num_steps):
    config = default_config(name, num_steps=num_steps)
    mirror = getattr(dataset, 'mirrored', False)
    run = run_conversion(network, dataset, config, mirror=mirror)
    measured = run.measurement
    check(measured)
    found = {
        'dataset': name,
        'model': recipe.model,
        'num_steps': num_steps,
        'unit': measured.unit,
        'units': measured.num_nodes,
    }
    kept = ('loss_points', 'agreement', 'logit_relative_error', 'spikes_per_neuron')
    found |= {key: run.metrics[key] for key in kept if key in run.metrics}
    for metric in METRICS:
        for key in (f'ann_{metric}', f'snn_{metric}'):
            if key in run.metrics:
                found[key] = run.metrics[key]
    total = measured.total
    return {
        **found,
        'density': total.ann_macs_nonzero / max(1, total.ann_macs),
        'share_of_input_neurons': share_of_inputs(measured),
        'counts': measured.to_dict()['total'],
        'energy_pj': {
            key: measured.energy_pj(table) for key, table in ENERGY_TABLES.items()
        },
    }


def print_table(rows, key):
    """How many times less energy than the ANN, dense and with zeros skipped."""
    print(f'\n{ENERGY_TABLES[key].name}: energy of the ANN over that of the SNN')
    heads = [f'{name}, {what}' for what in ('compute', 'memory') for name in MACHINES]
    print(f'{"":<22}' + ''.join(f'{head:>24}' for head in heads))
    for name, row in rows.items():
        pj, cells = row['energy_pj'][key], []
        for what in ('compute', 'memory'):
            for machine in MACHINES.values():
                snn = pj[f'snn_{machine.key}{what}']
                dense, zeros = pj[f'ann_{what}'] / snn, pj[f'ann_{what}_sparse'] / snn
                cells.append(f'{dense:.3g} ({zeros:.3g})')
        print(f'{name:<22}' + ''.join(f'{cell:>24}' for cell in cells))


def main():
    arguments = parse_arguments()
    path = arguments.output / 'energy.json'
    rows = json.loads(path.read_text())['rows'] if path.exists() else {}
    for name in arguments.datasets:
        steps = [t for t in arguments.num_steps if f'{name} T={t}' not in rows]
        if not steps:
            continue
        dataset, recipe, network = trained(name, arguments)
        for num_steps in steps:
            row = row_of(name, dataset, recipe, network, num_steps)
            loaded = name in arguments.weights
            row['weights'] = 'loaded' if loaded else 'trained'
            details = origin(f'{torch.get_num_threads()} threads')
            rows[f'{name} T={num_steps}'] = row | details
            record = {
                'rows': rows,
                'tables': {key: t.to_dict() for key, t in ENERGY_TABLES.items()},
                'machines': {m.name: m.description for m in MACHINES.values()},
                'processor': processor(),
                **details,
            }
            write(path, record)
    for name, row in rows.items():
        score = next(row[f'snn_{m}'] for m in METRICS if f'snn_{m}' in row)
        print(
            f'{name:<22} {row["model"]:<9} {score:>7.2f}, '
            f'{row["spikes_per_neuron"]:.3f} spikes per neuron, '
            f'{100 * row["density"]:.1f} % of the products not zero, input neurons '
            f'{100 * row["share_of_input_neurons"]:.0f} % of the clocked energy'
        )
    for key in SHOWN:
        print_table(rows, key)


if __name__ == '__main__':
    main()
