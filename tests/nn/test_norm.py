"""Norms by the statistics of each input."""

import pytest
import torch
import torch_geometric.nn as pyg_nn
from torch import nn

from spikegraph.nn.norm import SpikingInstanceNorm
from tests.conversion.zoo import randomize
from tests.nn.exactness import assert_exact, real


class Normed(nn.Module):
    """A norm behind a layer, and a layer behind it."""

    def __init__(self, norm, first=None, last=None):
        super().__init__()
        self.first = nn.Linear(6, 6) if first is None else first
        self.norm, self.last = norm, last or nn.Identity()

    def forward(self, x, *graph):
        raise NotImplementedError


class Plain(Normed):
    def forward(self, x):
        return self.last(self.norm(self.first(x)))


class OfGraphs(Normed):
    def forward(self, x, batch):
        return self.last(self.norm(self.first(x), batch))


def convolution(dim):
    return (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dim - 1](6, 6, 1)


NORMS = {
    'layer': (nn.LayerNorm(6), None, (4, 6)),
    'layer, of places': (nn.LayerNorm([5, 6], bias=False), None, (4, 5, 6)),
    'root mean square': (nn.RMSNorm(6), None, (4, 6)),
    'groups': (nn.GroupNorm(2, 6), convolution(2), (4, 6, 3, 3)),
    'groups of rows': (nn.GroupNorm(2, 6, affine=False), None, (4, 6)),
    'instance': (nn.InstanceNorm1d(6), convolution(1), (4, 6, 5)),
    'of images': (nn.InstanceNorm2d(6, affine=True), convolution(2), (2, 6, 4, 3)),
    'of one image': (nn.InstanceNorm2d(6), convolution(2), (6, 4, 3)),
    'of volumes': (nn.InstanceNorm3d(6), convolution(3), (2, 6, 3, 3, 2)),
    'local response': (nn.LocalResponseNorm(3, 0.5), convolution(2), (2, 6, 3, 3)),
    'even': (nn.LocalResponseNorm(2, 0.5, 0.5), convolution(1), (2, 6, 5)),
    'nodes': (pyg_nn.InstanceNorm(6), None, (9, 6)),
}


@pytest.mark.parametrize('norm, first, shape', NORMS.values(), ids=NORMS)
@pytest.mark.parametrize('is_inside', [False, True])
def test_norms(norm, first, shape, is_inside):
    last = None
    if is_inside:
        last = nn.Sequential(nn.ReLU(), nn.Linear(shape[-1], 3))
    assert_exact(Plain(norm, first, last), real(*shape), most=0.35)


@pytest.mark.parametrize('affine', [False, True])
def test_instance_norm_of_graphs(affine):
    batch = torch.tensor([0] * 5 + [1] * 4)
    assert_exact(OfGraphs(pyg_nn.InstanceNorm(6, affine=affine)), real(9, 6), batch)


@pytest.mark.parametrize('affine', [False, True])
@pytest.mark.parametrize('tracked', [False, True])
def test_the_twin_is_the_layer(affine, tracked):
    options = {'affine': affine, 'track_running_stats': tracked}
    batch = torch.tensor([0] * 5 + [2] * 4)
    for norm, inputs in (
        (pyg_nn.InstanceNorm(6, **options), (real(9, 6), batch)),
        (pyg_nn.InstanceNorm(6, **options), (real(9, 6), batch, 4)),
        (pyg_nn.InstanceNorm(6, **options), (real(9, 6),)),
        (nn.InstanceNorm1d(6, **options), (real(3, 6, 5),)),
        (nn.InstanceNorm2d(6, **options), (real(6, 4, 4),)),
    ):
        layer = randomize(norm).eval()
        twin = SpikingInstanceNorm.from_ann(layer).eval()
        found, expected = twin(*inputs), layer(*inputs)
        assert torch.allclose(found, expected, rtol=0, atol=1e-12)
