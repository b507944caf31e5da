"""Measured figures on the pages stand in the results."""

import json
from dataclasses import replace

import pytest

from tests import numbers

# Made from the results, or compared with them cell by cell, by tests of their own; and
# one whose figures are versions of licences.
WITH_TESTS = {
    'results.md': 'test_report.py',
    'codes.md': 'test_codes.py',
    'noise.md': 'test_noise_page.py',
    'dependencies.md': 'test_dependencies.py',
}
PAGES = [
    'README.md',
    *sorted(
        f'docs/{path.name}'
        for path in (numbers.ROOT / 'docs').glob('*.md')
        if path.name not in WITH_TESTS
    ),
]
assert all((numbers.ROOT / 'tests' / test).exists() for test in WITH_TESTS.values())
ALLOWED = json.loads((numbers.ROOT / 'tests' / 'numbers.json').read_text())


@pytest.fixture
def read(benchmark):
    scripts = benchmark('scripts').SCRIPTS
    return lambda page: numbers.lines(page, scripts)


def allowed(page):
    rows = [row for row in ALLOWED if row['page'] == page]
    assert all(row['reason'] for row in rows)
    return {figure for row in rows for figure in row['figures']}


@pytest.mark.parametrize('page', PAGES)
def test_figures_stand_in_the_results(read, page):
    found = read(page)
    whole = numbers.whole_tables(found)
    untraced = [
        (line.section, figure.text, figure.context)
        for line in found
        for figure in numbers.untraced(line, whole)
    ]
    others = [each for each in untraced if each[1] not in allowed(page)]
    assert not others, f'{page}: in no result: {others}'
    unused = allowed(page) - {text for _, text, _ in untraced}
    assert not unused, f'{page}: no longer needed in tests/numbers.json: {unused}'


@pytest.mark.parametrize(
    'page, least', [('docs/integers.md', 0.4), ('docs/energy.md', 0.4)]
)
def test_wrong_figures_are_found(read, page, least):
    """Of figures that are off by three units of the last digit, most of those in tables
    that come from one part a row, and many of the others."""
    found = read(page)
    whole = numbers.whole_tables(found)
    tried = seen = 0
    for i, line in enumerate(found):
        if i % 4 or numbers.untraced(line, whole):
            continue
        figure = line.figures[-1]
        cells = (*line.cells[:-1], (*line.cells[-1][:-1], figure.wrong(3)))
        tried += 1
        seen += bool(numbers.untraced(replace(line, cells=cells), whole))
    assert tried > 10 and seen / tried > least, (seen, tried)


def test_what_is_a_figure():
    text = (
        'Version `1.25`, 2 cores, T = 16, [90 %](a/1.5.md), $1.5$, arXiv 2404.17048.\n'
        '| a | 0.25 ± 0.1, 98.5 | 3 | 1,024.5 (7) |\n'
        '```\n3.5 s\n```\n'
        'It takes 1,024 MB, -0.5 points and 12 % of 3 nodes.\n'
    )
    first, row, *_, last = numbers.prose(text).splitlines()
    texts = [f.text for f in numbers.figures_of(first, False)]
    assert texts == ['90'] and '3.5' not in numbers.prose(text)
    cells = [numbers.figures_of(cell, True) for cell in row.strip('|').split('|')]
    assert [[f.text for f in cell] for cell in cells] == [
        [],
        ['0.25', '0.1', '98.5'],
        [],
        ['1,024.5'],
    ]
    found = numbers.figures_of(last, False)
    assert [(f.value, f.unit) for f in found] == [
        (1024, 'MB'),
        (0.5, 'points'),
        (12, '%'),
    ]
    assert [f.half_unit for f in found] == pytest.approx([0.5, 0.05, 0.5], rel=1e-5)
    assert [f.wrong(3).value for f in found] == pytest.approx([1027, 0.8, 15])
    (small,) = numbers.figures_of('below 5e-7', False)
    assert small.value == 5e-7 and small.half_unit == pytest.approx(
        5e-8, rel=0.01, abs=1e-6
    )


def test_what_a_figure_may_be_made_from():
    record = {
        'seconds': {'a': {'min': 2.0, 'median': 3.0}, 'b': {'min': 8.0, 'median': 9.0}},
        'name': 'x',
        'flag': True,
        'share': 0.125,
    }
    found = numbers.made(numbers.leaves(record), (1, 100))
    for value in (12.5, 0.125, 8, 4, 3, 0.25, 1 / 3):
        assert any(abs(value - each) < 1e-9 for each in found), value
    assert not any(abs(each - 9 / 2) < 1e-9 for each in found)  # Not compared so.
    figure = numbers.Figure('12.5', '%', '')
    assert numbers.holds(found, figure) and not numbers.holds(found, figure.wrong(3))
