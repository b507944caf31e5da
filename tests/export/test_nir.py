"""Networks as graphs of NIR: read from files, and run by a simulator of their own."""

import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spikegraph import ConversionConfig, convert, simulate
from spikegraph.export import nir_nodes
from spikegraph.export.nir import to_nir
from spikegraph.export.nir_nodes import register_nodes
from spikegraph.export.segments import Segments
from tests.conversion.zoo import make, randomize


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = (nn.Conv2d(i, 4, 3, padding=1) for i in (2, 4))
        self.lin = nn.Linear(36, 3)

    def forward(self, x):
        a = self.a(x).relu()
        return self.lin(torch.flatten((self.b(a) + a).relu(), 1))


IMAGE = (3, 2, 7, 6)
LAYERED = {
    'linear': (
        lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)),
        (5, 4),
    ),
    'pooled': (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1, stride=(2, 1)),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.AvgPool2d(2, padding=1),
            nn.Conv2d(4, 3, 2, padding='valid'),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(18, 3),
        ),
        (3, 2, 7, 6),
    ),
    'maximum': (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, dilation=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=1, padding=1),
            nn.Conv2d(4, 3, 3, padding='same'),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(3, 2),
        ),
        (3, 2, 7, 6),
    ),
    'residual': (Residual, (3, 2, 3, 3)),
    'sequence': (
        lambda: nn.Sequential(
            nn.Conv1d(2, 4, 3, stride=2), nn.GELU(), nn.Flatten(), nn.Linear(12, 2)
        ),
        (3, 2, 7),
    ),
}
WHOLE = {
    'grouped': (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, (3, 1), groups=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 2),
        ),
        (2, 2, 4, 4),
    ),
    **{name: (lambda name=name: make(name), None) for name in ('F.relu', 'JK cat')},
}
CASES = {**LAYERED, **WHOLE}


def converted(name, graph, **options):
    torch.manual_seed(0)
    make_model, shape = CASES[name]
    options = {'num_steps': 7, **options}
    if shape is None:
        args = (graph.subgraph(torch.arange(15)),)
    else:
        args = (torch.randn(shape, dtype=torch.float64),)
        args[0][0] *= 3
        args[0][1] = 0
    model = make_model() if shape is None else randomize(make_model())
    return convert(model, *args, ConversionConfig(**options)), args


def run_phases(graph, given, num_steps):
    """All steps of a graph, in plain terms: what a node did in each step, by name."""
    order, names = [], {*graph.nodes}
    while names:  # A node is ready if none of those that it reads waits.
        waits = {b for a, b in graph.edges if a in names}
        ready = sorted(names - waits)
        order += ready
        names -= {*ready}
    membrane, fired, passed = {}, {}, {}
    history = {name: [] for name in graph.nodes}
    for t in range(num_steps + 1):
        for name in order:
            node = graph.nodes[name]
            kind = type(node).__name__
            parts = [history[a][t] for a, b in graph.edges if b == name]
            x = sum(parts[1:], parts[0]) if parts else None
            if kind == 'Input':
                out = given[name] * (t == 0)
            elif kind in ('Linear', 'Conv1d', 'Conv2d'):
                weight = torch.tensor(node.weight)
                if kind == 'Linear':
                    out = x @ weight.T
                else:
                    assert not np.any(node.bias)
                    call = F.conv1d if kind == 'Conv1d' else F.conv2d
                    sizes = [node.stride, node.padding, node.dilation]
                    sizes = [
                        s if isinstance(s, str) else np.array(s).tolist() for s in sizes
                    ]
                    out = call(x, weight, None, *sizes)
            elif kind == 'AvgPool2d':
                sizes = node.kernel_size, node.stride, node.padding
                out = F.avg_pool2d(x, *(s.tolist() for s in sizes))
            elif kind == 'Flatten':
                assert node.start_dim == 0
                out = x.reshape(len(x), -1)
            elif kind == 'Scale':
                out = x * torch.tensor(node.scale)
            elif kind == 'EarliestSpike':
                sizes = node.kernel_size, node.stride, node.padding
                out = F.max_pool2d(x, *(s.tolist() for s in sizes))
                before = passed.setdefault(name, torch.zeros_like(out).bool())
                out = out * ~before
                passed[name] = before | (out > 0)
            elif kind == 'PhaseReadout':
                v = membrane.get(name, torch.tensor(node.bias))
                membrane[name] = out = v + x if t < node.num_steps else v
            elif kind == 'PhaseNeuron':
                v = membrane.get(name, torch.tensor(node.bias).expand(x.shape))
                if t == 0 or t < node.start:
                    v = v + x
                membrane[name] = v
                phase, out = t - node.start, torch.zeros_like(v)
                done = fired.setdefault(name, torch.zeros_like(v).bool())
                if 0 <= phase < node.num_steps:
                    peak = torch.ones(())
                    if node.relative:
                        top = v.flatten(1).abs().amax(1)
                        peak = torch.where(top > 0, top, 1.0)
                        peak = peak.view(-1, *[1] * (v.dim() - 1))
                    on = v >= peak * torch.tensor(node.threshold[phase])
                    off = v <= peak * torch.tensor(node.off_high[phase])
                    off &= v >= peak * torch.tensor(node.off_low[phase])
                    sign = (on.double() - off.double()) * ~done
                    out = sign * peak * torch.tensor(node.scale * node.levels[phase])
                    fired[name] = done | (sign != 0)
            else:
                assert kind == 'Output', kind
                out = x
            expected = next(iter(node.output_type.values()))
            assert tuple(out.shape[1:]) == tuple(expected), name
            history[name].append(out)
    return history


