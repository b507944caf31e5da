"""Twins against PyG's layers on every form of an adjacency that PyG takes."""

import pytest
import torch
from torch_geometric import EdgeIndex
from torch_geometric.nn import GCNConv
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from spikegraph.nn import SpikingGCNConv
from tests.graphs import MATRIX_FORMS, SparseTensor
from tests.nn.conv.twin_tests import TWINS, construct, layers_with_tests

N = 10
SPARSE = ('coo', 'uncoalesced', 'csr', 'csc', 'int32', 'SparseTensor')
# PyG counts the parts of an uncoalesced entry as edges here, and marks it as coalesced.
BY_PARTS = ('ClusterGCNConv', 'GATConv', 'GATv2Conv', 'AGNNConv', 'DirGNNConv')
NOT_COMPARED = [
    *((name, 'uncoalesced') for name in BY_PARTS),
    ('ClusterGCNConv', 'SparseTensor'),  # Its degrees are sums of values.
    ('DirGNNConv', 'SparseTensor'),  # Wraps a layer of PyG.
    ('DirGNNConv', 'csc'),
]
# PyG leaves out the values of a SparseTensor.
WITHOUT_VALUES = ('SAGEConv', 'GINConv', 'MFConv')


def adjacency(weighted=False, loops=False):
    generator = torch.Generator().manual_seed(0)
    adj = (torch.rand(N, N, generator=generator) < 0.3).float()
    adj.fill_diagonal_(0.0)
    if loops:
        adj[2, 2] = adj[5, 5] = 1.0
    return adj * (0.5 + torch.rand(N, N, generator=generator)) if weighted else adj


def cases():
    for name, tests in layers_with_tests().items():
        for letters, code in (*tests.shown, *tests.others):
            if letters in ('xe', 'xe+') and 'flow' not in code:
                code = code.replace('cached=True', 'cached=False')
                yield pytest.param(tests.layer, code, id=f'{name}-{code}')


@pytest.mark.parametrize('form', [*SPARSE, 'EdgeIndex'])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('layer_type, code', list(cases()))
@pytest.mark.filterwarnings('ignore:Sparse invariant checks')
def test_twins_agree_with_pyg(layer_type, code, weighted, form):
    name = layer_type.__name__
    layer = construct(layer_type, code).eval()
    adj, x = adjacency(weighted), torch.randn(N, 6)
    edges = adj.t().nonzero().t().contiguous()
    given = edges
    if form == 'EdgeIndex' and weighted or (name, form) in NOT_COMPARED:
        pytest.skip('PyG has no such thing.')
    if form == 'EdgeIndex':
        given = EdgeIndex(edges, sparse_size=(N, N), sort_order='row')
    else:
        given = MATRIX_FORMS[form](adj)
    # What PyG computes on this form, or where it cannot on another of the same graph.
    like = given
    if form in ('csc', 'uncoalesced', 'SparseTensor'):
        drops = form == 'SparseTensor' and name in WITHOUT_VALUES
        like = ((adj != 0).float() if drops else adj).to_sparse_csr()
    with torch.no_grad():
        try:
            expected = layer(x, like)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            if weighted:
                pytest.skip(f'PyG does not take it: {error}')
            expected = layer(x, edges)
        spiking = TWINS[layer_type].from_ann(layer).eval()
        try:
            found = spiking(x, given)
        except ValueError as error:
            assert weighted and "sparse 'edge_index' without values" in str(error)
            return
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('improved', [False, True])
@pytest.mark.parametrize('cached', [False, True])
@pytest.mark.parametrize('form', SPARSE)
def test_gcn_with_self_loops_that_are_there(form, weighted, improved, cached):
    adj, x = adjacency(weighted, loops=True), torch.randn(N, 6)
    layer = GCNConv(6, 4, improved=improved, cached=cached)
    given = MATRIX_FORMS[form](adj)
    if form == 'SparseTensor':  # Its diagonal is replaced, that of torch.sparse grows.
        replaced = adj.clone()
        replaced.fill_diagonal_(2.0 if improved else 1.0)
        like, layer.add_self_loops = replaced.to_sparse_csr(), False
    else:
        like = adj.to_sparse_csr()
    expected = layer(x, like)
    layer.add_self_loops = True
    spiking = SpikingGCNConv.from_ann(layer)
    for _ in range(2):
        assert torch.allclose(spiking(x, given), expected, atol=1e-5)
    edges = gcn_norm(like, None, N, improved, form != 'SparseTensor', dtype=x.dtype)[0]
    assert spiking.shift(x, given).num_edges == edges._nnz()


@pytest.mark.parametrize('form', SPARSE)
def test_what_a_sparse_adjacency_cannot_come_with(form):
    given, x = MATRIX_FORMS[form](adjacency()), torch.randn(N, 6)
    backwards = SpikingGCNConv(6, 4, flow='target_to_source')
    with pytest.raises(ValueError, match=r"'flow'.*\(got 'target_to_source'\)"):
        backwards(x, given)
    with pytest.raises(ValueError, match=r"'edge_weight' to be None.*\[30\]"):
        SpikingGCNConv(6, 4)(x, given, torch.ones(30))
    with pytest.raises(ValueError, match=r'shape \[11, 11\].*\(got \[10, 10\]\)'):
        SpikingGCNConv(6, 4)(torch.randn(N + 1, 6), given)


def test_sparse_tensor_class_is_told_by_its_methods():
    given = SparseTensor(adjacency())
    x = torch.randn(N, 6)
    layer = SpikingGCNConv(6, 4)
    assert torch.equal(layer(x, given), layer(x, adjacency().t().nonzero().t()))
