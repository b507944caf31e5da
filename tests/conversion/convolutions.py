"""Which layers convert: every class of ``torch_geometric.nn.conv``, and more, is
built, converted and compared with what it computes.
"""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch_geometric.nn as pyg_nn
from torch import nn
from torch.utils import _pytree as pytree

from spikegraph import ConversionConfig, SpikingModel, convert, simulate
from spikegraph.conversion.operations.refusals import REASONS
from spikegraph.network.interpreter import AnalogReading
from spikegraph.network.ops import op_for
from spikegraph.network.roles import Role
from spikegraph.nn.products import Delay
from tests.conversion.zoo import randomize
from tests.nn.conv.twin_tests import (
    arguments,
    construct,
    layers_with_tests,
    letters_of,
)

TOLERANCE = 1e-9
FINE = ConversionConfig(num_steps=60, base=1.1, compensate=None)
# A byte counts the steps of a ramp: scores that are far apart need a larger base.
BASES = (1.1, 1.12, 1.15)
# Scores are sums of products of two codes each, and what rounds is an exponent.
CLOSE = {'nn.MultiheadAttention': 0.25, 'nn.TransformerEncoderLayer': 0.2}
# All is computed in front of the first population.
_NOTHING_LEFT = 'to hold layers and activations to convert'
EXACT, ANALOG, REFUSED, MISSING = 'exactly', 'analog parts', 'refused', 'not tried'

