import errno
import os
import re
import sys
import urllib.error
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch_geometric.datasets import Amazon, Coauthor, Planetoid
from torch_geometric.utils import coalesce

from spikegraph.zoo.datasets import (
    DATASETS,
    IMAGE_DATASETS,
    default_root,
    load_dataset,
)
from spikegraph.zoo.datasets.files import quiet
from spikegraph.zoo.datasets.node import _nearest_neighbors

WITH_FILES = ['cora', 'citeseer', 'pubmed', 'photo', 'computers']
NODE_NAMES = ['digits', *WITH_FILES, 'cs', 'physics']
OGB_NODE_NAMES = ['ogbn-arxiv', 'ogbn-products']
OGB_GRAPH_NAMES = ['ogbg-molhiv', 'ogbg-molbace', 'ogbg-molesol']
GRAPH_NAMES = [*NODE_NAMES, *OGB_NODE_NAMES, *OGB_GRAPH_NAMES]
NAMES = [*GRAPH_NAMES, 'mnist', 'cifar10']
# Features, classes, and training, validation and test nodes.
SIZES = {
    'cora': (1433, 7, 140, 500, 1000),
    'citeseer': (3703, 6, 120, 500, 1000),
    'pubmed': (500, 3, 60, 500, 1000),
    'photo': (745, 8, 160, 240, 7250),
    'computers': (767, 10, 200, 300, 13252),
}


def split_sizes(data):
    masks = [data.train_mask, data.val_mask, data.test_mask]
    assert torch.stack(masks).sum(dim=0).max() == 1  # Disjoint.
    return tuple(int(mask.sum()) for mask in masks)


def assert_simple_and_symmetric(edge_index, num_nodes):
    source, target = edge_index
    assert (source != target).all()
    there = coalesce(edge_index, num_nodes=num_nodes)
    assert there.size(1) == edge_index.size(1)
    back = coalesce(edge_index.flip(0), num_nodes=num_nodes)
    assert torch.equal(there, back)


def test_registry():
    assert list(DATASETS) == NAMES
    assert all(name == info.name for name, info in DATASETS.items())
    assert [name for name, info in DATASETS.items() if info.offline] == ['digits']
    graphs = [name for name, info in DATASETS.items() if info.num_graphs > 0]
    assert graphs == GRAPH_NAMES
    assert list(IMAGE_DATASETS) == ['digits', 'mnist', 'cifar10']
    assert all(info.num_images > 0 for info in IMAGE_DATASETS.values())
    assert DATASETS['digits'] is not IMAGE_DATASETS['digits']


def test_digits(digits):
    data, info = digits.data, DATASETS['digits']
    assert (digits.name, digits.description) == ('digits', info.description)
    assert (digits.num_features, digits.num_classes) == (64, 10)
    assert data.x.dtype == torch.float32 and data.y.dtype == torch.int64
    assert data.x.min() == 0 and data.x.max() == 1
    assert torch.equal(data.x * 16, (data.x * 16).round())
    assert (data.num_nodes, data.num_edges) == (info.num_nodes, info.num_edges)
    assert split_sizes(data) == (200, 300, 1297)
    assert (data.y[data.train_mask].bincount() == 20).all()
    assert (data.y[data.val_mask].bincount() == 30).all()


def test_digits_graph_links_nearest_neighbors(digits):
    x, edge_index = (digits.data.x * 16).numpy(), digits.data.edge_index
    assert_simple_and_symmetric(edge_index, len(x))
    distance = torch.from_numpy(cdist(x, x, 'sqeuclidean'))  # [N, N]
    distance.fill_diagonal_(float('inf'))
    radius = distance.kthvalue(8, dim=1).values
    linked = torch.zeros(len(x), len(x), dtype=torch.bool)
    linked[edge_index[0], edge_index[1]] = True
    closer = distance < radius[:, None]
    assert linked[closer].all()
    source, target = edge_index
    assert (distance[source, target] <= radius[source].maximum(radius[target])).all()
    assert (linked.sum(dim=1) >= 8).all()


