"""The claims of the paper next to what we measure, with tests, from written results.

    python benchmarks/evidence.py
    python benchmarks/evidence.py --results DIR --output DIR

Reads what claims.py, energy.py, and (for more seeds of the same networks, and networks
for images) gcn_accuracy.py and cnn_accuracy.py have written, and published.json, and writes
claims.json: the loss of each network with its tests, corrected by Holm for the number of
networks; the range of energy ratios under every way of counting; and the loss next to
that of the best trained spiking graph network to the GCN of its own benchmark.
"""

import argparse
import json
import statistics
from pathlib import Path

import paired
from claims import DEFAULT, NETWORKS, PIXELS
from records import RESULTS, origin, write

PUBLISHED = json.loads((Path(__file__).parent / 'published.json').read_text())
TABLE = 'horowitz-fp32'
ALPHA = 1 - paired.LEVEL
FEWEST_SEEDS = 3  # Of a test over seeds.
TEST_IMAGES = 10_000  # Of MNIST and of CIFAR-10.
# Denominator and numerator of each ratio, as energy.json names them.
RATIOS = {
    f'{what}, {machine}, {against}': (
        f'snn_{event}{what}',
        f'ann_{what}{sparse}',
    )
    for what in ('compute', 'memory')
    for machine, event in (('clocked', ''), ('event-driven', 'event_'))
    for against, sparse in (('dense ANN', ''), ('ANN skips zeros', '_sparse'))
}


def in_order(names):
    """Names of networks as they are listed, and others."""
    return sorted(names, key=[*NETWORKS, *sorted({*names} - {*NETWORKS})].index)


def rows_by_seed(network, num_steps, record, folder):
    """The figures of the default options, by seed, and the file that they are from: that
    with most seeds. Both scripts train and convert in the same way."""
    cell = f'T={num_steps} {DEFAULT}'
    found = {f'claims_{network}': (record, cell)}
    path = folder / f'gcn_accuracy_{network.removesuffix("_gcn")}.json'
    if network.endswith('_gcn') and path.exists():
        other = json.loads(path.read_text())
        if num_steps in other['num_steps']:
            found[path.stem] = other, f'T={num_steps} geometric'
    rows = {
        name: [seed['cells'][cell] for seed in each['seeds'].values()]
        for name, (each, cell) in found.items()
    }
    name = max(rows, key=lambda name: len(rows[name]))
    return rows[name], name


def test_of(network, num_steps, record, folder):
    """Tests of a network with the default options: over seeds if there are three, else
    over the test inputs of the first, of which all figures then are."""
    row = record['summary'][f'T={num_steps} {DEFAULT}']
    rows, source = rows_by_seed(network, num_steps, record, folder)
    pairs = row['mcnemar']
    if len(rows) >= FEWEST_SEEDS:
        test = paired.of_losses([row['loss_points'] for row in rows])
    else:
        test, rows, pairs = row['over_inputs_of_seed_0'], rows[:1], pairs[:1]
    corrected = paired.holm({str(i): pair['p'] for i, pair in enumerate(pairs)})
    means = ('ann_accuracy', 'agreement', 'spikes_per_neuron')
    return {
        **test,
        'source': source,
        **{key: statistics.fmean(row[key] for row in rows) for key in means},
        'inputs': pairs[0]['inputs'],
        'networks': len(pairs),
        'lost': sum(pair['lost'] for pair in pairs),
        'won': sum(pair['won'] for pair in pairs),
        'mcnemar_smallest_p': min(pair['p'] for pair in pairs),
        'mcnemar_below_alpha': sum(pair['p'] < ALPHA for pair in pairs),
        'mcnemar_below_alpha_holm': sum(p < ALPHA for p in corrected.values()),
    }


def images_of(num_steps, energies, folder):
    """Tests of the networks for images that claims.py was not run for: from what others
    have written, with intervals by the agreement."""
    found, path = {}, folder / 'cnn_accuracy_cifar10_resnet20.json'
    for network in ('mnist_cnn', 'cifar10_resnet20'):
        row, source = (
            energies['rows'].get(f'{network.split("_")[0]} T={num_steps}'),
            None,
        )
        if network == 'cifar10_resnet20' and path.exists():
            record = json.loads(path.read_text())
            cell = record['cells'][PIXELS].get(str(num_steps))
            row, source = cell and {**(row or {}), **cell}, path.stem
        if row is None or 'agreement' not in row:
            continue
        test = paired.of_agreement(row['loss_points'], row['agreement'], TEST_IMAGES)
        keys = ('ann_accuracy', 'agreement', 'spikes_per_neuron')
        found[network] = {
            **test,
            'source': source or 'energy',
            **{key: row.get(key) for key in keys},
            'inputs': TEST_IMAGES,
            'networks': 1,
        }
    return found


