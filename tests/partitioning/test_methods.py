import builtins
import sys

import pytest
import torch
from torch_geometric.data import Data, HeteroData

from spikegraph import partition_graph
from spikegraph.partitioning import edge_cut
from tests.partitioning.graphs import SIZES, random_graph, random_hetero

METHODS = ['metis', 'range', 'hash']


@pytest.fixture(autouse=True)
def _metis(request):
    if 'metis' in request.node.name:
        pytest.importorskip('pymetis')


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('sizes', SIZES)
@pytest.mark.parametrize('num_parts', [1, 2, 3, 8, 70])
def test_every_node_has_a_part(method, sizes, num_parts):
    data = random_graph(*sizes)
    partition = partition_graph(data, num_parts, method)
    assert partition.method == method and partition.num_parts == num_parts
    assert partition.num_nodes == {'': sizes[0]}
    assert int(partition.sizes().sum()) == sizes[0]
    again = partition_graph(data, num_parts, method)
    assert torch.equal(partition.owners[''], again.owners[''])


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('num_parts', [1, 2, 5, 100])
def test_heterogeneous_graphs(method, num_parts):
    data = random_hetero()
    partition = partition_graph(data, num_parts, method)
    assert partition.num_nodes == {'paper': 40, 'author': 25}
    if num_parts == 2:
        for node_type in data.node_types:
            assert (partition.sizes(node_type) > 0).all()


@pytest.mark.parametrize('method', METHODS)
def test_all_forms_of_a_graph_give_the_same_parts(method):
    data = random_graph(50, 300)
    size = (50, 50)
    edges = data.edge_index
    adj = torch.sparse_coo_tensor(edges.flip(0), torch.ones(300), size).to_sparse_csr()
    wanted = partition_graph(data, 4, method).owners['']
    # An adjacency adds up twins, which parts are balanced by.
    single = edges.unique(dim=1)
    single_wanted = partition_graph(single, 4, method, num_nodes=50).owners['']
    if method == 'hash':
        assert torch.equal(wanted, single_wanted)
    for graph, num, expected in [
        (edges, 50, wanted),
        (edges.int(), 50, wanted),
        (Data(edge_index=edges.numpy(), num_nodes=50), None, wanted),
        (adj, None, single_wanted),
        (adj, 50, single_wanted),
        (Data(adj_t=adj, num_nodes=50), None, single_wanted),
    ]:
        owner = partition_graph(graph, 4, method, num_nodes=num).owners['']
        assert torch.equal(owner, expected)


def test_metis_finds_communities():
    """Three cliques with one edge between each two."""
    block = torch.combinations(torch.arange(20)).t()
    edges = torch.cat([block, block + 20, block + 40], dim=1)
    edges = torch.cat([edges, torch.tensor([[0, 20, 40], [20, 40, 0]])], dim=1)
    shuffled = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    partition = partition_graph(shuffled[edges], 3, 'metis', num_nodes=60)
    cut = edge_cut(shuffled[edges], partition)
    assert cut.cut_edges == 3 and cut.balance == 1.0
    assert partition_graph(edges, 3, num_nodes=60).method == 'metis'  # By itself.


@pytest.mark.parametrize('turned', [False, True])
def test_metis_of_types_follows_edges_between_them(turned):
    """Authors of two groups, each with their papers: nothing is cut."""
    data = HeteroData()
    data['author'].num_nodes = 20
    data['paper'].num_nodes = 60
    author = torch.arange(20).repeat_interleave(60)
    paper = torch.arange(60).repeat(20)
    same = author % 2 == paper % 2
    edges = torch.stack([author, paper])[:, same]
    if turned:
        data['paper', 'by', 'author'].edge_index = edges.flip(0)
    else:
        data['author', 'writes', 'paper'].edge_index = edges
    partition = partition_graph(data, 2, 'metis')
    assert edge_cut(data, partition).cut_edges == 0
    assert partition.sizes('author').tolist() == [10, 10]
    assert partition.sizes('paper').tolist() == [30, 30]


