import copy
import warnings
from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torch_geometric.nn import GCNConv

from spikegraph import ConversionConfig, convert, load, measure, save
from spikegraph.running.loaders import predict
from tests.conversion.cnns import images

FINE = ConversionConfig(num_steps=100, base=1.08, per_channel=True)


def network(wrap):
    torch.manual_seed(0)
    return nn.Sequential(
        *(wrap(nn.Conv2d(3, 8, 3)), nn.BatchNorm2d(8), nn.ReLU()),
        *(wrap(nn.Conv2d(8, 8, 3)), nn.ReLU(), nn.AvgPool2d(6), nn.Flatten()),
        wrap(nn.Linear(32, 4)),
    ).double()


def old_weight_norm(layer):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)
        return weight_norm(layer)


WRAPS = {
    'weight norm': parametrizations.weight_norm,
    'spectral norm': parametrizations.spectral_norm,
    'orthogonal': parametrizations.orthogonal,
    'weight norm by hooks': old_weight_norm,
    'spectral norm by hooks': spectral_norm,
    'pruned': lambda layer: prune.l1_unstructured(layer, 'weight', 0.3),
}


@pytest.mark.parametrize('name', WRAPS)
def test_weights_that_are_computed(name, tmp_path):
    model, x = network(WRAPS[name]), images(24)
    model(x)  # In training: what it keeps is part of a graph of gradients.
    before = {k: v.clone() for k, v in model.state_dict().items()}
    snn = convert(model, x, FINE)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    model.eval()
    with torch.no_grad():
        expected = model(x)
    assert (snn(x) - expected).norm() < 0.1 * expected.norm()
    assert snn.report.num_activations == 2 and snn.report.folded_norms == 1
    assert measure(snn, x[:2], model).total.synops > 0
    save(snn, tmp_path / 'snn.safetensors')
    assert torch.equal(load(tmp_path / 'snn.safetensors', model)(x), snn(x))
    (model(x).sum() + model[0].weight.sum()).backward()  # It can still be trained.


@pytest.mark.filterwarnings('ignore::DeprecationWarning')  # Of torch.compile.
@pytest.mark.parametrize('wrap', [nn.DataParallel, torch.compile])
def test_wrapped_models(wrap):
    model, x = network(lambda layer: layer).eval(), images(24)
    snn = convert(wrap(model), x, FINE)
    assert torch.equal(snn(x), convert(model, x, FINE)(x))


class Names(nn.Module):
    """Names that a graph uses itself, and a dictionary of a type of its own."""

    def __init__(self):
        super().__init__()
        self.code, self.graph = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

    def forward(self, x):
        hidden = self.code(x).relu()
        return Output(logits=self.graph(hidden).mean((2, 3)), hidden=hidden)


class Output(OrderedDict):
    pass


def test_names_and_outputs():
    model, x = Names().double(), images(24)
    found = convert(model, x, FINE)(x)
    assert list(found) == ['logits', 'hidden']
    with torch.no_grad():
        expected = model(x)
    for name, value in expected.items():
        assert (found[name] - value).norm() < 0.1 * value.norm()


class Sizes(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)
        self.parts = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Dropout())
        self.compute = forward

    def forward(self, x):
        return self.fc(self.compute(self, x).mean((2, 3)))


def _asserts(s, x):
    assert x.dim() in (3, 4)
    _, _, height, width = x.shape
    assert height == 16 and width == 16
    return s.conv(x).relu()


def _resizes(s, x):
    h = s.conv(x).relu()
    size = (int(h.shape[2] * 2), int(h.shape[3] * 2))
    return F.avg_pool2d(F.interpolate(h, size=size), 2)


def _halves(s, x):
    h = s.conv(x).relu()
    num = int(h.size(1) * 0.5)
    return torch.cat([h[:, num:], h[:, :num]], 1)


def _shapes(s, x):
    h = s.conv(x).relu()
    return h if h.shape[1:] == s.parts(h).shape[1:] else h.sum()


FORWARDS = {
    'assert': _asserts,
    'resize': _resizes,
    'halves': _halves,
    'shapes': _shapes,
    'dimensions': lambda s, x: s.conv(x).relu() if x.ndim == 4 else None,
    'type': lambda s, x: s.conv(x).relu() if x.dtype == torch.float64 else None,
    'list': lambda s, x: torch.cat(list(s.conv(x).relu().chunk(2, 1))[::-1], 1),
    'range': lambda s, x: sum(s.conv(x).relu()[:, [i] * 8] for i in range(x.size(1))),
    'unpacked': lambda s, x: s.conv(x).relu().view(*tuple(x.shape[:1]), 8, 14, 14),
    'larger': lambda s, x: s.conv(x).relu() / max(3, x.size(1)),
    'part': lambda s, x: s.parts[:2](s.conv(x).relu()),
    'attributes': lambda s, x: (
        s.conv(x).relu().reshape(-1, s.conv.out_channels, 14, 14)
    ),
    'features': lambda s, x: s.conv(x).relu().reshape(-1, s.fc.in_features, 14, 14),
}


