"""The page about unreliable hardware: its figures and its words are what was measured."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from spikegraph import SpikeNoise

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / 'benchmarks'
TEXT = (ROOT / 'docs' / 'noise.md').read_text(encoding='utf-8')
GRAPHS = ('GCN', 'GIN', 'GAT')


@pytest.fixture(scope='module')
def pages():
    """The script that writes the page."""
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module('noise_pages')
    sys.path.remove(str(FOLDER))
    for path in FOLDER.glob('*.py'):
        sys.modules.pop(path.stem, None)


@pytest.fixture(scope='module')
def records(pages):
    found = pages.load(FOLDER / 'results')
    assert list(found) == [*GRAPHS, 'ResNet-20']
    return found


def test_the_page_is_what_was_measured(pages, records):
    written = importlib.import_module('code_pages').written
    assert written(TEXT, pages.parts(FOLDER / 'results')) == TEXT
    assert len(TEXT.splitlines()) <= 135
    assert (ROOT / 'docs' / 'noise.png').stat().st_size <= 150_000


def test_the_parts_of_the_page(pages, records):
    """A few cells, looked up in the record by hand."""
    text = pages.costs(records, 'agreement')
    row = next(r for r in text.splitlines() if r.startswith('| drop corrected | 0.2'))
    cells = records['GIN']['summary']
    phase, rate = (
        cells[f'{code} drop_corrected 0.2']['agreement']['mean']
        for code in ('phase', 'rate')
    )
    assert row.split(' | ')[3] == f'{phase:.1f}; {rate:.1f}'
    found = pages.alone(records['GCN'], 'drop')
    assert set(found) == {'input_x', 'relu'}
    least = max(found, key=found.get)
    assert f'| `{least}` {found[least]:.1f} |' in pages.populations(records)


def test_the_picture(pages, records, tmp_path):
    pytest.importorskip('matplotlib')
    pages.draw(records, tmp_path / 'noise.png')
    assert (tmp_path / 'noise.png').stat().st_size > 10_000


def test_kinds_of_noise_are_all_of_them():
    rows = re.findall(r'^\| (`.*?) \|', TEXT, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r'`(\w+)`', row)}
    assert named >= {*SpikeNoise.__dataclass_fields__} - {'seed'}


def test_what_the_page_says_of_lost_spikes(pages, records):
    def at(name, code, kind, level):
        return pages.mean(records[name], f'{code} {kind} {level:g}')

    for name in records:
        for level in (0.05, 0.2):
            for code in ('phase', 'rate'):
                gain = at(name, code, 'drop_corrected', level)
                assert gain > at(name, code, 'drop', level), (name, code, level)
        many = 'drop_corrected', 0.2
        assert at(name, 'rate', *many) > at(name, 'phase', *many), name
    for level in (0.01, 0.05, 0.2):
        few = min(at(name, 'phase', 'drop', level) for name in GRAPHS)
        assert at('ResNet-20', 'phase', 'drop', level) < few - 9


def test_what_the_page_says_of_late_spikes(pages, records):
    for name, record in records.items():
        phase, rate = (
            pages.mean(record, code) - pages.mean(record, f'{code} jitter 0.4')
            for code in ('phase', 'rate')
        )
        assert phase > rate > -0.2, name
        for level in (0.1, 0.2, 0.4):
            late = pages.mean(record, f'phase jitter {level:g}')
            assert late > pages.mean(record, f'phase drop {level:g}'), (name, level)


def test_what_the_page_says_of_invented_spikes(pages, records):
    lost = {}
    for name, record in records.items():
        for level in (1e-3, 1e-2):
            phase, rate = (
                pages.mean(record, code) - pages.mean(record, f'{code} extra {level:g}')
                for code in ('phase', 'rate')
            )
            assert phase > rate + 1, (name, level)
            lost[name, level] = phase
    for level in (1e-3, 1e-2):
        assert max(GRAPHS, key=lambda name: lost[name, level]) == 'GIN'


def test_what_the_page_says_of_devices(pages, records):
    for name, record in records.items():
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


def test_what_the_page_says_of_populations(pages, records):
    for name, record in records.items():
        found = pages.alone(record, 'jitter')
        assert min(found, key=found.get) == 'input_x', name
    found = pages.alone(records['ResNet-20'], 'drop')
    assert sorted(found, key=found.get)[:2] == ['input_x', 'relu']


def test_what_the_page_says_of_bits(pages, records):
    folder = FOLDER / 'results'
    for name, record in records.items():
        drifted = pages.mean(record, 'phase weight 0.1')
        for bits in (8, 6, 4):
            assert pages.rounded(record, name, bits, folder) > drifted, (name, bits)
