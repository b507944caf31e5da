"""Functions of several signals, and the modules that call them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spikegraph import ConversionConfig, convert
from spikegraph.network.roles import Role
from tests.conversion.convolutions import TOLERANCE, deviation
from tests.nn.exactness import assert_exact, real


class Between(nn.Module):
    """A function of features, between two layers."""

    def __init__(self, function, width=6, of_two=False):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.function, self.of_two = function, of_two
        self.last = nn.Linear(width, 3) if width else None

    def forward(self, x):
        values = self.second(x), torch.relu(self.first(x)) + 0.2
        out = self.function(*values[: 1 + self.of_two])
        return out if self.last is None else self.last(out)


def row(out):
    return out.unsqueeze(-1)


def in_range(x, low, high):
    return (x - low) / (high - low + 1e-3)


SINGLE = {
    'softmax': nn.Softmax(-1),
    'softmax of images': lambda x: F.softmax(x.unflatten(-1, (3, 2)), 1).flatten(1),
    'softmin': nn.Softmin(-1),
    'log softmax': nn.LogSoftmax(-1),
    'log softmax of large ones': lambda x: F.log_softmax(500 * x, -1),
    'log softmax of small ones': lambda x: F.log_softmax(x - 1000, -1),
    'sums of exponentials': lambda x: x - x.logsumexp(-1, keepdim=True),
    'large sums of exponentials': lambda x: x + row(torch.logsumexp(300 * x, 1)),
    'sums of all exponentials': lambda x: x + x.logsumexp((0, 1)),
    'powers of two': lambda x: 2**x,
    'powers of ten': lambda x: torch.pow(10.0, 0.3 * x),
    'powers of a half': lambda x: 0.5**x,
    'exp2': torch.exp2,
    'expm1': torch.expm1,
    'products so far': lambda x: torch.cumprod(torch.relu(x) + 0.5, -1),
    'range': lambda x: in_range(x, *torch.aminmax(x, dim=-1, keepdim=True)),
    'layer norm': lambda x: F.layer_norm(x, (6,)),
    'rms norm': lambda x: F.rms_norm(x, (6,)),
    'group norm': lambda x: F.group_norm(x, 2),
    'instance norm': lambda x: F.instance_norm(x.unflatten(-1, (2, 3))).flatten(1),
    'response': lambda x: F.local_response_norm(x.unsqueeze(-1), 3, 0.5).squeeze(-1),
}


def grouped(x, y):
    """Attention of two heads that share keys and values."""
    q, k = (v.unflatten(-1, (2, 3)).transpose(-3, -2) for v in (x, y))
    k = k[..., :1, :, :]
    out = F.scaled_dot_product_attention(q, k, k, enable_gqa=True)
    return out.transpose(-3, -2).flatten(-2)


PAIRS = {
    'bilinear': (nn.Bilinear(6, 6, 4), 4),
    'without a bias': (nn.Bilinear(6, 6, 4, bias=False), 4),
    'cosine': (nn.CosineSimilarity(), 0),
    'distance': (nn.PairwiseDistance(), 0),
    'sum of distances': (nn.PairwiseDistance(1, keepdim=True), 1),
    'dot products': (lambda x, y: row((x * y).sum(-1)), 1),
    'addcmul': (lambda x, y: torch.addcmul(x, x, y, value=0.5), 6),
    'addcmul in place': (lambda x, y: x.clone().addcmul_(x, y), 6),
    'addcdiv': (lambda x, y: x.addcdiv(x, y, value=0.5), 6),
    'addcdiv in place': (lambda x, y: x.clone().addcdiv_(x, y), 6),
    'lerp': (lambda x, y: torch.lerp(x, y, torch.sigmoid(x)), 6),
    'lerp in place': (lambda x, y: x.clone().lerp_(y, torch.sigmoid(y)), 6),
    'logaddexp': (torch.logaddexp, 6),
    'powers of signals': (lambda x, y: y ** torch.tanh(x), 6),
    'the smaller one times one': (lambda x, y: torch.minimum(x, y) * x, 6),
    'grouped attention': (lambda x, y: grouped(x, y), 6),
    'attention': (F.scaled_dot_product_attention, 6),
}


@pytest.mark.parametrize('function', SINGLE.values(), ids=SINGLE)
@pytest.mark.parametrize('is_last', [False, True])
def test_functions_of_one(function, is_last):
    model = Between(function, 0 if is_last else 6)
    assert_exact(model, real(7, 6), most=0.35)


@pytest.mark.parametrize('function', [nn.Softmax(-1), nn.LogSoftmax(-1)], ids=str)
def test_read_outs_at_the_end(function):
    snn = assert_exact(nn.Sequential(nn.Linear(6, 4), function), real(7, 6))
    assert len(snn.neurons) == 1


def test_gated_units_are_populations():
    """What they are made of does not pass for a read-out."""
    snn = assert_exact(Between(nn.GLU(), 3), real(7, 6))
    kinds = [type(neuron.activation) for neuron in snn.neurons.values()]
    assert nn.Sigmoid in kinds


@pytest.mark.parametrize('function, width', PAIRS.values(), ids=PAIRS)
def test_functions_of_two(function, width):
    if function is F.scaled_dot_product_attention:
        function = lambda x, y: F.scaled_dot_product_attention(x, y, y)  # noqa: E731
    assert_exact(Between(function, width, of_two=True), real(7, 6), most=0.35)


class Attended(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(5, 8) for _ in range(3))
        self.lin = nn.Linear(8, 3)

    def forward(self, x):
        parts = (self.query(x), self.key(x), self.value(x))
        return self.lin(F.scaled_dot_product_attention(*parts).relu())


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(5, 8), nn.Linear(4, 3)

    def forward(self, x):
        return self.lin2(F.glu(self.lin1(x)))


@pytest.mark.parametrize('model, fires', [(Attended, 'softmax'), (Gated, 'sigmoid')])
def test_what_may_end_a_network_fires_within_it(model, fires):
    torch.manual_seed(0)
    snn = convert(model(), torch.rand(20, 5), ConversionConfig(num_steps=24))
    assert not any(n.role is Role.READ_OUT for n in snn.network.nodes)
    assert not snn.report.analog
    assert fires in ' '.join(p.replaced for p in snn.report.populations)
    assert snn.report.logit_relative_error < 0.1


@pytest.mark.parametrize('eps', [1e-12, 1.0])
def test_lengths_are_not_below_the_smallest_one(eps):
    assert_exact(Between(lambda x: F.normalize(x, eps=eps)), real(7, 6) * 0.1)


def test_variance_over_all_values():
    assert_exact(Between(lambda x: row(x.var(False)).unsqueeze(0), 1), real(7, 6))


@pytest.mark.parametrize('cross', [torch.cross, torch.linalg.cross])
def test_cross_products(cross):
    model = Between(lambda x, y: cross(x[:, ::2], y[:, ::2], dim=-1), 3, of_two=True)
    assert_exact(model, real(7, 6), most=0.6)


def test_causal_attention():
    def attend(x, y):
        return F.scaled_dot_product_attention(x, y, x, is_causal=True)

    model = Between(attend, of_two=True)
    snn = assert_exact(model, real(7, 6))
    assert deviation(snn, model, (real(9, 6),)) < TOLERANCE


def test_products_over_rows_know_how_many_there_are():
    snn = assert_exact(Between(lambda x: torch.relu(x).prod(0)), real(2, 6), most=1)
    with pytest.raises(ValueError, match='the answer of 2, as with the calibration'):
        snn(real(3, 6))
