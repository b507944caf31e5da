import gc

import pytest
import torch
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import to_dense_adj, to_torch_coo_tensor

from spikegraph.kernels import aggregate, gcn_adjacency, reference
from spikegraph.kernels import graph as graph_module

EDGES = torch.tensor([[0, 1, 2, 2, 3, 3, 1], [1, 0, 0, 2, 1, 1, 3]])  # Loop, twin.


def dense(adjacency):
    return aggregate(adjacency, torch.eye(adjacency.num_targets, dtype=torch.float64))


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('improved', [False, True])
@pytest.mark.parametrize('add_self_loops', [False, True])
@pytest.mark.parametrize('flow', ['source_to_target', 'target_to_source'])
def test_split_normalisation_is_gcn_norm(weighted, improved, add_self_loops, flow):
    weight = torch.rand(7, dtype=torch.float64) + 0.5 if weighted else None
    found = gcn_adjacency(
        EDGES,
        weight,
        5,
        torch.float64,
        improved=improved,
        add_self_loops=add_self_loops,
        flow=flow,
    )
    edges, norm = gcn_norm(
        EDGES, weight, 5, improved, add_self_loops, flow, torch.float64
    )
    expected = to_dense_adj(edges, edge_attr=norm, max_num_nodes=5)[0]
    expected = expected.t() if flow == 'source_to_target' else expected
    product = found.source_factor * dense(found) * found.target_factor.t()
    assert torch.allclose(product, expected, atol=1e-14)
    assert found.num_edges == edges.size(1)
    assert weighted or found.weight is None


@pytest.mark.parametrize('num_nodes, num_edges', [(1, 0), (7, 0), (9, 40), (63, 500)])
@pytest.mark.parametrize('width', [1, 15, 17])
@pytest.mark.parametrize('weighted', [False, True])
def test_aggregate_matches_reference(num_nodes, num_edges, width, weighted):
    edges = torch.randint(num_nodes, (2, num_edges))
    weight = torch.rand(num_edges, dtype=torch.float64) if weighted else None
    found = gcn_adjacency(edges, weight, num_nodes, torch.float64, normalize=False)
    x = torch.randn(width, num_nodes, dtype=torch.float64).t()  # Not contiguous.
    expected = reference.aggregate(found.rowptr, found.col, found.weight, x)
    assert torch.allclose(aggregate(found, x), expected, atol=1e-13)


@pytest.mark.parametrize('layout', [torch.sparse_csr, torch.sparse_coo])
def test_sparse_adjacency(layout):
    edges = torch.unique(EDGES, dim=1)
    adj = to_torch_coo_tensor(edges.flip(0), size=(5, 5)).double()
    adj = adj.to_sparse_csr() if layout == torch.sparse_csr else adj
    found = gcn_adjacency(adj, None, 5, torch.float64, normalize=False)
    assert torch.equal(dense(found), adj.to_dense())


def test_prepared_once_per_graph_and_anew_when_it_changes():
    edges, weight = EDGES.clone(), torch.ones(7)
    first = gcn_adjacency(edges, None, 5, torch.float32)
    assert gcn_adjacency(edges, None, 5, torch.float32) is first
    assert gcn_adjacency(edges, None, 6, torch.float32) is not first
    assert gcn_adjacency(edges, weight, 5, torch.float32) is not first
    weighted = gcn_adjacency(edges, weight, 5, torch.float32)
    weight[0] = 3.0
    assert gcn_adjacency(edges, weight, 5, torch.float32).weight.max() == 3
    assert weighted.weight.max() == 1
    edges[:, 0] = 4
    assert (
        gcn_adjacency(edges, None, 5, torch.float32).col.tolist() != first.col.tolist()
    )
    gc.collect()  # What other tests left behind.
    size = len(graph_module._CACHE)
    del edges
    gc.collect()
    assert len(graph_module._CACHE) < size


@pytest.mark.parametrize(
    'edge_index, weight, match',
    [
        (torch.zeros(3, 4).long(), None, r'shape \[2, num_edges\] \(got \[3, 4\]\)'),
        (torch.rand(2, 4), None, r'integers, int64 or int32 \(got torch.float32\)'),
        (torch.tensor([[0], [5]]), None, r'nodes 0 to 4.*\(got node 5\)'),
        (torch.tensor([[-1], [0]]), None, r'nodes 0 to 4.*\(got node -1\)'),
        (EDGES, torch.ones(3), r'shape \[7\], one weight per edge \(got \[3\]\)'),
        (EDGES, torch.full((7,), float('nan')), r'finite \(got nan\)'),
        ([[0], [1]], None, r'to be a tensor of edge indices.*\(got list\)'),
        (torch.eye(4).to_sparse_csr(), None, r'shape \[5, 5\].*\(got \[4, 4\]\)'),
        (
            torch.eye(5).to_sparse_csc(),
            None,
            r'CSR or COO layout \(got torch.sparse_csc',
        ),
    ],
)
def test_errors(edge_index, weight, match):
    with pytest.raises(ValueError, match=match):
        gcn_adjacency(edge_index, weight, 5, torch.float32)


def test_int32_edges():
    expected = gcn_adjacency(EDGES, None, 5, torch.float64)
    found = gcn_adjacency(EDGES.int(), None, 5, torch.float64)
    assert torch.equal(dense(found), dense(expected))


@pytest.mark.parametrize('num_threads', [1, 2])
def test_sums_do_not_depend_on_threads(num_threads):
    torch.manual_seed(0)
    edges = torch.randint(500, (2, 20000))
    x = torch.randn(500, 33)
    found = gcn_adjacency(edges, None, 500, torch.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = aggregate(found, x)
    torch.set_num_threads(num_threads)
    result = aggregate(found, x)
    torch.set_num_threads(before)
    assert torch.equal(result, expected)
