"""What a refusal says, and that its remedy works when it is followed."""

import re
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.nn import GATConv, GCNConv, GraphNorm, TopKPooling

from spikegraph import ConversionConfig, convert
from spikegraph.conversion.operations.rules import rule_for

X = torch.rand(40, 8, generator=torch.Generator().manual_seed(0))
EDGES = torch.randint(40, (2, 120), generator=torch.Generator().manual_seed(1))
ANALOG = "pass 'ConversionConfig(allow_analog=True)'"
LINE = r'\(test_messages\.py, line \d+'


class Net(nn.Module):
    """Something between two layers."""

    def __init__(self, between, *layers):
        super().__init__()
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 3)
        self.layers = nn.ModuleList(layers)
        self.between = between

    def forward(self, x):
        return self.last(self.between(self, self.first(x)))


def make(between, *layers):
    torch.manual_seed(0)
    return Net(between, *layers).eval()


def lost(model, data=X, config=None):
    with pytest.raises((NotImplementedError, ValueError)) as error:
        convert(model, data, config)
    message = str(error.value)
    assert '\n' not in message
    assert not re.search(r"'\w+_\d+'|neurons|Traced|Proxy|0x", message), message
    return message


FUNCTIONS = {
    'glu': (lambda m, h: F.glu(torch.cat([h, h], 1)), "'glu' (glu)", 'multiplies'),
    'sin': (lambda m, h: h.relu() + torch.sin(h), "'sin' (sin)", 'rises and falls'),
    'square': (lambda m, h: h**2, "'pow' (pow)", 'rises and falls'),
    'abs': (lambda m, h: h.abs(), "'abs' (Tensor.abs)", 'rises and falls'),
    'exp': (lambda m, h: h.exp(), "'exp' (Tensor.exp)", 'no finite value'),
    'softmax': (lambda m, h: h.softmax(-1), "'softmax' (Tensor.softmax)", 'divides by'),
    'normalize': (lambda m, h: F.normalize(h), "'normalize' (normalize)", 'divides by'),
    'product': (
        lambda m, h: h.relu() * m.last(h)[:, :1],
        "'mul' (mul)",
        'multiplies two signals',
    ),
    'quotient': (
        lambda m, h: h / (1 + h.relu().sum(1, True)),
        "'truediv' (truediv)",
        'divides by a signal',
    ),
    'sort': (lambda m, h: h.sort(1)[0], "'sort' (Tensor.sort)", 'by the order'),
    'topk': (lambda m, h: h.topk(8, 1)[0], "'topk' (Tensor.topk)", 'by the order'),
    'mask': (lambda m, h: h * (h.sum(1, True) > 0), "'gt' (gt)", 'by the order'),
    'channels': (
        lambda m, h: h + h.max(1, True)[0],
        "'max' (Tensor.max)",
        'earliest spike over windows',
    ),
    'spread': (lambda m, h: h / h.std(0), "'std' (Tensor.std)", 'products of features'),
    'cumprod': (lambda m, h: h.cumprod(1), "'cumprod' (Tensor.cumprod)", 'multiplies'),
    'slope': (
        lambda m, h: F.prelu(h, m.first.weight.sum().view(1)),
        "'prelu' (prelu)",
        'slope is computed',
    ),
    'bound': (
        lambda m, h: h.relu().clamp(max=m.first.weight.sum()),
        "'clamp' (Tensor.clamp)",
        'bounds is computed',
    ),
    'other': (
        lambda m, h: torch.special.bessel_j0(h),
        "'special_bessel_j0' (special_bessel_j0)",
        'neither affine in what depends on features, nor an activation',
    ),
}


# What is refused only where signals that meet are not to spike.
MEETINGS = (
    *('glu', 'square', 'abs', 'exp', 'softmax', 'normalize', 'product', 'quotient'),
    *(
        'channels',
        'spread',
        'cumprod',
        'LayerNorm',
        'GroupNorm',
        'Softmax',
        'GLU',
        'GraphNorm',
    ),
)
PRODUCTS = ConversionConfig(products='analog')


def config_of(name, model, data=X):
    """By default they convert, with no analog part."""
    if name not in MEETINGS:
        return ConversionConfig()
    snn = convert(model, data)
    assert snn.report.analog == {} and snn.report.logit_relative_error < 0.3
    return PRODUCTS


