"""Which values are sent as spikes: told by what is done with them."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.nn import GINEConv

from spikegraph import ConversionConfig, convert, measure, simulate
from spikegraph.network.interpreter import AnalogReading


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
        ann = AnalogReading(snn.network).run(snn.bind(*each))
        assert torch.allclose(ann, expected)
        assert (snn(*each) - expected).norm() < 0.15 * expected.norm()
        assert torch.allclose(simulate(snn, *each).output, snn(*each))
        for copied in (copy.deepcopy(snn), pickle.loads(pickle.dumps(snn))):
            assert torch.equal(copied(*each), snn(*each))
    assert measure(snn, given, model).uncounted == []


def test_what_is_computed_in_front_is_listed():
    snn = convert(Prepared().double(), features())
    kinds = [what.split(' ')[0] for what in snn.report.preprocessed]
    assert kinds == ['normalize', 'log1p', 'truediv']
    assert 'in front      normalize (normalize) of h, log1p' in str(snn.report)
    assert snn.report.currents == []  # The clamp belongs to the quotient.


class Two(Support):
    def forward(self, h, k):
        return self.b(self.a(h) * self.a(k).relu())


PRODUCTS = ConversionConfig(num_steps=48, base=1.15, compensate=None)


def check_products(snn, model, given, entering):
    """No part is analog, and what is told is what happens."""
    found = [p.name for p in snn.report.populations if p.encodes]
    assert snn.report.analog == {} and found == entering
    pairs = zip(
        *(torch.utils._pytree.tree_leaves(f(*given)) for f in (snn, model)), strict=True
    )
    for out, expected in pairs:
        assert (out - expected.detach()).norm() < 0.1 * expected.norm()
    simulation = simulate(snn, *given)
    for name, spikes in snn.spikes(*given).items():
        assert torch.equal(simulation.spike_time[name], spikes.spike_time)


def test_products_of_two_signals_name_an_input_to_declare():
    model, given = Two().double(), (features(), features())
    snn = convert(model, given, PRODUCTS)  # Both are features.
    check_products(snn, model, given, ['input_h', 'input_k'])
    with pytest.raises(NotImplementedError, match=r"two.*static_inputs=\('h',\)'"):
        convert(model, given, ConversionConfig(products='analog'))
    snn = convert(model, given, ConversionConfig(static_inputs=('h',)))
    assert list(snn.neurons) == ['input_k', 'relu'] and snn.report.currents == ['h']
    assert snn.report.logit_relative_error < 0.15


class Returned(Support):
    """Weights of edges, normalised by degrees, that are returned, too."""

    def forward(self, h, edges, k):
        row, col = edges
        degree = torch.zeros_like(h[:, 0]).index_add(0, row, k)
        weight = k / (1 + degree)[col]
        h = self.a(h).relu()
        sums = torch.zeros_like(h).index_add(0, col, h[row] * weight[:, None])
        return self.b(sums), weight


def test_weights_of_edges_that_are_returned_are_named():
    edges, k = torch.randint(30, (2, 90)), torch.rand(90, dtype=torch.float64)
    model, given = Returned().double(), (features(), edges, k)
    check_products(
        convert(model, given, PRODUCTS), model, given, ['input_h', 'input_k']
    )
    with pytest.raises(NotImplementedError, match=r"two.*static_inputs=\('k',\)'"):
        convert(model, given, ConversionConfig(products='analog'))
    snn = convert(model, given, ConversionConfig(static_inputs=('k',)))
    assert torch.equal(snn(*given)[1], model(*given)[1])
    assert snn.report.logit_relative_error < 0.15


def test_what_is_declared_is_an_input():
    config = ConversionConfig(static_inputs=('k', 'adj'))
    with pytest.raises(ValueError, match=r"'static_inputs'.* of h, k \(got 'adj'\)"):
        convert(Both().double(), (features(), torch.rand(30, 8).double()), config)


class Own(Support):
    def forward(self, h):
        return self.b((F.pad(h, (0, 2)) * self.a(h)).relu())


def test_features_may_not_all_be_declared_to_be_none():
    config = ConversionConfig(static_inputs=('input',))
    with pytest.raises(ValueError, match=r"of which input .*'static_inputs'"):
        convert(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), torch.rand(5, 4), config)


def test_no_input_is_named_where_declaring_it_leaves_none():
    model, given = Own().double(), (features(),)
    check_products(convert(model, given, PRODUCTS), model, given, ['input_h'])
    with pytest.raises(NotImplementedError, match='two signals. Replace it') as error:
        convert(model, given, ConversionConfig(products='analog'))
    assert 'static_inputs' not in str(error.value)


class Both(Support):
    """Read by a layer, and a factor: features, unless declared to be none."""

    def forward(self, h, k):
        return self.b(self.a(h).relu() * k) + 0 * k[:, :3]


def test_an_input_can_be_declared():
    given = features(), torch.rand(30, 8, dtype=torch.float64)
    model = Both().double()
    check_products(
        convert(model, given, PRODUCTS), model, given, ['input_h', 'input_k']
    )
    with pytest.raises(NotImplementedError, match='static_inputs'):
        convert(model, given, ConversionConfig(products='analog'))
    snn = convert(model, given, ConversionConfig(static_inputs=('k',)))
    assert list(snn.neurons) == ['input_h', 'relu']
    expected = model(*given).detach()
    assert (snn(*given) - expected).norm() < 0.15 * expected.norm()


class Rows(Support):
    """Reads sparse features as they are, or dense."""

    def forward(self, h):
        return self.b(torch.mm(h, self.a.weight.t()).relu())


@pytest.mark.parametrize('layout', [torch.sparse_coo, torch.sparse_csr])
def test_sparse_features_are_sent(layout):
    model, h = Rows().double(), features() * (features() > 0.5)
    snn = convert(model, h.to_sparse(layout=layout), ConversionConfig(compensate=None))
    assert list(snn.neurons) == ['input_h', 'relu']
    for given in (h.to_sparse(layout=layout), h, h.to_sparse()):
        assert torch.equal(snn(given), snn(h))
    h[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"'h' to be finite \(got nan"):
        snn(h.to_sparse(layout=layout))


def test_sparse_features_are_refused_where_they_were_dense():
    model, h = Rows().double(), features()
    snn = convert(model, h)
    match = r"'h' to be dense.*\(got torch.sparse_coo\).*'h.to_dense\(\)'"
    with pytest.raises(ValueError, match=match):
        snn(h.to_sparse())
    assert snn(h.to_sparse().to_dense()).shape == (30, 3)


class Slices(nn.Module):
    """Several tables in one parameter."""

    def __init__(self):
        super().__init__()
        self.tables, self.out = nn.Parameter(torch.randn(3, 30, 8)), nn.Linear(8, 3)

    def forward(self, graph):
        return self.out(sum(graph @ table for table in self.tables).relu())


def test_parts_of_a_table_are_populations_of_their_own():
    adj = square().to_sparse()
    snn = convert(Slices().double(), (adj,))
    assert len(snn.neurons) == 4
    expected = AnalogReading(snn.network).run(snn.bind(adj))
    assert (snn(adj) - expected).norm() < 0.15 * expected.norm()


class Scores(nn.Module):
    """A table that is both features and the weights of a read-out."""

    def __init__(self):
        super().__init__()
        self.table, self.lin = nn.Parameter(torch.randn(30, 8)), nn.Linear(8, 8)

    def forward(self, graph):
        return (graph @ self.lin(self.table)).relu() @ self.table.t()


def test_weights_of_a_table_that_is_sent_stay_weights():
    model, adj = Scores().double(), square().to_sparse()
    snn = convert(model, (adj,), ConversionConfig(compensate=None))
    assert list(snn.neurons) == ['input_table', 'relu']
    exact = AnalogReading(snn.network).run(snn.bind(adj))
    assert torch.allclose(exact, model(adj))


class FilledWithSignal(Support):
    def forward(self, h):
        x = self.a(h)
        return self.b((x + x.new_full((8,), x.relu().mean())).relu())


def test_tensors_that_signals_fill_are_refused():
    with pytest.raises(NotImplementedError, match="'new_full'.*fills a tensor with a"):
        convert(FilledWithSignal().double(), features())


class Added(nn.Module):
    """A graph times features, added to features by the same function."""

    def __init__(self, add):
        super().__init__()
        self.a, self.b, self.add = nn.Linear(6, 8), nn.Linear(8, 3), add

    def forward(self, h, matrix):
        h = self.a(matrix @ h).relu()
        return self.b(self.add(h, matrix, h).relu())


@pytest.mark.parametrize(
    'add',
    [
        torch.addmm,
        lambda h, m, g: h.addmm(m, g, beta=0.5, alpha=2),
        lambda h, m, g: torch.baddbmm(h[None], m[None], g[None])[0],
        lambda h, m, g: torch.addbmm(h, m[None], g[None]),
    ],
)
def test_what_is_added_to_a_product_is_no_factor(add):
    torch.manual_seed(0)
    matrix = (torch.rand(30, 30) > 0.9).double()
    given, model = (features(), matrix), Added(add).double()
    snn = convert(model, given, ConversionConfig(compensate=None))
    assert list(snn.neurons) == ['input_h', 'relu', 'relu_1']
    assert snn.report.analog == {} and snn.report.preprocessed == []
    assert snn.report.logit_relative_error < 0.15
    total = measure(snn, given, model).total
    assert total.ann_aggregation_macs == (6 + 8) * int(matrix.sum())
    assert total.ann_macs == 30 * (6 * 8 + 8 * 3)
    exact = AnalogReading(snn.network).run(snn.bind(*given))
    assert torch.allclose(exact, model(*given), rtol=1e-9, atol=1e-9)
    assert torch.allclose(simulate(snn, *given).output, snn(*given), rtol=1e-9)


class Bag(nn.Module):
    """Each row and that of its one neighbour, in one function."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, h, matrix):
        h = self.a(h).relu()
        return self.b(torch.baddbmm(h[None], matrix[None], h[None])[0])


def test_spikes_that_are_added_to_a_product_arrive():
    torch.manual_seed(0)
    given, model = (features(), torch.eye(30).roll(1, 0).double()), Bag().double()
    snn = convert(model, given, ConversionConfig(compensate=None))
    total = measure(snn, given, model).total
    spikes = snn.spikes(*given).values()
    sent, fired = (int((s.spike_time != s.code.num_steps).sum()) for s in spikes)
    assert total.snn_macs == 0
    assert total.synops == 8 * sent + fired + 3 * (fired + fired)


def test_embeddings_are_currents():
    class Molecules(nn.Module):
        def __init__(self):
            super().__init__()
            self.atom, self.bond = nn.Embedding(5, 8), nn.Embedding(3, 8)
            self.conv, self.out = GINEConv(nn.Linear(8, 8)), nn.Linear(8, 2)

        def forward(self, z, edge_index, kind):
            x = self.conv(self.atom(z), edge_index, self.bond(kind))
            return self.out(x.relu())

    graph = torch.arange(10) % 5, torch.randint(10, (2, 20)), torch.arange(20) % 3
    report = convert(Molecules(), graph).report
    assert report.currents == ['atom (Embedding) of z', 'bond (Embedding) of kind']
    assert report.analog == {}
