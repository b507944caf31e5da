"""Divided graphs, written and read again."""

import json
import re
import shutil
import tracemalloc

import numpy as np
import pytest
import torch
from torch_geometric import EdgeIndex
from torch_geometric.data import Data, HeteroData

import spikegraph
from spikegraph import Partition, partition_graph
from spikegraph.partitioning import (
    arrays,
    graph_digest,
    is_partition,
    load_partition,
    save_partition,
    writing,
)
from tests.partitioning.graphs import (
    SIZES,
    assert_same,
    random_graph,
    random_hetero,
)


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(arrays, 'BLOCK_BYTES', 100)
    monkeypatch.setattr(writing, '_OPEN_FILES', 2)


def rich_graph():
    data = random_graph(23, 60)
    data.pos = torch.rand(23, 2, dtype=torch.float64)[:, ::1]
    data.wide = torch.rand(4, 23).t()  # Not contiguous.
    data.half = torch.rand(23, 2).bfloat16()
    data.tiny = torch.rand(7).to(torch.float8_e5m2)
    data.phase = torch.view_as_complex(torch.rand(23, 2)).conj()
    data.learned = torch.rand(23, requires_grad=True)
    data.temperature = torch.tensor(1.5)
    data.table = torch.rand(5, 5)
    data.names = [f'node {i}' for i in range(23)]
    data.shape = (1, (2.5, None), {'deep': [True]})
    data.title = 'größer'
    return data


@pytest.mark.parametrize('method', ['range', 'hash'])
@pytest.mark.parametrize('num_parts', [1, 3, 40])
def test_round_trip(tmp_path, method, num_parts, small_pieces):
    data = rich_graph()
    partition = partition_graph(data, num_parts, method)
    save_partition(partition, data, tmp_path / 'a' / 'b')
    assert is_partition(tmp_path / 'a' / 'b')
    loaded = load_partition(str(tmp_path / 'a' / 'b'))
    loaded.check()
    assert loaded.partition.method == method and loaded.num_parts == num_parts
    assert torch.equal(loaded.partition.owners[''], partition.owners[''])
    assert loaded.num_nodes == {'': 23} and not loaded.is_hetero
    assert loaded.digest == graph_digest(data) == graph_digest(loaded.whole())
    data.learned = data.learned.detach()
    assert_same(loaded.whole(), data)
    for part in range(num_parts):
        found, rows = loaded.part(part), partition.rows(part)
        assert torch.equal(found.node_id, rows) and found.num_nodes == len(rows)
        for name in ('x', 'y', 'train_mask', 'pos', 'wide', 'half', 'phase', 'learned'):
            assert torch.equal(found[name], data[name][rows]), name
        for name in ('edge_index', 'edge_attr', 'temperature', 'table'):
            assert torch.equal(found[name], data[name]), name
        assert torch.equal(found.tiny.float(), data.tiny.float())
        assert found.names == data.names and found.shape == data.shape


@pytest.mark.parametrize('sizes', SIZES)
def test_odd_sizes(tmp_path, sizes):
    data = random_graph(*sizes)
    save_partition(partition_graph(data, 3, 'hash'), data, tmp_path)
    assert_same(load_partition(tmp_path).whole(), data)


def test_types(tmp_path, small_pieces):
    data = random_hetero()
    data['author'].rank = torch.arange(25)
    data['odd/.. name@'].num_nodes = 2
    data['odd/.. name@'].x = torch.rand(2, 1)
    data['a.b'].c = torch.rand(3)
    data['a.b'].num_nodes = 3
    data['a']['b.c'] = torch.rand(3)
    data['a'].num_nodes = 3
    data['empty'].num_nodes = 0
    data.title, data.table = 'types', torch.rand(3)
    data['paper', 'cites', 'paper'].weight = torch.rand(120)
    data['paper', 'cites', 'paper'].how = 'often'
    partition = partition_graph(data, 4, 'hash')
    save_partition(partition, data, tmp_path / 'p')
    loaded = load_partition(tmp_path / 'p')
    assert loaded.is_hetero and loaded.digest == graph_digest(data)
    whole = loaded.whole()
    assert_same(whole, data)
    assert whole.num_nodes == data.num_nodes
    for part in range(4):
        found = loaded.part(part)
        for node_type in data.node_types:
            rows = partition.rows(part, node_type)
            assert torch.equal(found[node_type].node_id, rows)
            assert found[node_type].num_nodes == len(rows)
        rows = partition.rows(part, 'paper')
        assert torch.equal(found['paper'].x, data['paper'].x[rows])
        edges = found['author', 'writes', 'paper'].edge_index
        assert torch.equal(edges, data['author', 'writes', 'paper'].edge_index)
        assert found.title == 'types'


