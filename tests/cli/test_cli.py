import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import spikegraph
from spikegraph.cli import main
from spikegraph.measurement import memory
from spikegraph.zoo.datasets import DATASETS
from spikegraph.zoo.models import RECIPES

PNG = b'\x89PNG\r\n\x1a\n'
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def quick_recipe(monkeypatch):
    quick = replace(RECIPES['digits'], epochs=30, hidden_channels=16)
    monkeypatch.setitem(RECIPES, 'digits', quick)


def test_run_writes_report_json_and_pictures(tmp_path, capsys):
    folder, file = tmp_path / 'a' / 'b', tmp_path / 'out.json'
    args = ['run', '--num-steps', '8', '--json', str(file), '--output', str(folder)]
    assert main(args) == 0
    report = capsys.readouterr().out
    result = json.loads(file.read_text())
    assert json.loads((folder / 'result.json').read_text()) == result
    accuracy = result['summary']['ann_accuracy']['mean']
    for text in [
        'digits: handwritten digits',
        '1,797 nodes, 19,858 edges, 64 features, 10 classes',
        f'{accuracy:.2f} %',
        '24 steps (2 populations and the read-out, 8 steps each)',
        f'{100 * result["summary"]["logit_relative_error"]["mean"]:.2f} %\n',
        '8 steps from one result to the next',
        'population',  # The conversion.
        'energy, nJ per node',  # The measurement.
        'hidden features; 1 seed\n',
        '\ntraining ',
        's (whole graph)\nSNN forward',
        str(folder),
    ]:
        assert text in report
    assert 'peak' not in report and 'peak' not in file.read_text()  # No --profile.
    for name in ['raster.png', 'spike_times.png', 'coding_error.png']:
        content = (folder / name).read_bytes()
        assert content.startswith(PNG) and 5_000 < len(content) < 200_000
    # The networks load again, and give the same figures without training.
    weights = str(folder / 'ann.pt')
    assert main(['run', '--num-steps', '8', '--json', '-', '--weights', weights]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again['summary'] == result['summary']
    assert again['per_seed'][0]['epochs'] == 0
    assert main(['run', '--num-steps', '8', '--weights', weights]) == 0
    report = capsys.readouterr().out
    assert f'hidden features; weights from {weights}\n' in report
    assert '\ntraining' not in report and 'seed' not in report
    sweep = ['sweep', 'digits', '--num-steps', '4', '--base', '2']
    assert main([*sweep, '--weights', weights]) == 0
    assert f'; weights from {weights}\n' in capsys.readouterr().out
    model = RECIPES['digits'].build_model(64, 10)
    assert spikegraph.load(folder / 'snn.safetensors', model).config.num_steps == 8


@pytest.mark.parametrize(
    'options, match',
    [
        (
            ['--weights', 'nowhere.pt'],
            r"'nowhere.pt' to be a file with the state dict of a GCN .*no such file",
        ),
        (['--weights', __file__], r'to hold the state dict of a GCN with 2 layers'),
        (['--weights', __file__], r'state_dict\(\), path\)'),
        (['--weights', 'nowhere.pt', '--seeds', '2'], r"'seeds' to be 1.*\(got 2\)"),
    ],
)
def test_weights_errors(options, match, capsys):
    assert main(['run', *options]) == 2
    err = capsys.readouterr().err
    assert re.search(match, err)
    assert not re.search(
        r'Errno|Unpickling|\w+Error:', err
    )  # Of the program's insides.


def test_energies_per_graph(tmp_path, capsys):
    found = {}
    for per in ('node', 'graph'):
        file = tmp_path / f'{per}.json'
        args = ['run', '--num-steps', '4', '--per', per, '--json', str(file)]
        assert main(args) == 0
        assert f'energy, nJ per {per} ' in capsys.readouterr().out
        found[per] = json.loads(file.read_text())
        assert found[per]['energy_per'] == per
    one, whole = (found[per]['energy_pj']['ann_memory']['mean'] for per in found)
    assert whole == pytest.approx(1797 * one) and one > 0
    one, whole = (found[per]['summary']['energy_ratio_memory'] for per in found)
    assert one == whole
    args = ['sweep', 'digits', '--num-steps', '4', '--base', '2', '--json', '-']
    assert main([*args, '--per', 'graph']) == 0
    (row,) = json.loads(capsys.readouterr().out)['rows']
    assert row['energy_per'] == 'graph' and row['energy_pj']['ann_memory']['mean'] == (
        pytest.approx(found['graph']['energy_pj']['ann_memory']['mean'])
    )


def test_energy_tables(tmp_path, capsys):
    own = {'name': 'chip', 'source': 'data sheet', 'add': 1, 'multiply': 2, 'word': 0}
    path = tmp_path / 'own.json'
    path.write_text(json.dumps(own))
    for table, name in (
        (str(path), 'chip'),
        ('spikingjelly-int8', 'SpikingJelly int8'),
    ):
        args = ['run', '--num-steps', '4', '--energy-table', table]
        assert main([*args, '--json', str(tmp_path / 'result.json')]) == 0
        assert f'\n{name}\n' in capsys.readouterr().out
        found = json.loads((tmp_path / 'result.json').read_text())
        assert found['energy_table']['name'] == name
        assert {row['table'] for row in found['energies']} == {name}
        assert found['summary']['energy_ratio_event_memory']['mean'] > 0
    path.write_text('{}')
    assert main(['run', '--energy-table', str(path)]) != 0
    assert "got no 'name'" in capsys.readouterr().err


def test_json_on_standard_output(capsys):
    assert main(['run', 'digits', '--seeds', '2', '--json', '-']) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)  # And nothing else.
    summary = result['summary']
    assert result['seeds'] == [0, 1] and len(result['per_seed']) == 2
    assert summary['loss_points']['mean'] == pytest.approx(
        summary['ann_accuracy']['mean'] - summary['snn_accuracy']['mean']
    )
    assert all(0 <= value['mean'] <= 100 for value in result['seconds'].values())
    assert isinstance(summary['latency_steps'], int)
    assert f'± {summary["ann_accuracy"]["std"]:.2f} %' in err


