"""Ramps over any range of scores."""

import math

import pytest
import torch
from torch import nn
from torch_geometric.utils import softmax

from spikegraph import ConversionConfig, convert, load, measure, save, simulate
from spikegraph.coding import PhaseCode
from spikegraph.conversion.fitting.ramps import Span, fit_ramp, fit_start, is_wide
from spikegraph.nn import PhaseNeuron
from spikegraph.nn.activation import Height, Ramp
from tests.nn.exactness import assert_exact, real

EDGES = torch.tensor([[0, 1, 2, 3, 4, 5, 0, 3], [1, 1, 2, 2, 5, 4, 4, 0]])
SPANS = [
    *(Span(-3, 1, 2), Span(-50, -10, 12), Span(-900, 3, 50), Span(-400, 0, 200)),
    Span(-900, 10, 400),
]


class Rows(nn.Module):
    """Attention between rows, with scores of any size."""

    def __init__(self, factor, hides=False):
        super().__init__()
        self.factor, self.hides = factor, hides
        self.score, self.value = nn.Linear(5, 5), nn.Linear(5, 4)
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        score = self.factor * (self.score(x) @ x.transpose(-2, -1))
        if self.hides:
            size = x.size(-2)
            hidden = torch.triu(torch.ones(size, size, dtype=torch.bool), 1)
            score = score.masked_fill(hidden, -1e9)
        return self.last(score.softmax(-1) @ self.value(x))


class OnEdges(nn.Module):
    """Attention on edges, with an activation that ramps stand for as well."""

    def __init__(self, factor, heads=2):
        super().__init__()
        self.factor, self.heads = factor, heads
        self.ends, self.value = nn.Linear(5, 2 * heads), nn.Linear(5, 2 * heads)
        self.last = nn.Linear(2 * heads, 3)

    def forward(self, x, edge_index):
        source, target = edge_index
        left, right = (self.factor * self.ends(x)).chunk(2, -1)
        score = nn.functional.leaky_relu(left[source] + right[target], 0.2)
        alpha = softmax(score, target, num_nodes=x.size(0)).unsqueeze(-1)
        value = alpha * self.value(x).view(-1, self.heads, 2)[source]
        out = value.new_zeros(x.size(0), self.heads, 2).index_add(0, target, value)
        return self.last(out.flatten(1))


@pytest.mark.parametrize('factor', [1.0, 30.0, 1000.0])
@pytest.mark.parametrize('hides', [False, True])
def test_rows_of_any_scores(factor, hides):
    snn = assert_exact(Rows(factor, hides), real(3, 6, 5), most=1.0)
    assert ('height_softmax' in snn.neurons) == (factor > 1)


@pytest.mark.parametrize('factor', [1.0, 100.0, 1000.0])
@pytest.mark.parametrize('heads', [1, 2])
def test_edges_of_any_scores(factor, heads):
    snn = assert_exact(OnEdges(factor, heads), real(7, 5), EDGES, most=1.0)
    assert ('height_softmax' in snn.neurons) == (factor > 1)


@pytest.mark.parametrize('factor', [3.0, 30.0, 300.0])
def test_every_group_weighs_something(factor):
    """However far its scores are below those of others."""

    class Shifted(Rows):
        def forward(self, x):
            score = 3 * self.score(x) @ x.transpose(-2, -1) - factor * x[:, :1, 4:]
            return self.last(score.softmax(-1) @ self.value(x))

    torch.manual_seed(0)
    model, x = Shifted(1.0).double().eval(), real(40, 6, 5)
    x[:, :, 4] = torch.arange(40).view(-1, 1) / 8
    snn = convert(model, x, ConversionConfig(num_steps=16))
    assert (snn.spikes(x)['softmax'].spike_time.amin(-1) == 0).all()
    expected = model(x)
    error = (snn(x) - expected).square().sum((1, 2)) / expected.square().sum((1, 2))
    assert error.max() < 0.3  # Nowhere as if nothing was weighed.


def test_no_ramp_starts_where_scores_are_hidden():
    """The later ones, which are hidden, are the larger ones."""

    class Rising(Rows):
        def forward(self, x):
            score = 3 * self.score(x) @ x.transpose(-2, -1) + 60 * x[..., None, :, 4]
            hidden = torch.triu(torch.ones(6, 6, dtype=torch.bool), 1)
            score = score.masked_fill(hidden, -math.inf)
            return self.last(score.softmax(-1) @ self.value(x))

    torch.manual_seed(0)
    model, x = Rising(1.0).double().eval(), real(40, 6, 5)
    x[:, :, 4] = torch.arange(6)
    snn = convert(model, x, ConversionConfig(num_steps=16))
    assert 'height_softmax' in snn.neurons
    assert (snn.spikes(x)['softmax'].spike_time.amin(-1) == 0).all()


def test_an_outlier_takes_no_ramp_from_others():
    class Scored(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(4, 6)

        def forward(self, x, scores):
            alpha = torch.softmax(scores * 1.0, -1)
            return (alpha.unsqueeze(-1) * self.lin(x)).sum(1)

    torch.manual_seed(0)
    model, x = Scored().double(), torch.rand(200, 5, 4).double()
    scores = torch.randn(200, 5).double()
    scores[0, 0] = 60.0
    snn = convert(model, (x, scores), ConversionConfig(num_steps=16))
    assert snn.report.logit_relative_error < 0.1


def test_wide_ramps_are_counted_and_stored(tmp_path):
    model, x = OnEdges(100.0).double().eval(), real(7, 5)
    snn = convert(model, (x, EDGES))
    cost = measure(snn, (x, EDGES), model)
    assert cost.uncounted == []
    save(snn, tmp_path / 'wide')
    again = load(tmp_path / 'wide')
    assert torch.equal(again(x, EDGES), snn(x, EDGES))
    steps = simulate(again, x, EDGES)
    torch.testing.assert_close(steps.output, snn(x, EDGES))


@pytest.mark.parametrize('span', SPANS, ids=str)
@pytest.mark.parametrize('base', [1.05, 1.2, 2.0])
@pytest.mark.parametrize('num_steps', [4, 16, 63])
def test_windows_of_all_groups_are_within_reach(span, base, num_steps):
    step, fits = math.log(base), (span, base, num_steps) != (SPANS[-1], 1.05, 63)
    tops = torch.linspace(span.least, span.high, 500, dtype=torch.float64)
    ramp, start = PhaseNeuron(PhaseCode(1, 2), activation=Ramp()), None
    if not is_wide(span, base, num_steps):
        fit_ramp(ramp, span, base, num_steps)
    else:
        ramp = PhaseNeuron(PhaseCode(1, 2), activation=Ramp(starts=True))
        height = PhaseNeuron(PhaseCode(1, 2), activation=Height())
        fit_start(height, ramp, span, base, num_steps)
        start = height(tops).decode()
        assert (start > 0).all() and height.code.num_steps <= 126
        assert height.code.num_steps + ramp.code.num_steps < (240 if fits else 253)
    assert ramp.code.num_steps <= 126
    assert (ramp(tops, start=start).phase() < ramp.code.num_steps).all()
    lowest = (tops - (num_steps - 1) * step).clamp(min=span.low)
    is_seen = ramp(lowest, start=start).phase() < ramp.code.num_steps
    assert is_seen.all() == fits and is_seen.float().mean() > 0.5
