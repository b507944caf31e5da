import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from spikegraph import partition_graph
from spikegraph.partitioning import load_graph, save_partition
from tests.partitioning.graphs import assert_same, random_graph, random_hetero
from tests.partitioning.test_pyg import write  # noqa: F401

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize('data', [random_graph(20, 40), random_hetero()], ids=str)
def test_own_folders(tmp_path, data):
    partition = partition_graph(data, 3, 'hash')
    save_partition(partition, data, tmp_path)
    found = load_graph(str(tmp_path))
    assert_same(found.data, data)
    for node_type, owner in partition.owners.items():
        assert torch.equal(found.partition.owners[node_type], owner)


def test_folders_of_pyg(write):  # noqa: F811
    data = random_graph(20, 40)
    folder, owner = write(data)
    found = load_graph(folder)
    assert found.partition.owners[''].tolist() == owner.tolist()
    assert torch.equal(found.data.edge_index, data.edge_index)


def arrays(folder, **values):
    for name, value in values.items():
        np.save(folder / f'{name}.npy', value)


def test_folders_of_arrays(tmp_path):
    data = random_graph(20, 40)
    arrays(
        tmp_path,
        edge_index=data.edge_index,
        x=data.x,
        y=data.y,
        edge_weight=data.edge_attr[:, 0],
        train_mask=data.train_mask,
    )
    (tmp_path / 'README').write_text('mine')
    found = load_graph(tmp_path)
    assert found.partition is None and found.data.num_nodes == 20
    for name in ('edge_index', 'x', 'y', 'train_mask'):
        assert torch.equal(found.data[name], data[name])
    assert torch.equal(found.data.edge_weight, data.edge_attr[:, 0])
    path = tmp_path / 'x.npy'
    with open(path, 'r+b') as file:  # What is mapped changes with the file.
        file.seek(-4, 2)
        file.write(np.float32(9).tobytes())
    assert found.data.x[-1, -1] == 9


def test_folders_of_pairs(tmp_path):
    arrays(tmp_path, src=[0, 1], dst=[1, 4])
    assert load_graph(tmp_path).data.num_nodes == 5
    arrays(tmp_path, x=np.zeros((4, 1)))
    with pytest.raises(ValueError, match=r'nodes from 0 to 3 \(got 4\)'):
        load_graph(tmp_path)


