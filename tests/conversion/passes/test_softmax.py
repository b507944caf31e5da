"""Masks of scores, as models write them."""

import pytest
import torch
from torch import nn

from spikegraph import convert
from tests.conversion.convolutions import TOLERANCE, deviation
from tests.nn.exactness import assert_exact, real

MASKS = {
    'filled': lambda a, m: a.masked_fill(m, -1e9),
    'filled with little': lambda a, m: a.masked_fill(m, -100.0),
    'subtracted': lambda a, m: a - 1e9 * m.to(a.dtype),
    'chosen': lambda a, m: torch.where(m, -1e9, a),
    'chosen of infinite ones': lambda a, m: torch.where(
        ~m, a, torch.full_like(a, -float('inf'))
    ),
}


class Masked(nn.Module):
    def __init__(self, mask):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(5, 4) for _ in range(3))
        self.last, self.mask = nn.Linear(4, 3), mask

    def forward(self, x):
        score = self.q(x) @ self.k(x).transpose(-2, -1)
        size = x.size(-2)
        hidden = torch.triu(torch.ones(size, size, dtype=torch.bool), 1)
        return self.last(torch.softmax(self.mask(score, hidden), -1) @ self.v(x))


@pytest.mark.parametrize('mask', MASKS.values(), ids=MASKS)
def test_masked_scores_are_silent(mask):
    model = Masked(mask)
    snn = assert_exact(model, real(3, 6, 5), most=0.4)
    assert deviation(snn, model, (real(2, 8, 5),)) < TOLERANCE


def test_rows_of_silent_exponentials_weigh_nothing():
    class Plain(Masked):
        def forward(self, x):
            e = torch.exp(self.q(x) @ self.k(x).transpose(-2, -1))
            return (e / e.sum(-1, keepdim=True)) @ self.v(x)

    x = 3 * real(2, 6, 5)
    assert convert(Plain(None).double(), x)(x).isfinite().all()