class Foreign:
    """What torch_sparse.SparseTensor offers."""

    def __init__(self, row, col, size):
        self.row, self.col, self.size = row, col, size

    def coo(self):
        return self.row, self.col, None

    def sparse_sizes(self):
        return self.size


@pytest.mark.parametrize('layout', ['coo', 'csr', 'csc', 'foreign', 'index'])
def test_adjacencies(tmp_path, layout):
    edges = torch.tensor([[3, 0, 1, 4, 0], [0, 1, 1, 2, 4]])
    value = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64)
    adj = torch.sparse_coo_tensor(edges.flip(0), value, (5, 5)).coalesce()
    data = Data(x=torch.eye(5))
    if layout == 'foreign':
        adj = torch.sparse_coo_tensor(edges.flip(0), torch.ones(5), (5, 5))
        data.adj_t = Foreign(edges[1], edges[0], (5, 5))
    elif layout == 'index':
        data.edge_index = EdgeIndex(edges, sparse_size=(5, 5))
    else:
        data.adj_t = getattr(adj, f'to_sparse_{layout}')()
    save_partition(partition_graph(data, 2, 'range'), data, tmp_path)
    loaded = load_partition(tmp_path)
    found = loaded.part(0)
    if layout == 'index':
        assert type(found.edge_index) is torch.Tensor
        assert torch.equal(found.edge_index, edges)
        return
    assert found.adj_t.layout == torch.sparse_csr
    assert torch.equal(found.adj_t.to_dense(), adj.to_dense())
    if layout != 'csc':  # Read column by column.
        assert graph_digest(found.adj_t) == loaded.digest


def test_tensors_lie_in_files(tmp_path):
    data = random_graph(30, 50)
    save_partition(partition_graph(data, 2, 'range'), data, tmp_path)
    before = {f: f.read_bytes() for f in tmp_path.rglob('*') if f.is_file()}
    found = load_partition(tmp_path).part(0)
    found.x.zero_()  # In memory only.
    found.edge_index.zero_()
    assert all(file.read_bytes() == content for file, content in before.items())
    again = load_partition(tmp_path, read_only=True).part(0)
    assert again.x.abs().sum() > 0
    path = tmp_path / 'part_0' / 'x.npy'
    content = np.load(path)
    with open(path, 'r+b') as file:  # What is mapped changes with the file.
        file.seek(-content.nbytes, 2)
        file.write((content + 1).tobytes())
    assert torch.equal(again.x, torch.from_numpy(content + 1))


def test_features_never_come_into_memory(tmp_path):
    num_nodes, width = 20_000, 500
    x = np.lib.format.open_memmap(
        tmp_path / 'x.npy', 'w+', np.float32, (num_nodes, width)
    )
    for start in range(0, num_nodes, 1_000):
        x[start : start + 1_000] = np.arange(start, start + 1_000)[:, None]
    x.flush()
    x = np.load(tmp_path / 'x.npy', mmap_mode='r')  # 40 MB.
    edges = np.arange(2 * 5_000).reshape(2, 5_000)
    np.save(tmp_path / 'edges.npy', edges)
    edges = np.load(tmp_path / 'edges.npy', mmap_mode='r')
    data = Data(x=x, edge_index=edges, num_nodes=num_nodes)
    partition = partition_graph(data, 3, 'hash')
    tracemalloc.start()
    try:
        original, arrays.BLOCK_BYTES = arrays.BLOCK_BYTES, 1_000_000
        save_partition(partition, data, tmp_path / 'p')
        _, peak = tracemalloc.get_traced_memory()
    finally:
        arrays.BLOCK_BYTES = original
        tracemalloc.stop()
    assert peak < 6_000_000
    loaded = load_partition(tmp_path / 'p')
    for part in range(3):
        assert torch.equal(loaded.part(part).x[:, 7].long(), partition.rows(part))
    assert isinstance(data.x, np.ndarray)  # As it was.


