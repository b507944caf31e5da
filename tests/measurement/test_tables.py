import json
from dataclasses import fields

import pytest

from spikegraph.cli.names import _TABLES
from spikegraph.measurement import (
    ENERGY_TABLES,
    HOROWITZ_45NM_FP32,
    HOROWITZ_45NM_INT8_INT32,
    SPIKINGJELLY_FP32,
    Counts,
    EnergyTable,
    energy_table,
)

VALUES = {'name': 'chip', 'source': 'data sheet', 'add': 0.1, 'multiply': 1, 'word': 2}


def test_names_of_the_command_line():
    assert tuple(ENERGY_TABLES) == _TABLES


@pytest.mark.parametrize('name', ENERGY_TABLES)
def test_tables_are_read_by_name_and_survive_json(name, tmp_path):
    table = energy_table(name)
    assert table is ENERGY_TABLES[name]
    assert EnergyTable.from_dict(json.loads(json.dumps(table.to_dict()))) == table
    path = tmp_path / 'table.json'
    path.write_text(json.dumps(table.to_dict()))
    assert energy_table(path) == energy_table(str(path)) == table


def test_prices_are_those_of_the_sources():
    """ISSCC 2014, figure 1.1.9; SpikingJelly's SimpleEnergyCostConfig."""
    printed = {
        'horowitz-fp32': (0.9, 3.7),
        'horowitz-fp16': (0.4, 1.1),
        'horowitz-int32': (0.1, 3.1),
        'horowitz-int8': (0.03, 0.2),
    }
    for name, energies in printed.items():
        table = ENERGY_TABLES[name]
        assert (table.add, table.multiply) == energies
        assert table.word * 64 / table.word_bits == 10  # Per 64 bits.
    macs = {'fp32': (4.6, 0.9), 'fp16': (1.5, 0.4), 'int8': (0.23, 0.03)}
    for name, (mac, add) in macs.items():
        table = ENERGY_TABLES[f'spikingjelly-{name}']
        assert table.mac == pytest.approx(mac) and table.add == add
        assert table.byte == pytest.approx(24.96)
        assert f'{mac} pJ' in table.source and f'{name}()' in table.source


def test_wide_sums_are_billed_in_both_networks():
    table = HOROWITZ_45NM_INT8_INT32
    counts = Counts(ann_macs=10, ann_aggregation_macs=4, ann_activations=3)
    words = 10 * 1.25 + 4 * 5 + 2 * 3 * 1.25
    expected = 14 * 0.3 + words + 3 * 0.1
    assert table.ann_pj(counts, memory=True) == pytest.approx(expected)
    counts = Counts(synops=10, accumulates=4, membrane_updates=6, spikes=2)
    expected = 14 * 0.1 + 10 * 1.25 + 4 * 5 + 2 * 2 * 1.25 + 6 * (10 + 3.1)
    assert table.snn_pj(counts, memory=True) == pytest.approx(expected)
    assert SPIKINGJELLY_FP32.state_word == SPIKINGJELLY_FP32.word
    assert SPIKINGJELLY_FP32.state_multiplication == SPIKINGJELLY_FP32.multiply


def test_clocked_energies_have_not_changed():
    """To the last bit: sums are rounded in this order."""
    table, memory = HOROWITZ_45NM_FP32, 0.0
    for seed in range(1, 200):
        numbers = [(seed * prime) % 10**9 for prime in range(7919, 7919 + 40)]
        c = Counts(*numbers[: len(fields(Counts))])
        energy = (c.synops + c.accumulates + c.adds) * 0.9 + c.snn_macs * table.mac
        energy += c.scalings * 3.7
        compute = energy + c.delays * 0.03
        energy += c.delays * (0.03 + 2 * 1.25)
        words = c.synops + c.accumulates + c.snn_macs + 2 * c.analog_values
        energy += words * 5.0 + 2 * c.spikes * 1.25
        energy += c.comparisons * 0.9
        energy += c.membrane_updates * (2 * 5.0 + 3.7)
        assert table.snn_pj(c) == compute
        assert table.snn_pj(c, memory=True) == energy > memory


@pytest.mark.parametrize(
    'change, match',
    [
        ({'source': None}, r"'source' to be a text \(got None\); say where"),
        ({'source': ' '}, r"'source' to be a text \(got ' '\)"),
        ({'name': 3}, r"'name' to be a text \(got 3\)"),
        ({'add': '0.1'}, r"'add' to be an energy in pJ, at least 0 \(got '0.1'\)"),
        ({'add': None}, r"'add' to be an energy .*\(got None\)"),
        ({'multiply': True}, r"'multiply' to be an energy .*\(got True\)"),
        ({'word': float('nan')}, r"'word' to be an energy .*\(got nan\)"),
        ({'state': -1}, r"'state' to be an energy .*\(got -1\)"),
        ({'word_bits': 0}, r"'word_bits' to be at least 1 \(got 0\)"),
        ({'word_bits': 8.5}, r"'word_bits' to be .*\(got 8.5\)"),
        ({'mac': 4.6}, r"to have name, source, add, .*\(got 'mac'\)"),
    ],
)
def test_wrong_tables(change, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        EnergyTable.from_dict({**VALUES, **change})
    path = tmp_path / 'own.json'
    path.write_text(json.dumps({**VALUES, **change}))
    with pytest.raises(ValueError, match=r"own.json': .*" + match):
        energy_table(path)


def test_wrong_files_and_names(tmp_path):
    for name in ('name', 'source', 'add', 'multiply', 'word'):
        values = {k: v for k, v in VALUES.items() if k != name}
        with pytest.raises(ValueError, match=rf"\(got no '{name}'\)"):
            energy_table(values)
    with pytest.raises(ValueError, match=r"horowitz-fp16, .*'.json' \(got 'fp32'\)"):
        energy_table('fp32')
    with pytest.raises(ValueError, match=r'name, the path .*\(got int\)'):
        energy_table(3)
    with pytest.raises(FileNotFoundError):
        energy_table(tmp_path / 'none.json')
    path = tmp_path / 'bad.json'
    for text, match in ((b'{', 'as JSON'), (b'\xff', 'as JSON'), (b'[]', r'got list')):
        path.write_bytes(text)
        with pytest.raises(ValueError, match=match):
            energy_table(path)