def tests_of(records, energies, folder):
    """Tests of each network at each number of steps, corrected for all networks."""
    found = {}
    for num_steps in sorted({t for r in records.values() for t in r['num_steps']}):
        rows = {
            network: test_of(network, num_steps, record, folder)
            for network, record in records.items()
            if num_steps in record['num_steps']
        }
        rows = {**images_of(num_steps, energies, folder), **rows}
        rows = {name: rows[name] for name in in_order(rows)}
        for name in ('p', 'equivalence_p'):
            corrected = paired.holm({n: row[name] for n, row in rows.items()})
            for network, value in corrected.items():
                rows[network][f'{name}_holm'] = value
        found[f'T={num_steps}'] = rows
    return found


def ratios_of(energies):
    """How many times less energy than the ANN, under every way of counting."""
    rows = {}
    for name, row in energies['rows'].items():
        pj = row['energy_pj'][TABLE]
        rows[name] = {key: pj[ann] / pj[snn] for key, (snn, ann) in RATIOS.items()}
    spans = {}
    for num_steps in sorted({row['num_steps'] for row in energies['rows'].values()}):
        chosen = [
            rows[k] for k, r in energies['rows'].items() if r['num_steps'] == num_steps
        ]
        low, high = PUBLISHED['one_spike']['energy_ratio']
        for key in RATIOS:
            values = [row[key] for row in chosen]
            spans[f'T={num_steps} {key}'] = {
                'smallest': min(values),
                'largest': max(values),
                'networks': len(values),
                'below_one': sum(value < 1 for value in values),
                'at_least_claimed': sum(value >= low for value in values),
            }
    return {'table': TABLE, 'rows': rows, 'spans': spans, 'claimed': [low, high]}


def losses_of(tests):
    """Mean losses of both kinds of networks, next to those of the paper."""
    found = {}
    for steps, rows in tests.items():
        for kind, networks in (
            ('gcn', [n for n in rows if n.endswith('_gcn')]),
            ('cnn', [n for n in rows if n.endswith(('_cnn', '_resnet20'))]),
        ):
            losses = [rows[n]['loss_points'] for n in networks]
            if losses:
                found[f'{kind} {steps}'] = {
                    'mean_loss_points': statistics.fmean(losses),
                    'largest_loss_points': max(losses),
                    'networks': networks,
                    'claimed': PUBLISHED['one_spike'][f'{kind}_loss_points'],
                }
    return found


def next_to_trained(tests):
    """Losses to the same GCN: ours by conversion, and those of trained spiking ones."""
    found = {}
    for name, row in PUBLISHED['spiking_gnns']['rows'].items():
        ours = {
            steps: {
                key: rows[f'{name}_gcn'][key] for key in ('loss_points', 'interval')
            }
            for steps, rows in tests.items()
            if f'{name}_gcn' in rows
        }
        if ours:
            loss = round(row['gcn'] - row['spiking'], 2)
            found[name] = {**row, 'loss_points': loss, 'ours': ours}
    return found


def print_claims(record):
    for steps, rows in record['tests'].items():
        for network, row in rows.items():
            low, high = row['interval']
            print(
                f'{steps:<5} {network:<17} {row["loss_points"]:>6.2f} [{low:.2f}, '
                f'{high:.2f}] p {row["p_holm"]:.3g}, within {row["margin_points"]} '
                f'points {row["equivalence_p_holm"]:.3g} (Holm)'
            )
    for name, row in record['losses'].items():
        print(f'{name:<9} {row["mean_loss_points"]:.2f}, claimed {row["claimed"]}')
    for name, row in record['energies']['spans'].items():
        print(f'{name:<50} {row["smallest"]:.3g} to {row["largest"]:.3g} times')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--results', type=Path, default=RESULTS)
    parser.add_argument('--output', type=Path, default=RESULTS)
    arguments = parser.parse_args()
    paths = sorted(arguments.results.glob('claims_*.json'))
    records = {p.stem.removeprefix('claims_'): json.loads(p.read_text()) for p in paths}
    records = {name: records[name] for name in in_order(records)}
    if not records:
        raise SystemExit(
            f"Expected '--results' to hold claims_*.json (got {arguments.results}); run "
            'claims.py first'
        )
    energies = json.loads((arguments.results / 'energy.json').read_text())
    tests = tests_of(records, energies, arguments.results)
    record = {
        'tests': tests,
        'losses': losses_of(tests),
        'energies': ratios_of(energies),
        'trained_spiking_gnns': next_to_trained(tests),
        'published': PUBLISHED,
        **origin(),
    }
    write(arguments.output / 'claims.json', record)
    print_claims(record)


if __name__ == '__main__':
    main()
