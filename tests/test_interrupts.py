"""Ctrl-C leaves no half files, no traces, and everything as it was."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from spikegraph import convert, files, load, save
from spikegraph.conversion import converter
from tests.cli.test_outputs import start

TIMEOUT = 240


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3))


def state():
    return (
        *(torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()),
        *(torch.is_inference_mode_enabled(), torch.is_autocast_enabled('cpu')),
        *(
            torch.are_deterministic_algorithms_enabled(),
            torch.zeros,
            nn.Module.__call__,
        ),
    )


@pytest.mark.parametrize('place', ['trace', 'calibrate', 'verify'])
def test_an_interrupted_conversion(place, monkeypatch):
    """The model trains on, and the next conversion gives what one alone gives."""
    model, x = small().train(), torch.rand(30, 4)
    before, known = state(), {k: v.clone() for k, v in model.state_dict().items()}
    expected = convert(model, x)(x)
    calls = []

    def interrupts(frame, event, argument):
        """At some line deep inside, as Python raises what a signal asks for."""
        name = frame.f_code.co_filename
        if event == 'call' and 'spikegraph/conversion' in name:
            calls.append(name)
            if len(calls) == {'trace': 40, 'calibrate': 400, 'verify': 700}[place]:
                raise KeyboardInterrupt
        return None

    sys.setprofile(interrupts)
    try:
        with pytest.raises(KeyboardInterrupt):
            for _ in range(20):
                convert(model, x)
    finally:
        sys.setprofile(None)
    assert state() == before
    assert model.training and all(part.training for part in model.modules())
    assert all(torch.equal(v, known[k]) for k, v in model.state_dict().items())
    assert torch.equal(convert(model, x)(x), expected)
    assert converter.__name__ == 'spikegraph.conversion.converter'


@pytest.mark.parametrize('exists', [True, False])
@pytest.mark.parametrize('step', ['fsync', 'replace'])
def test_an_interrupted_save(step, exists, tmp_path, monkeypatch):
    path, x = tmp_path / 'network', torch.rand(30, 4)
    snn = convert(small(), x)
    if exists:
        save(snn, path)
    before = path.read_bytes() if exists else None

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files.os, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            save(convert(nn.Sequential(small(), nn.Flatten()), x), path)
    assert [each.name for each in tmp_path.iterdir()] == (['network'] if exists else [])
    if exists:
        assert path.read_bytes() == before
        assert torch.equal(load(path)(x), snn(x))


@pytest.mark.slow
@pytest.mark.parametrize('seconds', [4, 9])
def test_an_interrupted_run(seconds, tmp_path):
    """Exit code 130; files are whole or not there, and none is left aside."""
    temporary = tmp_path / 'temporary'
    temporary.mkdir()
    folder, file = tmp_path / 'out', tmp_path / 'result.json'
    options = ['--output', str(folder), '--json', str(file), '--root', str(temporary)]
    os.environ['TMPDIR'] = str(temporary)
    try:
        process = start('run', 'digits', '--seeds', '500', *options, text=True)
    finally:
        del os.environ['TMPDIR']
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=TIMEOUT)[1]
    assert process.returncode == 130 and 'Traceback' not in err, err
    # PyG writes its layers there as code, and takes that away at its exit if it can.
    left = [each.name for each in temporary.iterdir()]
    ours = [n for n in left if not n.startswith(('torch_geometric', '__pycache__'))]
    assert ours == []
    found = {each.name for each in folder.iterdir()} if folder.exists() else set()
    pictures = {'raster.png', 'spike_times.png', 'coding_error.png'}
    assert found in (set(), {'result.json', 'ann.pt', 'snn.safetensors', *pictures})
    assert file.exists() == (found != set())


def test_a_process_that_saves_is_interrupted(tmp_path):
    """At any time: what lies there is a whole file, of before or of after."""
    code = (
        'import sys, torch\nfrom torch import nn\nfrom spikegraph import convert, save\n'
        'x = torch.rand(30, 4)\n'
        'model = nn.Sequential(nn.Linear(4, 800), nn.ReLU(), nn.Linear(800, 3))\n'
        'snn = convert(model, x)\nprint("ready", flush=True)\n'
        'try:\n    while True:\n        save(snn, sys.argv[1])\n'
        'except KeyboardInterrupt:\n    sys.exit(130)\n'
    )
    paths = [str(Path(__file__).parents[1]), os.environ.get('PYTHONPATH', '')]
    command = [sys.executable, '-W', 'ignore', '-c', code, str(tmp_path / 'network')]
    options = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(paths)}

    def listen():
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(command, env=env, preexec_fn=listen, **options) as process:
        assert process.stdout.readline() == 'ready\n'
        while not (tmp_path / 'network').exists():
            time.sleep(0.01)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130, err
    assert [each.name for each in tmp_path.iterdir()] == ['network']
    load(tmp_path / 'network')
