"""The page about unreliable hardware: its figures and its words are what was measured."""

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

from spikegraph import SpikeNoise

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / 'benchmarks'
RESULTS = FOLDER / 'results'
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


GRAPHS = list(RECORDS)[:3]


@pytest.fixture(scope='module')
def pages():
    """The script that writes the page, which the tests of figures do without."""
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module('noise_pages')
    sys.path.remove(str(FOLDER))
    for path in FOLDER.glob('*.py'):
        sys.modules.pop(path.stem, None)


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


def test_the_page_is_written_by_the_script(pages):
    written = importlib.import_module('code_pages').written
    assert written(TEXT, pages.parts(RESULTS)) == TEXT


def test_the_page_is_short():
    lines = [line for line in TEXT.splitlines() if not line.startswith('<!--')]
    assert len(lines) <= 120
    assert (ROOT / 'docs' / 'noise.png').stat().st_size <= 150_000


def test_the_picture(pages, tmp_path):
    pytest.importorskip('matplotlib')
    pages.draw(pages.load(RESULTS), tmp_path / 'noise.png')
    assert (tmp_path / 'noise.png').stat().st_size > 10_000


def test_what_the_page_says_of_lost_spikes(pages):
    def at(name, code, kind, level):
        return pages.mean(RECORDS[name], f'{code} {kind} {level:g}')

    for name in RECORDS:
        for level in (0.05, 0.2):
            for code in ('phase', 'rate'):
                gain = at(name, code, 'drop_corrected', level)
                assert gain > at(name, code, 'drop', level), (name, code, level)
        many = 'drop_corrected', 0.2
        assert at(name, 'rate', *many) > at(name, 'phase', *many), name
    for level in (0.01, 0.05, 0.2):
        few = min(at(name, 'phase', 'drop', level) for name in GRAPHS)
        assert at('ResNet-20', 'phase', 'drop', level) < few - 9


def test_what_the_page_says_of_late_spikes(pages):
    for name, record in RECORDS.items():
        phase, rate = (
            pages.mean(record, code) - pages.mean(record, f'{code} jitter 0.4')
            for code in ('phase', 'rate')
        )
        assert phase > rate > -0.2, name
        for level in (0.1, 0.2, 0.4):
            late = pages.mean(record, f'phase jitter {level:g}')
            assert late > pages.mean(record, f'phase drop {level:g}'), (name, level)


def test_what_the_page_says_of_invented_spikes(pages):
    lost = {}
    for name, record in RECORDS.items():
        for level in (1e-3, 1e-2):
            phase, rate = (
                pages.mean(record, code) - pages.mean(record, f'{code} extra {level:g}')
                for code in ('phase', 'rate')
            )
            assert phase > rate + 1, (name, level)
            lost[name, level] = phase
    for level in (1e-3, 1e-2):
        assert max(GRAPHS, key=lambda name: lost[name, level]) == 'GIN'


def test_what_the_page_says_of_devices(pages):
    for name, record in RECORDS.items():
        least = 82 if name == 'ResNet-20' else 94
        for kind in ('threshold', 'stuck_silent', 'weight'):
            for level in pages.LEVELS[kind]:
                both = [
                    pages.mean(record, f'{code} {kind} {level:g}')
                    for code in ('phase', 'rate')
                ]
                if min(both) > least:
                    assert abs(both[0] - both[1]) < 3, (name, kind, level)
        if name in GRAPHS:
            both = [
                pages.mean(record, f'{code} stuck_firing 0.01')
                for code in ('phase', 'rate')
            ]
            assert both[0] > both[1], name


def test_what_the_page_says_of_populations(pages):
    for name, record in RECORDS.items():
        found = pages.alone(record, 'jitter')
        assert min(found, key=found.get) == 'input_x', name
    found = pages.alone(RECORDS['ResNet-20'], 'drop')
    assert sorted(found, key=found.get)[:2] == ['input_x', 'relu']


def test_what_the_page_says_of_bits(pages):
    for name, record in RECORDS.items():
        drifted = pages.mean(record, 'phase weight 0.1')
        for bits in (8, 6, 4):
            assert pages.rounded(record, name, bits, RESULTS) > drifted, (name, bits)
