"""What becomes of results where output fails, or the user stops the program."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from spikegraph import files
from spikegraph.cli import main
from spikegraph.zoo.experiment import run_experiment, run_sweep, runs
from spikegraph.zoo.models import RECIPES

ROOT = Path(__file__).parents[2]
QUICK = ['run', 'digits', '--num-steps', '4', '--compensate', 'none']


@pytest.fixture(autouse=True)
def quick_recipe(monkeypatch):
    quick = replace(RECIPES['digits'], epochs=10, hidden_channels=8)
    monkeypatch.setitem(RECIPES, 'digits', quick)


def stop_after(monkeypatch, number, error):
    """The next network that is trained after so many raises an error."""
    train, trained = runs.train, []

    def count(*args):
        if len(trained) == number:
            raise error
        trained.append(1)
        return train(*args)

    monkeypatch.setattr(runs, 'train', count)


def start(*args, **kwargs):
    paths = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    env = {**os.environ, 'PYTHONPATH': paths, 'OMP_WAIT_POLICY': 'PASSIVE'}
    command = [sys.executable, '-m', 'spikegraph', *args]

    def listen() -> None:  # Jobs in the background inherit that it is ignored.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.Popen(
        command, env=env, stderr=subprocess.PIPE, preexec_fn=listen, **kwargs
    )


def test_interrupt_keeps_finished_seeds(monkeypatch, tmp_path, capsys):
    stop_after(monkeypatch, 2, KeyboardInterrupt())
    args = [*QUICK, '--seeds', '5', '--json', str(tmp_path / 'a.json')]
    assert main([*args, '--output', str(tmp_path / 'out')]) == 130
    out, err = capsys.readouterr()
    line = 'interrupted: the report is on 2 of 5 seeds'
    assert err == f'spikegraph: {line}\n'
    assert '8 hidden features; 2 seeds\n' in out
    for path in (tmp_path / 'a.json', tmp_path / 'out' / 'result.json'):
        result = json.loads(path.read_text())
        assert result['seeds'] == [0, 1] and result['stopped'] == line
    assert (tmp_path / 'out' / 'snn.safetensors').exists()


def test_interrupt_before_the_first_seed(monkeypatch, tmp_path, capsys):
    stop_after(monkeypatch, 0, KeyboardInterrupt())
    assert main([*QUICK, '--json', str(tmp_path / 'a.json')]) == 130
    assert capsys.readouterr() == ('', 'spikegraph: interrupted\n')
    assert list(tmp_path.iterdir()) == []


def test_error_keeps_finished_seeds(monkeypatch, capsys):
    stop_after(monkeypatch, 1, ValueError('no more'))
    assert main([*QUICK, '--seeds', '2']) == 2
    out, err = capsys.readouterr()
    assert '1 seed\n' in out
    assert err.splitlines() == [
        'spikegraph: stopped: the report is on 1 of 2 seeds',
        'spikegraph: error: no more',
    ]


@pytest.mark.parametrize(
    'error', [MemoryError(), RuntimeError("can't allocate memory: you tried to")]
)
def test_memory_that_does_not_suffice(monkeypatch, capsys, error):
    stop_after(monkeypatch, 0, error)
    assert main(QUICK) == 2
    err = capsys.readouterr().err
    assert "memory of this machine does not suffice; choose fewer '--hidden'" in err
    stop_after(monkeypatch, 0, RuntimeError('a bug'))
    with pytest.raises(RuntimeError, match='a bug'):  # Of ours, with its traceback.
        main(QUICK)


def test_progress_is_told(monkeypatch):
    seen = []
    options = dict(progress=False, on_progress=seen.append)
    result = run_experiment('digits', seeds=2, **options)
    assert [len(one.runs) for one in seen] == [1, 2] and seen[-1] == result
    seen.clear()
    sweep = run_sweep('digits', [4, 5], [2.0], **options)
    assert [len(one.rows) for one in seen] == [1, 2] and seen[-1] == sweep


def test_interrupted_sweep(monkeypatch, capsys):
    convert, converted = runs.run_conversion, []

    def count(*args, **kwargs):
        if len(converted) == 1:
            raise KeyboardInterrupt
        converted.append(1)
        return convert(*args, **kwargs)

    monkeypatch.setattr(runs, 'run_conversion', count)
    args = ['sweep', 'digits', '--num-steps', '4', '8', '--base', '2', '--json', '-']
    assert main(args) == 130
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert [row['num_steps'] for row in result['rows']] == [4]
    assert err.endswith('interrupted: the report is on 1 of 2 conversions\n')


@pytest.mark.parametrize('seconds', [0.4, 2])
def test_interrupt_at_any_time(seconds, tmp_path):
    args = ['run', 'digits', '--seeds', '500']
    process = start(*args, stdout=subprocess.DEVNULL, text=True)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=120)[1]
    assert process.returncode == 130
    assert re.fullmatch(r'spikegraph: interrupted(: the report .*)?\n', err)


def test_full_disk(monkeypatch, tmp_path, capsys):
    """The result is printed, as nothing else holds it."""
    monkeypatch.setattr(
        files.Replacement, 'add', lambda self, path, content: full_at(path)
    )
    target, folder = tmp_path / 'a.json', tmp_path / 'out'
    assert main([*QUICK, '--json', str(target), '--output', str(folder)]) == 2
    out, err = capsys.readouterr()
    assert err.count('\n') == 1 and 'Errno' not in err
    assert f"No space left on device: '{folder / 'result.json'}', '{target}', " in err
    assert err.endswith('; free some space on that disk, or choose another\n')
    report, text, end = re.split(r'^(?=\{)|(?<=^\})', out, flags=re.MULTILINE)
    assert 'ANN accuracy' in report and f'wrote nothing to {folder}' in end
    assert json.loads(text)['seeds'] == [0]
    assert not target.exists() and list(folder.iterdir()) == []


def full_at(path):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


@pytest.mark.parametrize(
    'args, match',
    [
        ('--json {tmp}', r"'--json' to be a file \(got the folder .*name a file in it"),
        ('--json {tmp}/file/a', r"to be in a folder .*'{tmp}/file' is a file\)"),
        ('--json {tmp}/no/a', r"folder of '--json' to exist .*create '{tmp}/no'"),
        ('--json {tmp}/' + 'x' * 300, r'File name too long\); name another place'),
        ('--output {tmp}/file', r"'--output' to be a folder \(got the file"),
        ('--output {tmp}/file/a', r'can be made .*Not a directory\); name another'),
        ('--output {tmp}/taken', r'result.json.* a folder'),
        ('--seeds 1' + 23 * '0', r"'seeds' to be at most 10,000, because .*10 \*\* 23"),
        ('--hidden 1000000000', r"'hidden' to be at most 65,536, because .*1000000000"),
        ('--layers 100000', r"'layers' to be at most 256, because .*\(got 100000\)"),
        ('--hidden 60000 --layers 200', r'fits into the .* GB .*60,000 .* 200 layers'),
        ('--per image', r"'per' to be 'node' or 'graph' for 'digits' \(got 'image'\)"),
        ('--mirror', r"False for 'digits', whose inputs are no images"),
    ],
)
def test_refused_before_the_training(args, match, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runs, 'train', lambda *args: pytest.fail('trained'))
    (tmp_path / 'file').touch()
    (tmp_path / 'taken' / 'result.json').mkdir(parents=True)
    assert main([*QUICK, *args.format(tmp=tmp_path).split()]) == 2
    out, err = capsys.readouterr()
    assert out == '' and err.count('\n') == 1
    assert re.search(match.replace('{tmp}', str(tmp_path)), err)


@pytest.mark.parametrize('option', ['--json', '--output'])
def test_unwritable_place(option, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runs, 'train', lambda *args: pytest.fail('trained'))

    def read_only(*args):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(files.os, 'open', read_only)
    assert main([*QUICK, option, str(tmp_path / 'a')]) == 2
    match = rf"'{option}' to be where .*Read-only file system\); name another place"
    assert re.search(match, capsys.readouterr().err)


@pytest.mark.parametrize(
    'args, match',
    [
        (
            'run digits --seed 2',
            "--seed 2 (did you mean '--seeds'?); see 'spikegraph run",
        ),
        ('sweep digits --num-step 2', "(did you mean '--num-steps'?)"),
        ('datasets --json -', "arguments: --json -; see 'spikegraph datasets --help'"),
        ('run --outptu=x', "(did you mean '--output'?)"),
        ('run --json=', "Expected a name (got '')"),
        ('run --output=', "Expected a name (got '')"),
        ('run --root=', "Expected a name (got '')"),
    ],
)
def test_usage(args, match, capsys):
    with pytest.raises(SystemExit) as error:
        main(args.split())
    assert error.value.code == 2
    err = capsys.readouterr().err
    assert match in err and err.count('\n') == 1


def test_streams_are_written_in_place(tmp_path):
    assert main([*QUICK, '--json', os.devnull]) == 0
    assert Path(os.devnull).is_char_device()


def run_shell(redirection, *args):
    words = ' '.join([sys.executable, '-m', 'spikegraph', *args])
    paths = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    return subprocess.run(
        ['bash', '-c', f'set -o pipefail; {words} {redirection}'],
        env={**os.environ, 'PYTHONPATH': paths, 'OMP_WAIT_POLICY': 'PASSIVE'},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize('redirection', ['| head -1', '>&-', '<&- >&- 2>&-'])
def test_closed_streams(redirection, tmp_path):
    file = tmp_path / 'a.json'
    result = run_shell(redirection, *QUICK, '--json', str(file))
    assert (result.returncode, result.stderr) == (0, '')
    assert json.loads(file.read_text())['seeds'] == [0]


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='there is no full device')
@pytest.mark.parametrize(
    'args, redirection, match',
    [
        (
            ['datasets'],
            '> /dev/full',
            r"No space left on device: 'standard output'; free",
        ),
        (['datasets'], '| head -0', ''),
        (['datasets'], '>&-', ''),
        ([*QUICK, '--json', '-'], '>&-', r"to be open with '--json -' .*name a file"),
        ([*QUICK, '--json', '/dev/full'], '', r"device: '/dev/full'; free some space"),
    ],
)
def test_standard_output_that_takes_nothing(args, redirection, match):
    result = run_shell(redirection, *args)
    assert 'Traceback' not in result.stderr and re.search(match, result.stderr)
    assert result.stderr.count('\n') == result.returncode // 2 == (match != '')


def test_interrupt_of_an_import():
    """An exception would be taken for a missing module."""
    code = (
        'import os, signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n'
        'from spikegraph.cli.program import _leaving_at_once\n'
        'with _leaving_at_once():\n    try:\n'
        '        os.kill(os.getpid(), signal.SIGINT)\n'
        '    except BaseException:\n        print("swallowed")\n'
    )
    command = [sys.executable, '-c', code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (130, '')
    assert result.stderr == 'spikegraph: interrupted\n'
    code = code.replace('    try', '    pass\nif True:\n    try')  # And not afterwards.
    result = subprocess.run(
        [*command[:2], code], cwd=ROOT, capture_output=True, text=True
    )
    assert (result.returncode, result.stdout) == (0, 'swallowed\n')


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full')
@pytest.mark.parametrize('args', [['--help'], ['--version'], ['run', '--help']])
def test_help_that_cannot_be_printed(args):
    env = {k: v for k, v in os.environ.items() if k != 'PYTHONUNBUFFERED'}
    with open('/dev/full', 'w') as full:
        command = [sys.executable, '-m', 'spikegraph', *args]
        options = dict(stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
        found = subprocess.run(command, cwd=ROOT, env=env, **options)
    assert found.returncode == 2 and 'No space left on device' in found.stderr
