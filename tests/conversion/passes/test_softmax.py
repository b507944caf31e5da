"""Softmax as models write it: masks of scores, and groups by index."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch_geometric.nn import GATConv
from torch_geometric.utils import degree, scatter, softmax

from spikegraph import convert
from spikegraph.nn.relative import Relative
from tests.conversion import helpers
from tests.conversion.convolutions import TOLERANCE, deviation
from tests.nn.exactness import CONFIG, assert_exact, real

EDGES = torch.tensor([[0, 1, 2, 3, 4, 5, 0, 3], [1, 1, 2, 2, 5, 4, 4, 0]])
CHANNELS = replace(CONFIG, per_channel=True)
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


@pytest.mark.parametrize('has_shift', [True, False])
def test_batch_norms_carry_quotients_on(has_shift):
    class Normed(Attending):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(8, affine=has_shift)

        def forward(self, x, edge_index):
            return self.last(self.norm(self.conv(x, edge_index)).relu())

    snn = assert_exact(Normed(), real(7, 5), EDGES)
    assert [name for name in snn.neurons if 'relay' in name] == ['relay_conv_lin']


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


class Scored(nn.Module):
    """Attention by one score for each edge, with a layer behind."""

    def __init__(self, softmax, is_column):
        super().__init__()
        self.lin, self.score, self.last = (nn.Linear(5, n) for n in (5, 1, 3))
        self.softmax, self.is_column = softmax, is_column

    def forward(self, x, edge_index):
        source, target = edge_index
        score = self.score(x) if self.is_column else self.score(x).squeeze(-1)
        score = nn.functional.leaky_relu(score[source] + score[target], 0.2)
        alpha = self.softmax(score, target, x.size(0))
        alpha = alpha if self.is_column else alpha.unsqueeze(-1)
        h = self.lin(x)
        return self.last(scatter(alpha * h[source], target, 0, dim_size=x.size(0)))


def by_hand(scores, index, num_nodes):
    e = scores.exp()
    return e / scores.new_zeros(num_nodes).index_add(0, index, e)[index]


def relative_by_hand(scores, index, num_nodes):
    largest = scatter(scores, index, 0, dim_size=num_nodes, reduce='max')
    e = (scores - largest[index]).exp()
    return e / (scatter(e, index, 0, dim_size=num_nodes) + 1e-16)[index]


def by_pointers(scores, index, num_nodes):
    order = index.argsort(stable=True)
    ptr = nn.functional.pad(degree(index, num_nodes, torch.long).cumsum(0), (1, 0))
    return softmax(scores[order], ptr=ptr)[order.argsort()]


WAYS = {
    'of a helper': (helpers.attention, False),
    'of a helper, in columns': (helpers.attention, True),
    'by an attribute': (helpers.attention_by_attribute, False),
    'groups that are counted': (lambda s, i, n: softmax(s, i), False),
    'by hand': (by_hand, False),
    'relative by hand': (relative_by_hand, False),
    'by pointers': (by_pointers, False),
    'along another dimension': (
        lambda s, i, n: softmax(s.t(), i, num_nodes=n, dim=1).t(),
        True,
    ),
}


@pytest.mark.parametrize('softmax, is_column', WAYS.values(), ids=WAYS)
@pytest.mark.parametrize('config', [CONFIG, CHANNELS], ids=['', 'channels'])
def test_scores_of_edges(softmax, is_column, config):
    """Nodes without neighbours keep the bias of the layer behind."""
    model = Scored(softmax, is_column)
    edges = EDGES[:, EDGES[1] != 2]
    most = 0.8 if softmax is by_hand else 0.4  # Which has no first spike.
    snn = assert_exact(model, real(7, 5), edges, most=most, config=config)
    found = snn(real(7, 5), edges)[[2, 6]]
    torch.testing.assert_close(found, model.last.bias.expand(2, 3))
    if 'ramp_softmax' in snn.neurons:  # Taken as a whole, however it is called.
        kinds = [type(snn.network.operation(n)) for n in snn.network.nodes]
        assert Relative in kinds
    more = torch.cat([edges, torch.tensor([[3, 4], [0, 3]])], 1)
    assert deviation(snn, model, (real(7, 5, seed=1), more)) < TOLERANCE


@pytest.mark.parametrize('reduce', ['sum', 'mean', 'max'])
def test_single_values_of_rows_are_reduced(reduce):
    class Reduced(Scored):
        def forward(self, x, edge_index):
            score = self.score(x).squeeze(-1).relu()[edge_index[0]]
            out = scatter(score, edge_index[1], 0, dim_size=x.size(0), reduce=reduce)
            return out.unsqueeze(-1) * self.lin(x)

    assert_exact(Reduced(None, False), real(7, 5), EDGES)


NO_EDGES = EDGES[:, :0]


def test_graphs_without_edges():
    """Nothing can be fitted to none, and need not be where others were."""
    model = Attending(add_self_loops=False).double()
    with pytest.raises(ValueError, match=r"hold values for 'ramp_softmax' \(got none"):
        convert(model, (real(7, 5), NO_EDGES))
    snn = assert_exact(model, real(7, 5), EDGES)
    assert deviation(snn, model, (real(7, 5), NO_EDGES)) < TOLERANCE


class Similar(nn.Module):
    """A gate for each edge, of the features of both of its ends."""

    def __init__(self):
        super().__init__()
        self.lin, self.last = nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x, edge_index):
        h = self.lin(x)
        gate = torch.sigmoid((h[edge_index[0]] * h[edge_index[1]]).sum(-1))
        messages = gate.unsqueeze(-1) * h[edge_index[0]]
        return self.last(scatter(messages, edge_index[1], 0, dim_size=x.size(0)))


def test_values_of_edges_have_one_scale():
    model = Similar()
    snn = assert_exact(model, real(7, 5), EDGES, config=CHANNELS)
    assert snn.neurons['sigmoid'].scale.numel() == 1
    assert deviation(snn, model, (real(7, 5), EDGES[:, 2:])) < TOLERANCE
