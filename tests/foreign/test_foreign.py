"""Models in the manner of public code: each converts, or is refused with a reason
and a remedy that works, and everything that is said of it is true.
"""

from __future__ import annotations

import inspect
import pickle
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch_geometric.data.data import BaseData

import spikegraph
from spikegraph import ConversionConfig
from spikegraph.calls.outputs import take_apart
from spikegraph.network.interpreter import AnalogReading
from spikegraph.network.network import Network
from tests.foreign import (  # noqa: F401
    adjacency_models,
    call_form_models,
    edge_models,
    feature_models,
    function_models,
    graph_models,
    handwritten_models,
    image_models,
    molecule_models,
    pooling_models,
    question_models,
    shared_models,
    spelling_models,
    wrapper_models,
    writing_models,
)
from tests.foreign.brute_force import count_macs, reached
from tests.foreign.registry import MODELS, NUM_FEATURES, invoke

pytestmark = [
    pytest.mark.filterwarnings('ignore:.*torch.jit.*:DeprecationWarning'),
    pytest.mark.filterwarnings('ignore:.*GlobalAttention.*'),
    pytest.mark.filterwarnings('ignore::UserWarning:torch._dynamo.*'),
]
CONVERTED = [name for name, m in MODELS.items() if m.expects != 'refused']
UNAIDED = [name for name, m in MODELS.items() if m.expects == 'converts']
REFUSED = [name for name, m in MODELS.items() if m.expects == 'refused']
OTHERS = [name for name in CONVERTED if MODELS[name].other_calls]
MACS = [name for name in UNAIDED if MODELS[name].macs]
SYNOPS = [name for name in UNAIDED if MODELS[name].synops]