@pytest.mark.parametrize('name', FUNCTIONS)
def test_functions(name):
    between, what, why = FUNCTIONS[name]
    model = make(between)
    config = config_of(name, model)
    message = lost(model, config=config)
    assert message.startswith(f'Cannot convert {what}') and why in message
    assert f'Replace it, or {ANALOG}' in message and re.search(LINE, message)
    snn = convert(model, X, replace(config, allow_analog=True))
    assert snn.report.analog and snn.report.logit_relative_error < 0.5


LAYERS = {
    'LayerNorm': (nn.LayerNorm(8), 'statistics of each input'),
    'GroupNorm': (nn.GroupNorm(2, 8), 'statistics of each input'),
    'BatchNorm1d': (nn.BatchNorm1d(8, track_running_stats=False), 'of each batch'),
    'Softmax': (nn.Softmax(-1), 'divides by a sum'),
    'GLU': (nn.Sequential(nn.Linear(8, 16), nn.GLU()), 'multiplies features'),
    'GraphNorm': (GraphNorm(8), 'rises and falls'),
}


@pytest.mark.parametrize('kind', LAYERS)
def test_layers(kind):
    layer, why = LAYERS[kind]
    model = make(lambda m, h: m.layers[0](h).relu(), layer)
    config = config_of(kind, model)
    message = lost(model, config=config)
    path = 'layers.0.1' if kind == 'GLU' else 'layers.0'
    assert why in message
    remedy = 'Replace it,'
    if kind in MEETINGS:  # A function inside.
        assert (
            f' in {path} ({kind}): ' in message and f'{remedy} or {ANALOG}' in message
        )
        snn = convert(model, X, replace(config, allow_analog=True))
        assert all(f' in {path} ({kind})' in w for w in snn.report.analog.values())
        assert snn.report.analog
        return
    assert message.startswith(f"Cannot convert '{path}' ({kind}): ")
    if rule_for(layer) is None or rule_for(layer).kind == 'refused':
        remedy = f"Add a rule with '@register_rule({kind})'"
    assert f'{remedy} or {ANALOG}' in message
    assert re.search(LINE, message)
    snn = convert(model, X, replace(config, allow_analog=True))
    assert snn.report.analog == {path.replace('.', '_'): f'{path} ({kind})'}


def test_norms_that_track_statistics():
    message = lost(
        make(
            lambda m, h: m.layers[0](h).relu(),
            nn.BatchNorm1d(8, track_running_stats=False),
        )
    )
    assert "with 'track_running_stats=True', are affine" in message
    tracking = nn.BatchNorm1d(8, track_running_stats=True)
    convert(make(lambda m, h: m.layers[0](h).relu(), tracking), X)


class Graph(nn.Module):
    def __init__(self, conv, weights=None):
        super().__init__()
        self.first, self.conv, self.weights = nn.Linear(8, 8), conv, weights

    def forward(self, x, edge_index, edge_attr=None):
        h = self.first(x).relu()
        if self.weights is None:
            return self.conv(h, edge_index)
        return self.conv(h, edge_index, self.weights(edge_attr).sigmoid().view(-1))


def test_attention_and_pooling():
    model = Graph(GATConv(8, 3))
    assert convert(model, (X, EDGES)).report.analog == {}
    message = lost(model, (X, EDGES), PRODUCTS)
    assert message.startswith("Cannot convert 'softmax' (softmax) in conv (GATConv): ")
    snn = convert(model, (X, EDGES), replace(PRODUCTS, allow_analog=True))
    assert list(snn.report.analog.values()) == ['conv.coefficients (GATCoefficients)']
    message = lost(Graph(TopKPooling(8)), (X, EDGES))
    assert re.match(
        r"Cannot convert 'sort' \(sort\) in conv\.select \(SelectTopK\)", message
    )


