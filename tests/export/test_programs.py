import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv

from spikegraph import ConversionConfig, convert
from spikegraph.export import programs, to_onnx, to_program
from tests.conversion.zoo import randomize
from tests.export.graphs import odd_graphs, random_graph, relative_error
from tests.export.models import (
    Layers,
    Molecules,
    Residual,
    SizedPool,
    Weighted,
    made,
    molecules,
)

CONFIG = ConversionConfig(num_steps=6)
EXAMPLE = random_graph(30, 90, seed=1)
NAMES = ('gcn', 'gat', 'sage', 'sage, max', 'pna', 'gcnii')
ALONE = """
import sys
{load}
import torch
inputs, expected = torch.load(sys.argv[2])
found = run(sys.argv[1], inputs)
assert (found - expected).abs().max() < 1e-12 * expected.abs().max()
found = [n for n in sys.modules if n.split('.')[0] in ('spikegraph', 'torch_geometric')]
assert not found, found
print('equal')
"""
LOAD = {
    'pt2': """
import torch
def run(path, inputs):
    return torch.export.load(path).module()(*inputs.values())
""",
    'onnx': """
import onnxruntime
assert 'torch' not in sys.modules
def run(path, inputs):
    session = onnxruntime.InferenceSession(path)
    inputs = {name: value.numpy() for name, value in inputs.items()}
    return torch.from_numpy(session.run(None, inputs)[0])
""",
}


def converted(name):
    x, edge_index, _ = EXAMPLE
    return convert(made(name), (x, edge_index), CONFIG), (x, edge_index)


def session_of(path):
    runtime = pytest.importorskip('onnxruntime')
    return runtime.InferenceSession(path)


def run(session, *args):
    names = [value.name for value in session.get_inputs()]
    values = [torch.as_tensor(value).numpy() for value in args]
    outputs = session.run(None, dict(zip(names, values, strict=True)))
    return torch.from_numpy(outputs[0])


def written(snn, path, *example):
    pytest.importorskip('onnxscript')
    to_onnx(snn, path, *example)
    return session_of(path)


def agrees_everywhere(snn, program, graphs):
    for graph in graphs:
        assert relative_error(program(*graph), snn(*graph)) < 1e-12


def is_plain(program):
    """Whether it is made of PyTorch's own operations, none of them kept outside."""
    targets = [n.target for n in program.graph.nodes if n.op == 'call_function']
    return all(
        target.namespace == 'aten'
        for target in targets
        if isinstance(target, torch._ops.OpOverload)
    )


@pytest.mark.parametrize('name', NAMES)
def test_programs_fit_other_graphs(name):
    snn, example = converted(name)
    program = to_program(snn, *example)
    assert is_plain(program)
    assert program.graph_signature.user_inputs == ('x', 'edge_index')
    graphs = [graph[:2] for graph in odd_graphs()]
    agrees_everywhere(snn, program.module(), graphs)


@pytest.mark.parametrize('name', NAMES)
def test_onnx_fits_other_graphs(name, tmp_path):
    snn, example = converted(name)
    session = written(snn, tmp_path / 'network.onnx', *example)
    assert [(v.name, v.shape) for v in session.get_inputs()] == [
        ('x', ['num_nodes', 5]),
        ('edge_index', [2, 'num_edges']),
    ]
    assert session.get_outputs()[0].name == 'output'
    assert session.get_outputs()[0].shape == ['num_nodes', 3]
    graphs = [graph[:2] for graph in odd_graphs()]
    agrees_everywhere(snn, lambda *graph: run(session, *graph), graphs)


def test_edge_weights(tmp_path):
    snn = convert(randomize(Weighted()).eval(), EXAMPLE, CONFIG)
    agrees_everywhere(snn, to_program(snn, *EXAMPLE).module(), odd_graphs())
    session = written(snn, tmp_path / 'network.onnx', *EXAMPLE)
    agrees_everywhere(snn, lambda *graph: run(session, *graph), odd_graphs())


def test_batches_of_any_number_of_graphs(tmp_path):
    snn = convert(randomize(Molecules()).eval(), molecules(20), CONFIG)
    batches = [molecules(number, seed=number) for number in (1, 2, 9, 50)]
    program = to_program(snn, *molecules(20))
    agrees_everywhere(snn, program.module(), batches)
    session = written(snn, tmp_path / 'network.onnx', *molecules(20))
    agrees_everywhere(snn, lambda *batch: run(session, *batch), batches)


def test_numbers_of_graphs_are_inputs(tmp_path):
    x, edge_index, _ = EXAMPLE
    batch = torch.arange(30) // 8
    snn = convert(randomize(SizedPool()).eval(), (x, edge_index, batch, 4), CONFIG)
    others = [(x, edge_index, batch, n) for n in (4, 5, 30)]
    agrees_everywhere(snn, to_program(snn, *others[0]).module(), others)
    session = written(snn, tmp_path / 'network.onnx', *others[0])
    agrees_everywhere(snn, lambda *given: run(session, *given), others)


