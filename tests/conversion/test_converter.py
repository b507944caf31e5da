import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GATConv, GCNConv
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.models import GCN

from spikegraph import ConversionConfig, convert, register_rule, simulate
from spikegraph.conversion.operations.rules import RULES
from spikegraph.network.interpreter import AnalogReading
from spikegraph.nn import SpikingAffine
from tests.conversion.zoo import (
    MODELS,
    Asserts,
    Functional,
    SharedReLU,
    TakesData,
    make,
    randomize,
)

FINE = ConversionConfig(num_steps=100, base=1.08, compensate=None)
MEETING = replace(FINE, num_steps=60, base=1.12)  # Products take twice as long.


@pytest.fixture(params=MODELS)
def model(request):
    return make(request.param)


@pytest.mark.parametrize('name', MODELS)
def test_every_activation_is_found(name, graph):
    snn = convert(make(name), graph)
    assert snn.report.num_activations == MODELS[name][1]
    assert list(snn.neurons) == [p.name for p in snn.report.populations]
    assert snn.report.populations[0].name == 'input_x'
    assert snn.report.analog == {}
    assert not any(isinstance(m, nn.ReLU) for m in snn.modules())


def test_many_steps_approach_the_ann(model, graph):
    snn = convert(model, graph, FINE)
    with torch.no_grad():
        expected = model.eval()(graph.x, graph.edge_index)
    error = (snn(graph.x, graph.edge_index) - expected).norm() / expected.norm()
    assert error < 0.05
    assert abs(float(error) - snn.report.logit_relative_error) < 1e-9


def test_the_graph_run_as_an_ann_is_the_model(model, graph):
    snn = convert(model, graph, FINE)  # Norms folded, nothing compensated.
    found = AnalogReading(snn.network).run(snn.bind(graph))
    with torch.no_grad():
        expected = model.eval()(graph.x, graph.edge_index)
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_one_spike_per_neuron(model, graph):
    snn = convert(model, graph)
    for spikes in snn.spikes(graph).values():
        assert spikes.spike_time.dtype == torch.uint8
        assert spikes.raster().sum(dim=0).max() <= 1


def test_argument_is_bit_identical(model, graph):
    model.train()
    list(model.modules())[-1].eval()  # A mixture of modes.
    handle = model.register_forward_hook(lambda *_: None)
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    grads = [p.requires_grad for p in model.parameters()]
    convert(model, graph)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert modes == [module.training for module in model.modules()]
    assert grads == [p.requires_grad for p in model.parameters()]
    assert list(model._forward_hooks) == [handle.id]


def test_dropout_is_not_baked_in(graph):
    model = make('GCN').train()
    snn = convert(model, graph)
    assert not any('dropout' in node.name for node in snn.network.nodes)
    assert torch.equal(snn(graph), snn(graph))


@pytest.mark.parametrize('name', ['F.relu', 'residual', 'JK max'])
@pytest.mark.parametrize(
    'kwargs',
    [
        dict(scale='max'),
        dict(scale=('percentile', 99.0)),
        dict(base=1.4),
        dict(threshold_shift=1.0),
        dict(per_channel=True),
        dict(levels='fitted'),
        dict(levels='fitted', per_channel=True),
        dict(encode_input=False),
        dict(input_scale='layer'),
        dict(fold_degree=True),
        dict(compensate='bias'),
        dict(num_steps=1),
        dict(num_steps=126),
    ],
    ids=str,
)
def test_options(name, kwargs, graph):
    model, config = make(name), ConversionConfig(**kwargs)
    snn = convert(model, graph, config)
    assert all(n.code.num_steps == config.num_steps for n in snn.neurons.values())
    if config.base != 'auto':
        assert all(n.code.base == config.base for n in snn.neurons.values())
    if config.threshold_shift is not None:
        for neuron in snn.neurons.values():
            assert neuron.code.threshold_shift == config.threshold_shift
    hidden = [n for name, n in snn.neurons.items() if not name.startswith('input_')]
    assert all((n.scale.numel() > 1) == bool(config.per_channel) for n in hidden)
    assert ('input_x' in snn.neurons) == config.encode_input
    simulation = simulate(snn, graph)
    for population, spikes in snn.spikes(graph).items():
        assert torch.equal(spikes.spike_time, simulation.spike_time[population])
    assert bool(snn.report.degree_folded) == config.fold_degree


