"""Tests of losses, and the scripts that use them."""

import itertools
import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from spikegraph.zoo.models import RECIPES


@pytest.fixture
def paired(benchmark):
    return benchmark('paired')


def test_mcnemar_is_a_binomial_test_of_what_differs(paired):
    ann = np.array([1, 1, 1, 1, 1, 1, 0, 0, 1, 0], dtype=bool)
    snn = np.array([0, 0, 0, 0, 0, 1, 1, 0, 1, 0], dtype=bool)
    found = paired.mcnemar(ann, snn)
    assert (found['lost'], found['won'], found['inputs']) == (5, 1, 10)
    # 2 (C(6, 0) + C(6, 1)) / 2^6
    assert found['p'] == pytest.approx(2 * (1 + 6) / 64)
    assert paired.mcnemar(ann, ann)['p'] == 1.0
    assert paired.mcnemar(~ann, ~snn)['p'] == pytest.approx(found['p'])
    with pytest.raises(ValueError, match=r"'snn_right' to have shape \(10,\) .*\(9,\)"):
        paired.mcnemar(ann, snn[1:])


LOSSES = [0.3, -0.1, 0.2, 0.45, 0.11, -0.37, 0.05, 0.61, 0.0, 0.24]


def test_losses_over_seeds_are_those_of_scipy(paired):
    found, t = paired.of_losses(LOSSES), stats.ttest_1samp(LOSSES, 0)
    assert found['p'] == pytest.approx(t.pvalue)
    interval = t.confidence_interval(0.95)
    assert found['interval'] == pytest.approx([interval.low, interval.high])
    assert found['loss_points'] == pytest.approx(np.mean(LOSSES))
    below = stats.ttest_1samp(LOSSES, 0.5, alternative='less').pvalue
    above = stats.ttest_1samp(LOSSES, -0.5, alternative='greater').pvalue
    assert found['equivalence_p'] == pytest.approx(max(below, above))
    mirrored = paired.of_losses([-loss for loss in LOSSES])
    assert mirrored['equivalence_p'] == pytest.approx(found['equivalence_p'])
    with pytest.raises(ValueError, match=r'at least two seeds \(got 1\)'):
        paired.of_losses([0.5])


def test_wilcoxon(paired):
    distinct = [loss for loss in LOSSES if loss]
    expected = stats.wilcoxon(distinct, method='exact').pvalue
    assert paired.wilcoxon(LOSSES) == pytest.approx(expected)
    # Ties: every sign of the ranks 1.5, 1.5 and 3 by hand.
    sums = [
        abs(a * 1.5 + b * 1.5 + c * 3)
        for a, b, c in itertools.product((-1, 1), repeat=3)
    ]
    expected = sum(s >= 3 for s in sums) / 8
    assert paired.wilcoxon([0.1, -0.1, 0.2]) == pytest.approx(expected)
    assert paired.wilcoxon([0.0, 0.0]) == 1.0
    with pytest.raises(ValueError, match=r'at most 20 .*\(got 21\)'):
        paired.wilcoxon(range(1, 22))


def test_nothing_left_to_chance(paired):
    same = paired.of_losses([0.0, 0.0, 0.0])
    assert (same['p'], same['equivalence_p']) == (1, 0)
    assert same['interval'] == [0, 0]
    large = paired.of_losses([2.0, 2.0])
    assert (large['p'], large['equivalence_p']) == (0, 1)


def test_interval_over_inputs(paired):
    found = paired.of_pairs(30, 10, 1000)
    assert found['loss_points'] == pytest.approx(2.0)
    outcomes = np.repeat([1.0, -1.0, 0.0], [30, 10, 960])
    error = 100 * outcomes.std() / math.sqrt(1000)
    half = stats.norm.ppf(0.975) * error
    assert found['interval'] == pytest.approx([2 - half, 2 + half])
    assert found['p'] < 0.01 < 0.99 < found['equivalence_p']
    assert paired.of_pairs(5, 5, 10_000)['equivalence_p'] < 1e-6


