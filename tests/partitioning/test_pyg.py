"""What PyG's own partitioner writes, read again."""

import json
import shutil

import pytest
import torch
from torch_geometric.data import Data, HeteroData
from torch_geometric.distributed import Partitioner
from torch_geometric.loader import ClusterData

from spikegraph.partitioning import is_pyg_partition, read_pyg_partition
from tests.partitioning.graphs import assert_same, random_graph, random_hetero


@pytest.fixture
def write(monkeypatch, tmp_path):
    """Runs PyG's partitioner, with random parts for those of METIS: that needs
    pyg-lib or torch-sparse, which are not required here."""

    def run(data, num_parts=3, seed=0):
        generator = torch.Generator().manual_seed(seed)
        homogeneous = data.to_homogeneous() if isinstance(data, HeteroData) else data
        owner = torch.randint(num_parts, (homogeneous.num_nodes,), generator=generator)
        monkeypatch.setattr(ClusterData, '_metis', lambda *args: owner)
        shutil.rmtree(tmp_path / 'pyg', ignore_errors=True)
        Partitioner(data.clone(), num_parts, str(tmp_path / 'pyg')).generate_partition()
        return tmp_path / 'pyg', owner

    return run


def kept(data, *names):
    """What the partitioner keeps of data."""
    data = data.clone()
    for store in data.stores:
        for name in list(store):
            if name not in ('x', 'edge_index', 'edge_attr', *names):
                del store[name]
    return data


@pytest.mark.parametrize('num_parts', [2, 3, 9])
@pytest.mark.parametrize('sizes', [(12, 0), (12, 40), (63, 400)])
def test_round_trip(write, num_parts, sizes):
    data = random_graph(*sizes, seed=num_parts)
    folder, owner = write(data, num_parts)
    assert is_pyg_partition(folder)
    partition, found = read_pyg_partition(folder)
    assert partition.num_parts == num_parts
    assert partition.owners[''].tolist() == owner.tolist()
    assert_same(found, kept(data))
    assert found.num_nodes == sizes[0]


@pytest.mark.parametrize('num_parts', [2, 5])
@pytest.mark.parametrize('seed', [0, 1])
def test_round_trip_of_types(write, num_parts, seed):
    data = random_hetero(seed)
    folder, owner = write(data, num_parts, seed)
    partition, found = read_pyg_partition(folder)
    assert partition.owners['paper'].tolist() == owner[:40].tolist()
    assert partition.owners['author'].tolist() == owner[40:].tolist()
    assert found.edge_types == data.edge_types
    assert_same(found, kept(data))


def test_types_with_different_features(write):
    """PyG fills the narrower ones up with zeros before it divides them."""
    data = random_hetero()
    data['author'].x = torch.rand(25, 7)
    folder, _ = write(data)
    _, found = read_pyg_partition(folder)
    wanted = kept(data)
    wanted['paper'].x = torch.nn.functional.pad(data['paper'].x, (0, 3))
    assert_same(found, wanted)


def test_without_features(write):
    data = Data(edge_index=random_graph(20, 60).edge_index, num_nodes=20)
    folder, _ = write(data)
    _, found = read_pyg_partition(folder)
    assert_same(found, data)
    assert found.num_nodes == 20


def test_times(write):
    data = random_graph(20, 60)
    data.time = torch.arange(20) % 7
    _, found = read_pyg_partition(write(data)[0])
    assert_same(found, kept(data, 'time'))
    data = random_graph(20, 60)
    data.edge_time = torch.randperm(60)
    _, found = read_pyg_partition(write(data)[0])
    assert_same(found, kept(data, 'edge_time'))


def test_times_of_types(write):
    data = random_hetero()
    for node_type in data.node_types:
        data[node_type].time = torch.arange(data[node_type].num_nodes) % 5
    _, found = read_pyg_partition(write(data)[0])
    assert_same(found, kept(data, 'time'))
    data = random_hetero()
    for edge_type in data.edge_types:
        num = data[edge_type].edge_index.size(1)
        data[edge_type].edge_time = torch.randperm(num)
    _, found = read_pyg_partition(write(data)[0])
    assert_same(found, kept(data, 'edge_time'))


@pytest.mark.parametrize(
    'name',
    ['node_map.pt', 'edge_map.pt']
    + [f'part_1/{name}.pt' for name in ('graph', 'node_feats', 'edge_feats')],
)
def test_missing_and_damaged_files(write, name):
    folder, _ = write(random_graph(30, 90))
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r'found none.*Partitioner') as error:
        read_pyg_partition(folder)
    assert str(path) in str(error.value)
    for damaged in (content[: len(content) // 2], b'', b'nothing'):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r'hold what .*Partitioner') as error:
            read_pyg_partition(folder)
        assert str(path) in str(error.value)
    torch.save([3], path)
    with pytest.raises(ValueError, match=r'hold what .*Partitioner'):
        read_pyg_partition(folder)
    torch.save(print, path)  # Is not run.
    with pytest.raises(ValueError, match='UnpicklingError'):
        read_pyg_partition(folder)


def changed(path, change):
    content = torch.load(path, weights_only=False)
    change(content)
    torch.save(content, path)


def test_parts_that_do_not_add_up(write):
    folder, owner = write(random_graph(30, 90))
    copy = folder.parent / 'copy'

    def refused(name, change, match):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        changed(copy / name, change)
        with pytest.raises(ValueError, match=match):
            read_pyg_partition(copy)

    def drop(graph):
        for key in ('edge_id', 'row', 'col'):
            graph[key] = graph[key][1:]

    def twice(graph):
        graph['edge_id'][0] = graph['edge_id'][1]

    def beyond(graph):
        graph['row'][0] = 30

    def below(graph):
        graph['edge_id'][0] = -1

    refused('part_0/graph.pt', drop, 'edges that are missing or come twice')
    refused('part_0/graph.pt', twice, 'edges that are missing or come twice')
    refused('part_0/graph.pt', beyond, r'IndexError: numbers up to 29')
    refused('part_0/graph.pt', below, r'IndexError: numbers up to 89')
    refused(
        'node_map.pt', lambda owners: owners.copy_(owner.roll(1)), 'other nodes than'
    )
    refused('node_map.pt', lambda owners: owners.fill_(7), r'0 to 2.*\(got 7\)')
    refused('part_2/node_feats.pt', lambda f: f.pop('global_id'), 'KeyError')


def test_meta(write, tmp_path):
    folder, _ = write(random_hetero())
    path = folder / 'META.json'
    meta = json.loads(path.read_text())
    for values in (
        {'num_parts': 0},
        {'num_parts': '3'},
        {'edge_types': None},
        {'edge_types': [['a', 'b']]},
        {'node_types': [3]},
    ):
        path.write_text(json.dumps({**meta, **values}))
        with pytest.raises(ValueError, match=r"META.json' to hold what"):
            read_pyg_partition(folder)
    path.write_text(json.dumps({**meta, 'num_parts': 4}))
    with pytest.raises(FileNotFoundError, match='part_3'):
        read_pyg_partition(folder)
    path.write_text('{')
    assert not is_pyg_partition(folder)
    with pytest.raises(ValueError, match='META.json'):
        read_pyg_partition(folder)
    assert not is_pyg_partition(tmp_path)
    with pytest.raises(FileNotFoundError, match=r'META.json.*\(found none\)'):
        read_pyg_partition(tmp_path)
