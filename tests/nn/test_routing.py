"""Spikes that are moved keep their scales."""

import pytest
import torch

from spikegraph.coding import PhaseCode, Spikes
from spikegraph.nn.routing import move_spikes

ORDER = torch.tensor([3, 1, 0, 2])
ROW = slice(None)
MOVES = {
    'rows': ('__getitem__', ORDER),
    'some rows': ('__getitem__', (slice(1, 3), ROW)),
    'channels': ('__getitem__', (..., ORDER)),
    'all channels': ('__getitem__', (ROW, ORDER)),
    'rows by index': ('index_select', 0, ORDER),
    'channels by index': ('index_select', -1, ORDER),
    'repeated rows': ('repeat_interleave', ORDER, 0),
    'repeated channels': ('repeat_interleave', torch.tensor([0, 2, 1, 1]), 1),
    'rolled': ('roll', 1, -1),
    'rolled rows': ('roll', 1, 0),
    'rolled on': ('roll', 1),
    'rolled twice': ('roll', (1, 2), (0, 1)),
    'flipped': ('flip', -1),
    'flipped rows': ('flip', 0),
    'transposed': ('transpose', 0, 1),
    'transposed at the end': ('transpose', -2, -1),
    'axes': ('swapaxes', -2, -1),
    'dimension': ('movedim', -1, -2),
    'the same': ('clone',),
}


@pytest.mark.parametrize('shape', [(4, 4), (4, 4, 4)], ids=str)
@pytest.mark.parametrize('move', MOVES.values(), ids=MOVES)
def test_moved_spikes_are_the_moved_values(move, shape):
    name, *args = move
    code = PhaseCode(num_steps=8, base=2, signed=True)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    x = Spikes.from_values(values, code, torch.tensor([1.0, 2.0, 4.0, 8.0]))
    expected = getattr(x.decode(), name)(*args)
    assert torch.equal(move_spikes(x, name, *args).decode(), expected)


def test_scales_of_channels_stay_small_where_rows_are_moved():
    code, scale = PhaseCode(num_steps=8, base=2), torch.tensor([1.0, 2.0, 4.0, 8.0])
    x = Spikes.from_values(torch.rand(4, 4), code, scale)
    for name in ('rows', 'some rows', 'channels', 'rolled', 'flipped', 'the same'):
        method, *args = MOVES[name]
        assert move_spikes(x, method, *args).scale.shape == (4,)
