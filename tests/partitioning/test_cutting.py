import json

import pytest
import torch

from spikegraph import Partition, partition_graph
from spikegraph.partitioning import cutting, edge_cut, relations
from tests.partitioning.graphs import SIZES, random_graph, random_hetero


def by_hand(edges, owners):
    """Cut edges, halo nodes and in-edges, pair by pair."""
    cut, halos, into = 0, set(), {}
    for (source_type, _, target_type), edge_index in edges.items():
        for i, j in edge_index.t().tolist():
            own, part = int(owners[source_type][i]), int(owners[target_type][j])
            into[part] = into.get(part, 0) + 1
            if own != part:
                cut += 1
                halos.add((source_type, i, part))
    return cut, halos, into


def check(data, edges, partition):
    found = edge_cut(data, partition)
    cut, halos, into = by_hand(edges, partition.owners)
    parts = range(partition.num_parts)
    assert found.num_edges == sum(e.size(1) for e in edges.values())
    assert found.cut_edges == cut and found.num_boundary == len(halos)
    assert found.edges == tuple(into.get(part, 0) for part in parts)
    for node_type in partition.node_types:
        counts = [
            sum(t == node_type and p == part for t, _, p in halos) for part in parts
        ]
        assert found.halos[node_type] == tuple(counts)
        sizes = [len(partition.rows(part, node_type)) for part in parts]
        assert found.nodes[node_type] == tuple(sizes)
    total = [sum(sizes[p] for sizes in found.nodes.values()) for p in parts]
    mean = sum(total) / len(total)
    assert found.balance == pytest.approx(max(total) / mean if mean else 1.0)
    assert found.num_nodes == sum(total)
    json.dumps(found.to_dict(), allow_nan=False)
    assert found.to_dict()['halos'] == {t: list(n) for t, n in found.halos.items()}
    assert str(found).count('\n') == 7 + partition.num_parts - 1
    return found


@pytest.mark.parametrize('sizes', SIZES)
@pytest.mark.parametrize('num_parts', [1, 2, 5, 11])
def test_counts_match_brute_force(sizes, num_parts, monkeypatch):
    monkeypatch.setattr(cutting, '_PENDING', 3)  # So that pairs are merged often.
    blocks = relations.Relation.blocks
    monkeypatch.setattr(relations.Relation, 'blocks', lambda self: blocks(self, 16))
    for seed in range(3):
        data = random_graph(*sizes, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        owner = torch.randint(num_parts, (sizes[0],), generator=generator)
        partition = Partition({'': owner}, num_parts, 'by hand')
        found = check(data, {('', '', ''): data.edge_index}, partition)
        assert edge_cut(data.edge_index, partition) == found
        if num_parts == 1:
            assert found.cut_edges == 0 and found.cut_percent == 0.0


@pytest.mark.parametrize('method', ['range', 'hash'])
@pytest.mark.parametrize('num_parts', [1, 3, 80])
def test_counts_of_types(method, num_parts):
    data = random_hetero()
    partition = partition_graph(data, num_parts, method)
    edges = {e: data[e].edge_index for e in data.edge_types}
    check(data, edges, partition)


def test_the_table_has_units():
    edges = torch.tensor([[0, 1, 2, 3, 0], [1, 2, 3, 0, 2]])
    partition = Partition({'': torch.tensor([0, 0, 1, 1])}, 3, 'hand')
    lines = str(edge_cut(edges, partition)).splitlines()
    assert lines[0] == '4 nodes, 5 edges in 3 parts, by hand'
    assert lines[1].split() == ['cut', 'edges', '3', '60.00', '%', 'of', 'all']
    assert lines[2].split() == ['halo', 'nodes', '3', '0.750', 'per', 'node']
    assert lines[3].split() == [
        'largest',
        'part',
        '1.50',
        'x',
        'the',
        'mean,',
        'by',
        'nodes',
    ]
    assert lines[4].split() == ['1.80', 'x', 'the', 'mean,', 'by', 'in-edges']
    assert lines[-3].split() == ['0', '2', '2', '1', '50.0']
    assert lines[-2].split() == ['1', '2', '3', '2', '100.0']
    assert lines[-1].split() == ['2', '0', '0', '0', '-']


def test_another_graph_is_refused():
    partition = Partition({'': torch.tensor([0, 0, 1])}, 2, 'by hand')
    with pytest.raises(ValueError, match=r'has 5 nodes \(got one of 3 nodes\)'):
        edge_cut(random_graph(5, 8), partition)
    with pytest.raises(ValueError, match="nodes 'paper'"):
        edge_cut(random_hetero(), partition)
