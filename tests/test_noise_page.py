"""The page about unreliable hardware: its figures are those that were measured."""

import json
import re
from pathlib import Path

import pytest

from spikegraph import SpikeNoise

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / 'benchmarks' / 'results'
TEXT = (ROOT / 'docs' / 'noise.md').read_text(encoding='utf-8')
NETWORKS = {
    'GCN': 'cora_gcn',
    'GIN': 'cora_gin',
    'GAT': 'cora_gat',
    'ResNet-20': 'cifar10_resnet20',
}
RECORDS = {
    name: json.loads((RESULTS / f'noise_{network}.json').read_text())
    for name, network in NETWORKS.items()
}


def tables():
    """The head and the rows of each table, as lists of cells."""
    for block in re.findall(r'(?:^\|.*\n)+', TEXT, re.MULTILINE):
        head, _, *rows = (
            [cell.strip() for cell in line.strip().strip('|').split('|')]
            for line in block.splitlines()
        )
        yield head, rows


def value(name, cell, figure):
    return RECORDS[name]['summary'][cell][figure]['mean']


@pytest.mark.parametrize('figure', ['agreement', 'accuracy'])
def test_what_each_noise_costs(figure):
    (head, rows), *others = [(h, r) for h, r in tables() if h[0] == f'{figure}, %']
    assert not others and head[2:] == list(RECORDS) and len(rows) > 10
    for noise, level, *cells in rows:
        suffix = f' {noise.replace(" ", "_")} {float(level):g}' if level else ''
        for name, cell in zip(head[2:], cells, strict=True):
            found = [
                value(name, f'{code}{suffix}', figure) for code in ('phase', 'rate')
            ]
            expected = f'{found[0]:.1f}; {found[1]:.1f}'
            assert cell == expected, (noise, level, name)


def test_which_population_matters():
    ((_, rows),) = [(h, r) for h, r in tables() if h[0] == 'network']
    assert len(rows) == 2 * len(RECORDS)
    for name, noise, *cells in rows:
        prefix = f'phase {noise} @ '
        found = {
            cell.removeprefix(prefix): row['agreement']['mean']
            for cell, row in RECORDS[name]['summary'].items()
            if cell.startswith(prefix)
        }
        order = sorted(found, key=found.get)
        expected = [f'`{n}` {found[n]:.1f}' for n in (*order[:2], order[-1])]
        assert cells == expected, (name, noise)


def test_rounded_weights():
    ((head, rows),) = [(h, r) for h, r in tables() if h[0] == 'weights']
    network = {'GCN': 'cora_gcn', 'ResNet-20': 'cifar10_resnet20'}
    for name, *cells in rows:
        for what, cell in zip(head[1:], cells, strict=True):
            if what.endswith('bits') and name == 'ResNet-20':
                path = RESULTS / f'weight_bits_{network[name]}.json'
                row = json.loads(path.read_text())['summary']
                found = row[f'T=16 bits={what.split()[0]}']['agreement']['mean']
            elif what.endswith('bits'):
                found = value(name, f'phase bits {what.split()[0]}', 'agreement')
            else:
                found = value(name, f'phase weight {what.split()[-1]}', 'agreement')
            assert cell == f'{found:.1f}', (name, what)


def test_how_it_was_measured():
    for name, record in RECORDS.items():
        assert f'{name}: {len(record["seeds"])}' in TEXT, name
    record = RECORDS['ResNet-20']
    num_images = record['images'] * len(record['seeds'])
    assert f'{num_images:,} test images' in TEXT


def test_kinds_of_noise_are_all_of_them():
    ((_, rows),) = [(h, r) for h, r in tables() if h[0] == 'option']
    named = {name for row in rows for name in re.findall(r'`(\w+)`', row[0])}
    assert named | {'seed'} == {*SpikeNoise.__dataclass_fields__}


def test_the_page_is_short():
    assert len(TEXT.splitlines()) <= 120
    assert (ROOT / 'docs' / 'noise.png').stat().st_size <= 150_000