def test_metis_balances_nodes_and_edges():
    """Of a graph in which half of the nodes have ten times the in-edges."""
    random = torch.Generator().manual_seed(0)
    few, many = (torch.randint(1000, (n,), generator=random) for n in (2000, 20_000))
    target = torch.cat([few, many + 1000])
    edges = torch.stack([(target + target.flip(0)) % 2000, target])
    for num_parts in (2, 5):
        owner = partition_graph(edges, num_parts, 'metis', num_nodes=2000).owners['']
        weight = torch.bincount(target, minlength=2000) + 11  # The mean, for the node.
        each = torch.zeros(num_parts).index_add(0, owner.long(), weight.float())
        assert each.max() < 1.06 * each.mean()


def test_metis_depends_on_its_seed():
    data = random_graph(200, 900)
    found = [partition_graph(data, 5, 'metis', seed).owners[''] for seed in range(4)]
    assert any(not torch.equal(found[0], owner) for owner in found[1:])


@pytest.mark.parametrize('num_parts', [2, 3, 7])
def test_ranges_are_contiguous_and_balanced(num_parts):
    data = random_graph(200, 900)
    partition = partition_graph(data, num_parts, 'range')
    owner = partition.owners['']
    assert (owner.diff() >= 0).all() and int(owner[0]) == 0
    weight = 1 + torch.bincount(data.edge_index[1], minlength=200)
    mean = int(weight.sum()) / num_parts
    for part in range(num_parts):
        assert abs(int(weight[partition.rows(part)].sum()) - mean) <= int(weight.max())
    # In-edges count: the nodes behind the last edge, 25 of 200, weigh little.
    assert partition.sizes()[-1] > partition.sizes()[0]


def test_ranges_without_edges_are_even():
    edges = torch.zeros(2, 0, dtype=torch.int64)
    partition = partition_graph(edges, 4, 'range', num_nodes=10)
    assert sorted(partition.sizes().tolist()) == [2, 2, 3, 3]


def test_hashes_are_fixed_and_balanced():
    edges = torch.zeros(2, 0, dtype=torch.int64)
    partition = partition_graph(edges, 7, 'hash', num_nodes=70_000)
    assert partition.owners[''][:99].tolist() == [hashed(i, 7) for i in range(99)]
    sizes = partition.sizes().float()
    assert (sizes - 10_000).abs().max() < 4 * (10_000 * 6 / 7) ** 0.5
    fewer = partition_graph(edges, 7, 'hash', num_nodes=100)
    assert torch.equal(fewer.owners[''], partition.owners[''][:100])
    other = partition_graph(edges, 7, 'hash', seed=1, num_nodes=100)
    equal = (other.owners[''] == fewer.owners['']).float().mean()
    assert equal < 0.3
    data = HeteroData()
    data['a'].num_nodes = data['b'].num_nodes = 100
    owners = partition_graph(data, 7, 'hash').owners
    assert (owners['a'] == owners['b']).float().mean() < 0.3


def hashed(node, num_parts):
    """The end of SplitMix64, in integers of any size."""

    def mixed(x):
        x = (x + 0x9E3779B97F4A7C15) % 2**64
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    return (mixed((node + mixed(0)) % 2**64) >> 32) * num_parts >> 32


def test_without_pymetis(monkeypatch):
    original = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == 'pymetis':
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, 'pymetis', raising=False)
    monkeypatch.setattr(builtins, '__import__', refuse)
    monkeypatch.setattr('spikegraph.partitioning.methods.find_spec', lambda name: None)
    data = random_graph(20, 40)
    with pytest.raises(ImportError, match=r"pip install 'spikegraph\[partition\]'"):
        partition_graph(data, 2, 'metis')
    assert partition_graph(data, 2).method == 'range'


@pytest.mark.parametrize(
    'kwargs, match',
    [
        (dict(num_parts=0), r"'num_parts' to be a positive integer \(got 0\)"),
        (dict(num_parts='2'), r"'num_parts' .*\(got '2'\)"),
        (dict(method='kway'), r"'method' to be one of auto, metis.*\(got 'kway'\)"),
        (dict(seed=-1), r"'seed' .*\(got -1\)"),
        (dict(seed=2**31), r"'seed' .*\(got 2147483648\)"),
        (dict(num_nodes=5), r"'num_nodes' to be None with Data.*\(got 5\)"),
    ],
)
def test_option_errors(kwargs, match):
    with pytest.raises(ValueError, match=match):
        partition_graph(random_graph(5, 5), **{'num_parts': 2, **kwargs})
