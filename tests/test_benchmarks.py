import importlib
import sys
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spikegraph.cli import _MODELS
from spikegraph.models import IMAGE_MODELS, NODE_MODELS, RECIPES

FOLDER = Path(__file__).parents[1] / 'benchmarks'


@pytest.fixture
def benchmark(monkeypatch):
    """Returns a function that imports a script."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for path in FOLDER.glob('*.py'):
        sys.modules.pop(path.stem, None)


def test_models_of_the_command_line():
    assert (*NODE_MODELS, *IMAGE_MODELS) == _MODELS


def test_interrupted_runs_go_on(benchmark, tmp_path):
    records = benchmark('records')
    path, seeds = tmp_path / 'a' / 'record.json', []

    def run_seed(seed):
        if seed == 2 and len(seeds) == 2:
            raise KeyboardInterrupt
        seeds.append(seed)
        return {'value': seed}

    options = dict(summarize=lambda seeds: {'count': len(seeds)}, dataset='cora')
    with pytest.raises(KeyboardInterrupt):
        records.run_seeds(path, 'title', 3, run_seed, **options)
    seeds.append('again')
    record = records.run_seeds(path, 'title', 3, run_seed, **options)
    assert seeds == [0, 1, 'again', 2] and list(record['seeds']) == ['0', '1', '2']
    assert record['summary'] == {'count': 3} and record['dataset'] == 'cora'
    with pytest.raises(ValueError, match=r"'dataset' to be cora .*\(got pubmed\)"):
        records.run_seeds(path, '', 3, run_seed, **{**options, 'dataset': 'pubmed'})


@pytest.mark.parametrize('script', ['node_accuracy', 'molecule_accuracy'])
def test_defaults(benchmark, script, monkeypatch):
    module, found = benchmark(script), {}
    monkeypatch.setattr(module, 'run_networks', lambda *a: found.update(a=a) or {})
    monkeypatch.setattr(sys, 'argv', [script])
    module.main()
    prefix, arguments = found['a']
    assert prefix == script and arguments.num_steps == 16
    assert arguments.weights is None and 'gcn' in arguments.models


def test_trained_and_loaded_networks_give_the_same(
    benchmark, monkeypatch, tmp_path, capsys
):
    records = benchmark('records')
    quick = replace(RECIPES['digits'], epochs=10, hidden_channels=4)
    monkeypatch.setitem(RECIPES, 'digits', quick)
    dataset, recipe = records.prepared('digits', 'gcn', None)
    for seed in range(2):
        state = records.train(dataset, recipe, seed, progress=False).model.state_dict()
        torch.save(state, tmp_path / f'digits_gcn_{seed}.pt')
    parser = ArgumentParser()
    records.add_arguments(parser, datasets=['digits'], models=['gcn'], seeds=2)
    summaries = []
    for name, more in [('a', []), ('b', ['--weights', str(tmp_path)])]:
        args = ['--num-steps', '4', '--output', str(tmp_path / name), *more]
        found = records.run_networks('nodes', parser.parse_args(args))
        assert (tmp_path / name / 'nodes_digits_gcn.json').exists()
        summaries.append(found['digits', 'gcn']['summary'])
    for name in ('ann_accuracy', 'loss_points', 'agreement'):
        assert summaries[0][name] == summaries[1][name]
    node_accuracy = benchmark('node_accuracy')
    records.print_table(found, node_accuracy.COLUMNS)
    accuracy = f'{summaries[0]["ann_accuracy"]["mean"]:.2f} ± '
    assert accuracy in capsys.readouterr().out
