"""The tables and the picture of docs/codes.md, of what has been measured.

    python benchmarks/code_pages.py

Reads the records of benchmarks/codes.py and benchmarks/spikingjelly_rival.py, writes
what stands between the markers of the page, and draws docs/codes.png.
"""

import argparse
import itertools
import json
import statistics
from pathlib import Path

from records import RESULTS

DOCS = Path(__file__).parents[1] / 'docs'
GROUPS = {
    'GCN': [f'{n}_gcn' for n in ('cora', 'citeseer', 'pubmed', 'photo', 'computers')],
    'GIN, Cora': ['cora_gin'],
    'GAT, Cora': ['cora_gat'],
    'CNN, digits': ['digits_cnn'],
    'ResNet-20, CIFAR-10': ['cifar10_resnet20'],
}
COLORS = {
    'one spike': '#0072b2',
    'one spike, not shifted': '#56b4e9',
    'one spike, base 2': '#999999',
    'linear': '#009e73',
    'rate': '#d55e00',
    'rate, 99.9 %': '#e69f00',
    'binary': '#cc79a7',
    'few spikes': '#000000',
}
TICKS = (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)
MARKERS = 'ovs^DP*X'
LEAST = 90.0  # Percent of agreement, of points on a front.
SPIKES, STEPS = 'hidden_spikes_per_neuron', 'network_steps'
NAMES = {SPIKES: 'spikes per neuron', STEPS: 'time steps'}


def load(folder):
    """The records that there are, by network."""
    found = {}
    for network in sum(GROUPS.values(), []):
        path = folder / f'codes_{network}.json'
        if path.exists():
            found[network] = json.loads(path.read_text())
    return found


def means(records, group):
    """Cells that all networks of a group have, averaged: name to figures."""
    known = [records[name]['summary'] for name in GROUPS[group] if name in records]
    if not known:
        return {}
    common = [cell for cell in known[0] if all(cell in each for each in known)]
    return {
        cell: {
            key: statistics.fmean(each[cell][key]['mean'] for each in known)
            for key in known[0][cell]
        }
        for cell in common
    }


def split(cell):
    """Code, steps, and whether weights are corrected, of a cell's name."""
    code, _, rest = cell.rpartition(' T=')
    steps, *how = rest.split()
    return code, int(steps), bool(how)


def points(cells):
    """The better of both, with and without corrected weights, of each code and T."""
    best = {}
    for cell, row in cells.items():
        key = split(cell)[:2]
        if key not in best or row['agreement'] > best[key]['agreement']:
            best[key] = row
    return best


def front(found, cost):
    """The points that no other beats in agreement at the same cost or less."""
    found = {k: row for k, row in found.items() if row['agreement'] >= LEAST}
    order = sorted(found, key=lambda k: (found[k][cost], -found[k]['agreement']))
    kept, highest = [], -1.0
    for key in order:
        if found[key]['agreement'] > highest + 1e-9:
            kept.append(key)
            highest = found[key]['agreement']
    return kept


def tested_on(records, group):
    names = [name for name in GROUPS[group] if name in records]
    seeds = sorted({len(records[name]['seeds']) for name in names})
    seeds = ' to '.join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))
    many = 'seed' if seeds == '1' else 'seeds'
    datasets = ', '.join(name.split('_')[0] for name in names)
    num = sum(records[name]['num_tested'] for name in names)
    return f'{datasets}: {seeds} {many} each, {num:,} test rows'


def table(records, known):
    """A row for each group, and for each code of it."""
    cells = {group: means(records, group) for group in known}
    steps = sorted({split(cell)[1] for found in cells.values() for cell in found})
    lines = ['| | ' + ' | '.join(f'T = {t}' for t in steps) + ' |']
    lines += ['|---' * (len(steps) + 1) + '|']
    for group, found in cells.items():
        many = ' |' * len(steps)
        lines.append(f'| **{group}** ({tested_on(records, group)}) |{many}')
        for code in [code for code in COLORS if code != 'rate']:
            row = [_cell(found, code, t) for t in steps]
            name = 'linear, rate' if code == 'linear' else code
            if any(row):
                lines.append(f'| {name} | ' + ' | '.join(row) + ' |')
    return '\n'.join(lines)


def _cell(cells, code, steps):
    """Agreement alone and corrected, loss, spikes per neuron; linear and rate codes
    differ in the last."""
    alone = cells.get(f'{code} T={steps}')
    ridge = cells.get(f'{code} T={steps} ridge')
    shown = ridge or alone
    if shown is None:
        return ''
    both = [f'{row["agreement"]:.2f}' if row else '-' for row in (alone, ridge)]
    text = f'{both[0]} / {both[1]}; {shown["loss_points"]:.2f}; {shown[SPIKES]:.2f}'
    if code == 'linear':
        how = ' ridge' if ridge else ''
        rate = cells.get(f'rate T={steps}{how}')
        text += f', {rate[SPIKES]:.2f}' if rate else ''
    return text