@pytest.mark.parametrize('name', CASES)
@pytest.mark.parametrize('input_scale', ['layer', 'node'])
def test_phases_are_exact(name, input_scale, graph, tmp_path):
    nir = pytest.importorskip('nir')
    snn, args = converted(name, graph, input_scale=input_scale)
    nir.write(tmp_path / 'net.nir', to_nir(snn, *args))
    register_nodes()
    found = nir.read(tmp_path / 'net.nir')
    is_layered = name in LAYERED
    layout = 'one sample' if is_layered else 'all nodes'
    assert found.metadata['layout'] == layout
    simulation = simulate(snn, *args)
    given = {}
    for label, potential in simulation.membrane.items():
        if f'input_{label}' in found.nodes:
            flat = potential if is_layered else potential.flatten()[None]
            given[f'input_{label}'] = flat
    history = run_phases(found, given, int(found.metadata['num_steps']))
    for label, spikes in simulation.spikes.items():
        if label not in snn.neurons:
            continue
        start = simulation.start_step[label]
        steps = history[label][start : start + spikes.code.num_steps]
        for step, value in enumerate(steps):
            value = value.view(spikes.shape)
            assert torch.allclose(
                value, spikes.current(step) * spikes.code.levels[step]
            )
        assert not any(v.any() for v in history[label][:start])
    out = history['output'][-1].view(simulation.output.shape)
    if found.metadata['read_outs'] != 'none':
        out = out.log_softmax(-1)
    assert torch.allclose(out, simulation.output, rtol=1e-9, atol=1e-9)


def test_float32_stays(graph, tmp_path):
    nir = pytest.importorskip('nir')
    torch.manual_seed(0)
    x = torch.rand(5, 4)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    found = to_nir(convert(model, x), x)
    layers = [node for node in found.nodes.values() if isinstance(node, nir.Linear)]
    assert len(layers) == 2 and {v.weight.dtype for v in layers} == {np.dtype('f4')}


def rates_by_loops(layers, x, num_steps):
    """Integrate-and-fire neurons of a chain of layers, one neuron after the other."""
    interval = round(num_steps**0.5)
    tau, last_tau = 2 * interval, num_steps / 8
    (first, bias), *rest = layers
    rows = []
    for sample in x.tolist():
        sizes = [len(bias), *(len(b) for _, b, _ in rest)]
        v, current = ([[0.0] * size for size in sizes] for _ in range(2))
        for _ in range(num_steps):
            drive = [
                sum(w * a for w, a in zip(row, sample, strict=True)) + b
                for row, b in zip(first, bias, strict=True)
            ]
            for k, (weight, bias_k, largest) in enumerate(rest):
                for i, charge in enumerate(drive):
                    v[k][i] += charge
                    fires = v[k][i] > interval * largest[i]
                    v[k][i] = 0.0 if fires else v[k][i]
                    jump = interval * largest[i] * fires
                    current[k][i] += (jump - current[k][i]) / tau
                drive = [
                    sum(w * a for w, a in zip(row, current[k], strict=True)) + b
                    for row, b in zip(weight, bias_k, strict=True)
                ]
            for i, charge in enumerate(drive):
                v[-1][i] += (charge - v[-1][i]) / last_tau
        rows.append(v[-1])
    return torch.tensor(rows, dtype=torch.float64)


