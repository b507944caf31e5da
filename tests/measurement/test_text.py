import json
import re

import pytest
import torch
from torch import nn

from spikegraph import ConversionConfig, convert, measure
from spikegraph.measurement import (
    HOROWITZ_45NM_FP32,
    HOROWITZ_45NM_INT8,
    HOROWITZ_45NM_INT8_INT32,
    MACHINES,
    SPIKINGJELLY_FP32,
)
from spikegraph.measurement.text import short
from tests.conversion.zoo import Sine, make, randomize


@pytest.fixture
def measured(graph):
    model = make('F.relu')
    return measure(convert(model, graph), graph, model)


def numbers(line):
    return [float(found) for found in re.findall(r'\d[\d.]*(?:e[+-]\d+)?', line)]


def test_the_report_says_what_is_assumed(measured):
    text = ' '.join(str(measured).split())
    for machine in MACHINES.values():
        assert f'{machine.name}: {machine.description}' in text
    for table in (HOROWITZ_45NM_FP32, HOROWITZ_45NM_INT8_INT32):
        assert table.name in text and table.source in text


def test_the_report_shows_both_machines_at_one_precision(measured):
    lines = str(measured).splitlines()
    rows = [line for line in lines if line.startswith(('  compute', '  with memory'))]
    assert len(rows) == 4
    tables = [HOROWITZ_45NM_FP32, HOROWITZ_45NM_INT8_INT32]
    for i, (table, memory) in enumerate((t, m) for t in tables for m in (False, True)):
        total, nodes = measured.total, measured.num_nodes
        ann = [table.ann_pj(total, zeros, memory) for zeros in (False, True)]
        snn = [table.snn_pj(total, memory, machine) for machine in MACHINES]
        ratios = [one / other for other in snn for one in ann]
        energies = [value / nodes / 1e3 for value in (*ann, *snn)]
        assert numbers(rows[i]) == pytest.approx([*energies, *ratios], rel=6e-3)


def test_the_report_names_what_multiplies(measured):
    """Weights that read averages or embeddings meet no spike, whatever comes before."""
    assert 'real values are multiplied' not in str(measured)
    layers = nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 5, 3)
    model = nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(45, 3)).eval()
    x = torch.rand(6, 1, 12, 12)
    measured = measure(convert(model, x), x, model)
    (row,) = [row for row in measured.layers if row.counts.snn_macs > 0]
    assert (row.name, row.counts.snn_macs) == ('_3', 6 * 45 * 4 * 9)
    ending = 'sums of other layers, analog parts): _3 (9.72 k)'
    assert ending in str(measured) and '<br>real values' in measured._repr_html_()


def test_energies_as_json(measured):
    found = json.loads(json.dumps(measured.to_dict()))
    assert list(found['machines']) == ['clocked', 'event-driven']
    assert found['energies'] == measured.energies()
    first, second = found['energies'][:2]
    pj = found['energy_pj']
    assert (first['what'], second['what']) == ('compute', 'memory')
    assert second['clocked'] == pj['snn_memory']
    assert second['event-driven'] == pj['snn_event_memory']
    assert first['ann_sparse'] == pj['ann_compute_sparse']
    ratio = found['energy_ratio_event_memory_sparse_ann']
    assert ratio == pj['ann_memory_sparse'] / pj['snn_event_memory']


def test_one_table_where_it_was_asked_for(graph):
    model = make('F.relu')
    snn = convert(model, graph)
    for table in (HOROWITZ_45NM_INT8, SPIKINGJELLY_FP32):
        measured = measure(snn, graph, model, table)
        assert [row['table'] for row in measured.energies()] == [table.name] * 2
        assert HOROWITZ_45NM_INT8_INT32.name not in str(measured)


def test_no_ratio_of_what_was_not_counted(graph):
    model = randomize(Sine())
    config = ConversionConfig(allow_analog=True)
    text = str(measure(convert(model, graph, config), graph, model))
    assert 'NOT COUNTED' in text and not re.search(r'[\d.]x', text)
    assert len(re.findall(r'- \(-\)', text)) == 4 * len(MACHINES)


def test_short_numbers():
    found = [short(value) for value in (0, 999, 1000, 999_499, 999_500, 12_345_678)]
    assert found == ['0', '999', '1 k', '999 k', '1 M', '12.3 M']
