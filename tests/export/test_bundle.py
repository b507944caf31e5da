"""Bundles: integer networks in folders, and their replay."""

import ast
import hashlib
import json
import random
import subprocess
import sys

import jsonschema
import numpy as np
import pytest
import torch
from torch import nn

import spikegraph
from spikegraph import ConversionConfig, convert
from spikegraph.export.bundle import write_bundle
from spikegraph.running.integers import replay
from tests.running.integers.cases import NAMES, case


def written(name, folder, **options):
    model, inputs = case(name)
    snn = convert(model, inputs, ConversionConfig(weight_bits=8))
    integer = snn.to_integer(*inputs, **options)
    return integer, inputs, write_bundle(integer, folder, *inputs)


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp('bundles') / 'gat'
    written('gat', folder)
    return folder


def copied(bundle, folder):
    for path in bundle.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def replayed(folder):
    """As a user would, without this package and anything but NumPy."""
    blocker = (
        'import sys, runpy\n'
        'for name in ("torch", "spikegraph", "torch_geometric", "scipy"):\n'
        '    sys.modules[name] = None\n'
        'sys.argv = sys.argv[1:]\n'
        'runpy.run_path(sys.argv[0], run_name="__main__")\n'
    )
    command = [sys.executable, '-I', '-c', blocker, str(folder / 'replay.py')]
    return subprocess.run(command, capture_output=True, text=True, cwd='/')


@pytest.mark.parametrize('name', NAMES)
def test_replays_bit_by_bit(name, tmp_path):
    folder = tmp_path / 'bundle'
    integer, inputs, summary = written(name, folder)
    network = replay.load(folder)
    schema = json.loads((folder / 'schema.json').read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads((folder / 'network.json').read_text()), schema)
    assert replay.main(folder) == 0
    run = integer.run(*inputs)
    spikes = network['golden']['spike times']
    for key, times in run.spike_time.items():
        assert np.array_equal(spikes[key], times.numpy())
    for key, membrane in run.integers.items():
        assert np.array_equal(network['golden']['potentials'][key], membrane)
    assert summary == network['summary']
    assert summary['neurons'] == sum(t.numel() for t in run.spike_time.values())
    assert summary['cycles_per_inference'] == run.num_steps
    assert network['full_membranes'] == 0
    assert network['outputs']
    for each in network['outputs']:
        assert each['membrane'] in run.integers


def test_outputs_are_those_of_the_network(tmp_path):
    integer, inputs, _ = written('gcn', tmp_path / 'bundle')
    network = replay.load(tmp_path / 'bundle')
    (last,) = network['outputs']
    membrane = network['golden']['potentials'][last['membrane']].astype(float)
    found = np.ldexp(membrane, -np.asarray(last['binary_places']))
    assert np.array_equal(found, integer(*inputs).numpy())


def test_replay_needs_numpy_alone(bundle):
    done = replayed(bundle)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith('the same, bit by bit\n')
    text = (bundle / 'replay.py').read_text()
    names = {
        alias.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    assert names == {'hashlib', 'json', 'sys', 'Path', 'numpy'}
    assert len(text.splitlines()) <= 200


def test_arrays_are_narrow_integers(bundle):
    operations = json.loads((bundle / 'network.json').read_text())['operations']
    with np.load(bundle / 'arrays.npz') as arrays:
        for array in arrays.values():
            assert array.dtype.kind in 'iu'
        weights = [
            arrays[step['weight']['array']]
            for op in operations
            for source in op.get('sources', ())
            for step in source['path']
            if 'weight' in step
        ]
    assert weights and all(w.dtype == np.int8 for w in weights)


def test_sizes_by_hand(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(5, 4, bias=False), nn.ReLU(), nn.Linear(4, 2)
    ).eval()
    x = torch.rand(3, 5)
    snn = convert(model, x, ConversionConfig(weight_bits=4, num_steps=8))
    found = write_bundle(snn, tmp_path / 'mlp', x, width=16)
    matrices = [m.weight for m in snn.network.modules() if hasattr(m, 'in_channels')]
    assert [tuple(m.shape) for m in matrices] == [(4, 5), (2, 4)]
    assert found['synapses'] == 3 * sum(int((m != 0).sum()) for m in matrices)
    assert found['weight_bytes'] == 20 + 8
    assert found['membranes'] == 3 * 6 and found['membrane_bytes'] == 3 * 6 * 2
    assert found['largest_fan_in'] == max(int((m != 0).sum(1).max()) for m in matrices)
    assert found['largest_fan_out'] == max(int((m != 0).sum(0).max()) for m in matrices)
    assert found['longest_delay'] == 0 and found['cycles_per_inference'] == 24


def test_fans_of_graphs_and_images(tmp_path):
    model, (x, edge_index) = case('gcn')
    _, _, found = written('gcn', tmp_path / 'gcn')
    loops = torch.arange(len(x)).repeat(2, 1)
    keep = edge_index[0] != edge_index[1]
    edges = torch.cat([edge_index[:, keep], loops], dim=1)
    ins, outs = (int(torch.bincount(edges[i]).max()) for i in (1, 0))
    assert 0.9 * ins * 16 < found['largest_fan_in'] <= ins * 16
    assert 0.9 * outs * 16 < found['largest_fan_out'] <= outs * 16
    most = edges.size(1) * (12 * 16 + 16 * 4)
    assert 0.9 * most <= found['synapses'] <= most
    _, _, images = written('images', tmp_path / 'images')
    assert images['largest_fan_in'] <= 6 * 16  # Places of the last pool, and channels.
    assert images['longest_delay'] == 0


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 5)
        self.third, self.last = nn.Linear(5, 5), nn.Linear(5, 2)

    def forward(self, x):
        x = self.first(x).relu()
        x = (self.third(self.second(x).relu()) + x).relu()
        return self.last(x)


