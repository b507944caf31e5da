import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.nn import GCNConv
from torch_geometric.nn.models import GCN

from spikegraph import ConversionConfig, convert, load, measure, save, simulate
from spikegraph.network.interpreter import AnalogReading
from tests.conversion.zoo import randomize


class Net(nn.Module):
    """A hidden layer for the activation, and one behind it."""

    def __init__(self, act, last=None):
        super().__init__()
        self.conv1, self.conv2 = GCNConv(5, 8), GCNConv(8, 3)
        self.act, self.last = act, last

    def forward(self, x, edge_index):
        h = self.conv2(self.act(self.conv1(x, edge_index)), edge_index)
        return h if self.last is None else self.last(h)


class Parametric(nn.Module):
    """The functional form of PReLU, twice, with one parameter."""

    def __init__(self, prelu):
        super().__init__()
        self.conv1, self.conv2 = GCNConv(5, 8), GCNConv(8, 8)
        self.prelu, self.slope = prelu, nn.Parameter(torch.full((8,), 0.25))

    def forward(self, x, edge_index):
        x = self.prelu(self.conv1(x, edge_index), self.slope)
        return self.conv2(x, edge_index) + self.prelu(x - 0.1, self.slope)


def prelu_method(x, weight):
    return x.prelu(weight)


