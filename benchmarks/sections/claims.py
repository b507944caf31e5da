"""The headline, the claims of the paper, and the tests."""

from claims import NETWORKS

from sections.common import (
    figure,
    fixed,
    interval,
    listed,
    p_value,
    shortest,
    span,
    table,
    title,
)


def headline(results):
    """One row per network: loss, spikes, energy both ways, speed on two processors."""
    if 'claims' not in results.names:
        return None
    record = results.read('claims')
    tests, ratios = record['tests']['T=16'], record['energies']['rows']
    speeds = speed_of(results)
    rows = []
    for network, test in tests.items():
        dataset, _, model = network.partition('_')
        is_plain = model in ('gcn', 'cnn', 'resnet20')
        energy = ratios.get(f'{dataset} T=16') if is_plain else None
        cells = []
        for machine in ('clocked', 'event-driven'):
            keys = [f'memory, {machine}, {a}' for a in ('dense ANN', 'ANN skips zeros')]
            cells.append(
                f'{figure(energy[keys[0]])} ({figure(energy[keys[1]])})'
                if energy
                else '-'
            )
        rows.append(
            [
                title(network),
                f'{test["ann_accuracy"]:.2f}',
                f'{fixed(test["loss_points"])} {interval(test["interval"])}',
                _spikes(test),
                *cells,
                *speeds.get(network, ['-', '-']),
            ]
        )
    head = [
        'network, T = 16',
        'ANN, %',
        'loss, points',
        'spikes per neuron',
        'energy, clocked',
        'energy, event-driven',
        'speed, AVX-512',
        'speed, AVX2',
    ]
    losing = [
        title(name)
        for name, row in tests.items()
        if row['p_holm'] < 0.05 and row['loss_points'] > 0
    ]
    margin = next(iter(tests.values()))['margin_points']
    unsure = [title(n) for n, row in tests.items() if row['equivalence_p_holm'] >= 0.05]
    spans = [
        record['energies']['spans'][f'T=16 memory, {machine}, ANN skips zeros']
        for machine in ('clocked', 'event-driven')
    ]
    below = [f'{each["below_one"]} of {each["networks"]}' for each in spans]
    return [
        'Each row is one network, trained as ever and converted with the default options '
        '(ResNet-20 calibrated on mirrored images, too). '
        'Loss is the accuracy that conversion costs, with its 95 % interval (over seeds, '
        'or over test inputs where there is one network). Energy is how many times less '
        'than the dense ANN the spiking network takes, memory and state included, and in '
        'brackets against the ANN that skips zeros; below one, the spiking network takes '
        'more. Speed is how many times as long as the spiking network the ANN takes '
        '(PyG on edge indices; images in batches of 128), two threads, by the shortest '
        'times, medians in brackets.',
        table(head, rows),
        'Where we lose: with memory counted, an ANN that skips zeros takes less energy '
        f'than the clocked machine on {below[0]} networks, and than the event-driven one '
        f'on {below[1]}. Speed is against the form of PyG that most people run; on '
        'these graphs a cached sparse matrix and embedding bags take about as long as '
        'ours, or less ([Whole networks](#whole-networks)). '
        + (
            f'A loss of accuracy is significant (Holm) on {listed(losing)}.'
            if losing
            else 'No loss of accuracy is significant after correction (Holm).'
        )
        + (
            f' That it is within {margin} points is not shown for '
            f'{listed(unsure)} ([tests](#tests-of-every-loss)).'
            if unsure
            else ''
        ),
    ]


def _spikes(test):
    spikes = test['spikes_per_neuron']
    return '-' if spikes is None else f'{spikes:.3f}'


def speed_of(results):
    """By network, how many times as long the ANN takes, on two processors."""
    found = {}
    for column, suffix in enumerate(('', '_avx2')):
        for row in results.read(f'gcn_speed{suffix}')['rows']:
            ratio = next(r for r in row['by_threads'] if r['threads'] == 2)['ratios']
            cells = found.setdefault(f'{row["graph"]}_gcn', ['-', '-'])
            cells[column] = shortest(ratio['ANN, edge_index'])
        for row in results.read(f'cnn_speed{suffix}')['rows']:
            if (row['batch_size'], row['threads']) == (128, 2):
                dataset = 'cifar10' if row['network'] == 'resnet20' else 'mnist'
                cells = found.setdefault(f'{dataset}_{row["network"]}', ['-', '-'])
                ann = row['seconds']['ANN, channels_last']
                snn = row['seconds']['SNN, channels_last']
                cells[column] = shortest({key: ann[key] / snn[key] for key in ann})
    return found


