import pytest
import torch
from torch_geometric import EdgeIndex

from spikegraph.kernels import aggregate, matrix_adjacency
from spikegraph.kernels.forms import entries_of, is_sparse, shape_of
from tests.graphs import MATRIX_FORMS, SparseTensor

MATRIX = torch.tensor(
    [[0.0, 2.0, 0.0, -1.5], [0.0, 0.0, 0.0, 0.0], [0.25, 0.0, 1.0, 3.0]]
)


@pytest.mark.parametrize('form', MATRIX_FORMS)
@pytest.mark.parametrize('values', [MATRIX, (MATRIX != 0).float()], ids=['any', 'ones'])
def test_all_forms_hold_the_same_entries(form, values):
    matrix = MATRIX_FORMS[form](values)
    found = entries_of(matrix)
    assert found.shape == shape_of(matrix) == (3, 4)
    assert is_sparse(matrix) == (form != 'dense')
    dense = torch.zeros(3, 4)
    value = 1.0 if found.value is None else found.value.float()
    dense[found.row.long(), found.col.long()] = value
    assert torch.equal(dense, values)
    assert (found.value is None) == bool((values[values != 0] == 1).all())


def test_edge_index_is_a_matrix_of_ones():
    edges = EdgeIndex([[0, 2, 2], [1, 0, 3]], sparse_size=(3, 4))
    x = torch.randn(4, 5)
    adjacency = matrix_adjacency(edges, 4, torch.float32)
    assert torch.equal(aggregate(adjacency, x), edges.to_dense() @ x)
    assert adjacency.weight is None


@pytest.mark.parametrize(
    'matrix, match',
    [
        ([[1.0]], r"'matrix' to be a matrix.*\(got list\)"),
        (torch.ones(2, 3, 4), r"'matrix' to have two dimensions \(got shape \[2, 3, 4"),
        (torch.ones(3, 5), r"'matrix' to have 4 columns.*\(got shape \[3, 5\]\)"),
        (torch.full((3, 4), float('nan')), r"values of 'matrix' .*finite \(got nan\)"),
        (torch.ones(3, 4, dtype=torch.cfloat), r'one real value .*complex64'),
        (
            torch.sparse_coo_tensor([[0], [1]], torch.ones(1, 2), (3, 4, 2)),
            r'two dimensions \(got shape \[3, 4, 2\]\)',
        ),
        (SparseTensor(torch.ones(3, 5)), r"'matrix' to have 4 columns.*\[3, 5\]"),
    ],
)
def test_errors(matrix, match):
    with pytest.raises(ValueError, match=match):
        matrix_adjacency(matrix, 4, torch.float32)


@pytest.mark.filterwarnings('ignore:Sparse BSR tensor support is in beta')
def test_blocks_are_refused():
    blocks = torch.ones(4, 4).to_sparse_bsr((2, 2))
    with pytest.raises(ValueError, match=r'COO, CSR or CSC .*sparse_bsr'):
        matrix_adjacency(blocks, 4, torch.float32)
