"""One base for populations whose spike times are added."""

import math

import pytest
import torch
from torch import nn

from spikegraph import ConversionConfig, convert


class Weighed(nn.Module):
    """Values of a narrow range, weighed by coefficients of a wide one."""

    def __init__(self, factor, is_weighed):
        super().__init__()
        self.factor, self.is_weighed = factor, is_weighed
        self.score, self.value = nn.Linear(4, 6), nn.Linear(4, 6)
        self.out = nn.Linear(6, 3)

    def forward(self, x):
        e = (self.factor * self.score(x)).softmax(dim=-1)
        return self.out(e * (1 + self.value(x).sigmoid()) if self.is_weighed else e)


@pytest.mark.parametrize('factor', [1.0, 2.0, 4.0])
@pytest.mark.parametrize('is_weighed', [True, False])
def test_the_base_reaches_the_coefficients(factor, is_weighed):
    torch.manual_seed(0)
    model, x = Weighed(factor, is_weighed).eval(), torch.rand(200, 4)
    snn = convert(model, x, ConversionConfig(num_steps=16))
    ramp = snn.neurons['ramp_softmax'].code
    e = (factor * model.score(x)).softmax(dim=-1)
    relative = e / e.amax(dim=-1, keepdim=True)
    reach = ramp.base**-15.5  # Of the window that it opens.
    missed = relative.square()[relative < reach].sum() / relative.square().sum()
    assert missed < 0.01
    assert math.log(ramp.base) * (ramp.num_steps - 1) <= 69
    assert snn.report.logit_relative_error < 0.1
    if is_weighed:
        assert snn.neurons['sigmoid'].code.base == ramp.base
