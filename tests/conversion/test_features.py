"""Which values are sent as spikes: told by what is done with them."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spikegraph import ConversionConfig, convert, measure, simulate
from spikegraph.conversion.interpretation import run_network_as_ann


class Support(nn.Module):
    """A dense matrix of any name, times what layers have made."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, h, support):
        return support @ self.b((support @ self.a(h)).relu())


class Raw(Support):
    """The same matrix, times features."""

    def forward(self, h, support):
        return self.b((self.a(support @ h)).relu())


class Factors(Support):
    """A factor of each node."""

    def forward(self, h, norm):
        return self.b((self.a(h * norm) * norm).relu()) * norm


class Prepared(Support):
    """Functions of inputs alone, next to the inputs themselves."""

    def forward(self, h):
        n, y = F.normalize(h, dim=1), torch.log1p(h)
        shares = y / y.sum(-1, keepdim=True).clamp(min=1)
        return self.b((self.a(n) + self.a(h) + self.a(2 * shares)).relu())


class Learned(nn.Module):
    """Features that are a parameter, beside those that are given."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.rand(30, 6))
        self.a, self.b, self.out = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.out((self.a(x) + self.b(self.table)).relu())


def features(rows=30):
    return torch.rand(rows, 6, dtype=torch.float64)


def square(rows=30):
    return (torch.rand(rows, rows, dtype=torch.float64) > 0.8).double() / rows


CASES = {
    'support': (Support, lambda n: (features(n), square(n)), ['input_h']),
    'support of features': (Raw, lambda n: (features(n), square(n)), ['input_h']),
    'factors': (Factors, lambda n: (features(n), features(n)[:, :1]), ['input_h']),
    'prepared': (
        Prepared,
        lambda n: (features(n),),
        ['input_h', 'input_h_normalize', 'input_h_mul'],
    ),
    'learned': (Learned, lambda n: (features(),), ['input_x', 'input_table']),
}


@pytest.mark.parametrize('name', CASES)
def test_features_are_told_from_structure(name):
    model_type, inputs, populations = CASES[name]
    model, given = model_type().double(), inputs(30)
    snn = convert(model, given, ConversionConfig(compensate=None))
    found = [n for n in snn.neurons if n.startswith('input_')]
    assert len(found) == len(populations) and found[0] in populations
    assert len(snn.neurons) == len(populations) + 1 and not snn.report.analog
    for each in (given, inputs(47)):
        expected = model(*each).detach()
        ann = run_network_as_ann(snn.network, snn.bind(*each))
        assert torch.allclose(ann, expected)
        assert (snn(*each) - expected).norm() < 0.15 * expected.norm()
        assert torch.allclose(simulate(snn, *each).output, snn(*each))
        for copied in (copy.deepcopy(snn), pickle.loads(pickle.dumps(snn))):
            assert torch.equal(copied(*each), snn(*each))
    assert measure(model, snn, given).uncounted == []


def test_what_is_computed_in_front_is_listed():
    snn = convert(Prepared().double(), features())
    kinds = [what.split(' ')[0] for what in snn.report.preprocessed]
    assert kinds == ['normalize', 'log1p', 'truediv']
    assert 'in front      normalize (normalize) of h, log1p' in str(snn.report)


class Two(Support):
    def forward(self, h, k):
        return self.b(self.a(h) * self.a(k).relu())


def test_products_of_two_signals_name_the_way_to_declare_one():
    with pytest.raises(NotImplementedError, match='two signals.*static_inputs'):
        convert(Two().double(), (features(), features()))


class Both(Support):
    """Read by a layer, and a factor: features, unless declared to be none."""

    def forward(self, h, k):
        return self.b(self.a(h).relu() * k) + 0 * k[:, :3]


def test_an_input_can_be_declared():
    given = features(), torch.rand(30, 8, dtype=torch.float64)
    model = Both().double()
    with pytest.raises(NotImplementedError, match='static_inputs'):
        convert(model, given)
    snn = convert(model, given, ConversionConfig(static_inputs=('k',)))
    assert list(snn.neurons) == ['input_h', 'relu']
    expected = model(*given).detach()
    assert (snn(*given) - expected).norm() < 0.15 * expected.norm()
