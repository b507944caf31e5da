"""One base for populations whose spike times are added."""

import math

import pytest
import torch
from torch import nn

from spikegraph import ConversionConfig, convert, simulate


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


class Gated(nn.Module):
    """A gate for each value, and attention over the rows."""

    def __init__(self):
        super().__init__()
        self.gate, self.value, self.kept, self.query = (
            nn.Linear(4, 6) for _ in range(4)
        )
        self.out = nn.Linear(6, 3)

    def forward(self, x):
        gated = self.gate(x).sigmoid() * self.value(x)
        weight = (self.query(x) @ self.gate(x).t()).softmax(dim=-1)
        return self.out((gated + weight @ self.kept(x)).relu())


def gated(**options):
    torch.manual_seed(0)
    model, x = Gated().eval(), torch.randn(200, 4)
    return convert(model, x, ConversionConfig(**options)), x


@pytest.mark.parametrize(
    ('options', 'num_steps'),
    [
        ({'num_steps': 16}, 31),
        ({'num_steps': 4}, 7),
        ({'num_steps': 40}, 63),
        ({'num_steps': 16, 'relay_steps': 16}, 16),
        ({'num_steps': 16, 'relay_steps': 50}, 50),
    ],
)
def test_relays_have_steps_of_their_own(options, num_steps):
    snn, x = gated(**options)
    steps = {name: n.code.num_steps for name, n in snn.neurons.items()}
    assert steps['sigmoid'] == steps['relay_value'] == num_steps
    assert snn.report.products['mul'].num_steps == 2 * num_steps - 1
    assert snn.config.relay_steps == num_steps
    # Others keep theirs, and what attention weighs does, too.
    others = [steps[name] for name in ('relu', 'relay_kept', 'input_x')]
    assert others == [options['num_steps']] * 3
    output = simulate(snn, x).output
    torch.testing.assert_close(output, snn(x), atol=1e-4, rtol=1e-4)


def test_more_steps_of_relays_are_finer():
    errors = []
    for relay_steps in (16, 31, 61):
        snn, _ = gated(num_steps=16, relay_steps=relay_steps)
        found = {p.name: p.coding_error for p in snn.report.populations}
        errors.append((found['relay_value'], found['sigmoid']))
    for fine, coarse in zip(errors[1:], errors, strict=False):
        assert all(a < 0.7 * b for a, b in zip(fine, coarse, strict=True))


def test_more_steps_of_a_fixed_ratio_would_not_be_finer():
    snn, _ = gated(num_steps=16, base=1.3)
    assert {n.code.num_steps for n in snn.neurons.values() if n.code.base == 1.3} == {
        16,
        snn.neurons['ramp_softmax'].code.num_steps,
    }
    assert ConversionConfig(base=2).num_relay_steps == 16
    assert ConversionConfig(num_steps=100).num_relay_steps == 100


@pytest.mark.parametrize('relay_steps', [0, 64, 127, 2.0, True, '16'])
def test_steps_of_relays_fit_in_a_byte(relay_steps):
    with pytest.raises(ValueError, match="Expected 'relay_steps'"):
        ConversionConfig(relay_steps=relay_steps)
