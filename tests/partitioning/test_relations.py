import hashlib
import struct

import pytest
import torch
from torch_geometric.data import Data, HeteroData

from spikegraph.partitioning import graph_digest, relations
from spikegraph.partitioning.relations import relations_of
from tests.partitioning.graphs import random_graph, random_hetero

EDGES = torch.tensor([[0, 1, 2], [1, 2, 0]])


def hetero(**kwargs):
    data = HeteroData()
    data['a'].num_nodes, data['b'].num_nodes = 3, 2
    data['a', 'to', 'b'].edge_index = torch.tensor([[0, 2], [1, 1]])
    return data


def test_digests_tell_graphs_apart(monkeypatch):
    wanted = graph_digest(EDGES, 3)
    assert graph_digest(EDGES.int(), 3) == wanted
    assert graph_digest(Data(edge_index=EDGES, num_nodes=3, z=EDGES)) == wanted
    assert graph_digest(EDGES.t().contiguous().t(), 3) == wanted
    others = [(EDGES, 4), (EDGES.flip(0), 3), (EDGES.flip(1), 3), (EDGES[:, :2], 3)]
    found = {graph_digest(*other) for other in others} | {graph_digest(hetero())}
    assert len(found) == 5 and wanted not in found
    renamed = hetero()
    renamed['a', 'at', 'b'].edge_index = renamed['a', 'to', 'b'].edge_index
    del renamed['a', 'to', 'b']
    assert graph_digest(renamed) not in found


def test_digest_is_the_one_that_is_documented(monkeypatch):
    data = hetero()
    types = '[{"a": 3, "b": 2}, [["a", "to", "b"]]]'
    numbers = struct.pack('<4q', 0, 2, 1, 1)  # Sources, then targets.
    wanted = hashlib.sha256(types.encode() + b'2;' + numbers).hexdigest()
    assert graph_digest(data) == wanted
    monkeypatch.setattr(relations, 'BLOCK', 1)
    assert graph_digest(data) == wanted


def test_blocks_join_to_the_edges():
    data = random_graph(30, 101)
    (relation,) = relations_of(data).relations
    blocks = list(relation.blocks(25))
    assert [len(source) for source, _ in blocks] == [25, 25, 25, 25, 1]
    ends = [torch.cat(end) for end in zip(*blocks, strict=True)]
    assert torch.equal(torch.stack(ends), data.edge_index)
    assert relations.BLOCK > 1_000


def test_offsets_and_edges_of_types():
    data = random_hetero()
    graph = relations_of(data)
    assert graph.num_nodes == {'paper': 40, 'author': 25}
    assert graph.offsets == {'paper': 0, 'author': 40}
    for relation in graph.relations:
        ends = torch.stack([relation.source, relation.target])
        assert torch.equal(ends, data[relation.edge_type].edge_index)


def test_graphs_without_edges():
    assert relations_of(Data(x=torch.zeros(3, 1))).relations == []
    (relation,) = relations_of(torch.tensor([[], []]), 3).relations
    assert relation.source.numel() == 0


class Guess:
    pass


NO_A = HeteroData()
NO_A['b'].num_nodes = 3
NO_A['a', 'to', 'b'].edge_index = EDGES
LATE = hetero()
LATE['a', 'to', 'b'].edge_index = torch.tensor([[0, 2], [1, 2]])
NONE = HeteroData()
NONE['a'].z = 3


@pytest.mark.parametrize(
    'data, num_nodes, match',
    [
        (Guess(), None, r"'data' to be PyG's Data .* \(got Guess\)"),
        (EDGES, None, r"'num_nodes' to be the number of nodes .*\(got None\)"),
        (EDGES, 3.0, r"'num_nodes' .*\(got 3.0\)"),
        (EDGES, 2, r'to hold nodes 0 to 1.*\(got node 2\)'),
        (EDGES - 1, 3, r'to hold nodes 0 to 2.*\(got node -1\)'),
        (EDGES.float(), 3, r'to hold integers.*\(got torch.float32\)'),
        (EDGES.view(3, 2), 3, r'\[2, num_edges\] \(got \[3, 2\]\)'),
        (torch.eye(3).to_sparse(), 4, r'to be \[4, 4\] \(got shape \[3, 3\]\)'),
        (torch.ones(2, 3).to_sparse(), None, r'square \(got shape \[2, 3\]\)'),
        (Data(edge_index=EDGES), None, r"set 'data.num_nodes'"),
        (Data(), None, r"set 'data.num_nodes'"),
        (HeteroData(), None, r'without any'),
        (NONE, None, r"set 'data\['a'\].num_nodes'"),
        (NO_A, None, r"nodes 'a', where the edges .* \(got \['b'\]\)"),
        (LATE, None, r"\(got node 2\), in the edges \('a', 'to', 'b'\)"),
        (hetero(), 3, r"'num_nodes' to be None with HeteroData.*\(got 3\)"),
    ],
)
def test_errors(data, num_nodes, match):
    with pytest.raises(ValueError, match=match):
        relations_of(data, num_nodes)
