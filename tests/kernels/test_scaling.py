import pytest
import torch

from spikegraph.kernels import matrix_adjacency, neighbor_adjacency, propagate

TYPES = [torch.float32, torch.float64]


def square(dtype, loops=True):
    generator = torch.Generator().manual_seed(0)
    adj = torch.rand(30, 30, generator=generator, dtype=torch.float64) < 0.1
    adj = (adj | adj.t()).fill_diagonal_(loops)
    adj[5] = adj[:, 5] = False  # Alone, without a loop.
    return adj.to(dtype)


def normalised(adj):
    scale = adj.sum(dim=1).clamp(min=1).rsqrt()
    return scale[:, None] * adj * scale


def by_products(adj):
    scale = torch.diag(adj.sum(dim=1).pow(-0.5).nan_to_num(posinf=0.0))
    return scale @ adj @ scale


#: Of an adjacency, and whether rows and columns have factors of their own.
FACTORED = {
    'mean': (lambda adj: adj / adj.sum(dim=1, keepdim=True).clamp(min=1), (0, 1)),
    'by columns': (lambda adj: adj / adj.sum(dim=0).clamp(min=1), (1, 0)),
    'one constant': (lambda adj: 0.3 * adj, (0, 1)),
    'symmetric': (normalised, (1, 1)),
    'by products': (by_products, (1, 1)),
    'negative': (lambda adj: -normalised(adj), (1, 1)),
    'subgraph': (lambda adj: normalised(adj)[4:20, 4:20].contiguous(), (1, 1)),
}


@pytest.mark.parametrize('dtype', TYPES)
@pytest.mark.parametrize('layout', ['dense', 'coo', 'csr'])
@pytest.mark.parametrize('name', FACTORED)
def test_factors_instead_of_weights(name, layout, dtype):
    make, sides = FACTORED[name]
    matrix = make(square(dtype))
    given = {
        'dense': matrix,
        'coo': matrix.to_sparse(),
        'csr': matrix.to_sparse_csr(),
    }[layout]
    adjacency = matrix_adjacency(given, matrix.size(1), dtype)
    assert adjacency.weight is None
    found = adjacency.source_factor is not None, adjacency.target_factor is not None
    assert found == tuple(map(bool, sides))
    x = torch.eye(matrix.size(1), dtype=dtype)
    bound = 16 * torch.finfo(dtype).eps
    assert torch.allclose(propagate(adjacency, x), matrix, rtol=bound, atol=0.0)


@pytest.mark.parametrize('dtype', TYPES)
def test_roots_of_degrees_without_loops(dtype):
    matrix = normalised(square(dtype, loops=False))
    assert matrix_adjacency(matrix, 30, dtype).weight is None


@pytest.mark.parametrize('dtype', TYPES)
def test_other_weights_stay(dtype):
    adj, bits = square(dtype), torch.finfo(dtype).eps
    changed = normalised(adj)
    row, col = changed.nonzero()[7]
    changed[row, col] *= 1 + 100 * bits  # More than rounding.
    weights = torch.rand(30, 30, dtype=dtype) + 0.1
    explicit_zero = torch.sparse_coo_tensor([[0, 1], [1, 0]], [1.0, 0.0], (30, 30))
    for matrix in (changed, weights * adj, explicit_zero.to(dtype)):
        adjacency = matrix_adjacency(matrix, 30, dtype)
        assert adjacency.weight is not None
        assert adjacency.source_factor is adjacency.target_factor is None
        dense = matrix.to_dense()
        found = propagate(adjacency, torch.eye(30, dtype=dtype))
        assert torch.equal(found, dense)


@pytest.mark.parametrize('dtype', TYPES)
@pytest.mark.parametrize('loops', [True, False])
@pytest.mark.parametrize('ends', ['in and in', 'out and out', 'in and out'])
def test_weights_of_directed_edges(ends, loops, dtype):
    generator = torch.Generator().manual_seed(0)
    adj = torch.rand(30, 30, generator=generator) < 0.2
    source, target = (adj | (torch.eye(30) > 0) if loops else adj).nonzero().t()
    degrees = {
        'in': torch.bincount(target, minlength=30).clamp(min=1).to(dtype).rsqrt(),
        'out': torch.bincount(source, minlength=30).clamp(min=1).to(dtype).rsqrt(),
    }
    first, last = ends.split(' and ')
    weight = degrees[first][source] * degrees[last][target]
    edges = torch.stack([source, target])
    found = neighbor_adjacency(edges, weight, 30, 30, dtype)
    assert found.weight is None
    eye, bound = torch.eye(30, dtype=dtype), 16 * torch.finfo(dtype).eps
    expected = torch.zeros(30, 30, dtype=dtype)
    expected[target, source] = weight
    assert torch.allclose(propagate(found, eye), expected, rtol=bound, atol=0.0)
    weight = weight.clone()
    weight[7] *= 1 + 100 * torch.finfo(dtype).eps  # More than rounding.
    found = neighbor_adjacency(edges, weight, 30, 30, dtype)
    assert found.weight is not None