# Arguments of the forward, by letter, and the layer's own: of layers without a twin. The
# others are in the tests of their twins.
OTHERS: dict[str, list[tuple[str, str]]] = {
    'GCNConv': [
        ('xe', '6, 5'),
        ('xew', '6, 5, improved=True'),
        ('xe', '6, 5, normalize=False'),
        ('xe', "6, 5, aggr='max'"),
    ],
    'GatedGraphConv': [('xe', '6, 2')],
    'ResGatedGraphConv': [('xe', '6, 5')],
    'RGATConv': [('xet', '6, 5, 3')],
    'SignedConv': [('xee', '6, 5, first_aggr=True'), ('Xee', '6, 5, first_aggr=False')],
    'DNAConv': [('ye', '6')],
    'GMMConv': [('xea', '6, 5, dim=4, kernel_size=2')],
    'NNConv': [('xea', '6, 5, mlp(4, 30)')],
    'CGConv': [('xea', '6, dim=4')],
    'FeaStConv': [('xe', '6, 5, heads=2')],
    'PointTransformerConv': [('xpe', '6, 5')],
    'PNAConv': [
        ('xe', "6, 5, ['mean', 'max', 'min'], ['identity', 'amplification'], deg"),
        ('xe', "6, 6, ['sum'], ['linear', 'attenuation'], deg, towers=2"),
        ('xea', "6, 5, ['mean'], ['identity'], deg, edge_dim=4"),
        ('xe', "6, 5, ['std'], ['identity'], deg"),
    ],
    'GENConv': [
        ('xe', "6, 5, aggr='add'"),
        ('xea', "6, 5, aggr='max', edge_dim=4"),
        ('xe', '6, 5'),
        ('xe', "6, 5, aggr='add', msg_norm=True"),
    ],
    'WLConv': [('He', '')],
    'WLConvContinuous': [('xe', ''), ('xew', '')],
    'FiLMConv': [('xe', '6, 5')],
    'SuperGATConv': [('xe', '6, 5, heads=2')],
    'FAConv': [('xze', '6')],
    'EGConv': [('xe', '6, 8, num_heads=4, num_bases=2')],
    'PDNConv': [('xea', '6, 5, edge_dim=4, hidden_channels=8')],
    'GeneralConv': [
        ('xe', '6, 5'),
        ('xe', "6, 5, aggr='max', skip_linear=True"),
        ('xe', '6, 5, attention=True'),
        ('xe', '6, 5, l2_normalize=True'),
    ],
    'HGTConv': [('de', "6, 4, (['a'], [('a', 'to', 'a')]), heads=2")],
    'HEATConv': [('xeota', '6, 5, 2, 3, 2, 4, 3')],
    'HeteroConv': [
        ('de', "{('a', 'to', 'a'): SAGEConv(6, 5)}"),
        ('de', "{('a', 'to', 'a'): GATConv(6, 5, add_self_loops=False)}"),
    ],
    'HANConv': [('de', "6, 4, (['a'], [('a', 'to', 'a')])")],
    'PointGNNConv': [('xpe', 'mlp(6, 3), mlp(9, 8), mlp(8, 6)')],
    'GPSConv': [('xe', '6, SAGEConv(6, 6), heads=2'), ('xe', '6, None, heads=2')],
    'AntiSymmetricConv': [('xe', '6, num_iters=2'), ('xe', "6, act='relu'")],
    'MeshCNNConv': [('xm', '6, 5')],
}
# What must be installed beside PyG, or done, to use the class at all.
NOT_TRIED = {
    'MessagePassing': 'is the base class; a layer of your own is looked into',
    'CuGraphSAGEConv': 'needs pylibcugraphops',
    'CuGraphGATConv': 'needs pylibcugraphops',
    'CuGraphRGCNConv': 'needs pylibcugraphops',
    'FusedGATConv': 'needs dgNN',
    'GravNetConv': 'needs torch-cluster or pyg-lib',
    'DynamicEdgeConv': 'needs torch-cluster or pyg-lib',
    'XConv': 'needs torch-cluster or pyg-lib',
    'PANConv': 'needs torch-sparse',
    'SplineConv': 'needs torch-spline-conv or pyg-lib',
}
NORMS = {
    'BatchNorm': [('x', '6')],
    'HeteroBatchNorm': [('xo', '6, num_types=2')],
    'GraphSizeNorm': [('xb', '')],
    'MeanSubtractionNorm': [('xb', '')],
    'InstanceNorm': [('xb', '6'), ('x', '6, track_running_stats=True')],
    'LayerNorm': [('xb', '6'), ('x', "6, mode='node'")],
    'HeteroLayerNorm': [('xo', '6, num_types=2')],
    'GraphNorm': [('xb', '6')],
    'PairNorm': [('xb', '')],
    'MessageNorm': [('xz', 'True')],
    'DiffGroupNorm': [('x', '6, groups=3')],
}
AGGREGATIONS = {
    'SumAggregation': [('xb', '')],
    'MeanAggregation': [('xb', '')],
    'MaxAggregation': [('xb', '')],
    'MinAggregation': [('xb', '')],
    'MultiAggregation': [
        ('xb', "['mean', 'max', 'min', 'sum']"),
        ('xb', "['mean', 'sum'], mode='sum'"),
        ('xb', "['mean', 'sum'], mode='max'"),
        ('xb', "['mean', 'std']"),
    ],
    'DegreeScalerAggregation': [
        ('xb', "['mean', 'max'], ['identity', 'linear'], deg"),
    ],
    'MulAggregation': [('xb', '')],
    'VarAggregation': [('xb', '')],
    'StdAggregation': [('xb', '')],
    'SoftmaxAggregation': [('xb', '')],
    'PowerMeanAggregation': [('xb', '')],
    'MedianAggregation': [('xb', '')],
    'QuantileAggregation': [('xb', '0.5')],
    'LSTMAggregation': [('xb', '6, 5')],
    'GRUAggregation': [('xb', '6, 5')],
    'Set2Set': [('xb', '6, 2')],
    'SortAggregation': [('xb', '3')],
    'AttentionalAggregation': [('xb', 'mlp(6, 1)')],
    'DeepSetsAggregation': [('xb', 'mlp(6, 8), mlp(8, 5)')],
    'VariancePreservingAggregation': [('xb', '')],
}
MODELS = {
    'MLP': [('x', '[6, 8, 8, 5]'), ('x', "[6, 8, 5], act='gelu', norm=None")],
    'GCN': [
        ('xe', '6, 8, 3, 5'),
        ('xew', "6, 8, 3, 5, norm='batch_norm', jk='cat'"),
        ('xe', "6, 8, 2, 5, act='elu', jk='max'"),
        ('xe', "6, 8, 2, 5, norm='layer_norm'"),
        ('xe', "6, 8, 2, 5, jk='lstm'"),
    ],
    'GraphSAGE': [('xe', '6, 8, 3, 5'), ('xe', "6, 8, 2, 5, aggr='max', jk='max'")],
    'GIN': [('xe', "6, 8, 3, 5, norm='batch_norm'")],
    'EdgeCNN': [('xe', '6, 8, 2, 5')],
    'PNA': [
        (
            'xe',
            "6, 8, 2, 5, aggregators=['mean', 'max'], scalers=['identity'], deg=deg",
        )
    ],
    'LINKX': [('xe', '14, 6, 8, 5, 2')],
    'GAT': [('xe', '6, 8, 2, 5, heads=2'), ('xe', '6, 8, 2, 5, v2=True')],
}

