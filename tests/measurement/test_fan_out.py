import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spikegraph.measurement.fan_out import (
    convolution_fan_out,
    interpolation_fan_out,
    nonzero_along,
)

CONVOLUTIONS = [
    (nn.Conv2d(4, 6, 3, 2, 1, 2, 2), (2, 4, 11, 14)),
    (nn.Conv1d(3, 5, 4, 3), (2, 3, 17)),
    (nn.Conv3d(1, 2, 2, 2), (1, 1, 5, 5, 5)),
    (nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, 2), (2, 4, 5, 6)),
    (nn.ConvTranspose1d(3, 2, 5, 3, 2, 0, 1, True, 2), (1, 3, 7)),
]


@pytest.mark.parametrize('conv, shape', CONVOLUTIONS, ids=str)
def test_convolutions_by_their_gradient(conv, shape):
    """With weights of one, the gradient counts them."""
    conv = conv.double()
    nn.init.ones_(conv.weight)
    x = torch.rand(shape, dtype=torch.float64, requires_grad=True)
    out = conv(x)
    (expected,) = torch.autograd.grad(out.sum(), x)
    is_transposed = isinstance(conv, (nn.ConvTranspose1d, nn.ConvTranspose2d))
    options = [list(o) for o in (conv.stride, conv.padding, conv.dilation)]
    found = convolution_fan_out(
        x, conv.weight, out, *options, is_transposed, [], conv.groups
    )
    assert torch.equal(found.round(), expected[0].round())


@pytest.mark.parametrize('align', [False, True])
@pytest.mark.parametrize('size', [(7, 9), (3, 5), (1, 11)])
def test_interpolation_by_its_matrix(size, align):
    x = torch.rand(1, 2, 4, 5, dtype=torch.float64)
    eye = torch.eye(20, dtype=torch.float64).view(20, 1, 4, 5)
    matrix = F.interpolate(eye, size=size, mode='bilinear', align_corners=align)
    expected = (matrix != 0).sum((1, 2, 3)).view(4, 5)
    function = torch.ops.aten.upsample_bilinear2d
    found = interpolation_fan_out(function, x, (list(size), align), {})
    assert torch.equal(found.long(), expected)


@pytest.mark.parametrize('layout', ['strided', 'coo', 'csr'])
def test_entries_of_rows_and_columns(layout):
    matrix = torch.rand(5, 7) * (torch.rand(5, 7) > 0.5)
    given = {'coo': matrix.to_sparse(), 'csr': matrix.to_sparse_csr()}
    value = given.get(layout, matrix)
    assert nonzero_along(value, True).tolist() == (matrix != 0).sum(1).tolist()
    assert nonzero_along(value, False).tolist() == (matrix != 0).sum(0).tolist()