def test_an_interval_by_agreement_is_wider(paired):
    exact, wide = paired.of_pairs(30, 10, 1000), paired.of_agreement(2.0, 93, 1000)
    assert wide['loss_points'] == pytest.approx(exact['loss_points'])
    assert wide['interval'][0] < exact['interval'][0]
    assert wide['interval'][1] > exact['interval'][1] and wide['p'] > exact['p']
    same = paired.of_agreement(2.0, 96, 1000)  # What differs is lost or won.
    assert same['interval'] == pytest.approx(exact['interval'])
    assert same['equivalence_p'] == pytest.approx(exact['equivalence_p'])


def test_images_are_tested_from_what_others_have_written(benchmark):
    evidence = benchmark('evidence')
    results = benchmark('records').RESULTS
    energies = json.loads((results / 'energy.json').read_text())
    cells = json.loads((results / 'cnn_accuracy_cifar10_resnet20.json').read_text())
    found = evidence.images_of(16, energies, results)
    assert [*found] == ['mnist_cnn', 'cifar10_resnet20']
    cell = cells['cells']['pixels as spikes, too']['16']
    resnet = found['cifar10_resnet20']
    assert resnet['loss_points'] == pytest.approx(cell['loss_points'])
    assert resnet['source'] == 'cnn_accuracy_cifar10_resnet20'
    low, high = resnet['interval']
    assert low < resnet['loss_points'] < high
    assert [*evidence.images_of(8, energies, results)] == ['cifar10_resnet20']


def test_holm(paired):
    found = paired.holm({'a': 0.01, 'b': 0.04, 'c': 0.03, 'd': 0.005})
    expected = {'a': 0.03, 'b': 0.06, 'c': 0.06, 'd': 0.02}
    assert list(found) == list(expected) and found == pytest.approx(expected)
    assert paired.holm({'a': 0.6, 'b': 0.7}) == {'a': 1.0, 'b': 1.0}


@pytest.mark.parametrize('size', [1, 63, 1000])
def test_bits_come_back(paired, size):
    bits = np.random.default_rng(0).random(size) < 0.02
    text = paired.pack(bits)
    assert (paired.unpack(text, size) == bits).all()
    assert len(text) < 60 + size / 8


@pytest.fixture
def claims(benchmark, monkeypatch, tmp_path):
    """Runs claims.py on digits, and returns what it has written."""
    quick = replace(RECIPES['digits'], epochs=20, hidden_channels=8)
    monkeypatch.setitem(RECIPES, 'digits', quick)

    def run(*arguments):
        argv = ['', '--networks', 'digits_gcn', '--output', str(tmp_path), *arguments]
        monkeypatch.setattr(sys, 'argv', argv)
        benchmark('claims').main()
        return json.loads((tmp_path / 'claims_digits_gcn.json').read_text())

    return run


def test_rows_change_one_thing_after_the_other(benchmark):
    claims = benchmark('claims')
    for has_images in (False, True):
        rows = claims.options_of(has_images)
        plain, shifted = (
            rows['base 2, thresholds not shifted'],
            rows['+ threshold shift'],
        )
        chosen, unshifted = rows['+ base of each population'], rows[claims.UNSHIFTED]
        for one, other, changed in (
            (plain, shifted, 'threshold_shift'),
            (shifted, chosen, 'base'),
            (chosen, unshifted, 'threshold_shift'),
            (plain, unshifted, 'base'),
        ):
            assert {k for k, _ in {*one.items()} ^ {*other.items()}} == {changed}
        assert set(rows) <= set(claims.ROWS) and set(claims.FIRST) <= set(claims.ROWS)


