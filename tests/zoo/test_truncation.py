"""Every file of a dataset that is cut off anywhere is noticed, and named."""

import gzip
import os
import pickle
import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from torch_geometric.datasets import Amazon

from spikegraph.zoo.datasets import DATASETS, load_dataset
from spikegraph.zoo.datasets.raw import check_npz, check_ogb, check_planetoid
from spikegraph.zoo.datasets.reading import BadFile, last_of, watching

WITH_FILES = ['cora', 'citeseer', 'photo', 'ogbg-molbace', 'ogbg-molesol', 'mnist']


def copy_files(name, root, folder):
    files = [path.relative_to(root) for path in DATASETS[name].files(root)]
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / file, folder / file)
    return files


@pytest.mark.data
@pytest.mark.parametrize('name', WITH_FILES)
def test_cut_raw_files(name, dataset_root, tmp_path):
    files = copy_files(name, dataset_root(name), tmp_path)
    processed = tmp_path / DATASETS[name].processed_file
    for file in files:
        path = tmp_path / file
        whole = path.read_bytes()
        if path.name.startswith('RELEASE'):  # Its name says all.
            continue
        for size in sorted({0, 1, 100, len(whole) // 2, len(whole) - 1}):
            if size >= len(whole):
                continue
            path.write_bytes(whole[:size])
            with pytest.raises(ValueError) as error:
                load_dataset(name, tmp_path)
            message = str(error.value)
            assert f"'{path}'" in message and '\n' not in message
            assert re.search('[Cc]opy .* again .*; or delete ', message)
            assert not processed.is_file()  # Else the next run would read that.
        path.write_bytes(whole)
    assert load_dataset(name, tmp_path).name == name


@pytest.mark.data
@pytest.mark.parametrize('name', ['cora', 'photo', 'ogbg-molbace'])
def test_cut_processed_file(name, dataset_root, tmp_path):
    copy_files(name, dataset_root(name), tmp_path)
    load_dataset(name, tmp_path)
    path = tmp_path / DATASETS[name].processed_file
    whole = path.read_bytes()
    for size in (0, 1, 100, 5000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError) as error:
            load_dataset(name, tmp_path)
        message = str(error.value)
        assert f"'{path}'" in message and '\n' not in message
        assert f"Delete '{path}'; it is then made again" in message
        assert 'weights_only' not in message  # No advice to run what it may hold.
    path.unlink()
    load_dataset(name, tmp_path)


@pytest.mark.data
def test_processed_file_of_half_a_raw_file(dataset_root, tmp_path, monkeypatch):
    """As earlier versions have left it."""
    copy_files('cora', dataset_root('cora'), tmp_path)
    index = tmp_path / 'Cora' / 'raw' / 'ind.cora.test.index'
    whole = index.read_bytes()
    index.write_bytes(whole[:100])
    with monkeypatch.context() as patch:
        patch.setattr('spikegraph.zoo.datasets.files.check_counts', lambda *args: None)
        patch.setitem(DATASETS, 'cora', without_check(DATASETS['cora']))
        assert load_dataset('cora', tmp_path).data.test_mask.sum() == 20
    processed = tmp_path / 'Cora' / 'processed' / 'data.pt'
    message = rf"'{processed}' to hold the 1,000 test nodes of 'cora' \(got 20\)"
    with pytest.raises(ValueError, match=message):
        load_dataset('cora', tmp_path)
    processed.unlink()  # As the message says; then it says what is wrong.
    with pytest.raises(ValueError, match=re.escape(f"'{index}' to hold the numbers")):
        load_dataset('cora', tmp_path)
    index.write_bytes(whole)
    assert load_dataset('cora', tmp_path).data.test_mask.sum() == 1000


def without_check(info):
    return replace(info, check_raw=None)


@pytest.fixture
def planetoid(tmp_path):
    """Eight papers, of which five have a class and three are to be tested."""
    info = DATASETS['cora']
    rng = np.random.default_rng(0)
    x, y = rng.random((8, 4)), np.eye(2)[np.arange(8) % 2]
    parts = {
        'x': csr_matrix(x[:2]),
        'tx': csr_matrix(x[5:]),
        'allx': csr_matrix(x[:5]),
        'y': y[:2],
        'ty': y[5:],
        'ally': y[:5],
        'graph': {i: [(i + 1) % 8] for i in range(8)},
    }
    folder = tmp_path / 'Cora' / 'raw'
    folder.mkdir(parents=True)
    for name, part in parts.items():
        (folder / f'ind.cora.{name}').write_bytes(pickle.dumps(part))
    (folder / 'ind.cora.test.index').write_text('7\n5\n6\n')
    check_planetoid(info, tmp_path)
    return info, tmp_path


@pytest.mark.parametrize(
    'name, content, match',
    [
        ('y', pickle.dumps(np.eye(2)[[0]]), r"2 rows, as those in 'x' \(got 1\)"),
        ('ty', pickle.dumps(np.eye(2)), r"3 rows, as those in 'tx' \(got 2\)"),
        ('test.index', b'7\n5\n', r"3 test nodes, the rows in 'tx' \(got 2\)"),
        ('test.index', b'7\n5\n6', r'got 5 bytes and ValueError: its last line'),
        ('test.index', b'7\n5\n5\n', r'from 5 to 7 \(got 2 from 5 to 7\)'),
        ('test.index', b'7\n5\n4\n', r'from 5 to 7 \(got 3 from 4 to 7\)'),
        ('graph', pickle.dumps({0: [1]}), r'different numbers from 5 to 0'),
        ('graph', b'\x80\x04}', r'got 3 bytes and EOFError: Ran out of input'),
        ('tx', b'no pickle', r'got 9 bytes and UnpicklingError'),
    ],
)
def test_planetoid(planetoid, name, content, match):
    info, root = planetoid
    (root / 'Cora' / 'raw' / f'ind.cora.{name}').write_bytes(content)
    with pytest.raises(BadFile, match=match):
        check_planetoid(info, root)


@pytest.fixture
def amazon(tmp_path):
    matrix = csr_matrix(np.eye(5)[:, :3])
    adj = csr_matrix(np.roll(np.eye(5), 1, axis=0))
    arrays = {'labels': np.arange(5)}
    for name, part in (('attr', matrix), ('adj', adj)):
        for key in ('data', 'indices', 'indptr', 'shape'):
            arrays[f'{name}_{key}'] = np.asarray(getattr(part, key))
    file = tmp_path / DATASETS['photo'].raw_files[0]
    file.parent.mkdir(parents=True)

    def write(**changes):
        np.savez(file, **{k: v for k, v in {**arrays, **changes}.items() if len(v)})
        check_npz(DATASETS['photo'], tmp_path)

    write()
    return write


@pytest.mark.parametrize(
    'changes, match',
    [
        (dict(labels=np.arange(4)), r"rows of 'attr' \(got 5, 5, 4\)"),
        (dict(labels=[]), r"an array 'labels' \(got attr_data"),
        (dict(adj_shape=np.array([6, 5])), r'6 row pointers for 6 rows'),
        (dict(adj_data=np.ones(4)), r'4 values, 5 indices, 5 by rows'),
        (dict(adj_indices=np.arange(5) + 1), r'indices from 1 to 5'),
        (dict(attr_indptr=np.array([0, 2, 1, 3, 3, 3])), r'row pointers that fall'),
        (dict(attr_shape=np.array([5])), r"matrix 'attr' \(got a shape of 1 numbers"),
    ],
)
def test_npz(amazon, changes, match):
    with pytest.raises(BadFile, match=match):
        amazon(**changes)


def test_published_counts_of_a_whole_file(amazon, tmp_path):
    """A small graph in place of the one of that name."""
    file = tmp_path / DATASETS['photo'].raw_files[0]
    message = f"'{file}' to hold the 7,650 nodes of 'photo' (got 5). Copy"
    with pytest.raises(ValueError, match=re.escape(message)):
        load_dataset('photo', tmp_path)
    assert not (tmp_path / 'Photo' / 'processed').exists()


@pytest.fixture
def ogb(tmp_path):
    from tests.zoo.test_ogb import write_molecules

    write_molecules(tmp_path, 'ogbg-molbace', np.arange(40) % 2)
    return DATASETS['ogbg-molbace'], tmp_path


@pytest.mark.parametrize(
    'file, lines, match',
    [
        ('num-node-list', 39, r'num-edge-list.*for each of the 39 graphs .*got 40\)'),
        ('node-feat', 100, r'node-feat.*hold 180 lines, .*\(got 100\)'),
        ('edge', 7, r'edge.csv.gz.* hold 140 lines.*\(got 7\)'),
        ('edge-feat', 139, r'edge-feat.* hold 140 lines.*\(got 139\)'),
        ('graph-label', 0, r'graph-label.* hold 40 lines.*\(got 0\)'),
    ],
)
def test_ogb_tables(ogb, file, lines, match):
    info, root = ogb
    check_ogb(info, root)
    path = root / 'ogbg_molbace' / 'raw' / f'{file}.csv.gz'
    rows = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b''.join(rows[:lines])))
    with pytest.raises(ValueError, match=match) as error:
        load_dataset('ogbg-molbace', root)
    folder = root / 'ogbg_molbace'
    assert f"or delete '{folder}' and run this with a network" in str(error.value)


