import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.launching import free_port
from tests.notebooks import FOLDER, NAMES, execute, outputs, read

ROOT = Path(__file__).parents[1]


@pytest.fixture
def python_path(monkeypatch):
    """Lets other processes import the library that is being tested."""
    paths = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    monkeypatch.setenv('PYTHONPATH', paths)


def test_readme_names_the_commands_and_its_files():
    text = (ROOT / 'README.md').read_text()
    assert 'pip install -c constraints.txt -e .\nspikegraph run\n' in text
    assert "pip install -c constraints.txt -e '.[test]'\npytest\n" in text
    for link in re.findall(r'\]\(([^)#]+)\)', text):
        assert link.startswith('https://') or (ROOT / link).exists(), link
    picture = ROOT / re.search(r'!\[.*\]\((.*)\)', text)[1]
    assert picture.stat().st_size < 200_000


def run_example(folder, name, *options, launcher=()):
    result = subprocess.run(
        [sys.executable, *launcher, str(ROOT / 'examples' / name), *options],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    ann, snn = re.search(r'ANN (.*) %, SNN (.*) %', result.stdout).groups()
    return float(ann), float(snn), result.stdout


def test_convert_gcn(python_path, tmp_path):
    options = ['--epochs', '40', '--num-steps', '8']
    ann, snn, out = run_example(tmp_path, 'convert_gcn.py', *options)
    assert ann > 90 and abs(ann - snn) < 2
    assert 'the loaded network agrees: True' in out
    spikes, steps = re.search(r'([\d,]+) spikes in (\d+) time', out).groups()
    assert int(steps) == 3 * 8 and 0 < int(spikes.replace(',', '')) < 2 * 1797 * 64


def test_convert_cnn(python_path, tmp_path):
    options = ['--epochs', '10', '--num-steps', '12']
    ann, snn, out = run_example(tmp_path, 'convert_cnn.py', *options)
    assert ann > 95 and abs(ann - snn) < 3
    assert 'the loaded network agrees: True' in out
    found = re.search(
        r'([\d,]+) spikes of 8 images in (\d+) time steps; (\d+) spike times differ',
        out,
    )
    spikes, steps, num_other = (int(text.replace(',', '')) for text in found.groups())
    # The input, three convolutions and the output have a window each, at least.
    assert steps % 12 == 0 and steps >= 5 * 12
    assert num_other <= spikes / 1000
    assert 'energy, nJ per' in out


def test_distributed_inference(python_path, tmp_path):
    launcher = ['-m', 'torch.distributed.run', '--nproc-per-node', '2']
    launcher += ['--master-port', str(free_port())]
    options = ['--epochs', '40', '--num-steps', '12']
    name = 'distributed_inference.py'
    ann, snn, out = run_example(tmp_path, name, *options, launcher=launcher)
    assert ann > 90 and abs(ann - snn) < 2
    assert 'the outputs are those of one process: True' in out
    found = re.findall(r'process (\d): (.*) nodes, (.*) B sent', out)
    assert sorted(rank for rank, _, _ in found) == ['0', '1']
    assert sum(int(nodes) for _, nodes, _ in found) == 1797
    assert all(int(sent.replace(',', '')) > 0 for _, _, sent in found)
    assert len(re.findall(r'B/row.*\n.* 32\.0 +8\.0 x', out)) == 1


@pytest.mark.parametrize('name', ['mnist', 'ogbg-molhiv'])
def test_distributed_inference_refuses_other_data(name, monkeypatch, capsys):
    path = str(ROOT / 'examples' / 'distributed_inference.py')
    monkeypatch.setattr(sys, 'argv', [path, '--dataset', name])
    with pytest.raises(SystemExit):
        runpy.run_path(path)
    assert f"invalid choice: '{name}' (choose from" in capsys.readouterr().err


def check_outputs(notebook):
    """A cell that ends in an expression shows it; nothing is a warning or an error."""
    found = outputs(notebook)
    assert not [o for o in found if o.output_type == 'error']
    assert not [o.text for o in found if o.get('name') == 'stderr']
    assert all(c.execution_count for c in notebook.cells if c.cell_type == 'code')
    text = json.dumps([[o.get('text', ''), *o.get('data', {}).items()] for o in found])
    for data in (o.get('data', {}) for o in found):
        text = text.replace(json.dumps(data.get('image/png')), '')
    assert not re.search(r'/(home|root|tmp|work|usr|Users)/| at 0x|it/s\b', text)
    return found


@pytest.mark.parametrize('name', NAMES)
def test_notebooks_are_short_and_carry_outputs(name):
    notebook = read(name)
    found = check_outputs(notebook)
    assert len(notebook.cells) <= 25 and not notebook.metadata.get('widgets')
    assert sum(len(cell.source.splitlines()) for cell in notebook.cells) <= 230
    first, second = notebook.cells[:2]
    assert first.source.startswith('# ')
    shown = [kind for output in second.outputs for kind in output.get('data', {})]
    assert 'image/png' in shown or re.search(r'!\[.*\]\(.*\)', first.source)
    assert 'assert ' in ''.join(cell.source for cell in notebook.cells)
    assert any('image/png' in output.get('data', {}) for output in found)
    path = FOLDER / f'{name}.ipynb'
    assert path.stat().st_size < 600_000
    for cell in notebook.cells:
        assert not re.search(r'/(home|root|tmp|work|usr)/', cell.source)
        for link in re.findall(
            r'\]\(([^)#]+)\)', cell.source * cell.cell_type.count('m')
        ):
            assert link.startswith('https://') or (FOLDER / link).exists(), link


def test_all_notebooks_are_listed():
    assert sorted(path.stem for path in FOLDER.glob('*.ipynb')) == sorted(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_notebooks_run(name):
    """Their assertions hold, and they show as much as the committed ones."""
    kinds = [
        [sorted(output.get('data', {})) for output in check_outputs(notebook)]
        for notebook in (execute(name), read(name))
    ]
    assert kinds[0] == kinds[1]
