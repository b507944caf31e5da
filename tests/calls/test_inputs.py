"""Which inputs a converted network reads, and as what."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GCNConv, GINEConv, MeanAggregation, global_mean_pool
from torch_geometric.utils import degree

from spikegraph import ConversionConfig, convert, simulate


class OneHot(nn.Module):
    """Has activations on features, and on what it makes of integers."""

    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(6, 8)
        self.kinds = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8))
        self.out = nn.Linear(8, 3)

    def forward(self, x, z):
        kinds = self.kinds(F.one_hot(z, 4).to(x.dtype))
        return self.out((self.lin(x) + kinds.tanh()).relu())


class Functional(OneHot):
    """The same by an operator."""

    def forward(self, x, z):
        kinds = F.one_hot(z, 4).to(x.dtype) @ self.kinds[0].weight.t()
        return self.out((self.lin(x) + kinds.relu()).relu())


class Degrees(nn.Module):
    """Reads degrees as features."""

    def __init__(self):
        super().__init__()
        self.lin, self.degree = nn.Linear(6, 8), nn.Linear(1, 8)
        self.out = nn.Linear(8, 3)

    def forward(self, x, edge_index):
        deg = degree(edge_index[1], x.size(0), x.dtype).view(-1, 1)
        return self.out((self.lin(x) + self.degree(deg).relu()).relu())


class Kinds(nn.Module):
    """Edges of an integer kind, embedded by a network."""

    def __init__(self):
        super().__init__()
        self.edges = nn.Sequential(nn.Linear(2, 6), nn.ReLU())
        self.conv = GINEConv(nn.Linear(6, 3))

    def forward(self, x, edge_index, edge_attr):
        return self.conv(x, edge_index, self.edges(edge_attr.to(x.dtype)))


class Pooled(nn.Module):
    """Takes edge weights and batches, or leaves them out."""

    def __init__(self):
        super().__init__()
        self.conv, self.out = GCNConv(6, 8), nn.Linear(8, 3)

    def forward(self, x, edge_index, edge_weight=None, batch=None):
        h = self.conv(x, edge_index, edge_weight).relu()
        return self.out(global_mean_pool(h, batch))


def make_graph(**values):
    return Data(x=torch.randn(30, 6), edge_index=torch.randint(30, (2, 90)), **values)


@pytest.mark.parametrize(
    'model_type, num_populations, current',
    [
        (OneHot, 4, 'z'),
        (Functional, 3, 'z'),
        (Degrees, 3, 'edge_index'),
        (Kinds, 3, 'edge_attr'),
    ],
)
def test_activations_on_numbers_that_are_no_features(
    model_type, num_populations, current
):
    model = model_type().double()
    data = make_graph(
        z=torch.randint(4, (30,)), edge_attr=torch.randint(3, (90, 2))
    ).apply(lambda v: v.double() if v.is_floating_point() else v)
    snn = convert(model, data)
    assert len(snn.neurons) == num_populations
    assert snn.report.currents == [current]
    assert not any(node.target in ('relu', 'tanh') for node in snn.network.nodes)
    assert torch.allclose(simulate(snn, data).output, snn(data))


@pytest.mark.parametrize('name', ['batch', 'edge_weight'])
def test_data_with_more_than_calibration_held_is_refused(name):
    snn = convert(Pooled(), make_graph())
    values = {'batch': Batch.from_data_list([make_graph(), make_graph()])}
    values['edge_weight'] = make_graph(edge_weight=torch.rand(90))
    with pytest.raises(ValueError, match=rf"Expected '{name}' to be None.*a tensor"):
        snn(values[name])


class Gram(nn.Module):
    """Multiplies features by features."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(30, 3)

    def forward(self, x):
        b = self.b(x).relu().t()
        return self.out(torch.addmm(torch.zeros(1), self.a(x).relu(), b))


