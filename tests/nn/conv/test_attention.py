"""What attention layers share, and that no layer keeps what a call was like."""

import ast
import copy
from pathlib import Path

import pytest
import torch
from torch_geometric.nn import AGNNConv, GATConv, GATv2Conv, TransformerConv

import spikegraph.nn
from spikegraph import ConversionConfig, convert, measure
from spikegraph.nn.conv.attention import AttentionCoefficients

ROOT = Path(spikegraph.nn.__file__).parent
CONFIG = ConversionConfig(products='analog', allow_analog=True)
LAYERS = {
    'AGNN': (AGNNConv, 3 * 6),
    'GAT': (lambda: GATConv(6, 4, heads=2), 2 * 4),
    'GATv2': (lambda: GATv2Conv(6, 4, heads=2), 2 * 4),
    'transformer': (lambda: TransformerConv(6, 4, heads=2), 4),
}
# Those that build a layer, and change it for good.
_BUILD = (
    '__init__',
    '_build',
    'build',
    'take',
    'fold',
    'set_parameters',
    'set_extra_state',
)


@pytest.mark.parametrize('name', LAYERS)
def test_a_count_reads_its_arguments_only(name):
    """A network that has not run yet counts as one that has, whatever it ran on."""
    make, per_score = LAYERS[name]
    torch.manual_seed(0)
    model = make().eval()
    x, edge_index = torch.randn(9, 6), torch.randint(9, (2, 30))
    snn = convert(model, (x, edge_index), CONFIG)
    expected = measure(snn, (x, edge_index), model).total.snn_macs
    fresh = copy.deepcopy(snn)
    parts = [m for m in fresh.modules() if isinstance(m, AttentionCoefficients)]
    assert len(parts) == 1
    source, target, wide = *edge_index, torch.randn(9, 60)
    if name == 'AGNN':  # Takes features of any width.
        scores = parts[0].macs(source, target, 9, wide)
        assert scores == 30 * (3 * 60 + 2)
        assert parts[0].macs(source, target, 9, x) == 30 * (per_score + 2)
        parts[0](source, target, 9, wide)
    assert measure(fresh, (x, edge_index), model).total.snn_macs == expected
    assert per_score == parts[0].macs_per_score(x)


def assignments(path):
    """Which attributes the methods of a file set, those that keep tables aside."""
    for kind in ast.walk(ast.parse(path.read_text())):
        if not isinstance(kind, ast.ClassDef):
            continue
        for method in kind.body:
            for node in ast.walk(method):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                    is_own = (
                        isinstance(node.value, ast.Name) and node.value.id == 'self'
                    )
                    if is_own and not node.attr.startswith('_'):
                        yield kind.name, method.name, node.attr


@pytest.mark.parametrize('path', sorted(ROOT.rglob('*.py')), ids=lambda p: p.stem)
def test_no_call_leaves_anything_behind(path):
    found = [each for each in assignments(path) if each[1] not in _BUILD]
    assert not found, found