def paper(results):
    """The claims of the paper, ours beside them."""
    if 'claims' not in results.names:
        return None
    record = results.read('claims')
    rows = []
    for name, row in record['losses'].items():
        kind, steps = name.split()
        rows.append(
            [
                f'loss of {kind.upper()}s, points',
                steps.replace('=', ' = '),
                f'{row["claimed"]:.2f}',
                fixed(row['mean_loss_points']),
                fixed(row['largest_loss_points']),
                ', '.join(title(network) for network in row['networks']),
            ]
        )
    losses = table(
        ['claim', 'ours at', 'paper', 'ours, mean', 'ours, largest', 'networks'], rows
    )
    energies, head = record['energies'], ['', 'T', 'smallest', 'largest', 'below one']
    low, high = energies['claimed']
    rows = []
    for name, row in energies['spans'].items():
        steps, _, what = name.partition(' ')
        rows.append(
            [
                what,
                steps.removeprefix('T='),
                figure(row['smallest']),
                figure(row['largest']),
                f'{row["below_one"]} of {row["networks"]}',
                f'{row["at_least_claimed"]} of {row["networks"]}',
            ]
        )
    source = record['published']['one_spike']['source']
    best = energies['spans']['T=16 compute, clocked, dense ANN']
    honest = energies['spans']['T=16 memory, event-driven, ANN skips zeros']
    return [
        f'The abstract of the method ({source}) gives mean losses and a range of energies. '
        'Its networks are other ones (deeper CNNs on CIFAR and ImageNet), and it does not '
        'say whether memory counts, so that only our figures can be compared with each '
        'other. Loss, of the default options:',
        losses,
        '![Losses of every network](results/losses.png)',
        f'Energy: the paper claims {low} to {high} times less than the ANN. What we find '
        'depends on the network and on what is counted. At T = 16, additions and '
        f'multiplications alone, against a dense ANN, give {span(_ends(best))} times less; '
        'with memory, on the event-driven machine, against an ANN that skips zeros, '
        f'{span(_ends(honest))}. Over all networks of docs/energy.md:',
        table([*head, f'at least {low}'], rows),
    ]


def _ends(row):
    return row['smallest'], row['largest']


def ablation(results):
    """Each technique on every network."""
    names = results.matching('claims_*')
    if not names:
        return None
    found = {name.removeprefix('claims_'): results.read(name) for name in names}
    records = {name: found[name] for name in sorted(found, key=_order)}
    seeds = listed(f'{title(n)} {len(r["seeds"])}' for n, r in records.items())
    blocks = [
        'Each row adds a technique to the rows before; shift and base are each also '
        'tried alone. Loss in points, mean ± standard deviation over seeds, and agreement '
        'with the ANN in percent. On graphs, features have one scale for all until '
        'channels have scales of their own; on images, the rows read analog pixels. '
        f'Seeds: {seeds}; rows marked with * have fewer. Rows of ResNet-20 are in '
        '[a section of its own](#resnet-20-over-time-steps).',
    ]
    for kind, chosen in (
        ('Graphs', {n: r for n, r in records.items() if not _has_images(n)}),
        ('Images', {n: r for n, r in records.items() if _has_images(n)}),
    ):
        for num_steps in (8, 16):
            if not chosen:
                continue
            prefix = f'T={num_steps} '
            cells = dict.fromkeys(
                cell.removeprefix(prefix)
                for record in chosen.values()
                for cell in record['summary']
                if cell.startswith(prefix)
            )
            rows = [
                [cell, *(_cell(r, prefix + cell) for r in chosen.values())]
                for cell in cells
            ]
            blocks.append(
                table([f'{kind}, T = {num_steps}', *map(title, chosen)], rows)
            )
    return blocks