def test_nearest_neighbors_breaks_ties_by_index():
    points = np.array([[0], [1], [2], [3], [9]])
    edge_index = _nearest_neighbors(points, k=1)
    # 1 is as near to 0 as to 2, 2 as near to 1 as to 3.
    expected = [[0, 1, 1, 2, 2, 3, 3, 4], [1, 0, 2, 1, 3, 2, 4, 3]]
    assert edge_index.tolist() == expected


def test_split_depends_on_its_seed_only(digits):
    torch.manual_seed(7)
    again = load_dataset('digits').data
    other = load_dataset('digits', seed=1).data
    assert torch.equal(again.train_mask, digits.data.train_mask)
    assert torch.equal(again.edge_index, other.edge_index)
    assert not torch.equal(again.train_mask, other.train_mask)
    assert split_sizes(other) == (200, 300, 1297)


@pytest.mark.data
@pytest.mark.parametrize('name', WITH_FILES)
def test_files(load_data, name):
    dataset, info = load_data(name), DATASETS[name]
    data = dataset.data
    num_features, num_classes, *sizes = SIZES[name]
    assert (dataset.num_features, dataset.num_classes) == (num_features, num_classes)
    assert (data.num_nodes, data.num_edges) == (info.num_nodes, info.num_edges)
    assert_simple_and_symmetric(data.edge_index, data.num_nodes)
    assert split_sizes(data) == tuple(sizes)
    assert (data.y[data.train_mask].bincount() == 20).all()
    if info.public_split:
        total = data.x.sum(dim=1)
        assert ((total - 1).abs().lt(1e-5) | total.eq(0)).all()
    else:
        assert (data.y[data.val_mask].bincount() == 30).all()
        assert set(data.x.unique().tolist()) == {0.0, 1.0}


@pytest.mark.data
def test_root_is_read_from_the_environment(dataset_root, monkeypatch):
    monkeypatch.setenv('SPIKEGRAPH_ROOT', str(dataset_root('cora')))
    assert load_dataset('cora').data.num_nodes == 2708


@pytest.mark.data
def test_first_use_is_quiet(dataset_root, monkeypatch, tmp_path, capsys):
    monkeypatch.delenv('PYTEST_CURRENT_TEST', raising=False)  # PyG looks at it.
    for file in DATASETS['cora'].raw_files:
        copy = tmp_path / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((dataset_root('cora') / file).read_bytes())
    assert load_dataset('cora', tmp_path).data.num_nodes == 2708
    assert (tmp_path / 'Cora' / 'processed' / 'data.pt').exists()
    assert capsys.readouterr() == ('', '')


def test_quiet_keeps_other_lines(capsys):
    with quiet():
        for line in ['Processing...', 'Downloading it', 'Done!']:
            print(line, file=sys.stderr)
    assert capsys.readouterr().err == 'Downloading it\n'


def test_default_root(monkeypatch, tmp_path):
    monkeypatch.setenv('SPIKEGRAPH_ROOT', str(tmp_path / 'root'))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    assert default_root() == tmp_path / 'root'
    monkeypatch.delenv('SPIKEGRAPH_ROOT')
    assert default_root() == tmp_path / 'cache' / 'spikegraph'
    monkeypatch.delenv('XDG_CACHE_HOME')
    assert default_root() == tmp_path / 'home' / '.cache' / 'spikegraph'


@pytest.mark.parametrize(
    'name, hint',
    [('coar', ". Did you mean 'cora'?"), ('Cora', ". Did you mean 'cora'?"), ('?', '')],
)
def test_unknown_name(name, hint):
    message = f"'name' to be one of {', '.join(NAMES)} (got '{name}'){hint}"
    with pytest.raises(ValueError, match=re.escape(message) + '$'):
        load_dataset(name)