def test_ogb_split(ogb):
    info, root = ogb
    path = root / 'ogbg_molbace' / 'split' / 'scaffold' / 'test.csv.gz'
    path.write_bytes(gzip.compress(b'30\n31\n'))
    with pytest.raises(ValueError, match=r'below 40 once \(got 32, 32 of them'):
        load_dataset('ogbg-molbace', root)


def test_ogb_processed_of_other_raw_files(ogb):
    info, root = ogb
    load_dataset('ogbg-molbace', root)
    path = root / info.processed_file
    data, slices = torch.load(path, weights_only=False)
    slices['x'] = slices['x'].clone()
    slices['x'][-1] -= 1  # The last graph has lost a node.
    torch.save((data, slices), path)
    with pytest.raises(ValueError, match=r'180 nodes, .*of 179\)\. Delete') as error:
        load_dataset('ogbg-molbace', root)
    assert str(path) in str(error.value)


def test_what_is_opened(tmp_path):
    """By whatever reader, and only meanwhile."""
    for name in ('a', 'b', 'c.npz', 'd'):
        (tmp_path / name).touch()
    with watching() as opened:
        (tmp_path / 'a').read_bytes()
        os.close(os.open(tmp_path / 'b', os.O_RDONLY))
        with pytest.raises((zipfile.BadZipFile, EOFError)):
            np.load(tmp_path / 'c.npz')
        (tmp_path.parent / 'elsewhere').touch()
    (tmp_path / 'd').read_bytes()
    found = [Path(name).name for name in opened if name.startswith(f'{tmp_path}/')]
    assert found == ['a', 'b', 'c.npz']
    assert last_of(opened, {tmp_path}) == tmp_path / 'c.npz'
    assert last_of(opened, {tmp_path / 'nowhere'}) is None


def test_raw_files_are_read_by_one_process_at_a_time(amazon, tmp_path, monkeypatch):
    import fcntl

    def process(self):
        with open(tmp_path / 'another', 'w'):
            handle = os.open(tmp_path, os.O_RDONLY)
            with pytest.raises(BlockingIOError):  # What another process would wait for.
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(handle)
        raise KeyboardInterrupt

    monkeypatch.setattr(Amazon, 'process', process)
    with pytest.raises(KeyboardInterrupt):
        load_dataset('photo', tmp_path)
    assert (tmp_path / 'another').exists()
