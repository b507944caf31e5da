import pytest
import torch
from torch import nn

from spikegraph import PhaseCode, Spikes
from spikegraph.nn import EarliestInWindow

POOLS = {
    '1d': (nn.MaxPool1d(3), (2, 4, 10)),
    '2d': (nn.MaxPool2d(2), (2, 4, 7, 6)),
    '3d': (nn.MaxPool3d((1, 2, 2), 1), (2, 3, 4, 5, 6)),
    'padded': (nn.MaxPool2d(3, 2, 1), (2, 4, 7, 6)),
    'overlapping': (nn.MaxPool2d((3, 2), (1, 2), (1, 0)), (2, 4, 7, 6)),
    'dilated': (nn.MaxPool2d(2, dilation=(2, 3)), (2, 4, 9, 9)),
    'ceil': (nn.MaxPool2d(3, 2, ceil_mode=True), (2, 4, 8, 6)),
    'ceil, padded': (nn.MaxPool1d(3, 2, 1, ceil_mode=True), (2, 4, 8)),
    'left over': (nn.MaxPool2d(2, 3), (2, 4, 9, 7)),
    'adaptive 1d': (nn.AdaptiveMaxPool1d(3), (2, 4, 10)),
    'adaptive 2d': (nn.AdaptiveMaxPool2d((3, 1)), (2, 4, 7, 6)),
    'adaptive, kept': (nn.AdaptiveMaxPool2d((None, 2)), (2, 4, 3, 5)),
    'adaptive 3d': (nn.AdaptiveMaxPool3d(2), (1, 2, 3, 4, 5)),
    'unbatched': (nn.MaxPool2d(2), (4, 6, 6)),
}


def make(name, signed=False, num_steps=9):
    torch.manual_seed(0)
    pool, shape = POOLS[name]
    x = 2 * torch.rand(shape) - 1
    scale = torch.rand(shape[-pool_dims(pool) - 1]) + 0.5
    scale = scale.view(-1, *[1] * pool_dims(pool))
    return pool, Spikes.from_values(x, PhaseCode(num_steps, 1.3, signed=signed), scale)


def pool_dims(pool):
    return int(type(pool).__name__[-2])


@pytest.mark.parametrize('name', POOLS)
@pytest.mark.parametrize('signed', [False, True])
@pytest.mark.parametrize('num_steps', [1, 9, 126])
def test_earliest_spike_is_the_maximum(name, signed, num_steps):
    pool, x = make(name, signed, num_steps)
    found = EarliestInWindow(pool)(x)
    assert found.spike_time.dtype == torch.uint8
    assert torch.equal(found.decode(), pool(x.decode()))


@pytest.mark.parametrize('name', POOLS)
def test_count_is_the_size_of_each_window(name):
    """By a pool of indicators: one input place after the other."""
    pool, x = make(name)
    gate = EarliestInWindow(pool)
    shape = x.shape[-gate.num_dims :]
    single = torch.eye(shape.numel()).view(-1, 1, *shape)
    expected = pool(single).sum(dim=0)
    ones = torch.ones(1, 1, *shape)
    assert torch.equal(gate.count(ones)[0], expected)
    marks = torch.randint(2, x.shape).float()
    assert gate.count(marks).shape == pool(marks).shape
    assert int(gate.count(marks).max()) <= int(expected.max())


def test_window_of_computed_size():
    gate = EarliestInWindow(nn.MaxPool1d(1))
    x = torch.rand(2, 3, 5)
    assert torch.equal(gate(x, 5), x.amax(dim=-1, keepdim=True))
    spikes = Spikes.from_values(x, PhaseCode(8, 1.5))
    assert torch.equal(gate(spikes, 5).decode(), gate(spikes.decode(), 5))


def test_errors():
    with pytest.raises(NotImplementedError, match='indices'):
        EarliestInWindow(nn.MaxPool2d(2, return_indices=True))
    x = Spikes.from_values(torch.rand(2, 3, 4, 4), PhaseCode(8, 1.5), torch.rand(4) + 1)
    with pytest.raises(
        ValueError, match=r'one scale in each window.*\(got shape \(4,\)'
    ):
        EarliestInWindow(nn.MaxPool2d(2))(x)
