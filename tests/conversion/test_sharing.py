"""Parameters with several readers, and layers with several names."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from torch_geometric.nn import GCNConv, GINConv

from spikegraph import convert, measure, simulate
from spikegraph.conversion import converter
from spikegraph.conversion.fitting.calibration import output_errors, output_sums


class Gram(nn.Module):
    """Reads the weight of its last layer, too."""

    def __init__(self):
        super().__init__()
        self.a, self.o = nn.Linear(20, 16), nn.Linear(16, 3)

    def forward(self, x):
        h = self.a(x).relu()
        return self.o((h @ (self.o.weight.t() @ self.o.weight)).relu())


class Autoencoder(nn.Module):
    """Decodes with the weights of the encoder."""

    def __init__(self):
        super().__init__()
        self.encoder, self.middle = nn.Linear(20, 16), nn.Linear(16, 16)

    def forward(self, x):
        h = self.middle(self.encoder(x).relu()).relu()
        return F.linear(h, self.encoder.weight.t(), self.encoder.bias.mean())


class Normed(nn.Module):
    """Reads the weight of a layer that a batch norm is folded into."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.o = nn.Linear(20, 16), nn.BatchNorm1d(16), None
        self.o = nn.Linear(20, 3)
        nn.init.uniform_(self.norm.running_var, 0.1, 2)
        nn.init.uniform_(self.norm.weight, 0.5, 4)

    def forward(self, x):
        h = self.norm(self.a(x)).relu()
        return self.o((h @ self.a.weight).relu())


class Conv(nn.Module):
    """Reads the weight of a graph convolution."""

    def __init__(self):
        super().__init__()
        self.a, self.b = GCNConv(20, 16), GCNConv(16, 16)

    def forward(self, x, edge_index):
        h = self.b(self.a(x, edge_index).relu(), edge_index).relu()
        return h @ self.b.lin.weight + h @ self.b.lin.weight.t()


class Repeated(nn.Module):
    """One layer with many names."""

    def __init__(self):
        super().__init__()
        conv = nn.Linear(20, 20)
        conv.weight.data *= 3
        self.layers = nn.ModuleList([conv] * 3)
        self.out = self.again = nn.Linear(20, 3)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x).relu()
        return self.out(x) + self.again(x / 2)


class Pools(nn.Module):
    """One pool, twice in a sequence."""

    def __init__(self):
        super().__init__()
        pool = nn.MaxPool2d(2)
        self.net = nn.Sequential(
            *(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), pool),
            *(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), pool),
            *(nn.Flatten(), nn.Linear(16, 3)),
        )

    def forward(self, x):
        return self.net(x)


class Isomorphic(nn.Module):
    """One network in a GIN, and a GIN with two names."""

    def __init__(self):
        super().__init__()
        mlp = nn.Sequential(nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 20))
        self.a = self.b = GINConv(mlp)
        self.convs = nn.ModuleList([self.a, GINConv(mlp), self.b])
        self.out = nn.Linear(20, 3)

    def forward(self, x, edge_index):
        for conv in self.convs:
            x = conv(x, edge_index).relu()
        return self.out(x)


def inputs_of(model_type):
    if model_type is Pools:
        return (torch.rand(40, 1, 8, 8, dtype=torch.float64),)
    x = torch.rand(60, 20, dtype=torch.float64)
    if model_type in (Conv, Isomorphic):
        return x, torch.randint(60, (2, 200))
    return (x,)


@pytest.mark.parametrize(
    'model_type, num_populations',
    [
        *((Gram, 3), (Autoencoder, 3), (Normed, 3), (Conv, 3)),
        *((Repeated, 4), (Pools, 3), (Isomorphic, 7)),
    ],
)
def test_shared_parameters_and_layers(model_type, num_populations):
    inputs = inputs_of(model_type)
    model = model_type().double().eval()
    snn = convert(model, inputs)
    assert len(snn.neurons) == num_populations and not snn.report.analog
    out, expected = snn(*inputs), model(*inputs).detach()
    error, agreement = output_errors(output_sums([expected], [out]))
    assert snn.report.logit_relative_error == pytest.approx(error, rel=1e-6)
    assert snn.report.agreement == agreement and error < 0.2
    simulation = simulate(snn, *inputs)
    assert torch.allclose(simulation.output, out, rtol=0, atol=1e-12)
    for name, spikes in snn.spikes(*inputs).items():
        assert torch.equal(simulation.spikes[name].spike_time, spikes.spike_time)


class Lent(nn.Module):
    """A layer that is called with its own weights, and with others."""

    def __init__(self, lent_first):
        super().__init__()
        self.a, self.b, self.o = nn.Linear(20, 16), nn.Linear(16, 16), nn.Linear(16, 3)
        self.lent_first = lent_first

    def forward(self, x):
        x = self.a(x).relu()
        own = None if self.lent_first else self.b(x)
        other = {'weight': self.b.weight.t(), 'bias': 2 * self.b.bias}
        lent = functional_call(self.b, other, (x,))
        own = self.b(x) if own is None else own
        return self.o(own.relu() - lent.relu())


@pytest.mark.parametrize('lent_first', [True, False])
def test_layers_that_are_lent_other_weights(lent_first):
    inputs = (torch.rand(60, 20, dtype=torch.float64),)
    model = Lent(lent_first).double().eval()
    snn = convert(model, inputs)
    expected = model(*inputs).detach()
    assert len(snn.neurons) == 4
    assert (snn(*inputs) - expected).norm() < 0.2 * expected.norm()
    cost = measure(snn, inputs, model)
    assert cost.uncounted == [] and cost.total.snn_macs == 0
    assert cost.total.ann_macs == 60 * (20 * 16 + 2 * 16 * 16 + 16 * 3)


@pytest.mark.parametrize('model_type', [Repeated, Pools, Isomorphic])
def test_every_use_of_a_layer_is_counted(model_type):
    inputs = inputs_of(model_type)
    model = model_type().double().eval()
    cost = measure(convert(model, inputs), inputs, model)
    assert cost.uncounted == []


def test_finished_network_must_repeat_what_calibration_found(monkeypatch):
    """A network that changes behind the back of calibration is not returned."""
    compute = converter.calibrate

    def calibrate(structure, *args, **kwargs):
        found = compute(structure, *args, **kwargs)
        structure.network.get_submodule('o').weight.data.mul_(2)
        return found

    monkeypatch.setattr(converter, 'calibrate', calibrate)
    with pytest.raises(RuntimeError, match=r'error of 1\.37%.*\(got \d\d\.\d'):
        convert(Gram(), torch.rand(60, 20))
