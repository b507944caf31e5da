"""Masks of scores, however they are written."""

import math

import pytest
import torch
from torch import nn

from spikegraph import convert
from spikegraph.coding import PhaseCode, Spikes
from spikegraph.nn.routing import (
    groups_between,
    hidden_part,
    hides_all,
    relative_mask,
    silence,
    swallows_scores,
)
from tests.conversion.convolutions import TOLERANCE, deviation, relative
from tests.nn.exactness import assert_exact, real

SOME = torch.zeros(7, 7, dtype=torch.bool)
SOME[0, 3] = SOME[4, :5] = True
WHOLE = SOME.clone()
WHOLE[2] = True  # A row that is masked as a whole.


class Masked(nn.Module):
    """Attention with one mask."""

    def __init__(self, mask, hidden):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(5, 4) for _ in range(3))
        self.last, self.mask = nn.Linear(4, 3), mask
        self.register_buffer('hidden', hidden)

    def forward(self, x):
        scores = self.q(x) @ self.k(x).transpose(-2, -1)
        scores = self.mask(scores, self.hidden)
        return self.last(torch.softmax(scores, -1) @ self.v(x))


def put(scores, hidden, low=-math.inf):
    scores[..., hidden] = low
    return scores


def put_columns(scores, hidden):
    scores[..., 2:4, 1] = -1e9
    return scores


def fill(scores, hidden):
    return scores.masked_fill_(hidden, -math.inf)


def twice(scores, hidden):
    scores = scores.masked_fill(hidden, -1e9)
    return scores.masked_fill(torch.eye(7, dtype=torch.bool), -1e9)


def both(scores, hidden):
    scores = scores + torch.where(hidden, -1e4, torch.arange(7.0, dtype=torch.float64))
    return scores.masked_fill(torch.eye(7, dtype=torch.bool), -math.inf)


MASKS = {
    'items': put,
    'items of a slice': put_columns,
    'in place': fill,
    'a tensor': lambda s, m: s.masked_fill(m, torch.tensor(-1e9, dtype=s.dtype)),
    'limits': lambda s, m: s.masked_fill(m, torch.finfo(s.dtype).min),
    'one after the other': twice,
    'of two kinds': both,
}
# PyTorch takes these for a row that is not masked, or for one of zeros.
WHOLES = {
    'filled': lambda s, m: s.masked_fill(m, -1e9),
    'items': lambda s, m: put(s, m, -1e9),
    'chosen': lambda s, m: torch.where(m, -1e4, s),
    'added': lambda s, m: s + (-1e4) * m.to(s.dtype),
}


@pytest.mark.parametrize('mask', MASKS.values(), ids=MASKS)
def test_masks_are_silent(mask):
    """What is masked changes no base and no scale: 16 steps are close."""
    model = Masked(mask, SOME)
    snn = assert_exact(model, real(3, 7, 5), most=0.4)
    assert deviation(snn, model, (real(2, 7, 5),)) < TOLERANCE


@pytest.mark.parametrize('mask', WHOLES.values(), ids=WHOLES)
def test_rows_that_are_masked_as_a_whole(mask):
    model = Masked(mask, WHOLE)
    assert_exact(model, real(7, 5), most=0.4)


def test_rows_whose_scores_are_swallowed_are_alike():
    """In single precision, nothing is left of scores next to a billion."""
    model = Masked(lambda s, m: s - 1e9 * m.to(s.dtype), WHOLE)
    x = real(7, 5).float()
    torch.manual_seed(0)
    for part in (model.q, model.k, model.v):
        nn.init.normal_(part.weight)
    with torch.no_grad():
        snn = convert(model, x)
        expected = model.last(model.v(x).mean(0))
        assert torch.allclose(model(x)[2], expected, atol=1e-5)
        assert relative(snn(x)[2], expected) < 0.15


def test_rows_of_nothing_are_refused():
    model = Masked(lambda s, m: s.masked_fill(m, -math.inf), WHOLE)
    with pytest.raises(ValueError, match=r'to be numbers \(got NaN on the calibration'):
        convert(model.double(), real(7, 5))


def test_silence():
    code = PhaseCode(num_steps=4, base=2)
    x = Spikes.from_values(torch.tensor([[0.5, 1.0], [0.25, 0.5]]), code)
    hidden = torch.tensor([[True, False], [False, False]])
    alike = torch.tensor([[False], [True]])
    assert silence(x, hidden).spike_time.tolist() == [[4, 0], [2, 1]]
    assert silence(x, hidden, alike).spike_time.tolist() == [[4, 0], [0, 0]]
    scores = silence(torch.tensor([[3.0, 1.0], [2.0, 5.0]]), hidden, alike)
    assert scores.tolist() == [[-math.inf, 1.0], [0.0, 0.0]]


def test_parts_of_masks():
    mask = torch.tensor([[True, True], [True, False]])
    assert hides_all(mask, -1).tolist() == [[True], [False]]
    assert hidden_part(mask, -1).tolist() == [[False, False], [True, False]]
    columns = torch.tensor([True, False])  # The same along the other dimension.
    assert hides_all(columns, -2).tolist() == [True, False]
    added = torch.tensor([[-1e9, -1e9], [-2.0, -math.inf], [-math.inf, -math.inf]])
    expected = [[0.0, 0.0], [0.0, -math.inf], [-math.inf, -math.inf]]
    assert relative_mask(added, -1).tolist() == expected
    assert swallows_scores(added, -1).tolist() == [[True], [False], [False]]
    assert not swallows_scores(added.double(), -1).any()
    assert relative_mask(added[:0], -1).shape == (0, 2)


def test_groups_between_pointers():
    ptr = torch.tensor([0, 2, 2, 5])
    assert groups_between(ptr).tolist() == [0, 0, 2, 2, 2]
    assert groups_between(ptr[:1]).tolist() == []
