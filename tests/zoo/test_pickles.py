"""Data sets run nothing that a folder holds, whoever reads it."""

import os
import pickle
import re
import shutil

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from spikegraph.zoo.datasets import DATASETS, load_dataset
from spikegraph.zoo.datasets.pickles import read_pickle
from tests.zoo.test_ogb import write_molecules


class Runs:
    """Copies a file when it is read, by a function that PyTorch does not know."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return shutil.copy, (__file__, self.path)


@pytest.fixture
def traces(tmp_path):
    """The file that appears if something has run."""
    return tmp_path / 'it has run'


def refused(name, root, path, traces):
    with pytest.raises(ValueError, match=re.escape(f"Expected '{path}' to")) as error:
        load_dataset(name, root)
    assert 'which would run code' in str(error.value)
    assert not traces.exists()


@pytest.mark.data
@pytest.mark.parametrize('part', ['x', 'graph', 'ally'])
@pytest.mark.parametrize('complete', [True, False])
def test_raw_pickles(part, complete, dataset_root, tmp_path, traces, monkeypatch):
    """Also where a file is missing, so that PyG downloads it and reads the others."""
    root = dataset_root('cora')
    folder = tmp_path / 'Cora' / 'raw'
    shutil.copytree(root / 'Cora' / 'raw', folder)
    (folder / f'ind.cora.{part}').write_bytes(pickle.dumps([Runs(traces)]))
    if not complete:
        (folder / 'ind.cora.ty').unlink()
    refused('cora', tmp_path, folder / f'ind.cora.{part}', traces)


@pytest.mark.data
@pytest.mark.parametrize('file', ['data.pt', 'pre_transform.pt', 'pre_filter.pt'])
def test_what_pyg_keeps(file, dataset_root, tmp_path, traces):
    """It reads its own notes as they are, and what PyTorch refuses, again."""
    root = dataset_root('cora')
    shutil.copytree(root / 'Cora' / 'raw', tmp_path / 'Cora' / 'raw')
    load_dataset('cora', tmp_path)
    path = tmp_path / 'Cora' / 'processed' / file
    torch.save(Runs(traces), path)
    refused('cora', tmp_path, path, traces)
    path.unlink()
    load_dataset('cora', tmp_path)


@pytest.mark.parametrize('file', ['geometric_data_processed.pt', 'pre_filter.pt'])
def test_what_ogb_keeps(file, tmp_path, traces):
    write_molecules(tmp_path, 'ogbg-molbace', np.arange(40) % 2)
    load_dataset('ogbg-molbace', tmp_path)
    path = (tmp_path / DATASETS['ogbg-molbace'].processed_file).parent / file
    assert path.exists()
    torch.save(Runs(traces), path)
    refused('ogbg-molbace', tmp_path, path, traces)


def test_a_split_of_ogb(tmp_path, traces):
    write_molecules(tmp_path, 'ogbg-molbace', np.arange(40) % 2)
    folder = tmp_path / 'ogbg_molbace' / 'split' / 'scaffold'
    torch.save(Runs(traces), folder / 'split_dict.pt')
    with pytest.raises(ValueError, match='split_dict.pt'):
        load_dataset('ogbg-molbace', tmp_path)
    assert not traces.exists()


@pytest.mark.parametrize('protocol', range(5))
def test_arrays_and_matrices_are_read(protocol, tmp_path):
    values = {
        'matrix': csr_matrix(np.eye(3)[:, :2]),
        'array': np.arange(6.0).reshape(2, 3),
        'lists': {0: [1, 2], 1: []},
    }
    for name, value in values.items():
        path = tmp_path / name
        if protocol < 2 and name == 'matrix':  # As nobody has written it.
            continue
        path.write_bytes(pickle.dumps(value, protocol))
        found = read_pickle(path)
        if name == 'matrix':
            found, value = found.toarray(), value.toarray()
        assert np.array_equal(found, value) if name != 'lists' else found == value


@pytest.mark.parametrize(
    'value', [Runs('/nowhere/at/all'), os.getcwd, np.load, eval, pickle.loads]
)
def test_nothing_else_is(value, tmp_path):
    (tmp_path / 'file').write_bytes(pickle.dumps(value))
    with pytest.raises(pickle.UnpicklingError, match='which would run code'):
        read_pickle(tmp_path / 'file')
