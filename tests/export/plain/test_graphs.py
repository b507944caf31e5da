import pytest
import torch

from spikegraph.export.plain.graphs import Graphs
from spikegraph.kernels import propagate
from spikegraph.nn.conv.cheb_conv import LaplacianShift
from spikegraph.nn.conv.cluster_gcn_conv import ClusterShift
from spikegraph.nn.conv.hypergraph_conv import HyperedgeShift
from spikegraph.nn.conv.rgcn_conv import RelationShift
from spikegraph.nn.shift import GCNShift, MatrixShift, MemberShift, NeighborShift
from tests.export.graphs import odd_graphs, relative_error

BACKWARD = 'target_to_source'
WITH_WEIGHTS = [
    GCNShift(),
    GCNShift(improved=True),
    GCNShift(add_self_loops=False),
    GCNShift(add_self_loops=False, normalize=False),
    GCNShift(improved=True, flow=BACKWARD),
    NeighborShift(),
    NeighborShift(mean=True),
    NeighborShift(add_self_loops=True),
    NeighborShift(mean=True, add_self_loops=True, flow=BACKWARD),
    LaplacianShift(),
    LaplacianShift('rw', BACKWARD),
    LaplacianShift(None),
]


def check(shift, x, *graph):
    found = Graphs().of(shift, x, graph).propagate(x)
    expected = propagate(shift(x, *graph), x)
    assert relative_error(found, expected) < 1e-12


@pytest.mark.parametrize('shift', WITH_WEIGHTS, ids=str)
@pytest.mark.parametrize('graph', odd_graphs())
def test_edges_are_summed_as_the_kernels_do(shift, graph):
    x, edge_index, edge_weight = graph
    if shift == LaplacianShift(None) and bool((edge_index[0] == edge_index[1]).all()):
        return  # It divides by zero, which the library refuses.
    check(shift, x, edge_index)
    check(shift, x, edge_index, edge_weight)
    check(shift, x.unsqueeze(1).expand(-1, 3, -1).contiguous(), edge_index, edge_weight)


@pytest.mark.parametrize('graph', odd_graphs())
def test_other_ways_to_read_edges(graph):
    x, edge_index, _ = graph
    kinds = torch.arange(edge_index.size(1)) % 3
    for relation in range(4):
        for mean in (False, True):
            check(RelationShift(relation, mean), x, edge_index, kinds)
    check(RelationShift(1, True, BACKWARD), x, edge_index, kinds)
    for loops in (False, True):
        check(ClusterShift(0.3, loops), x, edge_index)
        check(ClusterShift(0.3, loops, BACKWARD), x, edge_index)
    num = int(edge_index[1].max()) + 1 if edge_index.numel() else 0
    weight = torch.rand(num, dtype=x.dtype)
    if num > 0:
        check(HyperedgeShift(True), x, edge_index)
        check(HyperedgeShift(True), x, edge_index, weight, num)
        sums = torch.randn(num, 4, dtype=x.dtype)
        check(HyperedgeShift(False), sums, edge_index, weight, len(x))


def test_bipartite_graphs():
    x, edge_index = (
        torch.randn(6, 3).double(),
        torch.tensor([[0, 5, 5, 2], [1, 1, 2, 0]]),
    )
    weight = torch.rand(4).double()
    for mean in (False, True):
        check(NeighborShift(mean=mean), x, edge_index, weight, 3)
        check(NeighborShift(mean=mean), x, edge_index, None, 9)


@pytest.mark.parametrize('mean', [False, True])
def test_members_of_groups(mean):
    x, index = torch.randn(7, 3).double(), torch.tensor([0, 0, 3, 3, 3, 1, 0])
    for num in (None, 4, 6):
        check(MemberShift(mean), x, index, num)
    check(MemberShift(mean), x)


def test_matrices():
    x, matrix = torch.randn(7, 3).double(), torch.randn(5, 7).double()
    check(MatrixShift(), x, matrix)
    check(MatrixShift(), x, matrix * (matrix > 1))


def test_the_largest_eigenvalue_of_each_graph():
    x, edge_index, weight = odd_graphs()[1]
    batch = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    keep = batch[edge_index[0]] == batch[edge_index[1]]
    edge_index, weight = edge_index[:, keep], weight[keep]
    lambda_max = torch.tensor([1.5, 2.0, 1.1]).double()
    check(LaplacianShift(), x, edge_index, weight, batch, lambda_max)
    check(LaplacianShift(), x, edge_index, weight, None, torch.tensor(1.7).double())


def test_layers_share_what_they_read():
    x, edge_index, _ = odd_graphs()[0]
    graphs = Graphs()
    first = graphs.of(GCNShift(), x, (edge_index,))
    assert graphs.of(GCNShift(), 2 * x, (edge_index,)) is first
    assert graphs.of(GCNShift(), x, (edge_index.clone(),)) is not first
    assert graphs.of(GCNShift(improved=True), x, (edge_index,)) is not first


def test_what_has_no_plain_form():
    x, edge_index, _ = odd_graphs()[0]
    adjacency = torch.eye(len(x)).double().to_sparse()
    with pytest.raises(NotImplementedError, match='a sparse adjacency'):
        Graphs().of(GCNShift(), x, (adjacency,))
    with pytest.raises(NotImplementedError, match='a sparse matrix'):
        Graphs().of(MatrixShift(), x, (adjacency,))
    with pytest.raises(NotImplementedError, match='as object prepares them'):
        Graphs().of(object(), x, (edge_index,))
