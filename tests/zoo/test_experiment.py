import json
from dataclasses import replace

import pytest
import torch

from spikegraph import ConversionConfig, measure
from spikegraph.zoo.experiment import (
    evaluate,
    run_experiment,
    run_sweep,
    summarize,
)
from spikegraph.zoo.models import RECIPES

METRICS = [
    'ann_accuracy',
    'snn_accuracy',
    'loss_points',
    'agreement',
    'logit_relative_error',
    'spikes_per_neuron',
    'energy_ratio_compute',
    'energy_ratio_compute_sparse_ann',
    'energy_ratio_memory',
]


@pytest.fixture(autouse=True)
def quick_recipe(monkeypatch):
    quick = replace(RECIPES['digits'], epochs=30, hidden_channels=16)
    monkeypatch.setitem(RECIPES, 'digits', quick)


@pytest.fixture
def experiment():
    return run_experiment(config=ConversionConfig(8), seeds=2, progress=False)


def test_results_are_those_of_the_networks(experiment):
    data = experiment.dataset.data
    for seed, run in enumerate(experiment.runs):
        assert run.trained.seed == seed
        with torch.no_grad():
            ann = run.trained.model(data.x, data.edge_index)[data.test_mask]
        snn = run.snn(data.x, data.edge_index)[data.test_mask]
        y, metrics = data.y[data.test_mask], run.metrics
        hits = (ann.argmax(-1) == y).double().mean().item()
        snn_hits = (snn.argmax(-1) == y).double().mean().item()
        same = (ann.argmax(-1) == snn.argmax(-1)).double().mean().item()
        assert metrics['ann_accuracy'] == pytest.approx(100 * hits)
        assert metrics['snn_accuracy'] == pytest.approx(100 * snn_hits)
        assert metrics['loss_points'] == pytest.approx(100 * (hits - snn_hits))
        assert metrics['agreement'] == pytest.approx(100 * same)
        error = (snn - ann).norm() / ann.norm()
        assert metrics['logit_relative_error'] == pytest.approx(error.item(), rel=1e-5)
        counted = measure(run.snn, data, run.trained.model)
        assert metrics['spikes_per_neuron'] == counted.spikes_per_neuron <= 1
        for name, ratio in counted.energy_ratios().items():
            assert metrics[name] == ratio
    assert experiment.runs[0].metrics['ann_accuracy'] > 80


def test_json_of_an_experiment(experiment):
    result = json.loads(json.dumps(experiment.to_dict(), allow_nan=False))
    summary = result['summary']
    for name in METRICS:
        assert set(summary[name]) == {'mean', 'std'}
        samples = [run[name] for run in result['per_seed']]
        assert summary[name]['mean'] == pytest.approx(sum(samples) / 2)
        # The sample standard deviation of two values.
        spread = abs(samples[0] - samples[1]) / 2**0.5
        assert summary[name]['std'] == pytest.approx(spread, abs=1e-9)
    assert summary['loss_points']['mean'] == pytest.approx(
        summary['ann_accuracy']['mean'] - summary['snn_accuracy']['mean']
    )
    assert summary['latency_steps'] == 3 * 8 and summary['populations'] == 2
    assert result['seeds'] == [0, 1]
    assert result['config'] == experiment.config.to_dict()
    assert {'spikegraph', 'python', 'torch'} <= set(result['versions'])
    assert [row['name'] for row in result['layers']][0] == 'input_x'
    energy, ratio = result['energy_pj'], result['per_seed'][0]['energy_pj']
    assert set(energy) == set(ratio)
    assert result['per_seed'][0]['energy_ratio_compute'] == pytest.approx(
        ratio['ann_compute'] / ratio['snn_compute']
    )
    assert all(value['mean'] > 0 for value in result['seconds'].values())
    assert len(result['per_seed'][0]['conversion']['populations']) == 2


def test_same_seed_same_result(experiment):
    again = run_experiment(config=ConversionConfig(8), seeds=1, progress=False)
    assert again.runs[0].metrics == experiment.runs[0].metrics


def test_sweep_repeats_single_experiments(experiment, monkeypatch):
    import spikegraph.zoo.experiment.runs as module

    trained = []
    train = module.train

    def spy(dataset, recipe, seed, progress):
        trained.append(seed)
        return train(dataset, recipe, seed, progress)

    monkeypatch.setattr(module, 'train', spy)
    sweep = run_sweep('digits', [4, 8], ['auto', 2.0], seeds=2, progress=False)
    assert trained == [0, 1]  # Once per seed, not once per cell.
    cells = [(row['num_steps'], row['base']) for row in sweep.rows]
    assert cells == [(4, 'auto'), (4, 2.0), (8, 'auto'), (8, 2.0)]
    assert [row['latency_steps'] for row in sweep.rows] == [12, 12, 24, 24]
    summary = experiment.summary()
    assert {name: sweep.rows[2][name] for name in summary} == summary
    result = json.loads(json.dumps(sweep.to_dict(), allow_nan=False))
    assert result['rows'] == sweep.rows and 'base' not in result['config']


def test_options_reach_the_network():
    result = run_experiment('digits', hidden=5, layers=3, progress=False)
    assert result.recipe.hidden_channels == 5
    convs = result.runs[0].trained.model.convs
    assert [conv.out_channels for conv in convs] == [5, 5, 10]
    assert result.summary()['populations'] == 3


def test_summary_of_one_value():
    assert summarize([{'a': 2.5}]) == {'a': {'mean': 2.5, 'std': 0.0}}


@pytest.mark.parametrize(
    'kwargs, match',
    [
        (dict(seeds=0), r"'seeds' to be at least 1 \(got 0\)"),
        (dict(hidden=0), r"'hidden' to be at least 1 \(got 0\)"),
        (dict(layers=-1), r"'layers' to be at least 1 \(got -1\)"),
        (dict(name='coral'), r"\(got 'coral'\). Did you mean 'cora'\?"),
    ],
)
def test_run_experiment_errors(kwargs, match):
    with pytest.raises(ValueError, match=match):
        run_experiment(**kwargs)


def test_sweep_errors_come_before_training(monkeypatch):
    import spikegraph.zoo.experiment.runs as module

    monkeypatch.setattr(module, 'train', lambda *args: pytest.fail('trained'))
    with pytest.raises(ValueError, match=r'\(got \[4\] and \[\]\)'):
        run_sweep('digits', [4], [])
    with pytest.raises(ValueError, match=r"'num_steps' .*\(got 127\)"):
        run_sweep('digits', [4, 127], ['auto'])


def test_evaluate_needs_test_nodes(experiment):
    run, data = experiment.runs[0], experiment.dataset.data.clone()
    data.test_mask = torch.zeros_like(data.test_mask)
    with pytest.raises(ValueError, match=r"'data.test_mask' .*\(got 0\)"):
        evaluate(run.snn, data, run.trained.model)
