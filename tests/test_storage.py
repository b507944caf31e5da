import contextlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch_geometric.nn.models import GCN

from spikegraph import ConversionConfig, convert, load, save
from spikegraph.zoo.models.molecule import MoleculeGNN
from spikegraph.zoo.models.resnet import ResNet20
from tests.conversion.random_networks import draw
from tests.conversion.test_hetero import Hetero, hetero_data
from tests.conversion.zoo import MODELS, SharedReLU, TakesData, make, randomize
from tests.meetings import NAMES, network
from tests.mutations import read, written


@pytest.fixture
def saved(graph, tmp_path):
    snn = convert(make('JK cat'), graph)
    save(snn, tmp_path / 'model.safetensors')
    return tmp_path / 'model.safetensors'


@pytest.mark.parametrize('name', MODELS)
@pytest.mark.parametrize(
    'kwargs',
    [{}, dict(levels='fitted', per_channel=True), dict(fold_degree=True, scale='max')],
    ids=str,
)
def test_round_trip(name, kwargs, graph, tmp_path):
    config = ConversionConfig(num_steps=9, **kwargs)
    snn = convert(make(name), graph, config)
    path = tmp_path / 'model.safetensors'
    save(snn, path)
    other = make(name, seed=1)  # Other weights, other sign of life.
    before = {k: v.clone() for k, v in other.state_dict().items()}
    loaded = load(path, other)  # Its class is known already; it changes nothing.
    assert torch.equal(load(path)(graph), snn(graph))
    assert torch.equal(loaded(graph), snn(graph))
    assert loaded.report == snn.report and loaded.config == snn.config
    after = other.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    expected = snn.state_dict()
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, expected[key]) or (value != value).any()


def test_bias_that_compensation_added_and_percentile(graph, tmp_path):
    model = randomize(TakesData())
    model.conv2.bias = None
    config = ConversionConfig(num_steps=4, scale=('percentile', 99.5))
    snn = convert(model, graph, config)
    assert snn.network.conv2.bias is not None
    save(snn, tmp_path / 'a')
    loaded = load(tmp_path / 'a')
    assert torch.equal(loaded(graph), snn(graph))
    assert loaded.config.scale == ('percentile', 99.5)


def test_data_type_is_that_of_the_file(saved, graph):
    loaded = load(saved, make('JK cat').float())
    assert loaded(graph).dtype == torch.float64


class Weighed(nn.Module):
    """A single weight, a part of others, has a stride that is not 1."""

    def __init__(self):
        super().__init__()
        self.register_buffer('weight', torch.rand(3, 4)[1:2, 2])
        self.lin = nn.Linear(4, 3)

    def forward(self, x):
        return self.lin(x).relu() * self.weight


def test_strides(tmp_path):
    model, x = Weighed().eval(), torch.rand(5, 4)
    assert model.weight.stride() == (4,)
    snn = convert(model, x)
    save(snn, tmp_path / 'network')
    assert torch.equal(load(tmp_path / 'network')(x), snn(x))


