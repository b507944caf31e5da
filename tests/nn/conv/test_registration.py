"""Twins register themselves, and a layer is added by its file and its test."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch_geometric.nn import GINConv, MessagePassing, WLConv

from spikegraph import ConversionConfig, convert, register_rule
from spikegraph.conversion.operations.rules import RULES, rule_for
from spikegraph.nn import GraphFilter, SpikingTwin
from spikegraph.nn.conv import twin
from spikegraph.nn.shift import NeighborShift

ROOT = Path(__file__).parents[3]
# A layer that the converter cannot look into, as its control flow reads features.
LAYER = """\
class BoldConv(MessagePassing):
    def __init__(self, in_channels, out_channels):
        super().__init__(aggr='add')
        self.lin = nn.Linear(in_channels, out_channels)

    def forward(self, x, edge_index):
        sign = 1.0 if float(x.abs().sum()) >= 0 else -1.0
        return sign * self.lin(self.propagate(edge_index, x=x))
"""
TWIN = f"""\
from torch import nn
from torch_geometric.nn import MessagePassing

from spikegraph.nn.conv.twin import SpikingTwin
from spikegraph.nn.filter import GraphFilter
from spikegraph.nn.shift import NeighborShift


{LAYER}

class SpikingBoldConv(SpikingTwin):
    ann_type = BoldConv

    def build(self, conv):
        weight, bias = conv.lin.weight, conv.lin.bias
        self.filter = GraphFilter(NeighborShift(), weight=weight, bias=bias)

    def forward(self, x, edge_index):
        return self.filter(x, edge_index)
"""
TESTS = """\
from spikegraph.nn.conv.bold_conv import BoldConv
from tests.nn.conv.twin_tests import TwinTests


class TestBoldConv(TwinTests):
    layer = BoldConv
    shown = [('xe+', '6, 5')]
"""
names = {'MessagePassing': MessagePassing, 'nn': nn}
exec(LAYER, names)
BoldConv = names['BoldConv']


@pytest.fixture(autouse=True)
def registries():
    """Leaves them as they were."""
    rules, twins = dict(RULES), list(twin._TWINS)
    yield
    RULES.clear()
    RULES.update(rules)
    twin._TWINS[:] = twins


def define(layer, **attributes):
    def build(self, conv):
        self.filter = GraphFilter(NeighborShift(), weight=torch.ones(5, 6).double())

    def forward(self, x, edge_index):
        return self.filter(x, edge_index)

    body = {'ann_type': layer, 'build': build, 'forward': forward, **attributes}
    return type(f'Spiking{layer.__name__}', (SpikingTwin,), body)


def call():
    return torch.rand(9, 6).double(), torch.randint(9, (2, 30))


class Net(nn.Module):
    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x, edge_index):
        return self.conv(x, edge_index)


def test_a_twin_is_used_as_soon_as_it_is_defined():
    model, inputs = Net(BoldConv(6, 5)).double(), call()
    nn.init.ones_(model.conv.lin.weight), nn.init.zeros_(model.conv.lin.bias)
    config = ConversionConfig(compensate=None)
    assert convert(model, inputs, config).report.affine
    define(BoldConv)
    snn = convert(model, inputs, config)
    assert not snn.report.affine
    assert list(snn.report.layers.values()) == ['GraphFilter']
    x = snn.spikes(*inputs)['input_x'].decode()
    sums = torch.zeros(9, 6).double().index_add_(0, inputs[1][1], x[inputs[1][0]])
    assert torch.allclose(snn(*inputs), sums.sum(1, keepdim=True).expand(9, 5))


def test_the_latest_registration_counts():
    first = define(GINConv)
    assert rule_for(GINConv(nn.Linear(6, 5))).convert == first.from_ann
    second = define(GINConv)
    assert rule_for(GINConv(nn.Linear(6, 5))).convert == second.from_ann
    register_rule(GINConv)(first.from_ann)
    assert rule_for(GINConv(nn.Linear(6, 5))).convert == first.from_ann


def test_a_refused_layer_gets_a_twin():
    layer = WLConv()
    assert rule_for(layer).kind == 'refused'
    define(WLConv)
    assert rule_for(layer).kind == 'affine'


def test_a_twin_that_needs_analog_parts():
    define(BoldConv, needs_analog='it is bold')
    with pytest.raises(NotImplementedError, match=r"'conv' \(BoldConv\): it is bold"):
        convert(Net(BoldConv(6, 5)).double(), call())


def test_a_subclass_of_a_twin_registers_only_with_a_type_of_its_own():
    kind = define(BoldConv)
    num = len(twin._TWINS)
    type('Other', (kind,), {})
    assert len(twin._TWINS) == num


def blocks(text, kind):
    return re.findall(rf'(?:`([\w/.]+)`:\n\n)?```{kind}\n(.*?)```', text, re.DOTALL)


def steps():
    """The files and the commands of 'A layer' in CONTRIBUTING.md."""
    text = (ROOT / 'CONTRIBUTING.md').read_text()
    section = text.split('### A layer\n')[1].split('\n### ')[0]
    ((_, commands),) = blocks(section, 'bash')
    return dict(blocks(section, 'python')), commands.splitlines()


def test_the_files_shown_are_those_of_the_library():
    files, commands = steps()
    assert [*files] == [
        'spikegraph/nn/conv/lg_conv.py',
        'tests/nn/conv/test_lg_conv.py',
    ]
    for path, text in files.items():
        assert (ROOT / path).read_text() == text, path
    assert all(command.startswith('python -m ') for command in commands)


@pytest.mark.slow
def test_adding_a_layer_as_it_is_written(tmp_path):
    """In a copy without the layer, the two files and the commands shown are enough; so
    are two files for a layer that PyG does not have."""
    for folder in ('spikegraph', 'tests'):  # With what Numba compiled.
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / 'docs').mkdir()
    for name in ('docs/converts.md', 'pyproject.toml'):
        shutil.copy(ROOT / name, tmp_path / name)
    files, commands = steps()
    stub = tmp_path / 'spikegraph/nn/conv/__init__.pyi'
    stub.unlink()
    for path in files:
        (tmp_path / path).unlink()

    for path, text in files.items():
        (tmp_path / path).write_text(text)
    (tmp_path / 'spikegraph/nn/conv/bold_conv.py').write_text(TWIN)
    (tmp_path / 'tests/nn/conv/test_bold_conv.py').write_text(TESTS)
    env = {**os.environ, 'PYTHONPATH': str(tmp_path), 'PYTEST_ADDOPTS': '-n0'}
    test = 'python -m pytest tests/nn/conv/test_bold_conv.py'
    for command in (*commands, test):
        result = subprocess.run(
            [sys.executable, *command.split()[1:]],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        if 'pytest' in command:
            assert re.search(r'[3-9]\d* passed', result.stdout), result.stdout

    row = '| `BoldConv` | `(6, 5)` | exactly |  |\n'
    name = 'from spikegraph.nn.conv.bold_conv import (\n'
    page = (tmp_path / 'docs/convolutions.md').read_text()
    assert row in page and name in stub.read_text()
    assert page.replace(row, '') == (ROOT / 'docs/convolutions.md').read_text()
    overview = 'docs/converts.md'
    assert (tmp_path / overview).read_text() == (ROOT / overview).read_text()
