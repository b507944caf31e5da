import gc
import weakref

import pytest
import torch
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import (
    add_remaining_self_loops,
    to_dense_adj,
    to_torch_coo_tensor,
)

from spikegraph.kernels import (
    Adjacency,
    aggregate,
    earliest,
    gcn_adjacency,
    reference,
)
from spikegraph.kernels import graph as graph_module
from spikegraph.kernels.cpu import sorting
from spikegraph.kernels.sorting import sort_edges
from spikegraph.kernels.torch import operations

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
    expected = reference.aggregate(x, found.csr)
    assert torch.allclose(aggregate(found, x), expected, atol=1e-13)


@pytest.mark.parametrize(
    'layout', [torch.sparse_csr, torch.sparse_coo, torch.sparse_csc]
)
def test_sparse_adjacency(layout):
    edges = torch.unique(EDGES, dim=1)
    adj = to_torch_coo_tensor(edges.flip(0), size=(5, 5)).double()
    adj = adj.to_sparse(layout=layout)
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
    ],
)
def test_errors(edge_index, weight, match):
    with pytest.raises(ValueError, match=match):
        gcn_adjacency(edge_index, weight, 5, torch.float32)


ROWPTR, COL = torch.tensor([0, 2, 3]), torch.tensor([0, 2, 1])


@pytest.mark.parametrize(
    'change, match',
    [
        (dict(rowptr=ROWPTR.float()), r"'rowptr' to have one dimension, of int32"),
        (dict(rowptr=ROWPTR[:0]), r"'rowptr' to start with 0 \(got no values\)"),
        (dict(rowptr=ROWPTR + 1), r'0 to the 3 edges .*\(got 1 to 4\)'),
        (dict(rowptr=torch.tensor([0, 5, 3])), r"'rowptr' to grow from 0"),
        (dict(col=COL + 1), r"'col' to hold nodes 0 to 2.*\(got node 3\)"),
        (dict(col=COL - 1), r"'col' to hold nodes 0 to 2.*\(got node -1\)"),
        (dict(weight=torch.ones(1)), r"'weight' to have shape \[3\] \(got \[1\]\)"),
        (dict(source_factor=torch.ones(1, 1)), r"'source_factor' .* \[3, 1\]"),
        (dict(target_factor=torch.ones(2)), r"'target_factor' .* \[2, 1\]"),
    ],
)
def test_wrong_graphs(change, match):
    given = dict(rowptr=ROWPTR, col=COL, num_sources=3) | change
    with pytest.raises(ValueError, match=match):
        aggregate(Adjacency(**given), torch.ones(3, 1))
    with pytest.raises(ValueError, match=match):
        earliest(Adjacency(**given), torch.ones(3, 1, dtype=torch.uint8), 9)


ENDS = torch.tensor([0, 1])


@pytest.mark.parametrize(
    'source, target, weight, match',
    [
        (torch.arange(9), ENDS, None, r"'source' .* \(got shapes \[9\] and \[2\]\)"),
        (ENDS, torch.arange(3), None, r"'source' .* \(got shapes \[2\] and \[3\]\)"),
        (ENDS.view(1, 2), ENDS.view(1, 2), None, r"'source' to have one dimension"),
        (ENDS, ENDS, torch.ones(1), r"'weight' .* \(got shapes \[1\] and \[2\]\)"),
        (ENDS, ENDS, torch.ones(3), r"'weight' .* \(got shapes \[3\] and \[2\]\)"),
    ],
)
def test_wrong_edges(source, target, weight, match):
    with pytest.raises(ValueError, match=match):
        Adjacency.from_edges(source, target, weight, 9, 9)


@pytest.mark.parametrize('made', ['by hand', 'from edges'])
def test_edited_graphs_are_checked_again(made):
    x = torch.rand(3, 2)
    if made == 'by hand':
        adjacency = Adjacency(ROWPTR.clone(), COL.clone(), num_sources=3)
    else:
        adjacency = Adjacency.from_edges(COL, torch.tensor([0, 0, 1]), None, 3, 2)
    aggregate(adjacency, x)
    adjacency.col[0] = 3
    with pytest.raises(ValueError, match=r"'col' .*as there are 3 \(got node 3\)"):
        aggregate(adjacency, x)
    adjacency.col[0] = 1
    assert torch.equal(aggregate(adjacency, x)[0], x[1] + x[2])


def test_graphs_are_freed_at_once():
    """Not when the next cycle of garbage is collected: they may be large."""
    edges, x = EDGES.clone(), torch.rand(5, 3)
    adjacency = gcn_adjacency(edges, None, 5, torch.float32)
    aggregate(adjacency, x)
    known = weakref.ref(adjacency)
    gc.disable()
    try:
        del adjacency, edges
        assert known() is None
    finally:
        gc.enable()


