"""Softmax as models write it: masks of scores, and groups by index."""

import pytest
import torch
from torch import nn
from torch_geometric.nn import GATConv
from torch_geometric.utils import scatter, softmax

from spikegraph import PhaseCode, convert
from spikegraph.conversion.fitting.products import fit_ramp
from spikegraph.nn import PhaseNeuron
from spikegraph.nn.activation import Ramp
from spikegraph.nn.routing import never_silent
from tests.conversion.convolutions import TOLERANCE, deviation
from tests.nn.exactness import assert_exact, real

EDGES = torch.tensor([[0, 1, 2, 3, 4, 5, 0, 3], [1, 1, 2, 2, 5, 4, 4, 0]])
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


HEADS = {
    'unbound': lambda s, h: s.qkv(h).unflatten(-1, (3, 2, -1)).movedim(-2, 1).unbind(3),
    'in chunks': lambda s, h: [
        part.unflatten(-1, (2, -1)).transpose(1, 2) for part in s.qkv(h).chunk(3, -1)
    ],
    'split': lambda s, h: [
        part.view(*h.shape[:2], 2, -1).transpose(1, 2) for part in s.qkv(h).split(6, -1)
    ],
    'permuted': lambda s, h: (
        s.qkv(h).reshape(len(h), -1, 3, 2, 3).permute(2, 0, 3, 1, 4)
    ),
    'layers': lambda s, h: [
        lin(h).unflatten(-1, (2, -1)).transpose(1, 2) for lin in s.lins
    ],
}


class PreNorm(nn.Module):
    """Several heads that attend to what has been normalized."""

    def __init__(self, heads):
        super().__init__()
        self.first, self.norm, self.heads = nn.Linear(5, 6), nn.LayerNorm(6), heads
        self.qkv, self.lins = nn.Linear(6, 18), nn.ModuleList()
        self.lins.extend(nn.Linear(6, 6) for _ in range(3))
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        x = self.first(x)
        q, k, v = self.heads(self, self.norm(x))
        out = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.last(x + out.transpose(1, 2).flatten(2))


@pytest.mark.parametrize('heads', HEADS.values(), ids=HEADS)
def test_heads_of_what_is_normalized(heads):
    model = PreNorm(heads)
    snn = assert_exact(model, real(3, 6, 5), most=0.4)
    assert deviation(snn, model, (real(2, 6, 5),)) < TOLERANCE


def test_rows_of_silent_exponentials_weigh_nothing():
    class Plain(Masked):
        def forward(self, x):
            e = torch.exp(self.q(x) @ self.k(x).transpose(-2, -1))
            return (e / e.sum(-1, keepdim=True)) @ self.v(x)

    x = 3 * real(2, 6, 5)
    assert convert(Plain(None).double(), x)(x).isfinite().all()


class OnEdges(nn.Module):
    """Attention that takes the ends of edges anew each time."""

    def __init__(self):
        super().__init__()
        self.lin, self.ends = nn.Linear(5, 4), nn.Linear(5, 2)

    def forward(self, x, edge_index):
        scores = self.ends(x)[edge_index[0]][:, 0] + self.ends(x)[edge_index[1]][:, 1]
        scores = nn.functional.leaky_relu(scores, 0.2)
        alpha = softmax(scores, edge_index[1], num_nodes=x.size(0))
        messages = alpha.unsqueeze(-1) * self.lin(x)[edge_index[0]]
        return scatter(messages, edge_index[1], 0, dim_size=x.size(0))


def test_groups_are_known_by_what_their_index_is():
    x = real(7, 5)
    snn = assert_exact(OnEdges(), x, EDGES, most=0.4)
    # Nothing is sent for each edge but its score, and each value once.
    sizes = {name: len(s.spike_time) for name, s in snn.spikes(x, EDGES).items()}
    per_edge = [name for name in snn.neurons if sizes[name] == EDGES.size(1)]
    assert per_edge == ['ramp_softmax'] and 'relay_lin' in snn.neurons


class Attending(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.conv, self.last = GATConv(5, 4, heads=2, **options), nn.Linear(8, 3)

    def forward(self, x, edge_index):
        return self.last(self.conv(x, edge_index).relu())


def test_means_of_what_is_weighed():
    assert_exact(Attending(aggr='mean'), real(7, 5), EDGES)


def test_hooks_see_the_sums_of_what_is_delayed():
    x, seen = real(7, 5), []
    snn = convert(Attending().double(), (x, EDGES))
    out, flow = snn(x, EDGES), snn._known_flow()
    (node,) = flow.sums
    layer = snn.network.operation(node)
    layer.register_forward_hook(lambda module, args, value: seen.append(value))
    torch.testing.assert_close(snn(x, EDGES), out)
    assert len(seen) == 2  # Of values and of coefficients, which share it.


def test_ramps_lie_where_the_scores_are():
    neuron = PhaseNeuron(PhaseCode(16, 1.2), activation=Ramp())
    scores = torch.linspace(-3, 3, 1000).view(-1, 1)
    scores[0] = 80.0  # Further away than a byte can count.
    fit_ramp(neuron, scores, 1.2)
    spikes = neuron(scores)
    late = spikes.spike_time[1:] >= spikes.code.num_steps
    assert not late.any() and spikes.spike_time[0] == 0
    assert spikes.spike_time[1:].unique().numel() > 25


def test_groups_that_no_ramp_reaches_weigh_alike():
    model, x = Masked(lambda a, m: a).double(), real(3, 6, 5)
    snn = convert(model, x)
    ramps = [n for n in snn.network.nodes if 'ramp' in str(n.target)]
    (user,) = ramps[0].users
    assert user.target is never_silent
