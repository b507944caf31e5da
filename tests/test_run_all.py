"""One list of all scripts, and one command that runs them."""

import json
import sys
from argparse import Namespace
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.numbers import ROOT

FOLDER = ROOT / 'benchmarks'


@pytest.fixture
def scripts(benchmark):
    return benchmark('scripts')


def test_every_script_is_listed(scripts):
    names = {path.stem for path in FOLDER.glob('*.py')}
    listed = [*scripts.SCRIPTS, *scripts.HELPERS, *scripts.TOOLS]
    assert names == set(listed) and len(listed) == len(set(listed))
    for name in scripts.SCRIPTS:
        assert "__name__ == '__main__'" in (FOLDER / f'{name}.py').read_text(), name
    for name in (*scripts.HELPERS, *scripts.TOOLS):
        assert name not in scripts.SCRIPTS


def test_every_result_belongs_to_a_script(scripts):
    for path in (FOLDER / 'results').glob('*.json'):
        owners = [
            name
            for name, script in scripts.SCRIPTS.items()
            if any(fnmatch(path.name, pattern) for pattern in script.results)
        ]
        owners += ['spikegraph run'] if path.name in scripts.RUNS else []
        assert len(owners) == 1, (path.name, owners)


def test_every_result_names_a_command(scripts, benchmark):
    commands_for = benchmark('sections.common').commands_for
    for path in (FOLDER / 'results').glob('*.json'):
        assert commands_for(path.name), path.name


@pytest.fixture
def run_all(benchmark, monkeypatch, tmp_path):
    """Runs the script on small ones, and returns the exit code and the states."""
    module = benchmark('run_all')
    folder = tmp_path / 'benchmarks'
    folder.mkdir()
    path = 'import pathlib, sys; path = pathlib.Path(sys.argv[2])'
    codes = {
        'good': f'{path}; path.mkdir(exist_ok=True)\n'
        "(path / 'good.json').write_text('{}'); (path / 'count').open('a').write('x')",
        'after': f"{path}; assert (path / 'good.json').exists()",
        'bad': "print('what went wrong'); raise SystemExit(3)",
        'lacking': 'raise SystemExit(4)',
    }
    for name, code in codes.items():
        (folder / f'{name}.py').write_text(code)
    script = replace(
        next(iter(module.SCRIPTS.values())),
        quick='--output {output}',
        full=('--output {output}',),
        needs=(),
        quick_needs=(),
        before=(),
    )
    lacking = replace(
        script, quick_needs=('package nothing_of_this_name',), needs=('weights',)
    )
    found = {'after': replace(script, before=('good',)), 'good': script}
    found |= {'bad': script, 'lacking': lacking}
    monkeypatch.setattr(module, 'SCRIPTS', found)
    monkeypatch.setattr(module, 'FOLDER', folder)

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['run_all', *map(str, arguments)])
        code = module.main()
        path = tmp_path / 'out' / 'logs' / 'run_all.json'
        return code, json.loads(path.read_text())['runs'] if path.exists() else {}

    return run


def test_quick_runs_everything_and_tells(run_all, tmp_path, capsys):
    out = tmp_path / 'out'
    code, states = run_all('--quick', '--output', out)
    assert code == 1
    found = {key.split()[0]: row['state'] for key, row in states.items()}
    assert found == {
        'good': 'passed',
        'after': 'passed',
        'bad': 'failed',
        'lacking': 'skipped',
    }
    printed = capsys.readouterr().out
    assert "skipped: 'nothing_of_this_name' is not installed" in printed
    assert (
        'failed (exit code 3)' in printed and '2 passed, 1 failed, 1 skipped' in printed
    )
    assert printed.index('good') < printed.index('after')  # What it reads comes first.
    assert 'what went wrong' in (out / 'logs' / 'bad.log').read_text()
    code, _ = run_all('--quick', '--only', 'good', 'after')
    assert code == 0  # In a temporary folder.


def test_full_goes_on(run_all, tmp_path, capsys):
    out = tmp_path / 'out'
    code, states = run_all('--full', '--output', out)
    assert code == 1 and states['lacking --output {output}']['state'] == 'skipped'
    assert 'no state dict of ResNet-20 (--weights)' in capsys.readouterr().out
    good = states['good --output {output}']
    (tmp_path / 'benchmarks' / 'bad.py').write_text('')
    code, states = run_all('--full', '--output', out)
    printed = capsys.readouterr().out
    assert code == 0 and 'passed before' in printed
    assert states['good --output {output}'] == good  # And its seconds are kept.
    assert (out / 'count').read_text() == 'x'
    assert f'{good["seconds"]:.1f}' in printed
    assert states['bad --output {output}']['state'] == 'passed'


def test_interrupted_runs_are_not_passed(run_all, tmp_path, monkeypatch, benchmark):
    module, out = benchmark('run_all'), tmp_path / 'out'

    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, 'run', interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_all('--full', '--output', out, '--only', 'good')
    states = json.loads((out / 'logs' / 'run_all.json').read_text())['runs']
    assert [row['state'] for row in states.values()] == ['running']
    code, states = run_all('--full', '--output', out, '--only', 'good')
    assert code == 0 and [row['state'] for row in states.values()] == ['passed']


def test_where_results_go(run_all, capsys):
    with pytest.raises(SystemExit):
        run_all('--quick', '--output', FOLDER / 'results')
    assert (
        "another folder than that of the results with '--quick'"
        in capsys.readouterr().err
    )
    with pytest.raises(SystemExit):
        run_all('--full')
    assert "'--output' to be given with '--full'" in capsys.readouterr().err


def test_needs(benchmark, tmp_path):
    module = benchmark('run_all')
    arguments = Namespace(weights=None, root=tmp_path, scratch=Path(tmp_path))
    assert module.missing('package json', arguments) is None
    assert 'state dict' in module.missing('weights', arguments)
    assert "no 'cora' in the folder" in module.missing('dataset cora', arguments)
    for folder, name in [('Cora', 'cora'), ('ogbg_molhiv', 'ogbg-molhiv')]:
        (tmp_path / folder).mkdir()
        assert module.missing(f'dataset {name}', arguments) is None
    assert module.missing('GB 0.001', arguments) is None
    assert 'are free' in module.missing('GB 1e6', arguments)
    assert 'on disk' in module.missing('files GB 1e9', arguments)


def test_arguments_of_every_script(benchmark, tmp_path):
    """Each takes its arguments, as far as parsing goes: options are those it defines."""
    module, scripts = benchmark('run_all'), benchmark('scripts').SCRIPTS
    shared = (FOLDER / 'records.py').read_text() + (FOLDER / 'gcn_speed.py').read_text()
    for quick in (True, False):
        arguments = Namespace(
            quick=quick,
            root=None,
            weights=tmp_path / 'w.th',
            output=tmp_path,
            scratch=tmp_path,
        )
        for name, script in scripts.items():
            code = (FOLDER / f'{name}.py').read_text() + shared
            for _, words, _ in module.runs_of(name, script, arguments):
                for word in words:
                    option = word.replace('--no-', '--')
                    assert not word.startswith('--') or f"'{option}'" in code, (
                        name,
                        word,
                    )
                assert '{' not in ' '.join(words)