def test_a_partition_is_replaced_as_a_whole(tmp_path, monkeypatch):
    folder = tmp_path / 'p'
    data = random_graph(30, 50)
    save_partition(partition_graph(data, 5, 'range'), data, folder)
    loaded = load_partition(folder)
    part = loaded.part(4)
    wanted = part.x.clone()
    # From itself, with fewer parts.
    save_partition(partition_graph(data, 2, 'range'), loaded.whole(), folder)
    assert torch.equal(part.x, wanted)  # Still mapped.
    assert sorted(f.name for f in folder.iterdir())[:3] == [
        'graph',
        'owners.npy',
        'part_0',
    ]
    assert not (folder / 'part_4').exists()
    assert_same(load_partition(folder).whole(), data)

    def fail(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(writing, '_divide', fail)
    other = random_graph(10, 5)
    with pytest.raises(OSError, match='No space left'):
        save_partition(partition_graph(other, 3, 'range'), other, folder)
    assert_same(load_partition(folder).whole(), data)
    assert [f.name for f in tmp_path.iterdir()] == ['p']  # Nothing is left aside.


def test_other_folders_are_not_replaced(tmp_path):
    data = random_graph(5, 5)
    partition = partition_graph(data, 2, 'range')
    (tmp_path / 'mine.txt').write_text('keep me')
    with pytest.raises(FileExistsError, match=r"got a folder with 'mine.txt'"):
        save_partition(partition, data, tmp_path)
    with pytest.raises(FileExistsError, match='got a file'):
        save_partition(partition, data, tmp_path / 'mine.txt')
    assert [f.name for f in tmp_path.iterdir()] == ['mine.txt']


@pytest.mark.parametrize(
    'name, value, match',
    [
        ('f', print, r"'f' to be a tensor or what JSON .*\(got builtin_function_or"),
        ('s', {1, 2}, r"'s' .*\(got set\); remove it with 'del data.s'"),
        ('d', {1: 2}, r"'d' .*\(got dict\)"),
        ('n', float('nan'), r"'n' .*\(got float\)"),
        ('m', [torch.ones(1)], r"'m' .*\(got list\)"),
        ('x', torch.eye(5).to_sparse(), r"'x' to be dense.*'x.to_dense\(\)'"),
        ('o', np.array(['a']), r"'o' to hold numbers \(got <U1\)"),
    ],
)
def test_what_cannot_be_kept_is_named(tmp_path, name, value, match):
    data = random_graph(5, 5)
    partition = partition_graph(data, 2, 'range')
    data[name] = value
    with pytest.raises(ValueError, match=match):
        save_partition(partition, data, tmp_path / 'p')
    assert not list(tmp_path.iterdir())


def test_names_in_types_are_named(tmp_path):
    data = random_hetero()
    partition = partition_graph(data, 2, 'range')
    data['paper', 'cites', 'paper'].f = print
    with pytest.raises(ValueError, match=r"'paper.cites.paper.f'"):
        save_partition(partition, data, tmp_path / 'p')


def test_other_graphs_are_refused(tmp_path):
    partition = Partition({'': torch.tensor([0, 1])}, 2, 'by hand')
    with pytest.raises(ValueError, match=r'has 5 nodes \(got one of 2 nodes\)'):
        save_partition(partition, random_graph(5, 5), tmp_path / 'p')
    with pytest.raises(ValueError, match=r'Data or HeteroData \(got Tensor\)'):
        save_partition(partition, torch.zeros(2, 0).long(), tmp_path / 'p')


@pytest.fixture
def folder(tmp_path):
    data = random_graph(30, 50)
    data.adj_t = torch.eye(30).to_sparse_csr()
    folder = tmp_path / 'p'
    save_partition(partition_graph(data, 3, 'range'), data, folder)
    return folder


FILES = [
    'owners.npy',
    'graph/edge_index.npy',
    'graph/edge_attr.npy',
    'graph/adj_t@crow.npy',
    'graph/adj_t@col.npy',
    'graph/adj_t@value.npy',
    'part_1/x.npy',
    'part_1/train_mask.npy',
]


@pytest.mark.parametrize('name', FILES)
def test_missing_and_damaged_files(folder, name):
    path = folder / name
    content = path.read_bytes()

    def refused(kind, match):
        with pytest.raises(kind, match=match) as error:
            load_partition(folder).check()
        assert str(path) in str(error.value)
        assert "write it again with 'spikegraph.part" in str(error.value)

    path.unlink()
    refused(FileNotFoundError, 'found none')
    for damaged in (content[:-1], content[:20], b'', b'no array at all'):
        path.write_bytes(damaged)
        refused(ValueError, 'to hold an array')
    np.save(path, np.zeros((2, 1, 1)))
    refused(ValueError, r'to have shape .*\(got \[2, 1, 1\] and float64\)')
    np.save(path, np.array([print]), allow_pickle=True)
    refused(ValueError, 'Python objects')
    path.write_bytes(content)
    load_partition(folder).check()


def test_other_types_of_numbers_are_refused(folder):
    path = folder / 'part_1' / 'x.npy'
    np.save(path, np.load(path).astype(np.float64))
    loaded = load_partition(folder)
    loaded.part(0)  # Is whole.
    with pytest.raises(ValueError, match=r'hold float32 \(got .* and float64\)'):
        loaded.part(1)


def test_missing_parts(folder):
    shutil.rmtree(folder / 'part_1')
    loaded = load_partition(folder)
    assert loaded.part(0).num_nodes + loaded.part(2).num_nodes < 30
    with pytest.raises(FileNotFoundError, match=r'the part 1 of 3 in .*copy it to'):
        loaded.part(1)
    with pytest.raises(ValueError, match=r"'part' .* 0 to 2 \(got 3\)"):
        loaded.part(3)
    (folder / 'part_0' / 'x.npy').unlink()
    with pytest.raises(FileNotFoundError, match=r'part_0.x.npy'):
        loaded.whole()


def test_owners_that_do_not_fit(folder):
    path = folder / 'owners.npy'
    owners = np.load(path)
    named = re.escape(f"Expected '{path}' to ")
    np.save(path, 0 * owners)
    with pytest.raises(ValueError, match=f'{named}give parts the sizes'):
        load_partition(folder)
    for changed, bad in ((owners + 1, 3), (owners + 256, 258), (-1 - owners, -3)):
        np.save(path, changed)
        match = rf'{named}hold parts from 0 to 2.*\(got {bad}\)'
        with pytest.raises(ValueError, match=match):
            load_partition(folder)


def edited(**values):
    return lambda header: {**header, **values}


@pytest.mark.parametrize(
    'edit, match',
    [
        (edited(version=2), r"version 1 \(got 'spikegraph partition', 2\)"),
        (edited(version=True), r'\(got .*, True\)'),
        (edited(format='x'), r"the format 'spikegraph partition'.*\(got 'x', 1\)"),
        (
            edited(num_parts='3'),
            r"Expected '/.*/partition.json.num_parts' to be an integer",
        ),
        (edited(num_parts=4), 'the same types, parts and nodes'),
        (edited(num_nodes={'': 31}), 'the same types, parts and nodes'),
        (edited(num_nodes={'a': 30}), 'the same types, parts and nodes'),
        (edited(stores=[{'key': ['a'], 'tensors': []}]), 'the same types'),
        (edited(more=1), "no entry 'more'"),
        (lambda header: [], 'JSON with a format and a version'),
        (lambda header: {}, r'a version \(got KeyError'),
    ],
)
def test_edited_headers(folder, edit, match):
    path = folder / 'partition.json'
    path.write_text(json.dumps(edit(json.loads(path.read_text()))))
    with pytest.raises(ValueError, match=match):
        load_partition(folder)


def test_header_says_what_there_is(folder):
    header = json.loads((folder / 'partition.json').read_text())
    assert header['library'] == spikegraph.__version__ and header['num_parts'] == 3
    found = {t['name']: t for t in header['stores'][0]['tensors']}
    assert found['x']['shape'] == [30, 3] and found['x']['dtype'] == 'float32'
    assert found['x']['place'] == 'parts' and found['edge_attr']['place'] == 'graph'
    assert found['adj_t']['place'] == 'csr' and found['adj_t']['num_entries'] == 30


def test_not_a_partition(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match=r'partition.json.*\(found none\)'):
        load_partition(tmp_path)
    assert not is_partition(tmp_path)
    (folder / 'partition.json').write_text('{')
    assert not is_partition(folder)
    with pytest.raises(ValueError, match='JSON with a format'):
        load_partition(folder)
    with pytest.raises(ValueError, match=r"'read_only' to be a bool \(got 1\)"):
        load_partition(folder, read_only=1)


def test_empty_types(tmp_path):
    data = HeteroData()
    data['a'].x = torch.zeros(0, 3)
    data['b'].x = torch.rand(4, 3)
    data['a', 'to', 'b'].edge_index = torch.zeros(2, 0, dtype=torch.int64)
    save_partition(partition_graph(data, 2), data, tmp_path)
    loaded = load_partition(tmp_path)
    assert_same(loaded.whole(), data)
    assert loaded.part(0)['a'].x.shape == (0, 3)
