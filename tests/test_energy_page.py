"""The page about energies: its figures, examples and tables."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from spikegraph.measurement import ENERGY_TABLES, EnergyTable, energy_table

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / 'docs' / 'energy.md').read_text(encoding='utf-8')
RECORD = json.loads((ROOT / 'benchmarks' / 'results' / 'energy.json').read_text())
NAMES = {
    'Cora': 'cora',
    'CiteSeer': 'citeseer',
    'PubMed': 'pubmed',
    'Photo': 'photo',
    'Computers': 'computers',
    'MNIST': 'mnist',
    'CIFAR-10': 'cifar10',
    'molhiv': 'ogbg-molhiv',
}
DENSE = ('photo', 'computers', 'mnist', 'cifar10')
COLUMNS = (('', 'compute'), ('', 'memory'), ('event_', 'memory'))


def tables():
    """The rows of each table, as lists of cells."""
    for block in re.findall(r'(?:^\|.*\n)+', TEXT, re.MULTILINE):
        head, _, *rows = (
            [cell.strip() for cell in line.strip('|').split('|')]
            for line in block.replace('|\n', '\n').splitlines()
        )
        yield head, rows


def test_the_file_of_the_page(tmp_path):
    path = tmp_path / 'chip.json'
    path.write_text(re.search(r'```json\n(.*?)```', TEXT, re.DOTALL).group(1))
    assert energy_table(path).state == 3.2


def test_ratios_are_those_that_were_measured():
    found = [rows for head, rows in tables() if head[1:3] == ['T', 'compute only']]
    keys = ('horowitz-fp32', 'horowitz-int8-int32', 'spikingjelly-fp32')
    assert [len(rows) for rows in found][:2] == [len(RECORD['rows'])] * 2
    for key, rows in zip(keys, found, strict=True):
        for name, num_steps, *cells in rows:
            row = RECORD['rows'][f'{NAMES[name.split(",")[0]]} T={num_steps}']
            pj = row['energy_pj'][key]
            for (machine, what), cell in zip(COLUMNS, cells, strict=True):
                snn = pj[f'snn_{machine}{what}']
                dense, zeros = pj[f'ann_{what}'] / snn, pj[f'ann_{what}_sparse'] / snn
                assert cell == f'{dense:.3g} ({zeros:.3g})', (name, num_steps, what)


def test_energies_are_those_that_were_measured():
    (rows,) = [rows for head, rows in tables() if 'ANN' in head and 'T' in head]
    assert len(rows) == len(RECORD['rows'])
    for name, num_steps, loss, *cells in rows:
        row = RECORD['rows'][f'{NAMES[name.split(",")[0]]} T={num_steps}']
        pj = row['energy_pj']['horowitz-fp32']
        keys = ('ann_memory', 'ann_memory_sparse', 'snn_memory', 'snn_event_memory')
        assert cells == [f'{pj[key] / 1e3:.4g}' for key in keys], name
        assert loss == f'{row["loss_points"]:.2f}' and f'per {row["unit"]}' in name


def test_counts_are_those_that_were_measured():
    (rows,) = [rows for head, rows in tables() if head[0] == 'dataset, T']
    assert len(rows) == len(RECORD['rows'])
    for name, unit, loss, spikes, nonzero, *_, inputs in rows:
        dataset, num_steps = name.split(', ')
        row = RECORD['rows'][f'{NAMES[dataset]} T={num_steps}']
        assert unit == row['unit'] and loss == f'{row["loss_points"]:.2f}'
        assert spikes == f'{row["spikes_per_neuron"]:.3f}'
        assert nonzero == f'{100 * row["density"]:.1f} %'
        assert inputs == f'{100 * row["share_of_input_neurons"]:.0f} %'


def test_tables_of_energies():
    (rows,) = [rows for head, rows in tables() if head[0] == 'name']
    assert [row[0].strip('`') for row in rows] == list(ENERGY_TABLES)
    for name, add, multiply, memory, _ in rows:
        table = ENERGY_TABLES[name.strip('`')]
        assert (float(add), float(multiply)) == (table.add, table.multiply)
        word, bits = re.match(r'([\d.]+) per (\d+) bits', memory).groups()
        assert (float(word), int(bits)) == (pytest.approx(table.word), table.word_bits)
    (rows,) = [rows for head, rows in tables() if head[0] == 'entry']
    names = {name for row in rows for name in re.findall(r'`(\w+)`', row[0])}
    assert names == {item.name for item in fields(EnergyTable)}


def test_what_the_page_says_of_all_networks():
    """Claims in words, which no cell alone shows."""
    wins, beats = set(), set()
    for name, row in RECORD['rows'].items():
        pj = row['energy_pj']['horowitz-fp32']
        assert pj['ann_compute_sparse'] > pj['snn_compute'], name
        for key in ENERGY_TABLES:
            found = row['energy_pj'][key]
            assert found['snn_event_memory'] > found['ann_memory_sparse'], (name, key)
        if pj['snn_memory'] < pj['ann_memory_sparse']:
            wins.add(name)
        if 2 * pj['snn_event_memory'] < pj['ann_memory']:
            beats.add(row['dataset'])
    assert wins == {f'{name} T=4' for name in DENSE}
    assert beats == {'cora', 'citeseer', 'pubmed'}
    cora = RECORD['rows']['cora T=16']
    assert f'{100 * cora["share_of_input_neurons"]:.0f} % of the energy on Cora' in TEXT