def make(act, last=None):
    """A random net, with the slopes of PReLU as they were."""
    model = Parametric(act) if act in (F.prelu, prelu_method) else Net(act, last)
    before = {name: p.clone() for name, p in model.named_parameters()}
    randomize(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(('act.', 'slope')):
                parameter.copy_(before[name])
    return model.eval()


def in_place(function):
    def act(x):
        function(x)
        return x

    return act


FORMS = {
    'ReLU6': [nn.ReLU6(), nn.ReLU6(inplace=True), F.relu6],
    'Hardtanh': [
        *(nn.Hardtanh(), nn.Hardtanh(0.0, 6.0), F.hardtanh, F.hardtanh_),
        lambda x: F.hardtanh(x, -0.5, max_val=2.0),
        *(lambda x: x.clamp(min=0, max=6), lambda x: torch.clamp(x, -1, 1)),
        *(
            lambda x: x.clamp(-0.5),
            lambda x: x.clip(max=0.5),
            lambda x: torch.clip(x, max=1.0),
        ),
        *(lambda x: x.clamp_max(1.0), lambda x: torch.clamp_min(x, -0.1)),
        *(in_place(lambda x: x.clamp_(-1, 1)), lambda x: torch.clamp_(x, -1, 1)),
    ],
    'LeakyReLU': [
        *(nn.LeakyReLU(), F.leaky_relu, lambda x: F.leaky_relu(x, 0.3)),
        *(F.leaky_relu_, nn.LeakyReLU(0.5, inplace=True)),
    ],
    'PReLU': [nn.PReLU(), nn.PReLU(8), F.prelu, prelu_method],
    'ELU': [nn.ELU(), nn.ELU(0.5, True), F.elu, lambda x: F.elu_(x, 1.5)],
    'CELU': [nn.CELU(), torch.celu, lambda x: F.celu(x, alpha=0.5)],
    'SELU': [nn.SELU(), F.selu, in_place(torch.selu_)],
    'GELU': [
        *(nn.GELU(), F.gelu, nn.GELU(approximate='tanh')),
        lambda x: F.gelu(input=x, approximate='tanh'),
    ],
    'SiLU': [nn.SiLU(), F.silu, in_place(lambda x: F.silu(x, inplace=True))],
    'Mish': [nn.Mish(), F.mish],
    'Hardswish': [nn.Hardswish(), F.hardswish],
    'Tanh': [nn.Tanh(), torch.tanh, F.tanh, in_place(torch.tanh_), lambda x: x.tanh()],
    'Sigmoid': [nn.Sigmoid(), torch.sigmoid, F.sigmoid, lambda x: x.sigmoid_()],
    'Hardsigmoid': [nn.Hardsigmoid(), F.hardsigmoid],
    'Softplus': [nn.Softplus(), F.softplus, lambda x: F.softplus(x, 3.0, threshold=25)],
    'LogSigmoid': [nn.LogSigmoid(), F.logsigmoid],
    'Softsign': [nn.Softsign(), F.softsign],
    'Softshrink': [nn.Softshrink(0.1), lambda x: F.softshrink(x, 0.2)],
    'Threshold': [nn.Threshold(0.1, -0.2), lambda x: F.threshold(x, 0.1, -0.2)],
    'Hardshrink': [nn.Hardshrink(0.1), lambda x: x.hardshrink(0.1), F.hardshrink],
    'Tanhshrink': [nn.Tanhshrink(), F.tanhshrink],
}
CASES = [
    pytest.param(name, act, id=f'{name}-{i}')
    for name, acts in FORMS.items()
    for i, act in enumerate(acts)
]
NEVER_NEGATIVE = ('ReLU6', 'Sigmoid', 'Hardsigmoid', 'Softplus')
# Inside the network all take this many; what is unbounded needs more of them.
STEPS = (4, 16, 100)


def config(num_steps, **kwargs):
    return ConversionConfig(num_steps=num_steps, compensate=None, **kwargs)


def assert_runs_agree(snn, graph):
    simulation = simulate(snn, graph)
    spikes = snn.spikes(graph)
    assert spikes.keys() == simulation.spikes.keys()
    for name, expected in spikes.items():
        assert torch.equal(expected.spike_time, simulation.spike_time[name])
        assert expected.raster().sum(dim=0).max() <= 1
    assert torch.allclose(simulation.output, snn(graph), atol=1e-9)


@pytest.mark.parametrize('name, act', CASES)
def test_every_form_becomes_a_population(name, act, graph):
    model = make(act)
    snn = convert(model, graph, config(16))
    neurons = list(snn.neurons.values())[1:]
    assert len(neurons) == snn.report.num_activations
    assert len(neurons) == (2 if isinstance(model, Parametric) else 1)
    assert snn.report.analog == {}
    for neuron in neurons:
        assert type(neuron.activation).__name__ == name
        assert not getattr(neuron.activation, 'inplace', False)
        if name in NEVER_NEGATIVE:
            assert not neuron.code.signed
    with torch.no_grad():
        expected = model(graph.x.clone(), graph.edge_index)
    found = AnalogReading(snn.network).run(snn.bind(graph))
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert_runs_agree(snn, graph)


@pytest.mark.parametrize('name', FORMS)
def test_more_steps_lower_the_error(name, graph):
    model = make(FORMS[name][0])
    errors = [
        convert(model, graph, config(t)).report.logit_relative_error for t in STEPS
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02
    expected = model(graph.x, graph.edge_index)
    found = convert(model, graph, config(STEPS[2]))(graph)
    assert (found - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize(
    'act', [nn.ELU(), nn.GELU(), nn.PReLU(8), nn.Sigmoid()], ids=str
)
@pytest.mark.parametrize(
    'kwargs',
    [
        dict(per_channel=True),
        dict(levels='fitted', per_channel=True),
        dict(fold_degree=True),
        dict(encode_input=False),
        dict(scale='max', threshold_shift=1.0),
        dict(scale=('percentile', 99.0), base=1.3),
        dict(num_steps=1),
        dict(num_steps=126),
    ],
    ids=str,
)
def test_options(act, kwargs, graph):
    snn = convert(make(act), graph, ConversionConfig(**kwargs))
    assert_runs_agree(snn, graph)
    neuron = snn.neurons['act']
    assert (neuron.scale.numel() == 8) == snn.config.per_channel
    if snn.config.fold_degree:  # f(v) / d is not f(v / d).
        assert not snn.network.conv2.fold_source and snn.network.conv1.fold_source


@pytest.mark.parametrize('kwargs', [dict(), dict(per_channel=True)], ids=str)
def test_float32(kwargs, graph):
    model = make(nn.GELU()).float()
    graph.x = graph.x.float()
    snn = convert(model, graph, ConversionConfig(num_steps=64, **kwargs))
    expected = model(graph.x, graph.edge_index)
    assert (snn(graph) - expected).norm() < 0.03 * expected.norm()


@pytest.mark.parametrize(
    'last',
    [nn.Sigmoid(), torch.sigmoid, nn.Tanh(), torch.tanh, nn.LogSigmoid()],
    ids=['Sigmoid', 'sigmoid', 'Tanh', 'tanh', 'LogSigmoid'],
)
def test_read_outs_stay_read_outs(last, graph):
    model = make(nn.Tanh(), last)
    snn = convert(model, graph, config(100))
    assert list(snn.neurons) == ['input_x', 'act'] and not snn.report.analog
    expected = model(graph.x, graph.edge_index)
    assert (snn(graph) - expected).norm() < 0.02 * expected.norm()
    assert_runs_agree(snn, graph)


def test_clamp_at_zero_is_relu(graph):
    for act in (lambda x: x.clamp_min(0), lambda x: torch.clip(x, min=0)):
        snn = convert(make(act), graph)
        assert list(snn.neurons.values())[1].activation == 'relu'


def test_a_shared_module_stands_at_several_places(graph):
    model = GCN(5, 8, 4, 3, act='PReLU', norm='batch_norm')
    randomize(model)
    model.act.weight.data.fill_(0.2)
    snn = convert(model, graph, config(100))
    acts = [n.activation for n in snn.neurons.values()][1:]
    assert len(acts) == len({id(act) for act in acts}) == 3
    model.eval()
    assert model.act not in acts
    expected = model(graph.x, graph.edge_index)
    assert (snn(graph) - expected).norm() < 0.05 * expected.norm()
    assert_runs_agree(snn, graph)


def test_compensation_reads_the_activation(graph):
    model = make(nn.SiLU())
    plain = convert(model, graph, config(4)).report
    ridge = convert(model, graph, ConversionConfig(num_steps=4)).report
    assert ridge.logit_relative_error < plain.logit_relative_error


def test_maxima_of_negative_values_are_exact(graph):
    for act, signed in [('sigmoid', False), ('elu', True)]:
        model = randomize(GCN(5, 8, 3, 3, jk='max', act=act)).eval()
        snn = convert(model, graph, config(100))
        expected = model(graph.x, graph.edge_index)
        assert (snn(graph) - expected).norm() < 0.03 * expected.norm()
        assert_runs_agree(snn, graph)
        spikes = snn.spikes(graph)
        acts = [s for name, s in spikes.items() if name.startswith('act')]
        assert len(acts) == 3 and all(s.code.signed == signed for s in acts)
        gate = list(spikes.values())[-1]
        largest = torch.stack([s.decode() for s in acts]).amax(dim=0)
        assert torch.equal(gate.decode(), largest)
        assert bool((largest < 0).any()) == signed


@pytest.mark.parametrize(
    'make_act', [nn.PReLU, lambda: nn.PReLU(8), nn.GELU], ids=['one', '8', 'GELU']
)
def test_save_and_load(make_act, graph, tmp_path):
    snn = convert(make(make_act()), graph, ConversionConfig(per_channel=True))
    save(snn, tmp_path / 'model')
    other = randomize(Net(make_act()), seed=1)  # Also slopes below zero.
    loaded = load(tmp_path / 'model', other)
    assert torch.equal(loaded(graph), snn(graph))
    assert loaded.report == snn.report
    for key, value in loaded.neurons['act'].state_dict().items():
        assert torch.equal(
            value.nan_to_num(), snn.neurons['act'].state_dict()[key].nan_to_num()
        )


def test_windows_take_three_comparisons(graph):
    for act, expected in ((nn.GELU(), 3), (nn.ELU(), 2), (nn.Sigmoid(), 1)):
        model = make(act)
        snn = convert(model, graph)
        row = {row.name: row for row in measure(snn, graph, model).layers}['act']
        waited = snn.spikes(graph)['act'].phase().int().clamp(max=15) + 1
        assert row.counts.comparisons == expected * int(waited.sum())


def negative_prelu():
    prelu = nn.PReLU(8)
    prelu.weight.data[3] = -0.25
    return prelu


class Computed(Net):
    def forward(self, x, edge_index):
        h = self.conv1(x, edge_index)
        return self.conv2(self.act(h, edge_index), edge_index)


class Bounded(Net):
    def __init__(self):
        super().__init__(None)
        self.bound = nn.Parameter(torch.tensor(1.0))

    def forward(self, x, edge_index):
        return self.conv2(self.conv1(x, edge_index).clamp(max=self.bound), edge_index)


REFUSED = {
    'weight': (
        lambda: make(negative_prelu()),
        r"'act': Expected 'weight' of PReLU.*0.*not monotone \(got -0.25\)",
    ),
    'slope': (
        lambda: Net(nn.LeakyReLU(-0.5)),
        r"'act' \(LeakyReLU\): Expected 'negative_slope' of.*\(got -0.5\)",
    ),
    'functional slope': (
        lambda: Net(lambda x: F.leaky_relu(x, -0.5)),
        r"'leaky_relu' \(leaky_relu\): Expected 'negative_slope' of.*\(got -0.5\)",
    ),
    'bounds': (
        lambda: Net(lambda x: x.clamp(1, 1)),
        r"'clamp' \(Tensor.clamp\): its bounds 1 and 1 leave no values between",
    ),
    'no bounds': (lambda: Net(lambda x: x.clamp(math.nan)), 'its bounds nan and inf'),
    'computed weight': (
        lambda: Computed(lambda h, e: F.prelu(h, e[0, :8].double())),
        r"'prelu' \(prelu\): its slope is computed, and no parameter",
    ),
    'computed slope': (
        lambda: Computed(lambda h, e: F.leaky_relu(h, e[0, 0])),
        r"'leaky_relu'.*one of its arguments is computed",
    ),
    'pool': (lambda: Net(nn.LPPool1d(2, 1)), r"'act' \(LPPool1d\)"),
    'random': (lambda: Net(nn.RReLU()), r"'act' \(RReLU\)"),
    'inside': (
        lambda: Net(nn.Sequential(nn.RReLU(), nn.Linear(8, 8))),
        r"'act\.0' \(RReLU\)",
    ),
    'sine': (lambda: Net(torch.sin), r"'sin' \(sin\): it rises and falls"),
}
if not torch.ones(1).clamp(math.nan).isnan():
    del REFUSED['no bounds']  # An earlier PyTorch ignores such a bound.


@pytest.mark.parametrize('name', REFUSED)
def test_refusals(name, graph):
    make_model, match = REFUSED[name]
    with pytest.raises((NotImplementedError, ValueError), match=match):
        convert(make_model().double(), graph)


def test_silent_activations_are_named(graph):
    model = make(nn.ReLU6())
    with torch.no_grad():
        model.conv1.bias.fill_(-100.0)
    with pytest.raises(ValueError, match=r"activate 'act' \(got a largest.* of -9"):
        convert(model, graph)


def test_hooks_on_activations_are_refused(graph):
    model = make(nn.GELU())
    model.act.register_forward_hook(lambda *args: args[2] * 2)
    with pytest.raises(NotImplementedError, match=r"'act' \(GELU\).*no forward hooks"):
        convert(model, graph)