def test_addmm_of_two_signals_multiplies_spikes():
    x, config = torch.randn(30, 6), ConversionConfig(products='analog')
    with pytest.raises(NotImplementedError, match="'addmm'.*multiplies two signals"):
        convert(Gram(), x, config)
    snn = convert(Gram(), x)
    assert not snn.report.analog and snn.report.products


class Context(nn.Module):
    """Adds what is the same for all rows, or all columns."""

    def __init__(self, width):
        super().__init__()
        self.a, self.b, self.out = nn.Linear(6, 8), nn.Linear(6, width), nn.Linear(8, 3)
        self.width = width

    def forward(self, x):
        b = self.b(x) if self.width == 1 else self.b(x.mean(0, keepdim=True))
        return self.out((self.a(x) + b).relu())


@pytest.mark.parametrize('width', [1, 8])
def test_sums_that_broadcast(width):
    model, x = Context(width), torch.randn(30, 6)
    snn = convert(model, x)
    assert 'a' not in snn.report.compensated
    assert torch.allclose(simulate(snn, x).output, snn(x), atol=1e-5)


class NormOverRows(nn.Module):
    """Normalises the second of three dimensions."""

    def __init__(self):
        super().__init__()
        self.lin, self.norm, self.out = (
            nn.Linear(6, 8),
            nn.BatchNorm1d(5),
            nn.Linear(8, 3),
        )

    def forward(self, x):
        return self.out(self.norm(self.lin(x)).relu()).sum(dim=1)


def test_norms_of_other_dimensions_are_not_folded():
    model, x = NormOverRows(), torch.randn(30, 5, 6)
    model(x)
    snn = convert(model, x)
    assert snn.report.folded_norms == 0
    assert torch.allclose(simulate(snn, x).output, snn(x), atol=1e-4)


class TwoTypes(nn.Module):
    """Reads two entries of a dictionary."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 3), nn.Linear(4, 3)

    def forward(self, x_dict):
        return self.a(x_dict['to-do']).relu() + self.b(x_dict['to_do']).relu()


def test_keys_that_differ_in_punctuation_only():
    x = {'to-do': torch.randn(30, 6), 'to_do': torch.randn(30, 4)}
    snn = convert(TwoTypes(), {'x_dict': x})
    assert list(snn.neurons)[:2] == ['input_x__to_do', 'input_x__to_do_']
    assert torch.allclose(simulate(snn, x).output, snn(x), atol=1e-5)


class ShapedWeights(nn.Module):
    """Squashes edge weights before any spike."""

    def __init__(self):
        super().__init__()
        self.conv = GCNConv(6, 3)

    def forward(self, x, edge_index, edge_weight):
        return self.conv(x, edge_index, torch.sigmoid(edge_weight)).relu()


def test_activations_on_edge_weights_are_listed():
    edge_index = torch.randint(20, (2, 60))
    snn = convert(ShapedWeights(), (torch.rand(20, 6), edge_index, torch.rand(60)))
    assert snn.report.currents == ['sigmoid (sigmoid) of edge_weight']
    assert list(snn.neurons) == ['input_x', 'relu']


class Heads(nn.Module):
    """Pools several vectors of each node before its last layer."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(4, 3)
        self.pool = MeanAggregation()

    def forward(self, x, batch):
        x = self.first(x).relu().view(-1, 2, 4)
        return self.last(self.pool(x, batch, dim=0)).flatten(1)


def test_pooled_vectors_of_several_heads():
    model = Heads().double()
    data = torch.rand(20, 6).double(), torch.arange(20) // 5
    snn = convert(model, data)
    assert snn.report.logit_relative_error < 0.1
    out = simulate(snn, *data).output
    assert torch.allclose(out, snn(*data), rtol=0, atol=1e-12)


def test_names_of_data_are_no_data():
    model = torch.nn.Linear(4, 2)
    with pytest.raises(
        ValueError, match=r"\(got the text 'cora'\); load what it names"
    ):
        convert(model, 'cora')