def test_scale_rules(graph):
    model = make('F.relu')
    with torch.no_grad():
        potential = model.conv1(graph.x, graph.edge_index)
    config = ConversionConfig(base=2, scale='max', compensate=None, encode_input=False)
    scale = convert(model, graph, config).neurons['relu'].scale
    assert torch.allclose(scale, potential.max())
    config = ConversionConfig(
        base=2, scale=('percentile', 90), compensate=None, encode_input=False
    )
    positive = potential[potential > 0].sort().values
    expected = positive[int(-(-len(positive) * 90 // 100)) - 1]
    assert torch.allclose(convert(model, graph, config).neurons['relu'].scale, expected)


def test_mse_scale_beats_max_and_auto_beats_any_base(graph):
    model = make('deep GCN')

    def error(**kwargs):
        config = ConversionConfig(num_steps=8, compensate=None, **kwargs)
        return convert(model, graph, config).report.populations[1].coding_error

    assert error() <= error(base=2) < error(base=2, scale='max')
    assert error() <= error(base=1.2)
    assert error(levels='fitted') < error()


def test_compensation_lowers_the_error(graph):
    for name in ('F.relu', 'deep GCN', 'JK cat'):
        errors = {}
        for method in (None, 'bias', 'ridge'):
            config = ConversionConfig(num_steps=4, compensate=method)
            errors[method] = convert(make(name), graph, config).report
        plain = errors[None].logit_relative_error
        assert errors['ridge'].logit_relative_error < plain
        assert errors['bias'].logit_relative_error < 1.01 * plain
        assert errors['ridge'].compensated and not errors[None].compensated


def test_folded_norms_are_counted_and_gone(graph):
    snn = convert(make('deep GCN'), graph)
    assert snn.report.folded_norms == 5
    assert not any(isinstance(m, nn.BatchNorm1d) for m in snn.modules())
    late = convert(make('act first'), graph)  # Norm after ReLU: an affine operator.
    assert late.report.folded_norms == 0


def test_in_place_relu_reaches_all_readers(graph):
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.lin = GCNConv(5, 8), nn.Linear(8, 3)

        def forward(self, x, edge_index):
            h = self.conv(x, edge_index)
            F.relu(h, inplace=True)
            h += 1.0
            return self.lin(h)

    model = randomize(InPlace())
    snn = convert(model, graph, FINE)
    expected = model(graph.x, graph.edge_index)
    assert (snn(graph) - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize(
    'form', ['data', 'tuple', 'list', 'dict', 'loader', 'generator']
)
def test_forms_of_calibration_data(form, graph):
    model = make('shared nn.ReLU')
    arguments = (graph.x, graph.edge_index)
    data = {
        'data': lambda: graph,
        'tuple': lambda: arguments,
        'list': lambda: [arguments, graph],
        'dict': lambda: dict(x=graph.x, edge_index=graph.edge_index),
        'loader': lambda: DataLoader([graph, graph.clone(), graph], batch_size=2),
        'generator': lambda: (graph for _ in range(2)),
    }[form]()
    snn = convert(model, data, FINE)
    expected = model(*arguments)
    assert (snn(*arguments) - expected).norm() < 0.05 * expected.norm()


def test_models_that_take_data(graph):
    model = randomize(TakesData())
    snn = convert(model, graph, FINE)
    assert (snn(graph) - model(graph)).norm() < 0.05 * model(graph).norm()
    weighted = graph.clone()
    weighted.edge_weight = torch.rand(200, dtype=torch.float64)
    other = convert(model, weighted, FINE)
    expected = model(weighted)
    assert (other(weighted) - expected).norm() < 0.05 * expected.norm()
    assert any(node.name == 'edge_weight' for node in other.network.nodes)


def test_edge_weights_and_keywords(graph):
    model = make('shared nn.ReLU')
    weight = torch.rand(200, dtype=torch.float64)
    snn = convert(model, (graph.x, graph.edge_index, weight), FINE)
    expected = model(graph.x, graph.edge_index, weight)
    found = snn(x=graph.x, edge_index=graph.edge_index, edge_weight=weight)
    assert (found - expected).norm() < 0.1 * expected.norm()
    assert list(snn.neurons)[0] == 'input_x' and len(snn.neurons) == 3
    with pytest.raises(TypeError, match="a value for 'edge_weight'"):
        snn(graph.x, graph.edge_index)
    plain = convert(model, graph)
    with pytest.raises(ValueError, match=r"'edge_weight' to be None.*\(got a tensor\)"):
        plain(graph.x, graph.edge_index, weight)
    with pytest.raises(TypeError, match=r"unexpected argument 'foo'"):
        plain(graph.x, graph.edge_index, foo=1)


def test_signed_input(graph):
    graph.x = graph.x - 0.5
    snn = convert(make('F.relu'), graph, FINE)
    assert snn.neurons['input_x'].code.signed
    simulation = simulate(snn, graph)
    assert simulation.events()['polarity'].min() == -1


def test_binary_rows_are_coded_without_error(graph):
    graph.x = (graph.x > 0.5).double()
    graph.x /= graph.x.sum(dim=1, keepdim=True).clamp(min=1)
    report = convert(make('F.relu'), graph, ConversionConfig(num_steps=2)).report
    assert report.populations[0].coding_error < 1e-12
    assert report.populations[0].node_scale


@pytest.mark.parametrize('num_nodes', [1, 4])
def test_graphs_without_edges(num_nodes, graph):
    snn = convert(make('JK cat'), graph)
    x, edges = graph.x[:num_nodes], torch.zeros(2, 0).long()
    alone = torch.cat([snn(x[i : i + 1], edges) for i in range(num_nodes)])
    assert torch.allclose(snn(x, edges), alone)
    single = convert(make('F.relu'), (graph.x[:1], edges))
    assert torch.isfinite(single(graph.x[:1], edges)).all()


class Refused(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.conv1, self.conv2, self.act = GCNConv(5, 8), GCNConv(8, 3), act

    def forward(self, x, edge_index):
        return self.conv2(self.act(self.conv1(x, edge_index)), edge_index)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.att, self.lin = GATConv(5, 4), nn.Linear(4, 3)

    def forward(self, x, edge_index):
        return self.lin(self.att(x, edge_index).relu())


class MyConv(GCNConv):
    def __init__(self, function):
        super().__init__(5, 3)
        self.function = function

    def message(self, x_j, edge_weight):
        return self.function(x_j)


class WithMyConv(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.mine = MyConv(function)

    def forward(self, x, edge_index):
        return self.mine(x, edge_index).relu()


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = GCNConv(5, 3)

    def forward(self, x, edge_index):
        x = self.conv(x, edge_index)
        return x.relu() if x.sum() > 0 else x


MEETINGS = {
    'gated module': lambda: Refused(nn.Sequential(nn.GLU(), nn.Linear(4, 8))),
    'square': lambda: Refused(lambda x: x * x),
    'softmax inside': lambda: Refused(nn.Softmax(-1)),
    'max': lambda: Refused(lambda x: x.max(dim=-1, keepdim=True)[0].expand(-1, 8)),
    'attention': Attention,
    'subclass': lambda: WithMyConv(torch.square),
    'lstm': lambda: GCN(5, 8, 2, 3, jk='lstm'),
}


@pytest.mark.parametrize('name', MEETINGS)
def test_signals_that_meet_spike(name, graph):
    model = randomize(MEETINGS[name]()).eval()
    snn = convert(model, graph, MEETING)
    assert snn.report.analog == {} and snn.report.num_activations > 0
    expected, simulation = model(graph.x, graph.edge_index), simulate(snn, graph)
    assert (snn(graph) - expected).norm() < 0.1 * expected.norm()
    for population, spikes in snn.spikes(graph).items():
        assert torch.equal(spikes.spike_time, simulation.spike_time[population])
    assert torch.allclose(simulation.output, snn(graph), atol=1e-9)


REFUSALS = {
    'random module': (lambda: Refused(nn.RReLU()), r"Cannot convert 'act' \(RReLU\)"),
    'inner module': (
        lambda: Refused(nn.Sequential(nn.LeakyReLU(-0.5), nn.Linear(8, 8))),
        r"Cannot convert 'act\.0' \(LeakyReLU\)",
    ),
    'function': (lambda: Refused(torch.sin), r"Cannot convert 'sin' \(sin\)"),
    'behind a square': (
        lambda: Refused(lambda x: torch.sin(x * x)),
        r"Cannot convert 'sin' \(sin\)",
    ),
    'quotient': (
        lambda: Refused(lambda x: x / x.sum(-1, keepdim=True)),
        r"Cannot convert 'truediv' \(truediv\): it divides by a signal; spikes do so",
    ),
    'sort': (lambda: Refused(lambda x: x.sort(dim=-1)[0]), r"Cannot convert 'sort'"),
    'subclass': (
        lambda: WithMyConv(torch.sin),
        r"'sin' \(sin\) in mine \(MyConv\)",
    ),
    'branch': (Branches, r'Cannot trace Branches.forward.*control flow'),
}


@pytest.mark.parametrize('name', REFUSALS)
def test_refusals_name_the_module(name, graph):
    make_model, match = REFUSALS[name]
    with pytest.raises((NotImplementedError, ValueError), match=match):
        convert(make_model().double(), (graph.x, graph.edge_index))


@pytest.mark.parametrize('act', [nn.RReLU(), torch.sin], ids=['module', 'function'])
def test_analog_leftovers_are_kept_and_listed(act, graph):
    model = randomize(Refused(act))
    config = ConversionConfig(
        num_steps=100, base=1.08, allow_analog=True, compensate=None
    )
    snn = convert(model, graph, config)
    name = 'act' if isinstance(act, nn.Module) else 'sin'
    assert list(snn.report.analog) == [name]
    expected = model(graph.x, graph.edge_index)
    assert (snn(graph) - expected).norm() < 0.05 * expected.norm()
    assert torch.allclose(simulate(snn, graph).output, snn(graph), atol=1e-9)


def test_always_on_dropout_is_refused(graph):
    model = randomize(Functional(lambda x: F.dropout(x.relu(), 0.5)))
    with pytest.raises(ValueError, match=r"'dropout'.*training=True"):
        convert(model, graph)


def test_hooks_are_refused(graph):
    model = make('F.relu')
    model.conv1.register_forward_hook(lambda *args: args[2] * 2)
    with pytest.raises(
        ValueError, match=r"'conv1' \(GCNConv\) to have no forward hooks"
    ):
        convert(model, graph)


def test_lazy_and_random_models_are_refused(graph):
    with pytest.raises(ValueError, match=r"'convs.0.lin.weight' to be initialised"):
        convert(GCN(-1, 8, 2, 3), graph)


def test_bad_calibration_data(graph):
    model = make('F.relu')
    nan = graph.x.clone()
    nan[3, 2] = float('nan')
    inf = graph.x.clone()
    inf[0, 0] = float('inf')
    edges = graph.edge_index
    cases = [
        (Data(x=nan, edge_index=edges), r"'x' to be finite \(got nan in 1 places\)"),
        (Data(x=inf, edge_index=edges), r"'x' to be finite \(got inf in 1 places\)"),
        (Data(x=graph.x[:, :3], edge_index=edges), r'5 features per row.*\(got 3'),
        ([], r'at least one sample \(got 0 samples'),
        (Data(x=graph.x[:0], edge_index=edges[:, :0]), r'at least one sample \(got 1'),
        ((graph.x, edges.float()), r'int64 or int32 \(got torch.float32\)'),
        ((graph.x, edges.flatten()), r'\[2, num_edges\] \(got \[400\]\)'),
        ((graph.x, edges + 10), r'nodes 0 to 59.*\(got node 64\)'),
        ((graph.x, -edges), r'nodes 0 to 59.*\(got node -54\)'),
        ((graph.x,), r"forward argument 'edge_index' \(got x\)"),
        (Data(edge_index=edges), r"the data to hold 'x'.*\(got edge_index\)"),
        ((graph.x.long(), edges), r'floating point features.*no floating point input'),
        ((-graph.x * 0, edges), r"to activate 'input_x' \(got a largest.* of -?0"),
        (3, r'PyG data, a tuple of forward arguments.*\(got int\)'),
    ]
    for data, match in cases:
        with pytest.raises(ValueError, match=match):
            convert(model, data)


def test_silent_layer_is_named(graph):
    model = make('F.relu')
    with torch.no_grad():
        model.conv1.bias.fill_(-100.0)
    with pytest.raises(
        ValueError, match=r"to activate 'relu' \(got a largest pre-act.* -9"
    ):
        convert(model, graph)


def test_bad_models_and_configs(graph):
    with pytest.raises(ValueError, match=r'trained torch.nn.Module \(got function\)'):
        convert(lambda x: x, graph)
    with pytest.raises(
        ValueError, match=r"'config' to be a ConversionConfig \(got dict\)"
    ):
        convert(make('F.relu'), graph, {'num_steps': 4})
    with pytest.raises(ValueError, match='layers and activations to convert'):
        convert(nn.Identity(), (graph.x,))


def test_networks_that_are_spiking_are_refused(graph):
    snn = convert(make(next(iter(MODELS))), graph)
    with pytest.raises(ValueError, match='the trained ANN .*spiking already'):
        convert(snn, graph)


def test_bad_input_at_inference(graph):
    snn = convert(make('F.relu'), graph)
    x = graph.x.clone()
    x[0, 0] = float('nan')
    with pytest.raises(ValueError, match=r"'x' to be finite \(got nan"):
        snn(x, graph.edge_index)
    with pytest.raises(ValueError, match=r'\(got 4'):
        snn(graph.x[:, :4], graph.edge_index)
    with pytest.raises(TypeError, match='at most 2 arguments'):
        snn(graph.x, graph.edge_index, None)


def test_register_rule(graph):
    class Twice(nn.Module):
        def forward(self, x):
            return 2 * x.flip(0).sin().asin().flip(0)  # Twice x, if small.

    class Affine(nn.Module):
        def forward(self, x):
            return 2 * x

    model = randomize(Refused(nn.Sequential(Twice(), nn.ReLU())))
    with pytest.raises(NotImplementedError, match='sin'):
        convert(model, graph, FINE)
    register_rule(Twice)(lambda module: Affine())
    try:
        snn = convert(model, graph, FINE)
    finally:
        del RULES[Twice]
    expected = model(graph.x, graph.edge_index)
    assert (snn(graph) - expected).norm() < 0.05 * expected.norm()
    with pytest.raises(ValueError, match=r'subclasses of torch.nn.Module \(got 3\)'):
        register_rule(3)


@pytest.mark.parametrize('whole', [False, True])
def test_a_rule_may_wrap_what_it_replaces(whole, graph):
    class Hop(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(8, 8)

        def forward(self, x):
            return self.lin(x)

    class Twice(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.inner = module

        def forward(self, x):
            return 0.5 * self.inner(x) + 0.5 * self.inner(x)

    model = randomize(Refused(nn.Sequential(Hop(), nn.ReLU()))).eval()
    register_rule(Hop)(SpikingAffine if whole else Twice)
    try:
        snn = convert(model, graph, FINE)
    finally:
        del RULES[Hop]
    expected = model(graph.x, graph.edge_index)
    assert (snn(graph) - expected).norm() < 0.05 * expected.norm()
    kind = snn.report.layers.get('act.0')
    assert kind == ('SpikingAffine' if whole else None)
    assert snn.report.affine == []  # The rule says so; nothing was checked.


def test_options_without_a_twin_stay_analog_if_allowed(graph):
    model = randomize(Written(lambda s, x, e: s.c3(s.c1(x, e).relu(), e), aggr='max'))
    config = ConversionConfig(
        num_steps=100, base=1.08, compensate=None, allow_analog=True
    )
    snn = convert(model, graph, config)
    assert list(snn.report.analog.values()) == ['c1 (GCNConv)', 'c3 (GCNConv)']
    expected = model(graph.x, graph.edge_index)
    assert (snn(graph) - expected).norm() < 0.05 * expected.norm()
    assert torch.allclose(simulate(snn, graph).output, snn(graph), atol=1e-9)


def test_layers_that_assert_shapes_are_looked_into(graph):
    model = randomize(Refused(nn.ReLU())).eval()
    model.conv1 = randomize(Asserts())
    snn = convert(model, graph, FINE)
    assert list(snn.neurons) == ['input_x', 'relu', 'act'] and not snn.report.analog
    expected = model(graph.x, graph.edge_index)
    assert (snn(graph) - expected).norm() < 0.05 * expected.norm()


def test_report_tells_what_graph_layers_do_first(graph):
    model = randomize(GCN(5, 90, 2, out_channels=2)).double()
    report = convert(model, graph).report
    assert [c['order'] for c in report.orders.values()] == ['aggregate', 'transform']
    for choice in report.orders.values():
        sizes = choice['transform_bytes'], choice['aggregate_bytes']
        own, other = (f'{size / 1e6:.3g}' for size in sorted(sizes))
        assert f'{choice["order"]} in ' in str(report)
        assert f'({own} MB moved, {other} otherwise)' in str(report)
    forced = convert(model, graph, ConversionConfig(order='aggregate')).report
    assert [c['order'] for c in forced.orders.values()] == ['aggregate'] * 2
    sizes = [
        [c[f'{kind}_bytes'] for kind in ('transform', 'aggregate')]
        for r in (report, forced)
        for c in r.orders.values()
    ]
    assert sizes[:2] == sizes[2:]


def test_report_reads_well(graph):
    snn = convert(make('residual'), graph, ConversionConfig(num_steps=8))
    text = str(snn.report)
    assert 'conv1 (SpikingGCNConv)' in text and 'spikes/neuron' in text
    for row in snn.report.populations:
        assert row.name in text and row.replaced in text
        assert 0 < row.spikes_per_neuron <= 1 and row.num_steps == 8
    assert snn.latency_steps == (3 + 1 + 1) * 8
    assert 'num_steps=8, populations=4' in repr(snn)


def test_deepcopy_state_dict_dtype(graph):
    snn = convert(SharedReLU(), Data(x=graph.x.float(), edge_index=graph.edge_index))
    x = graph.x.float()
    expected = snn(x, graph.edge_index)
    twin = copy.deepcopy(snn)
    for parameter in snn.parameters():
        parameter.data.zero_()
    assert torch.equal(twin(x, graph.edge_index), expected)
    snn.load_state_dict(twin.state_dict())
    assert torch.equal(snn(x, graph.edge_index), expected)
    double = twin.double()(graph.x.float().double(), graph.edge_index)
    assert (
        double.dtype == torch.float64 and (double - expected).norm() < expected.norm()
    )


class Written(nn.Module):
    """Layers by many names; the forward is given."""

    def __init__(self, forward, **kwargs):
        super().__init__()
        self.c1, self.k = GCNConv(5, 8, **kwargs), GCNConv(8, 8, **kwargs)
        self.c3, self.l5, self.l8 = (
            GCNConv(8, 3, **kwargs),
            nn.Linear(5, 8),
            nn.Linear(8, 8),
        )
        self.written = forward

    def forward(self, x, edge_index):
        return self.written(self, x, edge_index)


def stacked_amax(s, x, e):
    h = torch.stack([s.c1(x, e).relu(), s.l5(x).relu()]).amax(0)
    return s.c3(s.l8(h).relu(), e)


def two_outputs(s, x, e):
    return s.c3(s.c1(x, e).relu(), e), {'hidden': s.c1(x, e).relu()}


CONVERTS = {
    'gate before a layer': (stacked_amax, 3),
    'max values': (
        lambda s, x, e: s.c3(
            torch.stack([s.c1(x, e).relu(), s.l5(x).relu()]).max(0).values, e
        ),
        2,
    ),
    'maximum of two': (
        lambda s, x, e: s.c3(torch.maximum(s.c1(x, e).relu(), s.l5(x).relu()), e),
        2,
    ),
    'smaller of two': (
        lambda s, x, e: s.c3(s.c1(x, e).relu().min(s.l5(x).relu()), e),
        2,
    ),
    'larger of two potentials': (
        lambda s, x, e: s.c3(torch.max(s.c1(x, e), s.l5(x)).relu(), e),
        2,
    ),
    'conv used twice': (
        lambda s, x, e: s.c3(s.k(s.k(s.c1(x, e).relu(), e).relu(), e).relu(), e),
        3,
    ),
    'linear used twice': (
        lambda s, x, e: s.c3(s.l8(s.l8(s.c1(x, e).relu()).relu()).relu(), e),
        3,
    ),
    'keywords': (
        lambda s, x, e: s.c3(
            s.c1(edge_index=e, x=x).relu() + s.l5(input=x).relu(), edge_index=e
        ),
        2,
    ),
    'in-place methods': (
        lambda s, x, e: s.c3(s.c1(x, e).relu().add_(1.0).mul_(2.0), e),
        1,
    ),
    'shape readers': (
        lambda s, x, e: s.c3(torch.zeros_like(s.c1(x, e)) + s.l5(x).relu(), e),
        1,
    ),
    'product': (lambda s, x, e: s.c3(s.c1(x, e) * s.l5(x), e), 2),
    'two outputs': (two_outputs, 2),
    'predictions': (lambda s, x, e: s.c3(s.c1(x, e).relu(), e).argmax(dim=-1), 1),
}


@pytest.mark.parametrize('name', CONVERTS)
def test_ways_of_writing(name, graph):
    forward, num_activations = CONVERTS[name]
    model = randomize(Written(forward)).eval()
    snn = convert(model, graph, MEETING if name == 'product' else FINE)
    assert snn.report.num_activations == num_activations
    with torch.no_grad():
        expected = torch.utils._pytree.tree_leaves(model(graph.x, graph.edge_index))
    simulation = simulate(snn, graph)
    found = torch.utils._pytree.tree_leaves(snn(graph))
    stepped = torch.utils._pytree.tree_leaves(simulation.output)
    for a, b, c in zip(expected, found, stepped, strict=True):
        if a.is_floating_point():
            assert (a - b).norm() < 0.05 * a.norm()
            assert torch.allclose(b, c, atol=1e-9)
        else:
            assert (a == b).double().mean() > 0.9 and torch.equal(b, c)
            assert snn.report.agreement == 100 * float((a == b).double().mean())
    for population, spikes in snn.spikes(graph).items():
        assert torch.equal(spikes.spike_time, simulation.spike_time[population])


REFUSED = {
    'quotient': (
        lambda s, x, e: s.c1(x, e) / s.l5(x),
        'it divides by a signal; spikes do so',
    ),
    'negative signal as weight': (
        lambda s, x, e: s.c1(x, e, s.l5(x)[e[0], 0]),
        'look at the model, and at edge weights whose sum over a node is negative',
    ),
    'indices': (
        lambda s, x, e: torch.stack([s.c1(x, e).relu(), s.l5(x).relu()]).max(0)[1],
        'its indices are read',
    ),
}


@pytest.mark.parametrize('name', REFUSED)
def test_non_affine_ways_of_writing_are_refused(name, graph):
    forward, match = REFUSED[name]
    with pytest.raises((NotImplementedError, ValueError), match=match):
        convert(randomize(Written(forward)), graph)


def test_other_aggregations_are_refused(graph):
    model = randomize(Written(lambda s, x, e: s.c1(x, e).relu(), aggr='mean'))
    with pytest.raises(
        NotImplementedError, match=r"'c1' \(GCNConv\): Expected 'aggr'.*\(got 'mean'"
    ):
        convert(model, graph)


def test_maximum_with_negative_features_is_exact(graph):
    def forward(s, x, e):
        return s.c1(torch.stack([x, x[:, [1, 2, 3, 4, 0]].relu()]).amax(0), e)

    model = randomize(Written(forward))
    assert convert(model, graph).report.num_activations == 1
    graph.x -= 0.5
    graph.x[:, 2] = graph.x[:, 2].abs()  # The ReLU next to it is not silent.
    snn = convert(model, graph, FINE)
    spikes, simulation = snn.spikes(graph), simulate(snn, graph)
    x, relu, largest = (s.decode() for s in spikes.values())
    assert list(spikes)[:2] == ['input_x', 'relu'] and (x < 0).any()
    assert torch.equal(largest, torch.maximum(x, relu))
    for name, each in spikes.items():
        assert torch.equal(each.spike_time, simulation.spike_time[name])
    expected = model(graph.x, graph.edge_index)
    assert (snn(graph) - expected).norm() < 0.05 * expected.norm()


def test_cached_graphs_stay_where_they_are(graph):
    model = randomize(Written(lambda s, x, e: s.c3(s.c1(x, e).relu(), e), cached=True))
    snn = convert(model, graph)
    assert model.c1._cached_edge_index is None
    other = graph.edge_index[:, :50]
    fresh = convert(model, (graph.x, other), FINE)
    assert torch.equal(fresh(graph.x, other), fresh(graph.x, graph.edge_index))
    found = snn(graph.x, other)
    with pytest.raises(ValueError, match=r'60 rows.*\(got 30\)'):
        snn(graph.x[:30], torch.zeros(2, 0).long())
    assert torch.equal(copy.deepcopy(snn)(graph.x, other), found)


def test_calibration_data_are_not_changed_in_place(graph):
    def forward(s, x, e):
        x += 1.0
        return s.c3(s.c1(x, e).relu_(), e)

    before = graph.x.clone()
    convert(randomize(Written(forward)), graph)
    assert torch.equal(graph.x, before)


def test_data_types(graph):
    model = make('F.relu')
    with pytest.raises(ValueError, match=r'torch.float64 \(got torch.float32\)'):
        convert(model, (graph.x.float(), graph.edge_index))
    snn = convert(model, graph)
    with pytest.raises(ValueError, match=r'torch.float64 \(got torch.float16\)'):
        snn(graph.x.half(), graph.edge_index)
    brain = model.bfloat16()
    snn = convert(brain, (graph.x.bfloat16(), graph.edge_index))
    assert snn(graph.x.bfloat16(), graph.edge_index).dtype == torch.bfloat16


def test_inputs_keep_their_order(graph):
    class TwoInputs(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.lin = GCNConv(5, 4), nn.Linear(3, 4)

        def forward(self, x, edge_index, z, w):
            return self.conv(x, edge_index, w * 2).relu() + self.lin(z).relu()

    z, w = torch.rand(60, 3, dtype=torch.float64), torch.rand(200, dtype=torch.float64)
    model = randomize(TwoInputs())
    snn = convert(model, (graph.x, graph.edge_index, z, w), FINE)
    assert list(snn.neurons) == ['input_x', 'input_z', 'relu', 'relu_1']
    expected = model(graph.x, graph.edge_index, z, w)
    assert (
        snn(graph.x, graph.edge_index, z, w) - expected
    ).norm() < 0.05 * expected.norm()


def test_pickle(graph, tmp_path):
    acts = (nn.GELU(), nn.RReLU())
    for model in (make('JK max'), *(randomize(Refused(act)) for act in acts)):
        snn = convert(model, graph, ConversionConfig(allow_analog=True))
        torch.save(snn, tmp_path / 'snn.pt')
        twin = torch.load(tmp_path / 'snn.pt', weights_only=False)
        assert torch.equal(twin(graph), snn(graph))
        assert torch.equal(simulate(twin, graph).output, simulate(snn, graph).output)


def test_conversions_in_threads_leave_torch_as_it_was(graph):
    zeros, call = torch.zeros, Aggregation.__call__
    with ThreadPoolExecutor(3) as pool:
        snns = list(pool.map(lambda _: convert(make('F.relu'), graph), range(6)))
    assert torch.zeros is zeros and Aggregation.__call__ is call
    assert all(torch.equal(snn(graph), snns[0](graph)) for snn in snns)


def test_a_forward_replaced_on_one_layer_is_refused():
    lin = nn.Linear(6, 6)
    model = nn.Sequential(lin, nn.ReLU(), nn.Linear(6, 3))
    lin.forward = lambda x: F.linear(x, lin.weight, lin.bias).relu()
    with pytest.raises(NotImplementedError, match="Cannot convert '_?0' \\(Linear\\)"):
        convert(model, torch.randn(30, 6))