def test_the_error_of_rates_is_that_of_loops():
    pytest.importorskip('nir')
    torch.manual_seed(0)
    x = torch.rand(3, 4, dtype=torch.float64)
    layers = nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)
    snn = convert(nn.Sequential(*layers).double(), x)
    found = to_nir(snn, x, neuron='IF', rate_steps=64)
    segments = Segments(snn, x)
    kept = [layer for layer in snn.network.modules() if hasattr(layer, 'in_features')]
    parts = [(layer.weight.tolist(), layer.bias.tolist()) for layer in kept]
    largest = []
    for each in list(segments.populations.values())[1:]:
        top = each.spikes.decode().amax(0)
        scale = (each.scales * each.levels[0])[0]
        largest.append(torch.where(top > 0, top, scale).tolist())
    rest = [(*part, top) for part, top in zip(parts[1:], largest, strict=True)]
    out = rates_by_loops([parts[0], *rest], x, 64)
    expected = simulate(snn, x).output
    error = float((out - expected).norm() / expected.norm())
    assert found.metadata['relative_error'] == pytest.approx(error, rel=1e-6)
    agreement = float((out.argmax(1) == expected.argmax(1)).double().mean())
    assert found.metadata['agreement'] == pytest.approx(agreement)
    assert found.metadata['num_samples'] == 3


@pytest.mark.parametrize('name', ['linear', 'pooled', 'residual', 'F.relu', 'JK cat'])
def test_rates_come_near(name, graph, tmp_path):
    """With NIR's own nodes only, and nearer the longer they are counted."""
    nir = pytest.importorskip('nir')
    snn, args = converted(name, graph, num_steps=24)
    found = [to_nir(snn, *args, neuron='IF', rate_steps=steps) for steps in (64, 1024)]
    short, long = (each.metadata['relative_error'] for each in found)
    assert long < short and long < 0.2, (short, long)
    kinds = {type(node) for node in found[1].nodes.values()}
    assert {nir.IF, nir.LI, nir.Input, nir.Output} <= kinds
    assert all(kind.__module__.startswith('nir.') for kind in kinds)
    nir.write(tmp_path / 'net.nir', found[1])
    read = nir.read(tmp_path / 'net.nir')
    assert read.metadata['relative_error'] == long and {*read.edges} == {
        *found[1].edges
    }


def test_what_is_refused(graph, monkeypatch):
    pytest.importorskip('nir')
    snn, args = converted('F.relu', graph)
    size = 15 * 5 * 15 * 8
    message = rf'of 120 by 75 weights .*at most {size - 1:,} entries.*spikegraph\.save'
    with pytest.raises(NotImplementedError, match=message):
        to_nir(snn, *args, max_weights=size - 1)
    assert to_nir(snn, *args, max_weights=size)
    with pytest.raises(ValueError, match=r"'phase' or 'IF' \(got 'LIF'\)"):
        to_nir(snn, *args, neuron='LIF')
    with pytest.raises(ValueError, match=r"'rate_steps' to be at least 8 \(got 7\)"):
        to_nir(snn, *args, neuron='IF', rate_steps=7)
    snn, args = converted('maximum', graph)
    with pytest.raises(NotImplementedError, match=r'\(EarliestInWindow\).*gate'):
        to_nir(snn, *args, neuron='IF')
    snn, args = converted('sequence', graph)
    with pytest.raises(NotImplementedError, match=r"stands for GELU.*neuron='phase'"):
        to_nir(snn, *args, neuron='IF')
    snn, args = converted('linear', graph, encode_input=False)
    with pytest.raises(NotImplementedError, match="'encode_input=True'"):
        to_nir(snn, *args)
    snn = convert(make('JK max'), graph)
    with pytest.raises(NotImplementedError, match='gate'):
        to_nir(snn, graph)
    monkeypatch.setattr(sys.modules['nir'].ir, '__all_ir', None)
    with pytest.raises(ImportError, match=r'list its nodes as version 1\.0\.8'):
        register_nodes()


def test_without_nir(graph, monkeypatch):
    snn, args = converted('linear', graph)
    monkeypatch.setitem(sys.modules, 'nir', None)
    with pytest.raises(ImportError, match=r'pip install spikegraph\[nir\]'):
        to_nir(snn, *args)


def test_nodes_are_declared_once():
    nir = pytest.importorskip('nir')
    register_nodes()
    register_nodes()
    known = nir.ir.__dict__['__all_ir']
    assert [known.count(name) for name in nir_nodes.NODES] == [1, 1, 1]
