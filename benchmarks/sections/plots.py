"""The plots of the page, each from the results of its section."""

import matplotlib

from sections.common import title

STYLE = {
    'figure.dpi': 110,
    'font.size': 9,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'legend.frameon': False,
}
COLOURS = ('#1b6ca8', '#d1603d', '#7a7a7a', '#3d8f58', '#8d5fa8', '#b59b2c')


def resnet20(results, axes):
    cells = results.read('cnn_accuracy_cifar10_resnet20')['cells']
    cells = {n: row for n, row in cells.items() if not n.startswith('base 2')}
    colours = matplotlib.colormaps['viridis'].resampled(len(cells))
    for i, (name, row) in enumerate(cells.items()):
        steps = [int(step) for step in row]
        losses = [cell['loss_points'] for cell in row.values()]
        axes.plot(steps, losses, 'o-', ms=3, color=colours(i), label=name)
    axes.set_yscale('symlog', linthresh=1)
    axes.axhline(0, color='#bbbbbb', lw=0.8, zorder=0)
    axes.set_yticks([0, 0.5, 1, 2, 5, 10, 20], ['0', '0.5', '1', '2', '5', '10', '20'])
    axes.set_xticks(steps)
    axes.set_xlabel('time steps T')
    axes.set_ylabel('loss, points')
    axes.set_title('ResNet-20 on CIFAR-10')
    axes.legend(fontsize=7, loc='upper right', bbox_to_anchor=(1, 0.9))


def energy(results, axes):
    rows = [r for r in results.read('energy')['rows'].values() if r['num_steps'] == 16]
    kinds = {
        'compute only, dense ANN': ('snn_compute', 'ann_compute'),
        'event-driven with memory, dense ANN': ('snn_event_memory', 'ann_memory'),
        'event-driven with memory, ANN skips zeros': (
            'snn_event_memory',
            'ann_memory_sparse',
        ),
        'clocked with memory, dense ANN': ('snn_memory', 'ann_memory'),
    }
    for i, (name, (snn, ann)) in enumerate(kinds.items()):
        pj = [row['energy_pj']['horowitz-fp32'] for row in rows]
        places = [j + 0.2 * (i - 1.5) for j, _ in enumerate(rows)]
        heights = [each[ann] / each[snn] for each in pj]
        axes.bar(
            places, [h - 1 for h in heights], 0.18, 1, color=COLOURS[i], label=name
        )
    axes.set_yscale('log')
    axes.axhline(1, color='black', lw=0.8)
    axes.set_xticks(range(len(rows)), [title(row['dataset']) for row in rows])
    axes.set_ylabel('energy of the ANN / SNN, T = 16')
    axes.legend(fontsize=7)


def speed(results, axes):
    names = ('ANN, edge_index', 'ANN, CSR', 'ANN, CSR, cached', 'ANN, embedding_bag')
    groups = []
    for processor, suffix in (('AVX-512', ''), ('AVX2', '_avx2')):
        for row in results.read(f'gcn_speed{suffix}')['rows']:
            graph = {'arxiv': 'arXiv size'}.get(row['graph'], title(row['graph']))
            groups.append((f'{graph}\n{processor}', row['by_threads'][0]['ratios']))
    groups.sort(key=lambda group: group[0])
    for i, name in enumerate(names):
        heights = [
            min(r['min'] for key, r in ratios.items() if key.split(', int')[0] == name)
            for _, ratios in groups
        ]
        places = [j + 0.2 * (i - 1.5) for j, _ in enumerate(groups)]
        axes.bar(
            places, [h - 1 for h in heights], 0.18, 1, color=COLOURS[i], label=name
        )
    axes.set_yscale('log')
    axes.axhline(1, color='black', lw=0.8)
    axes.set_yticks([0.5, 1, 2, 5, 10, 20], ['0.5', '1', '2', '5', '10', '20'])
    axes.set_xticks(range(len(groups)), [name for name, _ in groups])
    axes.set_ylabel('time of the ANN / SNN, two threads')
    axes.legend(fontsize=7)


def losses(results, axes):
    tests = results.read('claims')['tests']
    networks = list(tests[max(tests, key=lambda s: int(s[2:]))])
    for i, (steps, rows) in enumerate(tests.items()):
        for j, network in enumerate(networks):
            if network not in rows:
                continue
            row, place = rows[network], j + 0.2 * (i - 0.5)
            low, high = row['interval']
            axes.plot([low, high], [place, place], color=COLOURS[i], lw=1.5)
            label = steps.replace('=', ' = ') if network == networks[0] else None
            axes.plot(
                row['loss_points'], place, 'o', ms=4, color=COLOURS[i], label=label
            )
    claimed = results.read('claims')['published']['one_spike']
    for key, style in (('cnn_loss_points', ':'), ('gcn_loss_points', '--')):
        label = f'the paper, {key.split("_")[0].upper()}s'
        axes.axvline(claimed[key], color='#555555', lw=1, ls=style, label=label)
    shown = [row['loss_points'] for rows in tests.values() for row in rows.values()]
    axes.set_xlim(min(shown) - 0.8, max(shown) + 0.8)
    axes.axvline(0, color='#bbbbbb', lw=0.8, zorder=0)
    axes.set_yticks(range(len(networks)), [title(network) for network in networks])
    axes.invert_yaxis()
    axes.set_xlabel('loss, points, with its 95 % interval')
    axes.legend(fontsize=7)


PLOTS = {
    'losses': (losses, ('claims',), (6, 3.6)),
    'resnet20': (resnet20, ('cnn_accuracy_cifar10_resnet20',), (6, 3.6)),
    'energy': (energy, ('energy',), (7, 3.4)),
    'speed': (speed, ('gcn_speed', 'gcn_speed_avx2'), (7, 3.2)),
}


def names(results):
    """The files that can be drawn of what is there."""
    return [
        f'{name}.png'
        for name, (_, needed, _) in PLOTS.items()
        if all(each in results.names for each in needed)
    ]


def draw(results, folder):
    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    for file in names(results):
        plot, _, size = PLOTS[file.removesuffix('.png')]
        with plt.rc_context(STYLE):
            figure, axes = plt.subplots(figsize=size, layout='constrained')
            plot(results, axes)
            figure.savefig(folder / file, metadata={'Software': None})
            plt.close(figure)