def test_claims(claims, paired, tmp_path, benchmark, monkeypatch, capsys):
    arguments = '--num-steps', '4', '--seeds', '2', '--seeds-of-all-rows', '1'
    record = claims(*arguments)
    first, second = (seed['cells'] for seed in record['seeds'].values())
    assert len(first) == 8 and len(second) == 5
    for seed in record['seeds'].values():
        bits = seed['correct']
        ann = paired.unpack(bits['ann_right'], bits['inputs'])
        for cell, row in seed['cells'].items():
            snn = ann ^ paired.unpack(bits['differs'][cell], bits['inputs'])
            assert 100 * ann.mean() == pytest.approx(row['ann_accuracy'])
            assert 100 * snn.mean() == pytest.approx(row['snn_accuracy'])
    summary = record['summary']
    default = summary['T=4 default options']
    assert default['over_seeds']['seeds'] == 2 and len(default['mcnemar']) == 2
    assert 'over_seeds' not in summary['T=4 + fitted levels']
    plain = summary['T=4 base 2, thresholds not shifted']
    errors = [row['logit_relative_error']['mean'] for row in (plain, default)]
    assert errors[0] > errors[1]
    for row in summary.values():
        pair, test = row['mcnemar'][0], row['over_inputs_of_seed_0']
        loss = 100 * (pair['lost'] - pair['won']) / pair['inputs']
        assert test['loss_points'] == pytest.approx(loss)
    assert claims(*arguments) == record  # Nothing is done again.

    known = benchmark('records').RESULTS / 'energy.json'
    (tmp_path / 'energy.json').write_text(known.read_text())
    argv = ['', '--results', str(tmp_path), '--output', str(tmp_path)]
    monkeypatch.setattr(sys, 'argv', argv)
    benchmark('evidence').main()
    found = json.loads((tmp_path / 'claims.json').read_text())
    tests = found['tests']['T=4']
    assert [*tests] == ['mnist_cnn', 'cifar10_resnet20', 'digits_gcn']
    test, ps = tests['digits_gcn'], {name: row['p'] for name, row in tests.items()}
    expected = default['over_inputs_of_seed_0']  # Two seeds are too few.
    assert {key: test[key] for key in expected} == expected
    assert test['p_holm'] == paired.holm(ps)['digits_gcn'] >= test['p']
    assert test['source'] == 'claims_digits_gcn'
    assert 'digits_gcn' in capsys.readouterr().out


def test_evidence_takes_the_file_with_most_seeds(benchmark, tmp_path):
    evidence = benchmark('evidence')
    results = benchmark('records').RESULTS
    known = json.loads((results / 'gcn_accuracy_cora.json').read_text())
    (tmp_path / 'gcn_accuracy_cora.json').write_text(json.dumps(known))
    row = known['seeds']['0']['cells']['T=8 geometric']
    record = {'seeds': {'0': {'cells': {'T=8 default options': row}}}}
    rows, name = evidence.rows_by_seed('cora_gcn', 8, record, tmp_path)
    assert name == 'gcn_accuracy_cora' and len(rows) == len(known['seeds'])
    assert rows[0] == row
    rows, name = evidence.rows_by_seed('cora_sage', 8, record, tmp_path)
    assert name == 'claims_cora_sage' and rows == [row]


def test_energy_ratios_are_those_of_the_results(benchmark):
    evidence = benchmark('evidence')
    energies = json.loads((benchmark('records').RESULTS / 'energy.json').read_text())
    found = evidence.ratios_of(energies)
    pj = energies['rows']['cora T=16']['energy_pj']['horowitz-fp32']
    row = found['rows']['cora T=16']
    expected = pj['ann_memory_sparse'] / pj['snn_event_memory']
    assert row['memory, event-driven, ANN skips zeros'] == expected
    assert row['compute, clocked, dense ANN'] == pj['ann_compute'] / pj['snn_compute']
    span = found['spans']['T=16 memory, event-driven, ANN skips zeros']
    assert span['below_one'] == span['networks'] == 8
    assert span['smallest'] <= expected <= span['largest'] < 1


def test_written_evidence_is_that_of_the_results(benchmark, monkeypatch, tmp_path):
    script = benchmark('evidence')
    monkeypatch.setattr(sys, 'argv', ['evidence', '--output', str(tmp_path)])
    script.main()
    found = json.loads((tmp_path / 'claims.json').read_text())
    written = json.loads((script.RESULTS / 'claims.json').read_text())
    for record in (found, written):
        for key in ('versions', 'device', 'commit'):
            record.pop(key)
    assert found == written, 'run benchmarks/evidence.py and benchmarks/report.py again'