@pytest.mark.skipif(
    not Path('/proc/self/clear_refs').exists(), reason='the system does not tell'
)
def test_profile(tmp_path, capsys):
    file = tmp_path / 'out.json'
    assert main(['run', '--seeds', '2', '--profile', '--json', str(file)]) == 0
    result, report = json.loads(file.read_text()), capsys.readouterr().out
    found = result['peak_memory_bytes']
    assert found.keys() == {'ann_forward', 'snn_forward'}
    assert all(0 <= value['mean'] < 200e6 for value in found.values())
    sizes = [run['peak_memory_bytes']['ann_forward'] for run in result['per_seed']]
    assert found['ann_forward']['mean'] == pytest.approx(sum(sizes) / 2)
    for name, label in (('ann_forward', 'ANN'), ('snn_forward', 'SNN')):
        text = rf'^{label} peak memory +{found[name]["mean"] / 1e6:.1f} .*MB \(whole'
        assert re.search(text, report, re.MULTILINE)


def test_profile_where_the_system_does_not_tell(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(memory, '_STATUS', tmp_path / 'none')
    file = tmp_path / 'out.json'
    assert main(['run', '--profile', '--json', str(file)]) == 0
    out, err = capsys.readouterr()
    assert re.search(r'ANN peak memory +not available', out)
    assert re.search(r'SNN peak memory +not available', out) and err == ''
    missing = {'ann_forward': None, 'snn_forward': None}
    result = json.loads(file.read_text())
    assert result['peak_memory_bytes'] == missing
    assert result['per_seed'][0]['peak_memory_bytes'] == missing


def test_options_reach_the_conversion(capsys):
    args = 'run --num-steps 5 --base 1.5 --scale percentile:99.9 --per-channel'
    args += ' --fold-degree --compensate none --analog-input --hidden 7 --layers 3'
    assert main([*args.split(), '--json', '-']) == 0
    result = json.loads(capsys.readouterr().out)
    config = result['config']
    assert config['num_steps'] == 5 and config['base'] == 1.5
    assert config['scale'] == ['percentile', 99.9]
    assert config['per_channel'] and config['fold_degree']
    assert config['compensate'] is None and not config['encode_input']
    assert result['model']['hidden_channels'] == 7
    assert result['model']['num_layers'] == 3
    names = [p['name'] for p in result['per_seed'][0]['conversion']['populations']]
    assert names == ['relu', 'relu_1']  # The input stays analog.


def test_fitted_levels(capsys):
    assert main(['run', '--levels', 'fitted', '--num-steps', '4', '--json', '-']) == 0
    result = json.loads(capsys.readouterr().out)
    populations = result['per_seed'][0]['conversion']['populations']
    assert [p['base'] for p in populations] == [None, None]


def test_sweep(tmp_path, capsys):
    args = ['sweep', 'digits', '--num-steps', '4', '8', '--base', 'auto', '1.41']
    assert main([*args, '--output', str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.split()[:1] == ['T']) + 1
    cells = [line.split()[:3] for line in lines[start : start + 4]]
    assert cells == [
        ['4', 'auto', '12'],
        ['4', '1.41', '12'],
        ['8', 'auto', '24'],
        ['8', '1.41', '24'],
    ]
    rows = json.loads((tmp_path / 'result.json').read_text())['rows']
    assert [row['base'] for row in rows] == ['auto', 1.41, 'auto', 1.41]
    for line, row in zip(lines[start:], rows, strict=False):
        assert float(line.split()[3]) == round(row['loss_points']['mean'], 2)
    assert (tmp_path / 'sweep.png').read_bytes().startswith(PNG)


def test_datasets(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv('SPIKEGRAPH_ROOT', str(tmp_path))
    assert main(['datasets']) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in DATASETS) and str(tmp_path) in out


@pytest.mark.parametrize(
    'args, match',
    [
        ('run coral', "(got 'coral'). Did you mean 'cora'?"),
        ('run --num-steps 0', "'num_steps' to be at least 1 (got 0)"),
        ('run --num-steps 127', '(got 127)'),
        ('run --base 1', "'base' to be greater than 1 (got 1.0)"),
        ('run --base nan', "'base' to be greater than 1 (got nan)"),
        ('run --scale percentile:101', '(got 101.0)'),
        ('run --seeds 0', "'seeds' to be at least 1 (got 0)"),
        ('run --hidden -3', "'hidden' to be at least 1 (got -3)"),
        ('run --levels fitted --base 2', "'levels' = 'fitted'"),
        ('sweep digits --num-steps 126 --base 2', '(got 2.0 ** -125'),
        ('run --json no/such/folder/file.json', "(got 'no/such/folder/file.json')"),
        ('run --output {file}', "(got the file '{file}')"),
        ('run cora --root {file}', "(got '{file}'"),
    ],
)
def test_user_errors(args, match, capsys, tmp_path):
    file = tmp_path / 'file'
    file.touch()
    assert main(args.format(file=file).split()) == 2
    out, err = capsys.readouterr()
    assert out == '' and err.startswith('spikegraph: error: ')
    assert err.count('\n') == 1
    assert match.format(file=file) in err


@pytest.mark.parametrize(
    'args, match',
    [
        ('run --base two', "(got 'two')"),
        ('run --scale median', "(got 'median')"),
        ('run --scale percentile:x', "(got 'percentile:x')"),
        ('run --num-steps 1.5', "invalid int value: '1.5'"),
        ('run --model gan', "invalid choice: 'gan'"),
        ('run --what', 'unrecognized arguments: --what'),
        ('sweep', 'required: DATASET'),
        ('', 'required: COMMAND'),
    ],
)
def test_usage_errors(args, match, capsys):
    with pytest.raises(SystemExit) as error:
        main(args.split())
    assert error.value.code == 2
    err = capsys.readouterr().err
    assert match in err and err.count('\n') == 1


def test_missing_files_are_named(tmp_path, capsys, monkeypatch):
    import torch_geometric.datasets.planetoid as planetoid

    def fail(*args, **kwargs):
        raise OSError('no network here')

    monkeypatch.setattr(planetoid, 'download_url', fail, raising=False)
    monkeypatch.setattr('torch_geometric.io.fs.cp', fail)
    assert main(['run', 'cora', '--root', str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert 'no network here' in err
    assert str(tmp_path / 'Cora' / 'raw' / 'ind.cora.graph') in err


@pytest.mark.parametrize('command', [['--help'], ['datasets'], ['run', '--help']])
def test_help_does_not_wait_for_torch(command):
    code = (
        'import sys\nfrom spikegraph.cli import main\n'
        f'try:\n    main({command})\n'
        "finally:\n    assert not {'torch', 'numpy', 'matplotlib'} & set(sys.modules)"
    )
    paths = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    env = {**os.environ, 'PYTHONPATH': paths}
    result = subprocess.run(
        [sys.executable, '-c', code], env=env, capture_output=True, text=True
    )
    assert result.returncode == 0 and result.stderr == ''
    assert 'cora' in result.stdout or 'usage: spikegraph' in result.stdout


def test_package_runs_as_a_module():
    command = [sys.executable, '-m', 'spikegraph', 'datasets']
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0 and 'cora' in result.stdout