# Of PyTorch, what multiplies or divides signals.
TORCH = {
    'nn.RNNCell': [('x', '6, 5')],
    'nn.GRUCell': [('x', '6, 5'), ('xz', '6, 6')],
    'nn.LSTMCell': [('x', '6, 5')],
    'nn.RNN': [('y', "6, 5, batch_first=True, nonlinearity='relu'")],
    'nn.GRU': [('y', '6, 5, batch_first=True')],
    'nn.LSTM': [
        ('y', '6, 5, batch_first=True, bidirectional=True'),
        ('y', '6, 5, 2, batch_first=True, proj_size=3'),
    ],
    'nn.MultiheadAttention': [
        ('xzz', '6, 2'),
        ('yyy', '6, 3, batch_first=True, add_bias_kv=True'),
    ],
    'nn.TransformerEncoderLayer': [('y', '6, 2, 8, batch_first=True')],
    'nn.TransformerDecoderLayer': [
        ('yy', "6, 2, 8, norm_first=True, activation='gelu'")
    ],
    'nn.TransformerEncoder': [('x', 'nn.TransformerEncoderLayer(6, 2, 8), 2')],
    'nn.TransformerDecoder': [('xz', 'nn.TransformerDecoderLayer(6, 2, 8), 1')],
    'nn.Transformer': [('xz', '6, 2, 1, 1, 8')],
    'nn.LayerNorm': [('x', '6')],
    'nn.RMSNorm': [('x', '6')],
    'nn.GroupNorm': [('i', '3, 6')],
    'nn.InstanceNorm1d': [('y', '3')],
    'nn.InstanceNorm2d': [('i', '6'), ('i', '6, track_running_stats=True')],
    'nn.LocalResponseNorm': [('i', '3')],
    'nn.GLU': [('x', '')],
    'nn.Bilinear': [('xz', '6, 6, 5')],
    'nn.CosineSimilarity': [('xz', '')],
    'nn.PairwiseDistance': [('xz', '')],
    'nn.Sequential': [
        ('x', 'nn.Linear(6, 8), nn.Softmax(-1), nn.Linear(8, 5)'),
        ('x', 'nn.Linear(6, 8), nn.Softmin(-1), nn.Linear(8, 5)'),
        ('x', 'nn.Linear(6, 8), nn.LogSoftmax(-1), nn.Linear(8, 5)'),
        ('i', 'nn.Conv2d(6, 8, 1), nn.Softmax2d(), nn.Conv2d(8, 5, 1)'),
    ],
}


@dataclass
class Outcome:
    """What became of one layer.

    Args:
        status (str): One of `EXACT`, `ANALOG`, `REFUSED` and `MISSING`.
        note (str): How it converted, or why not.
        message (str): The error without analog parts.
        error (float): The largest difference from the layer, relative.
        snn (SpikingModel, optional): The converted layer.
        model (torch.nn.Module, optional): The layer.
        inputs (tuple): What it was called with.
    """

    status: str
    note: str
    message: str = ''
    error: float = 0.0
    snn: SpikingModel | None = None
    model: nn.Module | None = None
    inputs: tuple[Any, ...] = ()


def build(name: str, letters: str, code: str) -> nn.Module:
    """The layer with the arguments that ``code`` spells."""
    tests = layers_with_tests().get(name)
    found = tests.layer if tests else None
    if name.startswith('nn.'):
        found = getattr(nn, name.removeprefix('nn.'))
    for module in (pyg_nn.models, pyg_nn, pyg_nn.aggr):
        found = found or getattr(module, name, None)
    model = construct(found, code)
    model = randomize(model if name in MODELS else _inside(model, len(letters))).eval()
    for part in model.modules():
        if isinstance(
            part, nn.MultiheadAttention
        ):  # Scores of a few units, as trained.
            part.in_proj_weight.data.mul_(0.5)
    return model


def _inside(layer: nn.Module, num_arguments: int) -> nn.Module:
    """A model of one layer, with the first arguments of the layer."""
    names = list(inspect.signature(layer.forward).parameters)[:num_arguments]
    names = [name.removeprefix('args_').removesuffix('_dict') for name in names]
    text = ', '.join(names)
    source = f'lambda self, {text}: self.layer({text})'
    model = type('Model', (nn.Module,), {'forward': eval(source)})()
    model.layer = layer
    return model


@contextmanager
def default_type(name: str) -> Iterator[None]:
    """That of the inputs for MeshCNNConv, which makes tensors of the default type."""
    default = torch.get_default_dtype()
    if name == 'MeshCNNConv':
        torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(default)


