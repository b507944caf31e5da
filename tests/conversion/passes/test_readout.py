"""The population that outputs are read from is coded for what errors do there."""

import pytest
import torch
from torch import nn
from torch_geometric.nn import GCNConv

from spikegraph import ConversionConfig, PhaseCode, convert
from spikegraph.conversion.fitting import populations
from spikegraph.conversion.fitting.codes import SortedValues
from spikegraph.conversion.fitting.populations import _best_code, importance
from spikegraph.conversion.passes.graph import readout_weight
from spikegraph.nn import PhaseNeuron


class Perceptron(nn.Module):
    def __init__(self, conv_last=False):
        super().__init__()
        self.first, self.second = nn.Linear(6, 16), nn.Linear(16, 16)
        self.conv_last = conv_last
        self.last = GCNConv(16, 3) if conv_last else nn.Linear(16, 3)

    def forward(self, x, edge_index):
        x = self.second(self.first(x).relu()).relu()
        graph = (edge_index,) if self.conv_last else ()
        return self.last(x, *graph).log_softmax(dim=-1)


def readouts(model):
    x, edge_index = torch.rand(50, 6), torch.randint(50, (2, 100))
    snn = convert(model, (x, edge_index), ConversionConfig(compensate=None))
    found = {}
    for node in snn.network.nodes:
        if node.op == 'call_module' and 'neurons.' in node.target:
            found[node.target] = readout_weight(snn.network, node)
    return found


def test_only_the_last_population_is_read_out():
    model = Perceptron()
    found = readouts(model)
    assert torch.equal(found.pop('neurons.relu_1'), model.last.weight)
    assert found == {'neurons.input_x': None, 'neurons.relu': None}
    assert set(readouts(Perceptron(conv_last=True)).values()) == {None}


def test_importance_is_the_relative_error_of_differences():
    weight, rows = torch.randn(3, 5).double(), torch.rand(40, 5).double()
    found = importance(weight, rows)
    channel = (weight - weight.mean(0)).square().sum(0)
    size = (rows.square() * channel).sum(1)
    expected = channel / (size + 0.1 * size.mean()).view(-1, 1)
    assert torch.allclose(found, expected)
    assert importance(None, rows) is None
    assert importance(weight[:, :4], rows) is None  # Another layout of channels.
    single = importance(weight[:1], rows)  # Nothing to compare a single score with.
    assert torch.allclose(single[0] / single[0, 0], weight[0] ** 2 / weight[0, 0] ** 2)


def test_weights_count_like_repeated_values():
    values, weight = torch.rand(2, 30), torch.randint(1, 4, (2, 30))
    levels = torch.tensor([0.9, 0.5, 0.2]).double().view(1, 1, -1).expand(2, 1, -1)
    found = SortedValues.of(values, weight).error(levels, 0.8 * levels)
    for i in range(2):
        repeated = values[i].repeat_interleave(weight[i]).view(1, -1)
        expected = SortedValues.of(repeated).error(levels[:1], 0.8 * levels[:1])
        assert found[i].item() == pytest.approx(expected.item())


def test_it_lowers_the_relative_error_of_rows(monkeypatch):
    torch.manual_seed(1)
    model = Perceptron().double()
    with torch.no_grad():  # Channels that matter little fire most.
        model.second.weight[8:] *= 8
        model.last.weight[:, 8:] *= 0.02
        model.last.bias.zero_()
    x = torch.rand(400, 6).double() * torch.logspace(-2, 1, 400).double().view(-1, 1)
    data = x, torch.zeros(2, 0, dtype=torch.long)
    config = ConversionConfig(num_steps=8, compensate=None)

    def error():
        out, expected = convert(model, data, config)(*data), model(*data).detach()
        return float(((out - expected).norm(dim=1) / expected.std(dim=1)).mean())

    weighted = error()
    monkeypatch.setattr(populations, 'readout_weight', lambda *_: None)
    assert weighted < 0.8 * error()


def test_input_codes_are_compared_by_one_error():
    """Of a population that is input and read out, too."""
    torch.manual_seed(0)
    rows = torch.rand(60, 5).double() * torch.logspace(-2, 2, 60).double().view(-1, 1)
    weight = 1 / rows.square().sum(dim=1, keepdim=True).expand_as(rows)
    neuron = PhaseNeuron(PhaseCode(1, 2), activation='identity')
    peak = rows.abs().amax(dim=1, keepdim=True)
    errors = []
    for how in ('auto', 'layer'):
        config = ConversionConfig(num_steps=8, input_scale=how)
        code, scale, is_relative = _best_code(neuron, rows, peak, config, weight)
        neuron.code, neuron.scale, neuron.node_scale = code, scale, is_relative
        assert is_relative == (how == 'auto')  # All rows alike: no row counts for more.
        errors.append((weight * (neuron(rows).decode() - rows).square()).sum())
    assert errors[0] < errors[1]


@torch.no_grad()
def test_the_error_is_that_of_the_worst_output():
    class WithNorm(Perceptron):
        def forward(self, x):
            out = self.last(self.second(self.first(x).relu()).relu())
            return out, 1e3 * self.last.weight.norm()

    model, x = WithNorm().eval(), torch.rand(50, 6)
    snn = convert(model, x)
    expected, found = model(x)[0], snn(x)[0]
    error = float((found - expected).norm() / expected.norm())
    assert snn.report.logit_relative_error == pytest.approx(error, rel=1e-3)