def test_edges_out_of_range():
    edges = torch.tensor([0, 1, 2]), torch.tensor([0, 1, 9])
    with pytest.raises(ValueError, match=r"'target' to hold .*\(got node 9\)"):
        Adjacency.from_edges(*edges, None, 4, 4)
    with pytest.raises(ValueError, match=r"'source' to hold .*\(got node 9\)"):
        Adjacency.from_edges(*edges[::-1], None, 4, 4)


def test_ranks_that_do_not_fit():
    adjacency = Adjacency(ROWPTR, COL, num_sources=3)
    with pytest.raises(ValueError, match=r"'rank' to have 3 rows.*\[2, 1\]"):
        earliest(adjacency, torch.ones(2, 1, dtype=torch.uint8), 9)
    with pytest.raises(ValueError, match=r'a byte, 0 to 255 \(got 300\)'):
        earliest(adjacency, torch.ones(3, 1, dtype=torch.uint8), 300)


def test_graphs_with_gaps_in_memory():
    x = torch.rand(3, 20)
    expected = aggregate(Adjacency(ROWPTR, COL, num_sources=3), x)
    rowptr, col = (torch.stack([t, 99 + t], 1)[:, 0] for t in (ROWPTR, COL))
    assert not col.is_contiguous()
    assert torch.equal(aggregate(Adjacency(rowptr, col, num_sources=3), x), expected)


def test_int32_edges():
    expected = gcn_adjacency(EDGES, None, 5, torch.float64)
    found = gcn_adjacency(EDGES.int(), None, 5, torch.float64)
    assert torch.equal(dense(found), dense(expected))


@pytest.fixture(params=[1 << 18, 100, 3])
def bucket(request, monkeypatch, num_threads):
    """All edges in one bucket, and in many, sorted by several threads."""
    monkeypatch.setattr(sorting, '_BUCKET', request.param)
    num_threads(3)
    return request.param


SIZES = [(9, 7, 0), (0, 0, 0), (1, 1, 5), (7, 9, 40), (40, 3, 1000), (63, 500, 501)]
SIZES += [(150_000, 150_000, 700)]  # More rows than 16 bits can tell apart.


@pytest.mark.parametrize('index', [torch.int32, torch.int64])
@pytest.mark.parametrize('num_sources, num_targets, num_edges', SIZES)
def test_sort_is_stable(index, num_sources, num_targets, num_edges, bucket):
    edges = torch.randint(max(1, num_sources), (num_edges, 2), dtype=index)
    edges[:, 1] = torch.randint(max(1, num_targets), (num_edges,))
    source, target = edges.t()  # With gaps in memory.
    before = edges.clone()
    rowptr, col, order = sort_edges(source, target, num_sources, num_targets)
    expected = target.sort(stable=True).indices
    assert torch.equal(order.long(), expected)
    assert torch.equal(col.long(), source[expected].long())
    assert col.dtype == torch.int32 and rowptr.dtype == torch.int64
    counts = torch.bincount(target, minlength=num_targets)
    assert rowptr[0] == 0 and torch.equal(rowptr.diff(), counts)
    assert torch.equal(edges, before)
    found = sort_edges(source, target, num_sources, num_targets, with_order=False)
    assert torch.equal(found[0], rowptr) and torch.equal(found[1], col)
    assert found[2] is None


@pytest.mark.parametrize('index', [torch.int32, torch.int64])
@pytest.mark.parametrize('num_nodes, num_edges', [(0, 0), (5, 0), (9, 60), (500, 3000)])
def test_loops_come_last(index, num_nodes, num_edges, bucket):
    edges = torch.randint(max(1, num_nodes), (2, num_edges), dtype=index)
    edges[1, ::7] = edges[0, ::7]
    rowptr, col, order = sort_edges(*edges, num_nodes, num_nodes, loops=True)
    source, target = add_remaining_self_loops(edges, None, 1.0, num_nodes)[0].long()
    expected = target.sort(stable=True).indices
    assert torch.equal(col.long(), source[expected]) and order is None
    counts = torch.bincount(target, minlength=num_nodes)
    assert torch.equal(rowptr.diff(), counts) and rowptr.numel() == num_nodes + 1
    source, target = edges
    plain = operations.sort_edges(target, source, num_nodes, num_nodes, True, False)
    assert torch.equal(plain[0], rowptr) and torch.equal(plain[1], col)


def test_without_numba(without_numba):
    with pytest.warns(RuntimeWarning, match='Numba cannot be used'):
        found = gcn_adjacency(EDGES.clone(), None, 5, torch.float64)
    assert found.rowptr.tolist() == [0, 3, 7, 8, 10, 11]
    assert found.col.tolist() == [1, 2, 0, 0, 3, 3, 1, 2, 1, 3, 4]
    assert found.col.dtype == torch.int32 and found.rowptr.dtype == torch.int64