def _behind_another(model: nn.Module) -> nn.Module:
    """The layer as it is inside a network: on features, not on inputs."""
    names = list(inspect.signature(model.forward).parameters)
    others = ''.join(f', {name}' for name in names[1:])
    text = f'lambda self, {names[0]}{others}: '
    source = f'{text}self.layer(self.first({names[0]}).relu(){others})'
    deeper = type('Model', (nn.Module,), {'forward': eval(source)})()
    torch.manual_seed(0)
    deeper.first, deeper.layer = nn.Linear(6, 6).double(), model.layer
    return deeper.eval()


def try_layer(
    name: str, letters: str, code: str, model: nn.Module | None = None
) -> Outcome:
    """Converts one layer, without analog parts and, if refused, with them."""
    letters = letters_of(letters)
    inputs = arguments(letters)
    model = build(name, letters, code) if model is None else model
    config = ConversionConfig(num_steps=16, base=1.4, compensate=None)
    try:
        with default_type(name):
            snn = convert(model, copy.deepcopy(inputs), config)
    except (NotImplementedError, ValueError) as error:
        if _NOTHING_LEFT in str(error) and not hasattr(model, 'first'):
            return try_layer(name, letters, code, _behind_another(model))
        return _with_analog(model, inputs, str(error))
    notes = []
    if snn.report.affine:
        notes.append('affine, kept as it is')
    num_inside = snn.report.num_activations - hasattr(model, 'first')
    if num_inside:
        notes.append(f'{_count(num_inside, "population")} inside')
    gates = [snn.network.operation(n) for n in snn.network.nodes if n.role is Role.GATE]
    sums = [n for n in snn.network.nodes if n.role is Role.PRODUCT]
    num_delays = sum(isinstance(gate, Delay) for gate in gates)
    if num_delays + len(sums):
        notes.append(_count(num_delays + len(sums), 'product'))
    if len(gates) > num_delays:
        notes.append(_count(len(gates) - num_delays, 'gate'))
    if snn.report.currents:
        notes.append(f'currents: {", ".join(sorted(set(snn.report.currents)))}')
    if snn.report.preprocessed and not hasattr(model, 'first'):
        return try_layer(name, letters, code, _behind_another(model))
    if snn.report.preprocessed:
        kinds = [what.split(')')[0].split('(')[-1] for what in snn.report.preprocessed]
        notes.append(f'in front, of inputs: {", ".join(sorted(set(kinds)))}')
    with default_type(name):
        error = deviation(snn, model, inputs)
    assert snn.report.analog == {} and error < TOLERANCE, (name, code, error)
    return Outcome(EXACT, '; '.join(notes), '', error, snn, model, inputs)


def _with_analog(model: nn.Module, inputs: tuple[Any, ...], message: str) -> Outcome:
    config = replace(FINE, allow_analog=True)
    note = reason_in(message)
    try:
        snn = convert(model, copy.deepcopy(inputs), config)
    except (NotImplementedError, ValueError):
        return Outcome(REFUSED, note, message, model=model, inputs=inputs)
    with torch.no_grad():
        error = relative(snn(*inputs), model(*copy.deepcopy(inputs)))
    left = {what for what in snn.report.analog.values()}
    whole = any(what.startswith('layer (') for what in left)
    if not whole:
        kinds = [what.split(' in ')[0].split('(')[-1].strip(')') for what in left]
        note += f'; analog: {", ".join(sorted(set(kinds)))}'
    status = REFUSED if whole else ANALOG
    return Outcome(status, note, message, error, snn, model, inputs)


@torch.no_grad()
def deviation(snn: SpikingModel, model: nn.Module, inputs: tuple[Any, ...]) -> float:
    """How far the conversion is from exact: the graph run as an ANN against
    the model; the spikes of single steps against the closed form; and, where
    no population is inside, the output against that on the decoded inputs.
    """
    bound = snn.bind(*copy.deepcopy(inputs))
    ann = AnalogReading(snn.network).run(bound)
    errors = [relative(ann, model(*copy.deepcopy(inputs)))]
    spikes, simulation = snn.spikes(*inputs), simulate(snn, *inputs)
    same = list(spikes) == list(simulation.spikes) and all(
        torch.equal(each.spike_time, simulation.spike_time[name])
        for name, each in spikes.items()
    )
    out = snn(*inputs)
    errors += [0.0 if same else float('inf'), relative(simulation.output, out)]
    plain = not isinstance(inputs[0], dict) and not snn.report.preprocessed
    if snn.report.num_activations == 0 and plain:
        decoded = list(inputs)
        names = list(snn.spec.inputs)
        for name, each in spikes.items():
            if name.startswith('input_'):
                decoded[names.index(name.removeprefix('input_'))] = each.decode()
        errors.append(relative(out, model(*copy.deepcopy(decoded))))
    return max(errors)


