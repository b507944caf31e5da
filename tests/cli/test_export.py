"""``spikegraph export``."""

import json
import subprocess
import sys

import pytest
import torch

import spikegraph
from spikegraph import ConversionConfig, convert
from spikegraph.cli import main
from spikegraph.zoo.datasets import load_dataset, load_images
from spikegraph.zoo.training import build, prepare


def saved(path, model=None, **options):
    dataset, recipe = prepare('digits', None, None, 1, None, model)
    torch.manual_seed(0)
    network = build(dataset, recipe).eval()
    data = dataset.data if model is None else dataset.normalize(dataset.train_x[:100])
    config = ConversionConfig(num_steps=8, **options)
    spikegraph.save(convert(network, data, config), path)
    return path


@pytest.mark.parametrize('model', [None, 'cnn'])
def test_a_bundle(model, tmp_path, capsys):
    path = saved(tmp_path / 'snn.safetensors', model, weight_bits=8)
    folder = tmp_path / 'bundle'
    arguments = [
        'export',
        str(path),
        'digits',
        '--output',
        str(folder),
        '--width',
        '16',
    ]
    assert main([*arguments, '--samples', '3', '--json', '-']) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    summary = result['summary']
    assert result['format'] == 'bundle' and summary['cycles_per_inference'] % 8 == 0
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert result['output_bytes'] == size
    assert f'to {folder}' in err and f'python {folder / "replay.py"}' in err
    network = json.loads((folder / 'network.json').read_text())
    assert network['width'] == 16
    assert network['inputs'][0]['shape'][0] == (1797 if model is None else 3)
    command = [sys.executable, str(folder / 'replay.py')]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_program(tmp_path, capsys):
    path = saved(tmp_path / 'snn.safetensors')
    file = tmp_path / 'snn.pt2'
    arguments = ['export', str(path), 'digits', '--format', 'torch']
    assert main([*arguments, '--output', str(file)]) == 0
    assert 'kB to' in capsys.readouterr().out
    data = load_dataset('digits').data
    program = torch.export.load(file).module()
    expected = spikegraph.load(path)(data.x, data.edge_index)
    found = program(data.x, data.edge_index)
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-4


def test_nir(tmp_path, capsys):
    nir = pytest.importorskip('nir')
    path = saved(tmp_path / 'snn.safetensors', 'cnn')
    file = tmp_path / 'snn.nir'
    arguments = ['export', str(path), 'digits', '--format', 'nir']
    assert main([*arguments, '--output', str(file)]) == 0
    spikegraph.export.register_nodes()
    assert f'{"nodes":<24}{len(nir.read(file).nodes):>18}' in capsys.readouterr().out
    assert load_images('digits').test_x.shape[0] > 0


@pytest.mark.parametrize(
    'more, match',
    [
        (['--samples', '0'], "'--samples' to be at least 1 (got 0)"),
        ([], 'ConversionConfig(weight_bits=8)'),
    ],
)
def test_errors(more, match, tmp_path, capsys):
    path = saved(tmp_path / 'snn.safetensors')
    arguments = ['export', str(path), 'digits', '--output', str(tmp_path / 'new')]
    assert main([*arguments, *more]) == 2
    assert match in capsys.readouterr().err
    assert not (tmp_path / 'new').exists()


def test_bits_of_weights(capsys):
    arguments = ['run', 'digits', '--weight-bits', '4', '--json', '-']
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert result['config']['weight_bits'] == 4
    assert main(['run', 'digits', '--weight-bits', '1']) == 2
    assert "'weight_bits' to be None or an integer from 2 to 16 (got 1)" in (
        capsys.readouterr().err
    )