def _order(network):
    known = list(NETWORKS)
    return known.index(network) if network in known else len(known)


def _has_images(network):
    return network.endswith(('_cnn', '_resnet20'))


def _cell(record, cell):
    row = record['summary'].get(cell)
    if row is None:
        return '-'
    few = '*' if len(row['mcnemar']) < len(record['seeds']) else ''
    loss, std = row['loss_points']['mean'], row['loss_points']['std']
    deviation = f' ± {std:.2f}' if len(row['mcnemar']) > 1 else ''
    return f'{fixed(loss)}{deviation}, {row["agreement"]["mean"]:.1f}{few}'


def _mcnemar(row):
    if 'lost' not in row:
        return '-', '-', '-'
    counts = row['mcnemar_below_alpha'], row['mcnemar_below_alpha_holm']
    return f'{row["lost"]:,}, {row["won"]:,}', *(
        f'{n} of {row["networks"]}' for n in counts
    )


def statistics(results):
    """Tests of each loss."""
    if 'claims' not in results.names:
        return None
    record = results.read('claims')
    blocks = []
    margins = {
        row['margin_points']
        for rows in record['tests'].values()
        for row in rows.values()
    }
    (margin,) = margins
    head = [
        'network',
        'loss, points',
        'over',
        'p',
        'p, Holm',
        'Wilcoxon',
        f'within {margin}, Holm',
        'lost, won',
        'McNemar p < 0.05',
        'after Holm',
    ]
    for steps, rows in record['tests'].items():
        body = [
            [
                title(network),
                f'{fixed(row["loss_points"])} {interval(row["interval"])}',
                f'{row["seeds"]} seeds'
                if 'seeds' in row
                else f'{row["inputs"]:,} inputs',
                p_value(row['p']),
                p_value(row['p_holm']),
                p_value(row['wilcoxon_p']) if 'wilcoxon_p' in row else '-',
                p_value(row['equivalence_p_holm']),
                *_mcnemar(row),
            ]
            for network, row in rows.items()
        ]
        same = [n for n, row in rows.items() if row['equivalence_p_holm'] < 0.05]
        other = [n for n in rows if n not in same]
        blocks += [
            f'**{steps.replace("=", " = ")}.** Within {margin} points (p < 0.05, Holm): '
            f'{len(same)} of {len(rows)} networks'
            + (f'; not shown for {listed(title(n) for n in other)}.' if other else '.'),
            table(head, body),
        ]
    return [
        'Is a loss more than chance? Over seeds: a paired t test with its 95 % interval, '
        "and Wilcoxon's exact signed ranks. Over test inputs of one network: McNemar's "
        'exact test on those that only one of the two gets right (lost: only the ANN). '
        'That no difference is found does not say that there is none, so equivalence is '
        f'tested, too: two one-sided tests that the loss is within ±{margin} points. '
        'Corrected by Holm for the number of networks. Of the images only how many '
        'predictions differ is known: their intervals are as wide as that allows.',
        *blocks,
    ]


def trained(results):
    """Our losses beside those of trained spiking graph networks."""
    if 'claims' not in results.names:
        return None
    record = results.read('claims')
    found, rows = record['trained_spiking_gnns'], []
    if not found:
        return None
    for dataset, row in found.items():
        ours = [
            f'{fixed(cell["loss_points"])} {interval(cell["interval"])}'
            for cell in row['ours'].values()
        ]
        rows.append(
            [
                title(dataset),
                f'{row["gcn"]:.2f}',
                f'{row["spiking"]:.2f}',
                f'{row["loss_points"]:.2f}',
                *ours,
            ]
        )
    steps = [s.replace('=', ' = ') for s in next(iter(found.values()))['ours']]
    source = record['published']['spiking_gnns']['source']
    return [
        'The best spiking graph network that was *trained*, and what it loses to the GCN '
        f'of the same benchmark ([SGNNBench](https://arxiv.org/abs/2509.21342): {source}). '
        'Its splits and its GCN are not ours: losses can be compared, accuracies cannot.',
        table(
            [
                '',
                'GCN, %',
                'best trained spiking GNN, %',
                'its loss, points',
                *(f'ours, loss at {s}' for s in steps),
            ],
            rows,
        ),
    ]