@contextmanager
def default_type(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with default_type(torch.float64):
        yield


def tensors_of(output):
    output, _ = take_apart(output)
    return [t for t in pytree.tree_leaves(output) if isinstance(t, Tensor)]


def train(model, call):
    """A few steps towards random labels, so that no activation is trivial."""
    model = getattr(model, '_orig_mod', model)  # That of torch.compile.
    torch.manual_seed(1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model.train()
    for _ in range(15):
        torch.default_generator.manual_seed(2)  # The same labels in each step.
        out = tensors_of(invoke(model, call))[0]
        if out.dim() == 2 and out.size(1) > 1:
            labels = torch.randint(out.size(1), (len(out),))
            loss = F.cross_entropy(out, labels)
        else:
            loss = F.mse_loss(out, torch.rand(out.shape))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@lru_cache(maxsize=2)  # Tests of one model follow each other.
def trained(name, dtype):
    with default_type(dtype):
        torch.manual_seed(zlib.crc32(name.encode()))
        model, call = MODELS[name].build(), MODELS[name].call()
        train(model, call)
        return model.eval(), call


@lru_cache(maxsize=2)  # Tests of one model follow each other.
def conversion(name, dtype):
    """The network or the error, and the state of the model before and after."""
    model, call = trained(name, dtype)
    options = {} if dtype == torch.float32 else dict(compensate=None)
    analog = MODELS[name].expects == 'analog'
    before = state_of(model)
    with default_type(dtype):
        config = ConversionConfig(num_steps=16, allow_analog=analog, **options)
        try:
            result = spikegraph.convert(model, call, config)
        except Exception as error:
            result = error
    return result, before, state_of(model)


def convert(name, dtype=torch.float64):
    """In float64 without compensation, so that weights are those of the model."""
    result, _, _ = conversion(name, dtype)
    if isinstance(result, Exception):
        raise result
    return result


@torch.no_grad()
def run(model, call):
    return tensors_of(invoke(model, call))


def relative_error(expected, found):
    """That of the worst output."""
    errors = []
    for a, b in zip(expected, found, strict=True):
        assert a.shape == b.shape
        if a.is_floating_point():
            a, b = a.double(), b.double()
            errors.append(float((a - b).norm() / (a.norm() or 1.0)))
    return max(errors)


def activations_of(report):
    names = [p for p in report.populations if not p.name.startswith('relay')]
    return [p.name for p in names if not p.replaced.startswith("input '")]


def inputs_of(report):
    return [p.name for p in report.populations if p.replaced.startswith("input '")]


@pytest.mark.parametrize('name', UNAIDED)
def test_converts_with_no_analog_part(name):
    foreign, report = MODELS[name], convert(name).report
    assert report.analog == {}
    if foreign.activations is not None:
        assert len(activations_of(report)) == foreign.activations
    if foreign.inputs is not None:
        assert len(inputs_of(report)) == foreign.inputs


@pytest.mark.parametrize('name', [n for n in CONVERTED if n not in UNAIDED])
def test_converts_with_analog_parts(name):
    foreign, (model, call) = MODELS[name], trained(name, torch.float64)
    with pytest.raises(NotImplementedError, match='allow_analog=True'):
        spikegraph.convert(model, call)
    report = convert(name).report
    assert report.analog
    assert len(activations_of(report)) >= 1
    assert len(inputs_of(report)) == foreign.inputs


def test_brute_force_counts_what_it_should():
    x, index = torch.rand(5, 3), torch.tensor([0, 1, 1, 4])
    adj, w = torch.eye(5).to_sparse(), torch.rand(3, 2)
    conv, image = nn.Conv2d(3, 4, 3, stride=2, padding=1), torch.rand(2, 3, 5, 5)
    up = nn.ConvTranspose2d(3, 4, 2, stride=2)
    zeros, batch = torch.zeros(5, 3), torch.eye(5).repeat(2, 1, 1)
    with torch.no_grad():
        for run_it, signals, macs in [
            (lambda: nn.Linear(3, 4)(x), [x], 60),
            (lambda: adj @ (x @ w), [x], 5 * 3 * 2 + 5 * 2),
            (lambda: adj.to_dense() @ x, [x], 15),  # A graph has edges.
            (lambda: torch.sparse.mm(adj.to_sparse_csr(), x), [x], 15),
            (lambda: x.t() @ adj.to_dense(), [x], 15),
            (lambda: torch.bmm(batch, x.expand(2, 5, 3)), [x], 2 * 15),
            (lambda: nn.Parameter(adj.to_dense()) @ x, [x], 75),
            (lambda: conv(image), [image], 2 * 9 * 4 * 27),
            (lambda: up(image), [image], 2 * 25 * 3 * 4 * 4),
            (lambda: zeros.index_add(0, index, x[index]), [x], 12),
            (lambda: zeros.index_add(0, index, torch.ones(4, 3)), [x], 0),
            (lambda: w.t() @ w, [x], 0),  # Of weights alone.
            (lambda: x @ x.new_ones(3, 2), [], 0),
        ]:
            assert count_macs(run_it, signals) == macs
        corner = torch.zeros(1, 3, 5, 5)
        corner[0, 0, 0, 0] = 1  # In one window; its neighbour in four.
        assert reached(corner, conv) == 4
        assert reached(corner.roll((1, 1), (2, 3)), conv) == 16
        assert reached(torch.ones(2, 3), nn.Linear(3, 4)) == 24


def line_of(foreign):
    """File and number of the line that a refusal points to."""
    module = inspect.getmodule(foreign.build)
    source = inspect.getsource(module).splitlines()
    number = next(i for i, s in enumerate(source) if s.strip() == foreign.refusal.line)
    return Path(module.__file__).name, number + 1


@pytest.mark.parametrize('name', REFUSED)
def test_refusal_says_what_to_do_and_that_works(name):
    foreign, (model, call) = MODELS[name], trained(name, torch.float64)
    refusal = foreign.refusal
    with pytest.raises((NotImplementedError, ValueError)) as error:
        spikegraph.convert(model, call)
    message = str(error.value)
    assert re.search(refusal.says, message), message
    assert refusal.path in message
    if refusal.line:
        file, number = line_of(foreign)
        pattern = rf'{file}\W+(line )?{number}\b|line {number} of \S*{file}'
        assert re.search(pattern, message), message
    model, call, options = refusal.follow(model, call)
    snn = spikegraph.convert(model, call, ConversionConfig(**options))
    assert len(activations_of(snn.report)) == refusal.activations
    assert relative_error(run(model, call), run(snn, call)) < foreign.bound


@pytest.mark.parametrize('name', CONVERTED)
def test_error_is_what_the_report_says(name):
    foreign, (model, call) = MODELS[name], trained(name, torch.float32)
    snn = convert(name, torch.float32)
    with default_type(torch.float32):
        expected, found = run(model, call), run(snn, call)
    error = relative_error(expected, found)
    assert error == pytest.approx(snn.report.logit_relative_error, rel=0.01, abs=1e-4)
    assert error < foreign.bound
    a, b = expected[0], found[0]
    if a.dim() == 2 and a.size(1) > 1:  # Where the ANN is sure, the same class.
        top = a.topk(2, dim=1).values
        sure = top[:, 0] - top[:, 1] > 3 * foreign.bound * a.square().mean().sqrt()
        assert torch.equal(a.argmax(1)[sure], b.argmax(1)[sure])


@pytest.mark.parametrize('name', OTHERS)
def test_other_sizes_are_right_or_refused(name):
    foreign, (model, _) = MODELS[name], trained(name, torch.float64)
    snn = convert(name)
    for make in foreign.other_calls:
        call = make()
        expected = run(model, call)
        try:
            found = run(snn, call)
        except ValueError as error:
            assert foreign.guarded, error
            continue
        limit = max(2 * snn.report.logit_relative_error + 0.05, 2 * foreign.bound)
        assert relative_error(expected, found) < limit
        inputs = snn.bind(**call) if isinstance(call, dict) else invoke(snn.bind, call)
        with torch.no_grad():
            exact = tensors_of(AnalogReading(snn.network).run(inputs))
        assert relative_error(expected, exact) < 1e-6


@pytest.mark.parametrize('name', CONVERTED)
def test_steps_equal_closed_form(name):
    snn, (_, call) = convert(name), trained(name, torch.float64)
    arguments = call if isinstance(call, tuple) else ()
    keywords = call if isinstance(call, dict) else {}
    if not arguments and not keywords:
        arguments = (call,)
    simulation = spikegraph.simulate(snn, *arguments, **keywords)
    spikes = snn.spikes(*arguments, **keywords)
    assert list(spikes) == list(simulation.spikes)
    for population, each in spikes.items():
        times = simulation.spike_time[population]
        assert torch.equal(each.spike_time, times), population
    found = run(snn, call)
    for a, b in zip(found, tensors_of(simulation.output), strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-9 * float(a.abs().max()))


def signals_of(call):
    """The inputs that carry values: features and images, no weights of edges."""
    if isinstance(call, BaseData):
        call = call.to_dict()
    return [
        t
        for t in pytree.tree_leaves(call)
        if isinstance(t, Tensor)
        and t.is_floating_point()
        and (t.dim() == 4 or t.dim() > 1 and t.size(-1) == NUM_FEATURES)
    ]


@pytest.mark.parametrize('name', UNAIDED)
def test_everything_is_counted(name):
    model, call = trained(name, torch.float64)
    measurement = spikegraph.measure(convert(name), call, model)
    assert measurement.uncounted == []
    assert measurement.total.spikes > 0 or not convert(name).neurons


@pytest.mark.parametrize('name', MACS)
def test_operations_of_the_ann_equal_brute_force(name):
    model, call = trained(name, torch.float64)
    total = spikegraph.measure(convert(name), call, model).total
    with torch.no_grad():
        expected = count_macs(lambda: invoke(model, call), signals_of(call))
    assert total.ann_macs + total.ann_aggregation_macs == expected


@pytest.mark.parametrize('name', SYNOPS)
def test_operations_of_spikes_equal_brute_force(name):
    model, call = trained(name, torch.float64)
    snn = convert(name)
    arguments = call if isinstance(call, tuple) else (call,)
    times = snn.spikes(*arguments)
    fired = [
        (times[name].spike_time != times[name].code.num_steps).double()
        for name in snn.neurons
    ]
    total = spikegraph.measure(snn, call, model).total
    assert total.synops == MODELS[name].synops(model, fired)
    assert total.snn_macs == 0


@pytest.mark.parametrize('name', CONVERTED)
def test_round_trip(name, tmp_path):
    (_, call), snn = trained(name, torch.float64), convert(name)
    spikegraph.save(snn, tmp_path / 'model.safetensors')
    loaded = spikegraph.load(tmp_path / 'model.safetensors', MODELS[name].build())
    others = [loaded]
    networks = [m for m in snn.modules() if isinstance(m, Network)]
    targets = [node.target for network in networks for node in network.nodes]
    is_compiled = any(hasattr(target, 'scripted') for target in targets)
    # Some layers of PyG, which stay analog, and functions of torch.jit cannot be pickled.
    if name in UNAIDED and not is_compiled:
        pickled = pickle.loads(pickle.dumps(snn))
        others += [pickled, pickle.loads(pickle.dumps(pickled))]
    for other in others:
        for a, b in zip(run(snn, call), run(other, call), strict=True):
            assert torch.equal(a, b)
        assert other.report == snn.report


def state_of(model):
    """All that a model holds: tensors by value, everything else by identity; and what
    is drawn next, by whoever draws after a conversion."""
    values = {k: v.clone() for k, v in model.state_dict().items()}
    values['drawn next'] = torch.get_rng_state()
    held = {}
    for path, module in model.named_modules(remove_duplicate=False):
        for key, value in vars(module).items():
            inside = tuple(map(id, value.values())) if isinstance(value, dict) else ()
            held[path, key] = (type(value), inside or id(value))
    return values, held


@pytest.mark.parametrize('name', CONVERTED)
def test_model_is_unchanged(name):
    convert(name, torch.float32)
    _, (values, held), (after, held_after) = conversion(name, torch.float32)
    assert held == held_after
    assert all(torch.equal(values[k], after[k]) for k in values)


def cora(load_data, layout):
    data = load_data('cora').data
    n = data.num_nodes
    index = torch.cat([data.edge_index, torch.arange(n).expand(2, n)], dim=1)
    scale = torch.bincount(index[1], minlength=n).to(torch.float32).rsqrt()
    values = scale[index[0]] * scale[index[1]]
    adj = torch.sparse_coo_tensor(index, values, (n, n)).coalesce()
    return data, adj if layout == 'coo' else adj.to_sparse_csr()


@pytest.mark.data
@pytest.mark.parametrize(
    'build, layout',
    [
        (handwritten_models.SpmmGCN, 'coo'),
        (handwritten_models.SparseFirstGCN, 'csr'),
    ],
)
def test_cora_by_hand(build, layout, load_data, monkeypatch):
    monkeypatch.setattr(handwritten_models, 'NUM_FEATURES', 1433)
    monkeypatch.setattr(handwritten_models, 'NUM_CLASSES', 7)
    with default_type(torch.float32):
        data, adj = cora(load_data, layout)
        torch.manual_seed(0)
        model = build()
        optimizer = torch.optim.Adam(model.parameters(), 0.01, weight_decay=5e-4)
        for _ in range(60):
            optimizer.zero_grad()
            out = model(data.x, adj)
            F.cross_entropy(out[data.train_mask], data.y[data.train_mask]).backward()
            optimizer.step()
        model.eval()
        snn = spikegraph.convert(model, (data.x, adj))
        expected, found = run(model, (data.x, adj)), run(snn, (data.x, adj))
        assert relative_error(expected, found) < 0.1
        assert (expected[0].argmax(1) == found[0].argmax(1)).double().mean() > 0.97
        measurement = spikegraph.measure(snn, (data.x, adj), model)
        with torch.no_grad():
            macs = count_macs(lambda: model(data.x, adj), [data.x])
    assert measurement.uncounted == []
    total = measurement.total
    assert total.ann_macs + total.ann_aggregation_macs == macs
    assert total.snn_macs == 0 < total.synops
