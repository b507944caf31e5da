import pytest
import torch

from spikegraph import PhaseCode, Spikes
from spikegraph.export.plain.moves import gathered, moved
from spikegraph.nn.routing import gather_rows, move_spikes

CODE = PhaseCode(6, 1.5)
SCALES = {
    'one': torch.tensor(1.5),
    'channels': torch.tensor([1.0, 2.0, 3.0, 4.0]),
    'rows': torch.rand(6, 1) + 1,
}
MOVES = [
    ('view', -1, 2, 2),
    ('reshape', -1, 2, 2),
    ('flatten',),
    ('unsqueeze', -1),
    ('unsqueeze', 0),
    ('transpose', 0, 1),
    ('__getitem__', torch.tensor([3, 0, 3])),
    ('__getitem__', (slice(None), slice(1, 3))),
    ('__getitem__', torch.tensor([True, False, True, True, False, False])),
    ('chunk', 2, -1),
    ('split', 3),
    ('flip', 1),
    ('expand', 2, 6, 4),
    ('index_select', 0, torch.tensor([5, 1])),
]


@pytest.mark.parametrize('scale', SCALES.values(), ids=SCALES)
@pytest.mark.parametrize('move', MOVES, ids=str)
def test_moves_are_those_of_the_library(scale, move):
    times = torch.randint(0, 7, (6, 4), dtype=torch.uint8)
    x = Spikes(times, CODE, scale)
    found, expected = moved(x, *move), move_spikes(x, *move)
    if not isinstance(expected, tuple):
        found, expected = (found,), (expected,)
    assert len(found) == len(expected)
    for each, other in zip(found, expected, strict=True):
        assert torch.equal(each.spike_time, other.spike_time)
        assert each.scale.shape == other.scale.shape
        assert torch.equal(each.decode(), other.decode())


@pytest.mark.parametrize('scale', SCALES.values(), ids=SCALES)
def test_rows_at_an_index(scale):
    x = Spikes(torch.randint(0, 7, (6, 4), dtype=torch.uint8), CODE, scale)
    for index in (torch.tensor([5, 0, 0]), slice(1, 4), torch.arange(6) > 2):
        assert torch.equal(gathered(x, index).decode(), gather_rows(x, index).decode())
        assert torch.equal(gathered(x.decode(), index), x.decode()[index])


def test_other_methods_are_refused():
    with pytest.raises(ValueError, match="only moves values.*'relu'"):
        moved(torch.ones(2), 'relu')