@pytest.mark.parametrize(
    'name, value, match',
    [
        ('y', np.zeros(3), r'y.npy. to have 4 rows, one per node \(got shape \[3\]\)'),
        ('edge_weight', np.zeros(3), r'to have 2 rows, one per edge \(got shape \[3\]'),
        ('edge_attr', np.zeros(()), r'to have 2 rows, one per edge \(got shape \[\]'),
        ('x', np.zeros(()), r'x.npy. to have rows'),
        ('train mask', np.zeros(4), r"called as an attribute.*\(got 'train mask'\)"),
        ('z', np.array(['a']), r"'z' to hold numbers \(got <U1\)"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, name, value, match):
    arrays(tmp_path, edge_index=[[0, 1], [1, 3]], x=np.zeros((4, 1)))
    arrays(tmp_path, **{name: value})
    with pytest.raises(ValueError, match=match):
        load_graph(tmp_path)


def test_lists_of_edges(tmp_path):
    (tmp_path / 'e.csv').write_text('0,1\n5,2\n')
    arrays(tmp_path, e=[[0, 5], [1, 2]], none=np.zeros((2, 0), int))
    for name in ('e.csv', 'e.npy'):
        data, partition = load_graph(tmp_path / name)
        assert data.num_nodes == 6 and partition is None
        assert data.edge_index.tolist() == [[0, 5], [1, 2]]
    assert load_graph(tmp_path / 'none.npy').data.num_nodes == 0


@pytest.mark.parametrize('data', [random_graph(20, 40), random_hetero()], ids=str)
def test_pickles(tmp_path, data):
    before = {*torch.serialization.get_safe_globals()}
    for _ in range(2):
        torch.save(data, tmp_path / 'g.pt')
        found = load_graph(tmp_path / 'g.pt').data
        assert_same(found, data)
        for store in (*data.stores, *found.stores):  # PyG remembers the answers.
            assert 'x' not in store or store.is_node_attr('x')
    assert {*torch.serialization.get_safe_globals()} == before
    torch.save((data.to_dict(), None, type(data)), tmp_path / 'data.pt')
    assert_same(load_graph(tmp_path / 'data.pt').data, data)


class Own(Data):
    """Code that is not to be run."""


@pytest.mark.parametrize(
    'value, match',
    [
        ({'x': 1}, r'Data or HeteroData \(got dict\)'),
        (torch.ones(2), r'\(got Tensor\)'),
        (({}, {'x': torch.tensor([0, 1, 2])}, Data), r'\(got tuple\)'),
        (({}, None, None), r'\(got tuple\)'),
        (({},), r'\(got tuple\)'),
        (
            Own(),
            r'without running code \(got UnpicklingError: tests.partitioning.test_load',
        ),
    ],
)
def test_bad_pickles(tmp_path, value, match):
    torch.save(value, tmp_path / 'g.pt')
    with pytest.raises(ValueError, match=match):
        load_graph(tmp_path / 'g.pt')


def test_headers_of_arrays_that_are_no_code(tmp_path):
    path = tmp_path / 'edge_index.npy'
    np.save(path, np.arange(8).reshape(2, 4))
    path.write_bytes(path.read_bytes().replace(b"'shape': (2, 4)", b"'shape': ((2, 4"))
    with pytest.raises(ValueError, match=re.escape(f"'{path}' to hold an array")):
        load_graph(tmp_path)


def test_data_without_its_parts(tmp_path):
    data, path = Data(x=torch.rand(3, 2)), tmp_path / 'g.pt'
    data.__dict__.pop('_store')
    torch.save(data, path)
    with pytest.raises(ValueError, match=re.escape(f"'{path}' to hold a whole graph")):
        load_graph(path)


CODE = """
import resource, sys
import torch
from spikegraph.partitioning import load_graph, load_partition

def held():
    with open('/proc/self/status') as file:
        (line,) = [line for line in file if line.startswith('VmData')]
    return int(line.split()[1]) * 1024

load_graph(sys.argv[1], read_only=True)  # Whatever is imported late.
limit = held() + 40_000_000
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
data = load_graph(sys.argv[1], read_only=True).data
part = load_partition(sys.argv[2], read_only=True).part(0)
assert data.x.shape == part.x.shape == (1_000, 20_000)
assert data.x[7, 7] == part.x[7, 7] == 7
try:
    load_graph(sys.argv[1])
except OSError as error:
    print('refused', error)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='needs limits of Linux')
def test_a_limit_of_memory_does_not_count_what_is_read_only(tmp_path):
    x = np.zeros((1_000, 20_000), dtype=np.float32)  # 80 MB.
    x[7] = 7
    folder = tmp_path / 'g'
    folder.mkdir()
    arrays(folder, edge_index=[[0, 1], [1, 2]], x=x)
    save_partition(
        partition_graph(load_graph(folder).data, 1),
        load_graph(folder).data,
        tmp_path / 'p',
    )
    command = [sys.executable, '-c', CODE, str(folder), str(tmp_path / 'p')]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert 'Cannot allocate memory' in result.stdout


def test_what_is_no_graph(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no' to hold a graph \(found none\)"):
        load_graph(tmp_path / 'no')
    with pytest.raises(ValueError, match=r'a folder with nothing\); name a folder'):
        load_graph(tmp_path)
    (tmp_path / 'a.txt').write_text('words')
    with pytest.raises(ValueError, match=r'a folder with a.txt'):
        load_graph(tmp_path)
    (tmp_path / 'g.pt').write_bytes(b'broken')
    with pytest.raises(ValueError, match=r"g.pt' to hold PyG data"):
        load_graph(tmp_path / 'g.pt')
