"""Sparse tensors as their parts."""

import pytest
import torch

from spikegraph.kernels.sparse_parts import join_sparse, split_sparse

LAYOUTS = ('sparse_coo', 'sparse_csr', 'sparse_csc')


def matrix(layout, shape=(5, 7)):
    values = torch.rand(shape) * (torch.rand(shape) > 0.5)
    return values.to_sparse(layout=getattr(torch, layout))


@pytest.mark.parametrize('shape', [(5, 7), (0, 3), (1, 1)])
@pytest.mark.parametrize('layout', LAYOUTS)
def test_parts_make_the_same_tensors(layout, shape):
    given = {'a.b': matrix(layout, shape), 'a:b:c': torch.rand(3)}
    parts = split_sparse(given)
    assert all(part.layout == torch.strided for part in parts.values())
    found = join_sparse(parts)
    assert set(found) == set(given) and torch.equal(found['a:b:c'], given['a:b:c'])
    assert found['a.b'].layout == given['a.b'].layout
    assert torch.equal(found['a.b'].to_dense(), given['a.b'].to_dense())


def test_wrong_parts_are_refused():
    parts = split_sparse({'adj': matrix('sparse_csr')})
    with pytest.raises(ValueError, match="'adj' to hold crow_indices"):
        join_sparse({k: v for k, v in parts.items() if not k.endswith('values')})
    parts['adj:sparse_csr:col_indices'] = parts['adj:sparse_csr:col_indices'] + 7
    with pytest.raises(ValueError, match="the parts of 'adj' to fit"):
        join_sparse(parts)
