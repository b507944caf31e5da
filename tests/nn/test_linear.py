import pytest
import torch
from torch import nn
from torch_geometric.nn import Linear

from spikegraph.coding import PhaseCode, Spikes
from spikegraph.nn import SpikingLinear
from tests.parts import parts_of


@pytest.mark.parametrize('make', [nn.Linear, Linear])
@pytest.mark.parametrize('bias', [False, True])
@pytest.mark.parametrize('shape', [(5, 7), (7,), (0, 7), (2, 3, 7)])
def test_equals_the_ann_on_decoded_spikes(make, bias, shape):
    linear = make(7, 3, bias=bias)
    layer = SpikingLinear.from_ann(linear)
    spikes = Spikes.from_values(torch.rand(shape), PhaseCode(8, 1.5))
    assert torch.equal(layer(spikes), linear(spikes.decode()))
    assert torch.equal(layer(spikes.decode()), layer(spikes))
    num = spikes.shape.numel() * 3
    assert [op.num for op in layer.operations(spikes)] == [num]


@torch.no_grad()
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('places', [(), (4,)])
def test_rows_are_alike_in_any_company(places, dtype):
    layer = SpikingLinear(33, 10).to(dtype)
    values = torch.randn(203, *places, 33, dtype=dtype)
    spikes = Spikes.from_values(values, PhaseCode(20, 1.3, signed=True))
    for x in (values, spikes, spikes.decode()):
        whole = layer(x)
        for rows in parts_of(203):
            assert torch.equal(layer(x[rows]), whole[rows])
    assert torch.equal(layer(spikes), whole)


def test_takes_copies():
    linear = nn.Linear(3, 2)
    layer = SpikingLinear.from_ann(linear)
    linear.weight.data.zero_()
    assert layer.weight.abs().sum() > 0


def test_fold():
    layer = SpikingLinear(4, 3, bias=False)
    x, gain, offset = torch.rand(5, 4), torch.rand(3), torch.rand(3)
    expected = layer(x) * gain + offset
    layer.fold(gain, offset)
    assert torch.allclose(layer(x), expected)
    twice = expected * gain + offset
    layer.fold(gain, offset)
    assert torch.allclose(layer(x), twice)


def test_width_error():
    with pytest.raises(
        ValueError, match=r'4 features per row.*\(got 5, shape \[2, 5\]'
    ):
        SpikingLinear(4, 3)(torch.rand(2, 5))