def test_missing_and_truncated(saved, tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        load(tmp_path / 'nowhere')
    whole = saved.read_bytes()
    for size in (0, 4, len(whole) // 2, len(whole) - 1):
        saved.write_bytes(whole[:size])
        with pytest.raises(ValueError, match='may be truncated or of another kind'):
            load(saved)
    saved.write_bytes(b'not a model at all')
    with pytest.raises(ValueError, match='truncated or of another kind'):
        load(saved)


def test_foreign_files(saved, tmp_path):
    path = tmp_path / 'foreign'
    save_file({'a': torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r'safetensors with metadata \[\]'):
        load(path)
    for header, match in [
        ('{"version": 99}', r'format version 4 \(got 99\); install the version'),
        ('{"version": 1}', r'version 4 \(got 1\); convert and save the network again'),
        ('{"version": 3}', r'version 4 \(got 3\); convert and save the network again'),
        ('{"version": true}', r'version 4 \(got True\)'),
        ('{"version": 4}', r'as spikegraph.save wrote it \(got another SHA-256'),
        ('nonsense', 'valid JSON'),
        (json.dumps([1]), 'valid JSON'),
    ]:
        save_file({'a': torch.zeros(2)}, path, metadata={'spikegraph': header})
        with pytest.raises(ValueError, match=match):
            load(path)


def rewrite(path, change, checksum=True):
    """Changes the header, as an editor would, and makes the checksum fit or not."""
    content = path.read_bytes()
    header, tensors = read(content)
    path.write_bytes(written(content, change(header), tensors, checksum=checksum))


def table(*levels):
    tables = {'_levels': [*levels], '_thresholds': [*levels]}
    return {'num_steps': 9, 'base': None, **tables}


@pytest.mark.parametrize(
    'where, value, match',
    [
        ('config', [], r"'header.config' to be an object \(got \[\]\)"),
        ('config.num_steps', '9', r"'header.config.num_steps' to be an integer"),
        ('config.num_steps', 10**30, r"'num_steps' to be at most 126"),
        ('config.base', {}, r"config.base' to be a number or 'auto' \(got \{\}\)"),
        ('config.scale', ['percentile', '9'], r'scale\[1\]. to be a number \(got 9\)'),
        (
            'config.levels',
            'fit',
            r"'geometric' or 'fitted' or an object or null \(got fit\)",
        ),
        ('config.levels', table(1.0, 2.0), r'strictly decreasing \(got 2.0 after 1.0'),
        ('config.levels', table(2.0, 1.0), r"the table 'levels', 2 \(got 16\)"),
        ('config.levels', table(), r"'base' to be a number .*\(got None\)"),
        ('config.levels', table('1'), r'_levels\[0\].* to be a number \(got 1\)'),
        ('config.hidden', 3, r"'header.config' to have no entry 'hidden'"),
        (
            'report.populations.0.name',
            'other',
            r"the populations .*'other'.* of the report",
        ),
        ('report.populations.0.scale', [1], r'scale. to be a list of 2 \(got \[1\]'),
        ('report.populations.0.spikes_per_neuron', None, r'to be a number \(got None'),
        ('report.agreement', 10**400, r"'header.report.agreement' to be a number"),
        ('report.agreement', float('inf'), r'to be a finite number \(got inf\)'),
        ('spec.read', ['y'], r"a call that gives \['edge_index', 'x'\] \(got \[\]\)"),
        (
            'spec.names',
            ['x', 'other'],
            r"an argument of the model \(got 'edge_index'\)",
        ),
        ('spec.leaves', {'x': 3}, r"'header.spec.leaves' to be a list"),
        ('spec.read', 3, r"'header.spec.read' to be a list \(got 3\)"),
    ],
)
def test_edited_header(saved, where, value, match):
    def change(header):
        inside = header
        *path, last = where.split('.')
        for key in path:
            inside = inside[int(key) if key.isdigit() else key]
        inside[last] = value
        return header

    rewrite(saved, change)
    with pytest.raises(ValueError, match=match):
        load(saved)


def test_deeply_nested_header(saved, tmp_path):
    with safe_open(saved, 'pt') as file:
        metadata = file.metadata()
    metadata['spikegraph'] = '[' * 100_000 + ']' * 100_000
    save_file({'a': torch.zeros(2)}, saved, metadata=metadata)
    with pytest.raises(ValueError, match='valid JSON .*RecursionError'):
        load(saved)


def test_checksum(saved):
    """Of every tensor and of the header; one bit is enough."""
    whole = saved.read_bytes()
    size = 8 + int.from_bytes(whole[:8], 'little')
    rng = random.Random(0)
    for place in [
        size,
        len(whole) - 1,
        *(rng.randrange(size, len(whole)) for _ in '123'),
    ]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.randrange(8)
        saved.write_bytes(damaged)
        with pytest.raises(
            ValueError, match='SHA-256.* was edited or damaged; copy it'
        ):
            load(saved)
    saved.write_bytes(whole)
    rewrite(saved, lambda header: {**header, 'config': header['config']})
    load(saved)
    rewrite(saved, lambda h: {**h, 'report': {**h['report'], 'agreement': 99.9}})
    assert load(saved).report.agreement == 99.9
    rewrite(
        saved,
        lambda h: {**h, 'report': {**h['report'], 'agreement': 99.8}},
        checksum=False,
    )
    with pytest.raises(ValueError, match='another SHA-256'):
        load(saved)


def test_save_onto_what_is_no_file(saved, graph, tmp_path):
    snn = load(saved)
    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    for path, match in [
        (pipe, r'got a device, pipe or socket, which stays'),
        (Path(os.devnull), r'got a device, pipe or socket, which stays'),
        (tmp_path, r'got a folder\); name a file in it'),
        (tmp_path / 'nowhere' / 'a', r'No such file or directory'),
        (saved / 'a', r'Not a directory'),
    ]:
        with pytest.raises(OSError, match=match) as error:
            save(snn, path)
        assert str(path) in str(error.value)
    assert pipe.is_fifo() and Path(os.devnull).is_char_device()
    assert sorted(p.name for p in tmp_path.iterdir()) == ['model.safetensors', 'pipe']


def test_tuples_stay_tuples(graph, tmp_path):
    """What a call is compared with."""

    model = TakesFactors()
    snn = convert(model, {'x': graph.x, 'factors': (2, 3)})
    save(snn, tmp_path / 'a')
    loaded = load(tmp_path / 'a')
    assert loaded.spec == snn.spec
    loaded(graph.x, (2, 3))
    with pytest.raises(ValueError, match=r"'factors' to be \(2, 3\).*got \(2, 4\)"):
        loaded(graph.x, (2, 4))


class TakesFactors(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(5, 8).double(), nn.Linear(8, 3).double()

    def forward(self, x, factors):
        return self.lin2(self.lin1(x).relu()) * factors[0] * factors[1]


def test_a_model_of_another_kind_changes_nothing(saved, graph):
    expected = load(saved)(graph)
    for model in (make('GCN'), SharedReLU(), nn.Linear(3, 4)):
        assert torch.equal(load(saved, model)(graph), expected)


@pytest.mark.parametrize(
    'options, match',
    [
        (dict(model=5), r"'model' to be a torch\.nn\.Module or None \(got int\)"),
        (dict(model=GCN), r"'model' to be a .* \(got type\); types and .* 'known="),
        (dict(known=5), r"'known' to be a list of types and functions \(got int in it"),
        (dict(known=['GCN']), r'list of types and functions \(got str in it\)'),
        (dict(known=[nn.Linear(2, 2)]), r'types and functions \(got Linear in it\)'),
        (dict(known=[lambda x: x]), r'<lambda>: .*no name .* at the top of a module'),
    ],
)
def test_what_is_known_is_checked(options, match, saved):
    with pytest.raises(ValueError, match=match):
        load(saved, **options)


def test_save_errors(tmp_path):
    with pytest.raises(ValueError, match=r'a SpikingModel \(got Linear\)'):
        save(nn.Linear(2, 2), tmp_path / 'a')


def test_no_file(tmp_path):
    for path, found in ((tmp_path, 'something else'), (tmp_path / 'a', 'none')):
        match = rf"'{path}' \(found {found}\); 'spikegraph.save' writes one"
        with pytest.raises(FileNotFoundError, match=match):
            load(path)


ALONE = """
import sys
sys.modules['tests'] = None  # Nothing of it can be imported.
import torch
from spikegraph import load
torch.set_num_threads(1)
for number in range(int(sys.argv[2])):
    args, kwargs, expected, times = torch.load(f'{sys.argv[1]}/{number}.pt')
    snn = load(f'{sys.argv[1]}/{number}')
    assert torch.equal(snn(*args, **kwargs), expected), f'outputs of {number}'
    spikes = snn.spikes(*args, **kwargs)
    assert list(spikes) == list(times), f'populations of {number}'
    for name, each in spikes.items():
        assert torch.equal(each.spike_time, times[name]), f'{name} of {number}'
print('equal')
"""


def test_in_a_process_that_cannot_import_the_model(graph, tmp_path):
    """Random networks, a ResNet, molecules with a virtual node, a hetero network and
    networks in which signals meet;
    SPIKEGRAPH_NUM_NETWORKS=60 tries that many.
    """
    networks, num = [], int(os.environ.get('SPIKEGRAPH_NUM_NETWORKS', 6))
    config = ConversionConfig(num_steps=8)
    seeds = iter(range(10 * num))
    while len(networks) < num:
        model, calls, _ = draw(next(seeds))
        if not all(isinstance(value, torch.Tensor) for value in calls[0]):
            continue  # Calls are read by name below, without code.
        with contextlib.suppress(NotImplementedError, ValueError):
            networks.append((convert(model, calls[0], config), calls[0], {}))
    images = torch.rand(2, 3, 16, 16)
    networks.append((convert(ResNet20(3, 10).eval(), images, config), (images,), {}))
    index = torch.randint(12, (2, 30))
    molecule = dict(
        x=torch.zeros(12, 9, dtype=torch.long),
        edge_index=index,
        edge_attr=torch.zeros(30, 3, dtype=torch.long),
        batch=torch.arange(12) // 6,
    )
    gin = MoleculeGNN(2, hidden_channels=8, num_layers=2).eval()
    networks.append((convert(gin, molecule, config), (), molecule))
    data = hetero_data(20, 15)
    call = (data.x_dict, data.edge_index_dict)
    networks.append((convert(Hetero().double(), call, config), call, {}))
    for name in NAMES:
        model, call = network(name)
        given = call[0] if len(call) == 1 else call
        networks.append((convert(model, given, config), call, {}))
    for number, (snn, args, kwargs) in enumerate(networks):
        spikes = snn.spikes(*args, **kwargs)
        times = {name: each.spike_time for name, each in spikes.items()}
        found = (args, kwargs, snn(*args, **kwargs), times)
        torch.save(found, tmp_path / f'{number}.pt')
        save(snn, tmp_path / f'{number}')
    command = [sys.executable, '-c', ALONE, str(tmp_path), str(len(networks))]
    options = dict(capture_output=True, text=True, timeout=600, cwd=tmp_path)
    found = subprocess.run(command, env=dict(os.environ), **options)
    assert found.stdout == 'equal\n', found.stderr[-2000:]