@pytest.mark.parametrize('name', FORWARDS)
def test_sizes_that_calibration_fixes(name):
    torch.manual_seed(0)
    model, x = Sizes(FORWARDS[name]).double().eval(), images(24)
    snn = convert(model, x, FINE)
    for batch in (x, images(5, seed=1)):  # Another number of samples.
        with torch.no_grad():
            expected = model(batch)
        assert (snn(batch) - expected).norm() < 0.1 * expected.norm()
    # One that is only asked for its size is none.
    assert snn.report.num_activations == {'part': 2, 'range': 3}.get(name, 1)


@pytest.mark.parametrize(
    'forward',
    [
        lambda s, x: s.conv(x) if x.sum() > 0 else s.conv(x).relu(),
        lambda s, x: s.conv(x)[: int(x.max())],
        lambda s, x: (
            s.conv(x) if s.conv(x)[0, 0, 0, 0].item() > 2 else s.conv(x).relu()
        ),
        lambda s, x: s.conv(x) if (x > 0).any() else s.conv(x).relu(),
    ],
)
def test_values_of_features_are_not_told(forward):
    match = r'the values? of .*\(test_wrappers.py, line \d+.*torch.where'
    with pytest.raises(NotImplementedError, match=match):
        convert(Sizes(forward).double(), images(20), FINE)


def test_original_keeps_its_parametrizations():
    model = network(parametrizations.weight_norm)
    copied = copy.deepcopy(model)
    convert(model, images(24), FINE)
    for original, other in zip(model.modules(), copied.modules(), strict=True):
        assert type(original).__name__ == type(other).__name__
    assert hasattr(model[0], 'parametrizations')


class Cast(nn.Module):
    """Trained in half precision, in one of the ways that are usual."""

    def __init__(self, decorated=False):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
        if decorated:
            self.compute = torch.autocast('cpu', dtype=torch.bfloat16)(self.compute)

    def compute(self, x):
        h = self.first(x).relu()
        return self.last(h.to(self.last.weight.dtype))

    def forward(self, x):
        with torch.autocast('cpu', dtype=torch.bfloat16):
            return self.compute(x).float()