def test_what_skips_a_population_waits_for_it(tmp_path):
    torch.manual_seed(0)
    x, config = torch.rand(9, 6), ConversionConfig(weight_bits=8, num_steps=7)
    snn = convert(Residual().eval(), x, config)
    found = write_bundle(snn, tmp_path / 'bundle', x)
    assert found['longest_delay'] == 7 and found['cycles_per_inference'] == 5 * 7


def test_a_package_that_is_a_function(tmp_path):
    model, inputs = case('mlp')
    snn = convert(model, inputs, ConversionConfig(weight_bits=8))
    summary = spikegraph.export(snn, tmp_path / 'new' / 'folder', *inputs)
    assert summary['neurons'] > 0
    assert replayed(tmp_path / 'new' / 'folder').returncode == 0
    from spikegraph.export import save_events

    assert spikegraph.export.save_events is save_events


def test_errors(tmp_path):
    model, inputs = case('gcn')
    snn = convert(model, inputs, ConversionConfig(weight_bits=8))
    (tmp_path / 'file').write_text('x')
    for path in (tmp_path, tmp_path / 'file'):
        with pytest.raises(
            ValueError, match="'directory' to be a new or an empty folder"
        ):
            write_bundle(snn, path, *inputs)
    growing = snn.to_integer(*inputs, membrane='growing')
    with pytest.raises(ValueError, match="hold their values .got 'growing'."):
        write_bundle(growing, tmp_path / 'new', *inputs)
    with pytest.raises(ValueError, match='weight_bits=8'):
        write_bundle(convert(model, inputs), tmp_path / 'new', *inputs)
    assert not (tmp_path / 'new').exists()


def test_mutated_bundles_are_refused(bundle, tmp_path):
    """Bytes that are changed, left out, doubled or added, in any of the files."""
    folder = copied(bundle, tmp_path)
    chance, num_refused = random.Random(0), 0
    files = {path: path.read_bytes() for path in sorted(folder.iterdir())}
    for _ in range(2000):
        path = chance.choice([p for p in files if p.name != 'SHA256SUMS'])
        data = bytearray(files[path])
        place = chance.randrange(len(data))
        kind = chance.randrange(4)
        if kind == 0:
            data[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[place : place + chance.randrange(1, 100)]
        elif kind == 2:
            data[place:place] = b'0123456789'
        else:
            data = data[:place]
        path.write_bytes(data)
        with pytest.raises(ValueError, match=f"'{path.name}' has other bytes"):
            replay.load(folder)
        num_refused += 1
        path.write_bytes(files[path])
    assert num_refused == 2000 and replay.main(folder) == 0


@pytest.mark.parametrize('name', ['network.json', 'arrays.npz', 'SHA256SUMS'])
def test_missing_files(bundle, name, tmp_path):
    folder = copied(bundle, tmp_path)
    (folder / name).unlink()
    done = replayed(folder)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert 'Expected a bundle that is whole' in done.stderr and name in done.stderr


def resealed(folder):
    lines = (folder / 'SHA256SUMS').read_text().splitlines()
    names = [line.split('  ')[1] for line in lines]
    sums = [
        f'{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n' for n in names
    ]
    (folder / 'SHA256SUMS').write_text(''.join(sums))


def test_hand_edited_manifests(bundle, tmp_path):
    """With new check sums: fields that are gone or of another type have clear errors,
    and other numbers give other spikes, which are told.
    """
    folder = copied(bundle, tmp_path)
    manifest = folder / 'network.json'
    plain = json.loads(manifest.read_text())

    def edited(change):
        network = json.loads(json.dumps(plain))
        change(network)
        manifest.write_text(json.dumps(network))
        resealed(folder)
        return replayed(folder)

    for field in ('version', 'operations', 'golden', 'events', 'inputs', 'format'):
        done = edited(lambda n, f=field: n.pop(f))
        assert done.returncode == 1 and 'Traceback' not in done.stderr, field
        assert 'Expected a bundle that is whole' in done.stderr
    done = edited(lambda n: n.update(version=2))
    assert 'version 1 is known, this is 2' in done.stderr
    charge = next(k for k, op in enumerate(plain['operations']) if op['op'] == 'charge')

    def louder(network):
        network['operations'][charge]['sources'][0]['levels'][0] += 8

    done = edited(louder)
    assert done.returncode == 1 and 'values differ' in done.stdout
    assert edited(lambda n: None).returncode == 0


def test_an_empty_batch(tmp_path):
    model, (x, edge_index) = case('gcn')
    snn = convert(model, (x, edge_index), ConversionConfig(weight_bits=8))
    integer = snn.to_integer(x, edge_index)
    found = write_bundle(integer, tmp_path / 'new', x[:0], edge_index[:, :0])
    assert found['neurons'] == found['synapses'] == 0
    assert replay.main(tmp_path / 'new') == 0
