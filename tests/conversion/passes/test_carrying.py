"""Quotients that nothing fires on are read at the end."""

import pytest
import torch
from torch import nn
from torch_geometric.nn import GATConv, TransformerConv

from tests.nn.exactness import assert_exact, real

EDGES = torch.tensor([[0, 1, 2, 3, 4, 5, 0, 3], [1, 1, 2, 2, 5, 4, 4, 0]])


class Heads(nn.Module):
    """Two attentions, and what is made of them at the end."""

    def __init__(self, end):
        super().__init__()
        self.a, self.b = (GATConv(5, 4, heads=3, concat=False) for _ in range(2))
        self.skip, self.last = nn.Linear(5, 4), nn.Linear(4, 4)
        self.end = end

    def forward(self, x, edge_index):
        a, b = self.a(x, edge_index), self.b(x, edge_index)
        return self.end(self, a, b, x)


READ = {
    'added': lambda m, a, b, x: a + b,
    'beside a layer': lambda m, a, b, x: a + b - m.skip(x),
    'mean': lambda m, a, b, x: torch.stack([a, b]).mean(0),
    'halved': lambda m, a, b, x: (a + b) * 0.5,
    'softmax': lambda m, a, b, x: (a + b).log_softmax(-1),
    'two outputs': lambda m, a, b, x: (a + b, (a + b).argmax(-1)),
}
FIRED = {
    'a square of what is read': lambda m, a, b, x: (s := a + b) * s,
    'a layer behind': lambda m, a, b, x: m.last(a + b),
    'a quotient of what is read': lambda m, a, b, x: 1 / (1 + (a + b).square()),
    'an activation behind': lambda m, a, b, x: (a + b).relu(),
    'one of two reads': lambda m, a, b, x: (s := a + b) + s.relu(),
}


def is_coded_twice(snn):
    """Whether a relay passes on what has been weighed."""
    return any('aggr' in name or 'mean' in name for name in snn.report.relays)


@pytest.mark.parametrize('end', READ)
def test_quotients_are_added_up_at_the_end(end):
    snn = assert_exact(Heads(READ[end]), real(7, 5), EDGES)
    assert snn.report.relays == ['relay_a_lin', 'relay_b_lin'], snn.report.relays


@pytest.mark.parametrize('end', FIRED)
def test_what_fires_on_them_needs_spikes(end):
    snn = assert_exact(Heads(FIRED[end]), real(7, 5), EDGES)
    assert is_coded_twice(snn), snn.report.relays


@pytest.mark.parametrize(
    'weigh',
    [
        lambda e: e / e.sum(),
        lambda e: e[:, :1] / (1 + e.sum(0)),  # Each by several.
        lambda e: 1 / (1 + e),
    ],
)
def test_quotients_of_other_shapes(weigh):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.value, self.last = (
                nn.Linear(a, b) for a, b in ((5, 7), (5, 4), (4, 3))
            )

        def forward(self, x):
            return self.last((weigh(self.first(x).exp()) @ self.value(x)).relu())

    assert_exact(Model(), real(7, 5))


def test_parts_of_quotients_that_are_written_into():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.key, self.last = (
                nn.Linear(a, b) for a, b in ((5, 8), (8, 8), (8, 3))
            )

        def forward(self, x):
            h = self.first(x)
            h = torch.softmax(self.key(h) @ h.t() / 3, dim=-1) @ h
            a, b = h.chunk(2, 1)
            a.relu_()
            return self.last(torch.cat([b, a], 1).relu())

    assert_exact(Model(), real(7, 5))


@pytest.mark.parametrize('concat', [True, False])
def test_transformers_read_their_heads(concat):
    model = TransformerConv(5, 4, heads=2, concat=concat)
    snn = assert_exact(model, real(7, 5), EDGES)
    assert not is_coded_twice(snn), snn.report.relays