def relative(found: Any, expected: Any) -> float:
    """The largest difference, relative to the largest value."""
    pairs = zip(pytree.tree_leaves(found), pytree.tree_leaves(expected), strict=True)
    return max(
        float((a - b).abs().max() / b.abs().max().clamp(min=1e-9))
        if a.shape == b.shape
        else float('inf')
        for a, b in pairs
    )


def reason_in(message: str) -> str:
    """The reason in an error message, without names and remedies."""
    message = message.split(', and its messages cannot be traced (')[0]
    _, _, reason = message.rpartition('Cannot convert ')
    what, _, reason = (reason or message).partition(': ')
    name, _, kind = what.partition(' (')
    where = '' if name in ("'layer'",) else f'{what.replace("layer.", "")}: '
    remedies = ('Add a rule', 'Replace it,', 'Control flow', 'Read only', 'Choose an')
    for remedy in remedies:
        reason = reason.split(f'. {remedy}')[0]
    return f'{where}{reason}'.replace('|', r'\|').replace('\n', ' ').strip()


def _count(num: int, what: str) -> str:
    return f'{num} {what}{"s" * (num > 1)}'


def try_all(table: dict[str, list[tuple[str, str]]]) -> dict[str, list[Outcome]]:
    """The outcome of every row of a table."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return {
            name: [try_layer(name, *row) for row in rows]
            for name, rows in table.items()
        }


def rows_of(
    table: dict[str, list[tuple[str, str]]], outcomes: dict[str, list[Outcome]]
) -> list[str]:
    """A line for each class and outcome."""
    lines = ['| | with | converts | |', '|---|---|---|---|']
    names = list(table)
    if table is CONVOLUTIONS:  # In the order of PyG.
        names = [*pyg_nn.conv.__all__, *(n for n in names if not hasattr(pyg_nn, n))]
    for name in names:
        groups: dict[tuple[str, str], list[str]] = {}
        if name in NOT_TRIED:
            op = op_for(getattr(pyg_nn, name, None))
            reason = '' if op is None else REASONS[op.why]
            note = NOT_TRIED[name] + (f'; {reason}' if reason else '')
            lines.append(f'| `{name}` | | {REFUSED if reason else MISSING} | {note} |')
            continue
        for (letters, code), outcome in zip(table[name], outcomes[name], strict=True):
            weighted = ' with `edge_weight`' if 'w' in letters else ''
            text = f'`({code})`{weighted}'
            groups.setdefault((outcome.status, outcome.note), []).append(text)
        for (status, note), codes in groups.items():
            status = {ANALOG: 'with analog parts'}.get(status, status)
            lines.append(f'| `{name}` | {", ".join(codes)} | {status} | {note} |')
    return lines


HEAD = """\
# Which layers convert

Written by `python -m tests.pages`, which builds each layer of PyG, and those of
PyTorch that multiply or divide signals, with the arguments given, converts it and
compares; a test keeps this page true.

* **exactly**: nothing stays analog. The converted graph, run as an ANN, is the layer
  (relative difference below 1e-9 in float64); single time steps and closed form fire
  the same spikes; and where no population is inside, the output is that of the layer on
  the decoded input spikes. What rounds is only the code of the populations: gates and
  products of spikes are exact on what they are given.
* **refused**: `convert` raises, and says why. With `allow_analog=True`, most of these
  stay analog as they are, are listed in the report, and are billed as MACs.

Populations inside stand for the activations of a layer, or relay potentials that meet
others. A product is the spike of one delayed by that of another; a gate lets the earliest
spike of a group pass, opens a window with it, or reads spikes with another base
([design](design.md)).

Currents are inputs that charge populations as analog values, next to spikes. A layer of
your own that is not listed is either found to be affine or looked into, see
[Layers of your own](own_layers.md).
"""


CONVOLUTIONS = {**OTHERS, **{n: t.shown for n, t in layers_with_tests().items()}}
TABLES = {
    'Convolutions': CONVOLUTIONS,
    'Norms': NORMS,
    'Aggregations': AGGREGATIONS,
    'Models': MODELS,
    'PyTorch': TORCH,
}


def page(outcomes: dict[str, dict[str, list[Outcome]]]) -> str:
    """The whole page."""
    parts = [HEAD]
    for title, table in TABLES.items():
        lines = rows_of(table, outcomes[title])
        parts += [f'## {title}\n', '\n'.join(lines) + '\n']
    return '\n'.join(parts)
