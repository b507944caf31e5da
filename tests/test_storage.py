import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from spikegraph import ConversionConfig, convert, load, save
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
    assert loaded.report == snn.report and loaded.config == config
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
        ('{"version": 99}', r'format version 1 \(got 99\)'),
        ('{"version": 1}', r"complete description \(got KeyError\('config'\)"),
        ('nonsense', 'valid JSON'),
        (json.dumps([1]), 'valid JSON'),
    ]:
        save_file({'a': torch.zeros(2)}, path, metadata={'spikegraph': header})
        with pytest.raises(ValueError, match=match):
            load(path, make('JK cat'))


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
