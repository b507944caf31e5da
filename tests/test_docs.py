"""Pages about arithmetic with spike times and formats: their names and figures."""

import json
import operator
import re
from pathlib import Path

import spikegraph.export
import spikegraph.nn

DOCS = Path(__file__).parents[1] / 'docs'
TEXT = (DOCS / 'arithmetic.md').read_text(encoding='utf-8')


def test_links_files_and_pictures():
    links = re.findall(r'\]\(([^)#]+)\)', TEXT)
    assert 'design.md' in links and 'arithmetic.png' in links
    for link in links:
        assert (DOCS / link).exists(), link
    for name in re.findall(r'`(conversion/\S+\.py)`', TEXT):
        assert (DOCS.parent / 'spikegraph' / name).exists(), name
    assert (DOCS / 'arithmetic.png').stat().st_size < 200_000


def test_gates_of_the_table():
    for name in re.findall(r'a (?:gate|product), `(\w+)`', TEXT):
        assert hasattr(spikegraph.nn, name), name


def test_formats():
    """Names are there, and figures are those of the results."""
    text = (DOCS / 'formats.md').read_text(encoding='utf-8')
    table = text.split('\n\n')[2]
    for name in re.findall(r'`((?:to|from|save|load)_\w+|neurobench\.\w+)', table):
        assert operator.attrgetter(name)(spikegraph.export), name
    results = DOCS.parent / 'benchmarks' / 'results'
    found = json.loads((results / 'neurobench_counts.json').read_text())['networks']
    columns = [found[name]['with_the_adapter'] for name in found]
    for name, digits in [('Effective_ACs', 1), ('MembraneUpdates', 1)]:
        cells = ' | '.join(f'{column[name]:,.{digits}f}' for column in columns)
        assert f'| `{name}` | {cells} |' in text, cells
    found = json.loads((results / 'nir_rates.json').read_text())['networks'].values()
    for steps in ('64', '256', '1024', '4096'):
        rows = [each['rate_steps'][steps] for each in found]
        cells = [
            f'{row["relative_error"]:.3f}, {100 * row["agreement"]:.0f} %'
            for row in rows
        ]
        assert ' | '.join(cells) in text, cells
