"""Memory that moves is noticed, by whatever way."""

import pytest
import torch
from torch import nn

from spikegraph.kernels.contents import are_finite, digest
from spikegraph.kernels.places import Places, check_fits, fits, places_of


def shared(x):
    x.share_memory_()


def resized(x):
    x.untyped_storage().resize_(4 * x.untyped_storage().nbytes())


def part(x):
    return x[2:]


def array(x):
    return x[2:].numpy()


@pytest.mark.parametrize(
    'move, view',
    [(shared, part), (shared, array), (resized, part)],  # Arrays forbid to resize.
)
def test_moves_are_noticed(move, view):
    x = torch.rand(100, 10)
    places = Places([*places_of(torch.rand(3)), *places_of(view(x))])
    assert places.are_same()
    x.mul_(2)
    assert places.are_same()
    move(x)
    assert not places.are_same()


def test_arrays_of_arrays():
    x = torch.rand(8, 6)
    places = Places(places_of(x.numpy()[1:].T.reshape(-1, 2)[None][..., :1].view()))
    shared(x)
    assert places.are_same()  # A copy: it had to be made for the shape.
    x = torch.rand(8, 6)
    places = Places(places_of(x.numpy()[1:].reshape(-1, 2)[None][..., :1].view()))
    shared(x)
    assert not places.are_same()
    assert places_of(3.0) == places_of(torch.rand(4).numpy().copy()) == []


@pytest.mark.parametrize(
    'layout', [torch.sparse_csr, torch.sparse_csc, torch.sparse_coo]
)
def test_sparse_tensors(layout):
    dense = torch.eye(5)
    x = dense.to_sparse(layout=layout)
    places = Places(places_of(x))
    assert places.meet(x) and places.are_same() and not places.meet(dense)
    values = x._values() if layout is torch.sparse_coo else x.values()
    assert places.meet(values)
    shared(values)
    assert not places.are_same() and fits(x)


@pytest.mark.parametrize('kind', [torch.Tensor.detach, nn.Parameter])
def test_what_does_not_fit_is_not_read(kind):
    x = kind(torch.rand(64, 4))
    for read in (check_fits, digest, are_finite):
        read(x)
    x.untyped_storage().resize_(1020)
    assert not fits(x) and fits(x[:60])
    for read in (check_fits, digest, are_finite):
        with pytest.raises(
            RuntimeError, match=r'\[64, 4\] to hold .* \(got 1020 bytes'
        ):
            read(x)
    x.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match=r'got 0 bytes'):
        digest(x)
    assert fits(torch.empty(0, 4)) and digest(torch.empty(0, 4))