def test_seed_of_a_public_split():
    message = r"'seed' to be None for 'cora', whose split is public \(got 3\)"
    with pytest.raises(ValueError, match=message):
        load_dataset('cora', seed=3)


@pytest.mark.parametrize('name', NODE_NAMES[1:])
def test_raw_files_are_those_of_pyg(name, tmp_path, monkeypatch):
    asked = []

    def download(self):
        asked.extend(self.raw_paths)
        raise urllib.error.URLError('no network')

    for cls in [Planetoid, Amazon, Coauthor]:
        monkeypatch.setattr(cls, 'download', download)
    with pytest.raises(FileNotFoundError) as info:
        load_dataset(name, tmp_path)
    assert asked == [str(tmp_path / file) for file in DATASETS[name].raw_files]
    message = str(info.value)
    assert f"of '{name}' (got '{tmp_path}')" in message
    assert 'no network' in message
    assert '\n'.join(f'  {path}' for path in asked) in message
    assert list(tmp_path.iterdir()) == []  # No empty folders stay behind.


def test_half_a_download_is_removed(tmp_path, monkeypatch):
    def download(self):
        with open(self.raw_paths[0], 'wb') as f:
            f.write(b'half')
        raise KeyboardInterrupt

    monkeypatch.setattr(Coauthor, 'download', download)
    with pytest.raises(KeyboardInterrupt):
        load_dataset('cs', tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_error_that_is_not_of_a_download(tmp_path):
    file = tmp_path / DATASETS['photo'].raw_files[0]
    file.parent.mkdir(parents=True)
    file.write_bytes(b'not an archive')
    message = f"'{file}' to be a whole file of 'photo' (got 14 bytes and BadZipFile"
    with pytest.raises(ValueError, match=re.escape(message)):
        load_dataset('photo', tmp_path)
    assert file.read_bytes() == b'not an archive'


@pytest.mark.parametrize('below', ['', 'deeper/still'])
def test_root_is_a_file(tmp_path, below):
    file = tmp_path / 'file'
    file.touch()
    root = file / below
    message = f"'root' to be a folder (got '{root}'; '{file}' is a file)"
    with pytest.raises(NotADirectoryError, match=re.escape(message)):
        load_dataset('cora', root)


@pytest.mark.parametrize('mode, word', [(os.R_OK, 'readable'), (os.W_OK, 'writable')])
def test_root_without_permission(tmp_path, monkeypatch, mode, word):
    # Not by chmod: a superuser may do everything.
    monkeypatch.setattr(os, 'access', lambda path, asked: not asked & mode)
    message = rf"'root' to be {word} \(got '{re.escape(str(tmp_path))}'\)"
    with pytest.raises(PermissionError, match=message):
        load_dataset('cora', tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.data
def test_root_that_needs_no_writing(dataset_root, monkeypatch):
    root = dataset_root('cora')
    load_dataset('cora', root)  # Writes the processed file, if there is none.
    monkeypatch.setattr(os, 'access', lambda path, asked: not asked & os.W_OK)
    assert load_dataset('cora', root).data.num_nodes == 2708


def test_errors_of_the_disk_are_not_taken_for_the_network(tmp_path, monkeypatch):
    file = tmp_path / DATASETS['photo'].raw_files[0]
    file.parent.mkdir(parents=True)
    file.touch()

    def process(self):
        with open(self.processed_paths[0], 'w') as half:
            half.write('half')
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Amazon, 'process', process)
    monkeypatch.setitem(DATASETS, 'photo', replace(DATASETS['photo'], check_raw=None))
    with pytest.raises(OSError, match='No space left') as info:
        load_dataset('photo', tmp_path)
    processed = tmp_path / 'Photo' / 'processed' / 'data.pt'
    assert (info.value.errno, info.value.filename) == (errno.ENOSPC, str(processed))
    assert not processed.exists() and file.exists()
