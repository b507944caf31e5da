"""What CONTRIBUTING.md says about additions, done as it is written there."""

import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from spikegraph import ConversionConfig, convert, kernels
from spikegraph.conversion.passes.spelling import SPELLED_OUT
from spikegraph.kernels import dispatch, row_peaks
from spikegraph.network.interpreter import AnalogReading
from spikegraph.network.ops import Meaning, op_for, remove_op

TEXT = (Path(__file__).parents[1] / 'CONTRIBUTING.md').read_text()


def block(title):
    (code,) = re.findall(rf'```python\n# {re.escape(title)}\n(.*?)```', TEXT, re.DOTALL)
    return code


def run(title):
    names = {'__name__': 'contributing'}
    exec(compile(block(title), title, 'exec'), names)
    return names


class Spreading(nn.Module):
    def __init__(self, spread):
        super().__init__()
        self.first, self.last, self.spread = nn.Linear(4, 8), nn.Linear(16, 3), spread

    def forward(self, x):
        return self.last(self.spread(self.first(x)).relu())


def test_an_operation():
    spread = run('An operation')['spread']
    op = op_for(spread)
    try:
        assert op.meaning is Meaning.AFFINE
        snn = convert(Spreading(spread).double(), torch.randn(50, 4).double())
        assert not snn.report.analog and list(snn.neurons) == ['input_x', 'relu']
        assert snn.report.logit_relative_error < 0.1
    finally:
        remove_op(op)


class Logarithms(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 16), nn.Linear(8, 3)

    def forward(self, x):
        x, y = self.first(x).chunk(2, -1)
        return self.last(torch.xlogy(x, y.relu() + 1))


def test_an_operation_spelled_out():
    torch.manual_seed(0)
    x, model = torch.randn(50, 4).double(), Logarithms().double()
    with pytest.raises(NotImplementedError, match="Cannot convert 'xlogy'"):
        convert(model, x)
    run('An operation spelled out')
    try:
        snn = convert(model, x, ConversionConfig(compensate=None))
    finally:
        del SPELLED_OUT['xlogy']
        remove_op(op_for(torch.xlogy))
    assert not snn.report.analog and snn.report.logit_relative_error < 0.2
    found = AnalogReading(snn.network).run(snn.bind(x))
    assert torch.allclose(found, model(x))


@pytest.fixture
def backend(tmp_path, monkeypatch):
    folder = tmp_path / 'added'
    folder.mkdir()
    for name in ('__init__.py', 'operations.py'):
        (folder / name).write_text(block(f'A backend: {name}'))
    monkeypatch.setattr(kernels, '__path__', [*kernels.__path__, str(tmp_path)])
    dispatch.backends.cache_clear()
    yield dispatch.backends()[0]
    dispatch.backends.cache_clear()
    for name in ('added', 'added.operations'):
        sys.modules.pop(f'spikegraph.kernels.{name}', None)


def test_a_backend(backend, monkeypatch):
    assert backend.name == 'added'
    x, calls = torch.tensor([[1.0, -3.0], [0.0, 0.0]]), []
    peaks = backend.operations.row_peaks
    monkeypatch.setattr(
        backend.operations, 'row_peaks', lambda x: calls.append(x) or peaks(x)
    )
    assert row_peaks(x).tolist() == [[3.0], [1.0]] and len(calls) == 1


def test_an_exporter():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    snn = convert(model, torch.randn(50, 4))
    dot = run('An exporter')['to_dot'](snn)
    assert 'neurons_input_input [label="neurons_input_input: population"]' in dot
    edges = re.findall(r'(\w+) -> (\w+)', dot)
    assert len(edges) == sum(len(n.all_input_nodes) for n in snn.network.nodes)
    assert [end for _, end in edges][-1] == 'output'
