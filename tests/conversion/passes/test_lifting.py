"""Linear attention: features that are never negative, and divisors made of them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.conversion.convolutions import TOLERANCE, deviation
from tests.nn.exactness import assert_exact, real


class Linear(nn.Module):
    def __init__(self, features, attend):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(6, 6) for _ in range(3))
        self.features, self.attend, self.last = features, attend, nn.Linear(6, 3)

    def forward(self, x):
        q, k = self.features(self.q(x)), self.features(self.k(x))
        return self.last(self.attend(q, k, self.v(x)))


def by_matrices(q, k, v):
    total = q @ k.sum(-2, keepdim=True).transpose(-2, -1)
    return (q @ (k.transpose(-2, -1) @ v)) / total


def by_equations(q, k, v):
    keys = torch.einsum('...nd,...nm->...dm', k, v)
    total = torch.einsum('...nd,...d->...n', q, k.sum(-2))
    return torch.einsum('...nd,...dm->...nm', q, keys) / total.unsqueeze(-1)


def by_products(q, k, v):
    total = (q * k.sum(-2, keepdim=True)).sum(-1, keepdim=True)
    return (q @ (k.transpose(-2, -1) @ v)) / (total + 1e-6)


def by_reciprocals(q, k, v):
    total = q @ k.sum(-2).unsqueeze(-1)
    return (q @ (k.transpose(-2, -1) @ v)) * (1 / (total + 1e-6))


FORMS = [by_matrices, by_equations, by_products, by_reciprocals]
FEATURES = {
    'elu': lambda x: F.elu(x) + 1,
    'one more': lambda x: 1 + F.elu(x),
    'tanh': lambda x: torch.tanh(x) + 1,
    'relu': lambda x: F.relu(x) + 0.1,
    'exp': lambda x: torch.exp(x),
}


@pytest.mark.parametrize('attend', FORMS)
@pytest.mark.parametrize('features', FEATURES.values(), ids=FEATURES)
def test_linear_attention(features, attend):
    model = Linear(features, attend)
    snn = assert_exact(model, real(7, 6), most=0.4)
    assert deviation(snn, model, (real(9, 6),)) < TOLERANCE


def test_what_is_lifted_is_one_population_that_is_never_negative():
    snn = assert_exact(Linear(FEATURES['elu'], by_matrices), real(7, 6), most=0.4)
    kinds = [type(neuron.activation) for neuron in snn.neurons.values()]
    assert nn.ELU not in kinds
    lifted = [n for name, n in snn.neurons.items() if name.startswith('add')]
    assert len(lifted) == 2 and not any(neuron.code.signed for neuron in lifted)


def test_without_a_product_nothing_is_lifted():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x):
            return self.last(F.elu(self.first(x)) + 1)

    snn = assert_exact(Plain(), real(7, 6))
    assert any(isinstance(n.activation, nn.ELU) for n in snn.neurons.values())
