import json
import os
import random
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save as serialize
from safetensors.torch import save_file
from torch import nn
from torch_geometric.nn.models import GCN

from spikegraph import ConversionConfig, convert, load, save
from spikegraph.storage import _checksum
from tests.conversion.zoo import MODELS, SharedReLU, TakesData, make, randomize


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
    loaded = load(path, other)
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
    loaded = load(tmp_path / 'a', model)
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
    assert torch.equal(load(tmp_path / 'network', model)(x), snn(x))


def test_missing_and_truncated(saved, tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        load(tmp_path / 'nowhere', make('JK cat'))
    whole = saved.read_bytes()
    for size in (0, 4, len(whole) // 2, len(whole) - 1):
        saved.write_bytes(whole[:size])
        with pytest.raises(ValueError, match='may be truncated or of another kind'):
            load(saved, make('JK cat'))
    saved.write_bytes(b'not a model at all')
    with pytest.raises(ValueError, match='truncated or of another kind'):
        load(saved, make('JK cat'))


def test_foreign_files(saved, tmp_path):
    path = tmp_path / 'foreign'
    save_file({'a': torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r'safetensors with metadata \[\]'):
        load(path, make('JK cat'))
    for header, match in [
        ('{"version": 99}', r'format version 2 \(got 99\); install the version'),
        ('{"version": 1}', r'version 2 \(got 1\), which has no checksum; convert'),
        ('{"version": true}', r'version 2 \(got True\)'),
        ('{"version": 2}', r"complete description.*'spec'"),
        ('nonsense', 'valid JSON'),
        (json.dumps([1]), 'valid JSON'),
    ]:
        save_file({'a': torch.zeros(2)}, path, metadata={'spikegraph': header})
        with pytest.raises(ValueError, match=match):
            load(path, make('JK cat'))


def rewrite(path, change=None, *, tensors=None, checksum=True):
    """Changes the header, as an editor would, and makes the checksum fit or not."""
    with safe_open(path, 'pt') as file:
        metadata = dict(file.metadata())
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header = json.loads(metadata['spikegraph'])
    if change is not None:
        header = change(header)
    found |= tensors or {}
    metadata['spikegraph'] = json.dumps(header)
    if checksum:
        metadata['sha256'] = _checksum(metadata['spikegraph'], found)
    path.write_bytes(serialize(found, metadata=metadata))


def places(value, where=()):
    """The paths to all values inside a header."""
    yield where
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from places(item, (*where, key))


def edited(header, rng):
    """One random edit: a value replaced, removed, renamed, doubled or nested."""
    header = json.loads(json.dumps(header))
    where = rng.choice([place for place in places(header) if place])
    inside = header
    for key in where[:-1]:
        inside = inside[key]
    kind, key = rng.randrange(4), where[-1]
    if kind == 0:
        inside[key] = rng.choice(STRANGE)
    elif kind == 1:
        del inside[key]
    elif kind == 2 and isinstance(inside, dict):
        inside[f'{key}_'] = inside.pop(key)
    else:
        inside[key] = [inside[key]] if rng.random() < 0.5 else {'a': inside[key]}
    return header


STRANGE = (
    *(None, True, False, 0, -1, 3, 10**30, 10**400, -0.5, 1e308, float('nan')),
    *(float('inf'), '', 'x', 'a' * 10_000, [], [[]], {}, {'a': {'b': []}}, [1, 'x']),
    *(['x'], '\ud800', {'__tuple__': [1]}),
)


@pytest.mark.parametrize('name', ['JK cat', 'GCN'])
def test_edited_headers(name, graph, tmp_path):
    model = make(name)
    snn = convert(model, graph, ConversionConfig(num_steps=4))
    path = tmp_path / 'model.safetensors'
    save(snn, path)
    whole, expected = path.read_bytes(), snn(graph)
    rng = random.Random(0)
    messages = set()
    for number in range(120):
        path.write_bytes(whole)
        # With a checksum that fits, what is wrong is to be found by itself.
        rewrite(path, lambda header: edited(header, rng), checksum=number % 3 > 0)
        try:
            loaded = load(path, model)
        except ValueError as error:
            assert str(path) in str(error) or "'model' to have a forward" in str(error)
            messages.add(str(error))
            continue
        # Figures of the report, and options that no longer matter.
        assert number % 3 > 0
        if loaded.spec == snn.spec:
            assert torch.equal(loaded(graph), expected)
    assert len(messages) > 40


@pytest.mark.parametrize(
    'where, value, match',
    [
        ('config', [], r"'header.config' to be an object \(got \[\]\)"),
        ('config.num_steps', '9', r"'header.config.num_steps' to be an integer"),
        ('config.num_steps', 10**30, r"'num_steps' to be at most 126"),
        ('config.base', {}, r"config.base' to be a number or 'auto' \(got \{\}\)"),
        ('config.scale', ['percentile', '9'], r'scale\[1\]. to be a number \(got 9\)'),
        ('config.levels', 'fit', r"'geometric' or 'fitted' or null \(got fit\)"),
        ('config.hidden', 3, r"'header.config' to have no entry 'hidden'"),
        ('report.populations.0.name', 'other', r"'other'.* in the report"),
        ('report.populations.0.scale', [1], r'scale. to be a list of 2 \(got \[1\]'),
        ('report.populations.0.spikes_per_neuron', None, r'to be a number \(got None'),
        ('report.agreement', 10**400, r"'header.report.agreement' to be a number"),
        ('report.agreement', float('inf'), r'to be a finite number \(got inf\)'),
        ('spec.read', ['y'], r'.'),
        ('spec.names', ['x', 'other'], r"'model' to have a forward\(x, other\)"),
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
        load(saved, make('JK cat'))


def test_deeply_nested_header(saved, tmp_path):
    with safe_open(saved, 'pt') as file:
        metadata = file.metadata()
    metadata['spikegraph'] = '[' * 100_000 + ']' * 100_000
    save_file({'a': torch.zeros(2)}, saved, metadata=metadata)
    with pytest.raises(ValueError, match='valid JSON .*RecursionError'):
        load(saved, make('JK cat'))


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
            load(saved, make('JK cat'))
    saved.write_bytes(whole)
    rewrite(saved, lambda header: {**header, 'config': header['config']})
    load(saved, make('JK cat'))
    rewrite(saved, lambda h: {**h, 'report': {**h['report'], 'agreement': 99.9}})
    assert load(saved, make('JK cat')).report.agreement == 99.9
    rewrite(
        saved,
        lambda h: {**h, 'report': {**h['report'], 'agreement': 99.8}},
        checksum=False,
    )
    with pytest.raises(ValueError, match='another SHA-256'):
        load(saved, make('JK cat'))


def test_save_onto_what_is_no_file(saved, graph, tmp_path):
    snn = load(saved, make('JK cat'))
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
    loaded = load(tmp_path / 'a', model)
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


def test_mismatched_models(saved):
    for model, match in [
        (make('GCN'), 'structure of the GCN saved'),
        (SharedReLU(), r'to have a forward\(x, edge_index, edge_weight, edge_attr'),
        (nn.Linear(3, 4), r'Linear.forward\(input\)'),
    ]:
        with pytest.raises(ValueError, match=match):
            load(saved, model)


def test_save_errors(tmp_path):
    with pytest.raises(ValueError, match=r'a SpikingModel \(got Linear\)'):
        save(nn.Linear(2, 2), tmp_path / 'a')


@pytest.mark.parametrize(
    'model, match',
    [
        (
            GCN(5, 8, 3, 3),
            r'got GCN\): Error.*\. Make the model as it was made before',
        ),
        (GCN(5, 9, 2, 3), r'size mismatch for convs\.0\.weight'),
        (None, r"'model' to be a torch\.nn\.Module .* \(got NoneType\)"),
        (5, r"'model' to be a torch\.nn\.Module .* \(got int\)"),
    ],
    ids=str,
)
def test_another_model_in_one_line(model, match, graph, tmp_path):
    path = tmp_path / 'snn'
    save(convert(GCN(5, 8, 2, 3).double(), graph), path)
    with pytest.raises(ValueError, match=match) as error:
        load(path, model)
    message = str(error.value)
    assert f"'{path}'" in message and '\n' not in message and len(message) < 800


def test_no_file(graph, tmp_path):
    model = GCN(5, 8, 2, 3)
    for path, found in ((tmp_path, 'something else'), (tmp_path / 'a', 'none')):
        match = rf"'{path}' \(found {found}\); 'spikegraph.save' writes one"
        with pytest.raises(FileNotFoundError, match=match):
            load(path, model)