def test_images(tmp_path):
    torch.manual_seed(0)
    x = torch.rand(7, 1, 8, 8)
    snn = convert(randomize(Residual()).float().eval(), x, CONFIG)
    for example in (x, x[:1]):  # A single one is no constant.
        program = to_program(snn, example).module()
        session = written(snn, tmp_path / 'network.onnx', example)
        assert session.get_inputs()[0].shape == ['num_images', 1, 8, 8]
        for images in (x, x[:1], x[:3]):
            assert relative_error(program(images), snn(images)) < 1e-5
            assert relative_error(run(session, images), snn(images)) < 1e-5


def test_perceptrons_and_data(tmp_path):
    model, x = (
        nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)),
        torch.rand(9, 4),
    )
    snn = convert(randomize(model).eval(), x.double(), CONFIG)
    session = written(snn, tmp_path / 'network.onnx', x.double())
    assert relative_error(run(session, x[:2].double()), snn(x[:2].double())) < 1e-12
    snn, (x, edge_index) = converted('gcn')
    program = to_program(snn, Data(x=x, edge_index=edge_index))
    assert relative_error(program.module()(x, edge_index), snn(x, edge_index)) < 1e-12


@pytest.mark.parametrize('kind', LOAD)
def test_files_need_no_spikegraph(kind, tmp_path):
    snn, example = converted('gcn')
    path, values = tmp_path / f'network.{kind}', tmp_path / 'values.pt'
    if kind == 'pt2':
        torch.export.save(to_program(snn, *example), path)
    else:
        written(snn, path, *example)
    inputs = dict(zip(('x', 'edge_index'), odd_graphs()[0], strict=False))
    torch.save((inputs, snn(**inputs)), values)
    code = ALONE.format(load=LOAD[kind])
    environment = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    result = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code, str(path), str(values)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.stdout == 'equal\n', result.stderr


def test_sizes_of_the_example():
    snn, (x, edge_index) = converted('gcn')
    program = to_program(snn, x, edge_index, dynamic=False).module()
    assert relative_error(program(x, edge_index), snn(x, edge_index)) < 1e-12
    with pytest.raises((AssertionError, RuntimeError), match='30'):
        program(x[:-1], edge_index.clamp(max=28))
    with pytest.raises(ValueError, match=r"'edge_index' .* at least 2 .*edges', got 1"):
        to_program(snn, x, edge_index[:, :1])


class AsksForNodes(nn.Module):
    """Has another formula for graphs of thirty nodes."""

    def __init__(self):
        super().__init__()
        self.conv, self.out = GCNConv(5, 8), GCNConv(8, 3)

    def forward(self, x, edge_index):
        x = self.conv(x, edge_index).relu()
        return self.out(x if x.size(0) == 30 else 2 * x, edge_index)


class AsksForFeatures(AsksForNodes):
    def forward(self, x, edge_index):
        x = self.conv(x, edge_index).relu()
        return self.out(x if edge_index.max() > 3 else 2 * x, edge_index)


@pytest.mark.parametrize('kind', [AsksForNodes, AsksForFeatures])
def test_answers_of_the_example_are_no_constants(kind):
    x, edge_index, _ = EXAMPLE
    snn = convert(randomize(kind()).eval(), (x, edge_index), CONFIG)
    with pytest.raises(NotImplementedError, match='Cannot export'):
        to_program(snn, x, edge_index)


def test_what_cannot_be_exported_is_named():
    x, edge_index, _ = EXAMPLE
    model = Layers(GCNConv(5, 8, cached=True), GCNConv(8, 3))
    snn = convert(randomize(model).eval(), (x, edge_index), CONFIG)
    with pytest.raises(NotImplementedError, match=r"'first' \(SpikingGCNConv\)"):
        to_program(snn, x, edge_index)
    snn, _ = converted('gcn')
    adjacency = torch.eye(30).double().to_sparse_csr()
    with pytest.raises(NotImplementedError, match=r"'first'.*'edge_index' \[2, E\]"):
        to_program(snn, x, adjacency)


def test_paths_and_packages(tmp_path, monkeypatch):
    snn, example = converted('gcn')
    with pytest.raises(ValueError, match=r"to end in '\.onnx' \(got .*network\.pt2'\)"):
        to_onnx(snn, tmp_path / 'network.pt2', *example)
    monkeypatch.setattr(programs, '_NEEDS', ('onnx', 'no_such_package'))
    with pytest.raises(ImportError, match=r"no_such_package .*'spikegraph\[onnx\]'"):
        to_onnx(snn, tmp_path / 'network.onnx', *example)
    assert not list(tmp_path.iterdir())
