import numpy as np
import pytest
import torch
import torch.nn.functional as F

from spikegraph.running.integers.maps import map_of, rows_of

INDEX = torch.tensor([3, 0, 0, 2])
CASES = {
    'view': lambda x: x.view(2, -1),
    'transpose': lambda x: x.t(),
    'rows': lambda x: x[INDEX],
    'slice': lambda x: x[1:, ::2] * 0.5,
    'repeat': lambda x: x.repeat(2, 1),
    'flip and scale': lambda x: -1.5 * x.flip(0),
    'pad': lambda x: F.pad(x, (1, 2, 0, 1)),
    'offset': lambda x: x + torch.arange(6.0, dtype=x.dtype),
    'columns': lambda x: x * torch.tensor([1.0, 0, -3, 4, 0.1, 6], dtype=x.dtype),
    'beside': lambda x: torch.cat([torch.ones(4, 2, dtype=x.dtype), x], dim=1),
    'sum': lambda x: x.sum(dim=0),
    'mean': lambda x: x.mean(dim=1, keepdim=True),
    'pool': lambda x: F.avg_pool1d(x.view(1, 4, 6), 3),
    'groups': lambda x: x.new_zeros(3, 6).index_add(0, torch.tensor([2, 0, 2, 2]), x),
    'differences': lambda x: x[1:] - x[:-1],
    'sums so far': lambda x: x.cumsum(0),
    'known matrix': lambda x: x @ torch.arange(12.0, dtype=x.dtype).view(6, 2),
    'overlapping': lambda x: F.avg_pool1d(x.view(1, 4, 6), 3, 1),
    'constant': lambda x: torch.ones(3, dtype=x.dtype),
}


def matrix_of(found):
    matrix = np.zeros((int(np.prod(found.shape)), found.size))
    np.add.at(matrix, (found.row, found.col), found.value)
    return matrix


def expected_of(function, shape):
    zero = function(torch.zeros(shape, dtype=torch.float64))
    size = int(np.prod(shape))
    columns = [
        (function(one.view(shape)) - zero).reshape(-1)
        for one in torch.eye(size, dtype=torch.float64)
    ]
    return torch.stack(columns, dim=1).numpy()


@pytest.mark.parametrize('name', CASES)
def test_maps_are_those_of_the_function(name):
    function, shape = CASES[name], (4, 6)
    found = map_of(function, torch.zeros(shape))
    assert np.allclose(matrix_of(found), expected_of(function, shape), atol=1e-12)
    assert found.shape == tuple(function(torch.zeros(shape, dtype=torch.float64)).shape)


@pytest.mark.parametrize(
    'function',
    [
        lambda x: x * x,
        lambda x: x.sort(0).values,
        lambda x: x.relu() - 0.5,
        lambda x: x.abs(),
        lambda x: x.amax(1),
        lambda x: x / (1 + x.sum()),
    ],
)
def test_all_else_is_refused(function):
    assert map_of(function, torch.zeros(4, 6)) is None


@pytest.mark.parametrize('name', CASES)
def test_rows(name):
    found = map_of(CASES[name], torch.zeros(4, 6))
    row, col, value, width = rows_of(found, (4, 6))
    matrix = np.zeros((int(np.prod(found.shape)) // width, 24 // width))
    np.add.at(matrix, (row, col), value)
    assert np.array_equal(np.kron(matrix, np.eye(width)), matrix_of(found))
    in_rows = ('rows', 'repeat', 'flip and scale', 'offset', 'groups')
    assert (width == 6) == (name in in_rows)