class Around(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.body = wrap(nn.Sequential(nn.Linear(6, 8), nn.ReLU()))
        self.heads = nn.ModuleList([nn.DataParallel(wrap(nn.Linear(8, 3)))])

    def forward(self, x):
        return self.heads[0](self.body(x))


def rows(number=40):
    return torch.rand(number, 6, generator=torch.Generator().manual_seed(number))


def compiled(model):
    return torch.compile(model, backend='eager')


@pytest.mark.parametrize('decorated', [False, True])
def test_autocast_is_ignored(decorated):
    torch.manual_seed(0)
    model, x = Cast(decorated), rows()
    snn = convert(model, x, FINE)
    with torch.no_grad():
        expected = model.last(model.first(x).relu())
        with torch.autocast('cpu', dtype=torch.bfloat16):
            assert torch.equal(convert(model, x, FINE)(x), snn(x))
            assert model.first(x).dtype == torch.bfloat16  # It is as it was.
    assert (snn(x) - expected).norm() < 0.05 * expected.norm()
    assert snn.report.logit_relative_error < 0.05
    assert measure(snn, x, model).uncounted == []


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
@pytest.mark.parametrize('outside', [False, True])
@pytest.mark.parametrize('wrap', [nn.DataParallel, compiled])
def test_wrappers_inside_and_outside(wrap, outside, tmp_path):
    torch.manual_seed(0)
    model, x = Around(wrap).eval(), rows()
    torch.manual_seed(0)
    plain, wrapped = Around(lambda part: part).eval(), wrap(model) if outside else model
    snn, expected = convert(wrapped, x, FINE), convert(plain, x, FINE)
    assert torch.equal(snn(x), expected(x))
    assert snn.report.layers == expected.report.layers
    total, found = measure(snn, x, wrapped), measure(expected, x, plain)
    assert total.layers == found.layers and total.uncounted == []
    assert torch.equal(predict(wrapped, x, False), predict(plain, x, False))
    assert torch.equal(predict(snn, x, False), snn(x))
    save(snn, tmp_path / 'snn')
    for other in (wrapped, plain):
        assert torch.equal(load(tmp_path / 'snn', other)(x), snn(x))
    assert type(model.body) is type(wrap(nn.ReLU()))  # The argument is as it was.


COMPILERS = {'script': torch.jit.script, 'trace': lambda m: torch.jit.trace(m, rows())}


class Deep(nn.Module):
    def __init__(self, compiler=None):
        super().__init__()
        part = nn.Sequential(nn.Linear(6, 8), nn.ReLU())
        self.parts = nn.ModuleList([COMPILERS[compiler](part) if compiler else part])
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        return self.last(self.parts[0](x))


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
@pytest.mark.parametrize('compiler', COMPILERS)
def test_parts_that_jit_compiled(compiler, tmp_path):
    torch.manual_seed(0)
    model, x = Deep(compiler).eval(), rows()
    match = r"'parts.0' \(\w+Module\): torch.jit hides.*state_dict\(\), or pass"
    with pytest.raises(NotImplementedError, match=match):
        convert(model, x, FINE)
    again = Deep().eval()  # As it says.
    again.load_state_dict(model.state_dict())
    snn = convert(again, x, FINE)
    assert snn.report.num_activations == 1
    with torch.no_grad():
        assert (snn(x) - model(x)).norm() < 0.05 * model(x).norm()
    analog = convert(model, x, replace(FINE, allow_analog=True))
    assert 'parts.0' in str(analog.report.analog)
    with pytest.raises(ValueError, match=r"Cannot save '.*parts.0': torch.jit hides"):
        save(analog, tmp_path / 'snn')
    found, expected = measure(analog, x, model), measure(snn, x, again)
    assert found.uncounted == []  # PyTorch shows what runs inside.
    assert found.total.ann_macs == expected.total.ann_macs == 40 * (6 * 8 + 8 * 3)
    assert found.total.snn_macs >= 40 * 6 * 8


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
@pytest.mark.parametrize('compiler', COMPILERS)
def test_models_that_jit_compiled(compiler):
    model, x = nn.Sequential(nn.Linear(6, 8), nn.ReLU()), rows()
    compiled = COMPILERS[compiler](model)
    for call in (convert, lambda m, x, _: predict(m, x)):
        with pytest.raises(
            ValueError, match=r"'model' to be written in Python.*convert"
        ):
            call(compiled, x, FINE)
    assert convert(model, x, FINE).report.num_activations == 1


@pytest.mark.filterwarnings('ignore')  # Of torch.compile.
def test_networks_that_are_compiled_again():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = GCNConv(6, 8), GCNConv(8, 3)

        def forward(self, x, edge_index):
            return self.b(self.a(x, edge_index).relu(), edge_index)

    call = rows(), torch.randint(rows().size(0), (2, 60))
    snn = convert(Model(), call, FINE)
    compiled = torch.compile(snn, backend='eager')
    torch.testing.assert_close(compiled(*call), snn(*call))


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_functions_that_are_compiled():
    x = rows()

    @torch.compile(backend='eager')
    def eager(h):
        return h.relu()

    class Compiled(Cast):
        def forward(self, x):
            return self.last(eager(self.first(x)))

    snn = convert(Compiled(), x, FINE)
    assert snn.report.num_activations == 1 and snn.report.analog == {}


def test_averages_name_the_part_everywhere(tmp_path):
    model, x = Cast().eval(), rows()
    average = torch.optim.swa_utils.AveragedModel(model)
    snn = convert(average.module, x, FINE)
    save(snn, tmp_path / 'snn')
    calls = (
        lambda: convert(average, x, FINE),
        lambda: measure(snn, x, average),
        lambda: predict(average, x),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r'convert\(model.module, '):
            call()
    assert torch.equal(load(tmp_path / 'snn')(x), snn(x))


@pytest.mark.parametrize('place', ['_buffers', '__dict__', 'list'])
def test_tensors_that_carry_gradients(place):
    """They are copied, and the model keeps its own."""
    model, x = Cast(), rows()
    weight = torch.rand(8, 8, requires_grad=True)
    value = weight @ weight
    if place == 'list':
        model.values = [value]
    elif place == '_buffers':
        model.register_buffer('value', value)
    else:
        model.value = value
    assert convert(model, x, FINE).report.num_activations == 1
    kept = model.values[0] if place == 'list' else model.value
    assert kept is value and value.grad_fn is not None