def fronts(records):
    """Which points lie on the fronts, in words."""
    lines = ['| network | by spikes per neuron | by time steps |', '|---|---|---|']
    for group in GROUPS:
        found = points(means(records, group))
        if found:
            both = [_in_words(front(found, cost)) for cost in (SPIKES, STEPS)]
            lines.append(f'| {group} | {both[0]} | {both[1]} |')
    return '\n'.join(lines)


def _in_words(points):
    """Codes in the order of a front, each followed by its numbers of steps."""
    runs = itertools.groupby(points, key=lambda point: point[0])
    return '; '.join(
        f'{code}: {", ".join(str(steps) for _, steps in run)}' for code, run in runs
    )


def rival(record):
    """SpikingJelly's networks beside ours, and milliseconds."""
    rows = record['networks']
    steps = {name: _steps_of(row) for name, row in rows.items()}
    heads = [f'{name} T={t}' for name, many in steps.items() for t in many]
    num = record['arguments']['images']
    lines = [f'| {num:,} test images | ' + ' | '.join(heads) + ' |']
    lines += ['|---' * (len(heads) + 1) + '|']
    for method in dict.fromkeys(m for row in rows.values() for m in row['cells']):
        shown = [
            _their_cell(rows[name]['cells'].get(method, {}).get(f'T={t}'))
            for name, many in steps.items()
            for t in many
        ]
        lines.append(f'| {method} | ' + ' | '.join(shown) + ' |')
    lines += ['', '| ms per image, one thread | ' + ' | '.join(rows) + ' |']
    lines += ['|---' * (len(rows) + 1) + '|']
    times = [_shortest(row['ms_per_image']) for row in rows.values()]
    for what in times[0]:
        cells = [f'{r[what]["min"]:.3g} ({r[what]["median"]:.3g})' for r in times]
        lines.append(f'| {what} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def _steps_of(row):
    return sorted({int(t[2:]) for cells in row['cells'].values() for t in cells})


def _shortest(times):
    """Of the ways to run the same, the sooner."""
    found = {}
    for what, row in times.items():
        name = what.split(',')[0]
        found[name] = min(row, found.get(name, row), key=lambda r: r['min'])
    return found


def _their_cell(cell):
    if cell is None:
        return ''
    spikes = cell['spikes_per_neuron']
    return f'{cell["loss_points"]:.2f}, {cell["agreement"]:.1f}; {spikes:.2f}'


def parts(folder):
    """What stands between the markers of the page, by marker."""
    records, path = load(folder), folder / 'spikingjelly.json'
    known = [group for group in GROUPS if means(records, group)]
    found = {
        'tables': table(records, known),
        'fronts': fronts(records),
    }
    if path.exists():
        found['rival'] = rival(json.loads(path.read_text()))
    return found


def written(text, found):
    """A page with its parts anew."""
    for name, part in found.items():
        start, end = f'<!-- {name} -->\n', f'<!-- end of {name} -->'
        before, rest = text.split(start)
        text = before + start + part + '\n' + end + rest.split(end)[1]
    return text


def draw(records, path):
    import matplotlib.pyplot as plt

    known = [group for group in GROUPS if means(records, group)]
    figure, axes = plt.subplots(
        2, len(known), figsize=(3.1 * len(known), 6), squeeze=False, sharey='col'
    )
    for column, group in enumerate(known):
        found = points(means(records, group))
        for ax, cost in zip(axes[:, column], (SPIKES, STEPS), strict=True):
            for (code, color), marker in zip(COLORS.items(), MARKERS, strict=True):
                own = [row for (name, _), row in found.items() if name == code]
                ax.plot(
                    [row[cost] for row in own],
                    [max(0.02, 100 - row['agreement']) for row in own],
                    **dict(
                        marker=marker, color=color, ms=5, ls=':', lw=0.7, label=code
                    ),
                )
            best = [found[key] for key in front(found, cost)]
            ax.plot(
                [row[cost] for row in best],
                [max(0.02, 100 - row['agreement']) for row in best],
                **dict(color='black', lw=3, alpha=0.2, label='front'),
            )
            ax.set(xscale='log', yscale='log', xlabel=NAMES[cost])
            low, high = ax.get_xlim()
            ticks = [t for t in TICKS if low <= t <= high]
            ax.set_xticks(ticks, [f'{t:g}' for t in ticks])
            ax.minorticks_off()
        axes[0, column].set_title(group, fontsize=10)
    for ax in axes[:, 0]:
        ax.set_ylabel('other predictions than the ANN, %')
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc='lower center', ncols=5, fontsize=8, frameon=False
    )
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(path, dpi=75)
    plt.close(figure)


def write_page(name, parts, load, draw):
    """Fills a page of docs/, and draws the picture beside it, of the records there are."""
    parser = argparse.ArgumentParser(description=f'Writes docs/{name} and its picture.')
    parser.add_argument('--results', type=Path, default=RESULTS)
    parser.add_argument('--page', type=Path, default=DOCS / name)
    arguments = parser.parse_args()
    page = arguments.page
    page.write_text(written(page.read_text(), parts(arguments.results)))
    draw(load(arguments.results), page.with_suffix('.png'))


if __name__ == '__main__':
    write_page('codes.md', parts, load, draw)
