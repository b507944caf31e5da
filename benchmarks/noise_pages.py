"""The tables and the picture of docs/noise.md, of what has been measured.

    python benchmarks/noise_pages.py

Reads the records of benchmarks/noise.py and, for the bits of ResNet-20, that of
benchmarks/weight_bits.py, writes what stands between the markers of the page, and draws
docs/noise.png.
"""

import json

from code_pages import write_page
from noise import ALONE, BITS, LEVELS
from sections.common import table

NETWORKS = {
    'GCN': 'cora_gcn',
    'GIN': 'cora_gin',
    'GAT': 'cora_gat',
    'ResNet-20': 'cifar10_resnet20',
}
SHOWN = {
    'agreement': {
        'jitter': (0.1, 0.4, 1),
        'drop': (0.01, 0.05, 0.2),
        'drop_corrected': (0.05, 0.2),
        'extra': (1e-4, 1e-3, 1e-2),
        'threshold': (0.1, 0.3),
        'stuck_silent': (0.01, 0.1),
        'stuck_firing': (0.01,),
        'weight': (0.1, 0.3),
    },
    'accuracy': {
        'jitter': (0.4,),
        'drop': (0.01, 0.05),
        'drop_corrected': (0.05,),
        'extra': (1e-3,),
        'threshold': (0.1,),
        'stuck_silent': (0.01,),
        'stuck_firing': (0.01,),
        'weight': (0.1, 0.3),
    },
}
DEVIATIONS = (0.02, 0.05, 0.1)  # Of weights.


def load(folder):
    """The records that there are, by the names of the page."""
    paths = {name: folder / f'noise_{key}.json' for name, key in NETWORKS.items()}
    return {n: json.loads(p.read_text()) for n, p in paths.items() if p.exists()}


def mean(record, cell, figure='agreement'):
    return record['summary'][cell][figure]['mean']


def devices(records):
    """How much stands behind the figures."""
    graphs = ', '.join(
        f'{name}: {len(record["seeds"])}'
        for name, record in records.items()
        if not record['images']
    )
    lines = [
        f'Devices, each with a network of its own, on the test nodes of Cora: {graphs}.'
    ]
    for name, record in records.items():
        if record['images']:
            num = len(record['seeds'])
            images = f'{num * record["images"]:,} test images of CIFAR-10'
            lines.append(f'{name}: {num} devices of one network, which share {images}.')
    return '\n'.join(lines)


def costs(records, figure):
    """Phase and rate code over kinds and levels of noise."""
    cells = [('none', '', '')]
    for kind, levels in SHOWN[figure].items():
        name = kind.replace('_', ' ')
        cells += [(name, f'{level:g}', f' {kind} {level:g}') for level in levels]
    rows = []
    for name, level, suffix in cells:
        found = [
            '; '.join(
                f'{mean(record, code + suffix, figure):.1f}'
                for code in ('phase', 'rate')
            )
            for record in records.values()
        ]
        rows.append([name, level, *found])
    return table([f'{figure}, %', 'level', *records], rows)


def alone(record, kind):
    """Agreement where only one population is disturbed, by its name."""
    prefix = f'phase {kind} {ALONE[kind]:g} @ '
    cells = [cell for cell in record['summary'] if cell.startswith(prefix)]
    return {cell.removeprefix(prefix): mean(record, cell) for cell in cells}


def populations(records):
    rows = []
    for name, record in records.items():
        for kind, level in sorted(ALONE.items()):
            found = alone(record, kind)
            order = sorted(found, key=found.get)
            names = (*order[:2], order[-1])
            shown = [f'`{each}` {found[each]:.1f}' for each in names]
            rows.append([name, f'{kind} {level:g}', *shown])
    return table(['network', 'alone', 'most', 'second', 'least'], rows)


def rounded(record, name, bits, folder):
    """Agreement with weights of so many bits; ResNet-20 has a record of its own."""
    if name != 'ResNet-20':
        return mean(record, f'phase bits {bits}')
    path = folder / f'weight_bits_{NETWORKS[name]}.json'
    return mean(json.loads(path.read_text()), f'T=16 bits={bits}')


def weights(records, folder):
    rows = [
        [
            name,
            *(f'{rounded(record, name, bits, folder):.1f}' for bits in BITS),
            *(f'{mean(record, f"phase weight {d:g}"):.1f}' for d in DEVIATIONS),
        ]
        for name, record in records.items()
    ]
    head = [*(f'{bits} bits' for bits in BITS), *(f'deviation {d}' for d in DEVIATIONS)]
    return table(['weights', *head], rows)


def parts(folder):
    """What stands between the markers of the page, by marker."""
    records = load(folder)
    return {
        'devices': devices(records),
        'agreement': costs(records, 'agreement'),
        'accuracy': costs(records, 'accuracy'),
        'populations': populations(records),
        'weights': weights(records, folder),
    }


def draw(records, path):
    """Agreement over the level, a line for each network and code."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3, 3, figsize=(11, 9), sharey=True)
    for axis, (kind, levels) in zip(axes.flat, LEVELS.items(), strict=False):
        for color, (name, record) in enumerate(records.items()):
            for code, style in (('phase', '-o'), ('rate', '--s')):
                cells = [f'{code} {kind} {level:g}' for level in levels]
                if not all(cell in record['summary'] for cell in cells):
                    continue
                axis.plot(
                    levels,
                    [mean(record, cell) for cell in cells],
                    style,
                    color=f'C{color}',
                    markersize=3,
                    label=f'{name}, {code}',
                )
        axis.set(xscale='log', title=kind.replace('_', ' '))
        axis.xaxis.set_minor_formatter('')
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylim(0, 102)
    figure.supylabel('agreement with the ANN, %')
    labels = axes[0, 0].get_legend_handles_labels()
    axes[2, 2].axis('off')
    axes[2, 2].legend(*labels, loc='center', frameon=False)
    figure.supxlabel('probability, share or relative standard deviation')
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


if __name__ == '__main__':
    write_page('noise.md', parts, load, draw)