def test_weights_of_edges_that_depend_on_features():
    data = (X, EDGES, torch.rand(120, 1))
    for weights in (nn.Identity(), nn.Linear(1, 1)):
        model = Graph(GCNConv(8, 3), weights)
        message = lost(model, data, PRODUCTS)
        start = (
            "Cannot convert 'conv' (GCNConv): another value that depends on features"
        )
        assert message.startswith(start) and 'weights of edges' in message
        spiking = convert(model, data)  # The layer is looked into.
        assert not spiking.report.analog and spiking.report.logit_relative_error < 0.1
    assert "read as it is, can be declared: 'ConversionConfig(static_inputs=" in message
    config = ConversionConfig(static_inputs=('edge_attr',))
    snn = convert(Graph(GCNConv(8, 3), nn.Identity()), data, config)
    assert not snn.report.analog and not snn.report.products
    config = replace(PRODUCTS, allow_analog=True)
    snn = convert(Graph(GCNConv(8, 3), nn.Linear(1, 1)), data, config)
    assert snn.report.analog == {'conv': 'conv (GCNConv)'}


def branch(m, h):
    if h.sum() > 0:
        return h.relu()
    return -h.relu()


def choose(m, h):  # The remedy.
    return torch.where(h > 0, h, 0)


@pytest.mark.parametrize(
    'between',
    [
        branch,
        lambda m, h: h.relu() if torch.isnan(h).any() else h,
        lambda m, h: h / float(h.max()),
    ],
)
def test_questions_about_values(between):
    message = lost(make(between))
    if 'asks for' in message:
        assert 'it asks for the value of a tensor that depends on feat' in message
        assert re.search(r'\(test_messages.py, line \d+.*\)', message)
        assert 'torch.where(condition, a, b)' in message
    convert(make(choose), X)


def test_a_model_that_leaves_pytorch():
    message = lost(make(lambda m, h: torch.from_numpy(h.numpy()).relu()))
    assert re.search(r'\(test_messages.py, line \d+\)\. Rewrite that line', message)
    convert(make(lambda m, h: h.relu()), X)


def test_dropout_that_is_never_off():
    message = lost(make(lambda m, h: F.dropout(h.relu(), 0.5)))
    assert message.startswith("Expected 'dropout' (dropout) to be off in evaluation")
    assert 'test_messages.py, line' in message
    assert message.endswith("pass 'training=self.training'")
    convert(make(lambda m, h: F.dropout(h.relu(), 0.5, training=m.training)), X)


def test_hooks():
    model = make(lambda m, h: h.relu())
    handle = model.first.register_forward_hook(second_output)
    assert "'first' (Linear) to have no forward hooks" in lost(model)
    handle.remove()
    convert(model, X)


def second_output(module, args, out):
    return 2 * out


def test_noise():
    message = lost(make(lambda m, h: h.relu() + torch.rand_like(h)))
    assert "'rand_like' (rand_like): it draws random numbers" in message
    assert 'pass them as an argument' in message
    message = lost(make(lambda m, h: h.relu() + torch.rand(h.size(0), 1)))
    assert 'Is it random or stateful' in message and 'as arguments' in message


def test_silence():
    message = lost(make(lambda m, h: (h - 1000).relu()))
    assert "to activate 'relu' (got a largest pre-activation of -9" in message
    assert 'give calibration data like' in message
    what = r'It stands for relu \(Tensor\.relu\) \(test_messages\.py, line \d+'
    assert re.search(what, message)
    model = make(lambda m, h: (h - 1000).relu())
    convert(model, 5000 * (torch.rand(40, 8) - 0.5))


def test_indices_of_maxima():
    class Pool(nn.Module):
        def __init__(self, index):
            super().__init__()
            self.conv, self.index = nn.Conv2d(3, 4, 3), index

        def forward(self, x):
            h = self.conv(x).relu().flatten(1)
            out = torch.stack([h, 2 * h.flip(-1)]).max(0)
            return out[0] + out[1] if self.index else out[0]

    images = torch.rand(12, 3, 8, 8)
    message = lost(Pool(True), images)
    assert 'its indices are read' in message and 'Read only the values' in message
    assert re.search(LINE, message)
    assert not convert(Pool(False), images).report.analog


def test_models_that_name_no_arguments():
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = make(lambda m, h: h.relu())

        def forward(self, *args):
            return self.part(*args)

    assert "'convert(model.part, ...)'" in lost(Wrapper())
    convert(Wrapper().part, X)


def test_nothing_to_convert():
    class Nothing(nn.Module):
        def forward(self, x):
            return x

    message = lost(Nothing())
    assert message.endswith('(got Nothing without any); give the trained network')
    convert(nn.Sequential(Nothing(), nn.Linear(8, 3)), X)
