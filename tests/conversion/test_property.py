"""Random models: either they convert into what they are, or the error names a
piece that has no counterpart.
"""

import random

import pytest
import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg_nn
from torch import nn

from spikegraph import ConversionConfig, convert, simulate
from spikegraph.conversion.operations.activations import (
    is_activation,
)
from spikegraph.network.interpreter import AnalogReading
from spikegraph.nn import ACTIVATIONS, PhaseNeuron
from tests.conversion.zoo import randomize

WIDTH, NUM_FEATURES = 6, 5
WEIGHTED = (pyg_nn.GCNConv, pyg_nn.TAGConv, pyg_nn.SGConv)


class Degree(pyg_nn.MessagePassing):
    """A layer of one's own: affine, without a rule."""

    def __init__(self, width):
        super().__init__(aggr='mean')
        self.lin = nn.Linear(width, WIDTH)

    def forward(self, x, edge_index):
        return self.lin(x) - self.propagate(edge_index, x=self.lin(x))

    def message(self, x_j):
        return 0.5 * x_j


class Rectified(pyg_nn.MessagePassing):
    """A layer of one's own with an activation on the edges."""

    def __init__(self, width):
        super().__init__(aggr='add')
        self.lin_i, self.lin_j = nn.Linear(width, WIDTH), nn.Linear(width, WIDTH)

    def forward(self, x, edge_index):
        return self.propagate(edge_index, x=x)

    def message(self, x_i, x_j):
        return F.relu(self.lin_i(x_i) - self.lin_j(x_j))


def mlp(num_in, act=nn.ReLU):
    return nn.Sequential(nn.Linear(num_in, 7), act(), nn.Linear(7, WIDTH))


# Layers of a width, and the activations inside.
LAYERS = {
    'GCN': (lambda w: pyg_nn.GCNConv(w, WIDTH), 0),
    'GCN plain': (lambda w: pyg_nn.GCNConv(w, WIDTH, normalize=False, bias=False), 0),
    'SAGE': (lambda w: pyg_nn.SAGEConv(w, WIDTH), 0),
    'SAGE max': (lambda w: pyg_nn.SAGEConv(w, WIDTH, aggr='max'), 0),
    'SAGE min': (lambda w: pyg_nn.SAGEConv(w, WIDTH, aggr='min'), 0),
    'SAGE project': (lambda w: pyg_nn.SAGEConv(w, WIDTH, project=True), 1),
    'Graph': (lambda w: pyg_nn.GraphConv(w, WIDTH), 0),
    'Graph max': (lambda w: pyg_nn.GraphConv(w, WIDTH, aggr='max'), 0),
    'SG': (lambda w: pyg_nn.SGConv(w, WIDTH, K=2), 0),
    'TAG': (lambda w: pyg_nn.TAGConv(w, WIDTH, K=2), 0),
    'Cheb': (lambda w: pyg_nn.ChebConv(w, WIDTH, K=3), 0),
    'LE': (lambda w: pyg_nn.LEConv(w, WIDTH), 0),
    'Cluster': (lambda w: pyg_nn.ClusterGCNConv(w, WIDTH), 0),
    'MF': (lambda w: pyg_nn.MFConv(w, WIDTH), 0),
    'MixHop': (lambda w: pyg_nn.MixHopConv(w, WIDTH // 2, powers=[0, 2]), 0),
    'ARMA': (lambda w: pyg_nn.ARMAConv(w, WIDTH, num_stacks=2, num_layers=2), 4),
    'GIN': (lambda w: pyg_nn.GINConv(mlp(w), train_eps=True), 1),
    'GIN GELU': (lambda w: pyg_nn.GINConv(mlp(w, nn.GELU)), 1),
    'Edge': (lambda w: pyg_nn.EdgeConv(mlp(2 * w), aggr='mean'), 1),
    'Edge max': (lambda w: pyg_nn.EdgeConv(mlp(2 * w)), 1),
    'GEN': (lambda w: pyg_nn.GENConv(w, WIDTH, aggr='add'), 2),
    'Dir': (lambda w: pyg_nn.DirGNNConv(pyg_nn.SAGEConv(w, WIDTH)), 0),
    'Linear': (lambda w: nn.Linear(w, WIDTH), 0),
    'own': (Degree, 0),
    'own, rectified': (Rectified, 1),
}
ACTS = {
    'ReLU': nn.ReLU(),
    'F.relu': F.relu,
    'torch.relu': torch.relu,
    'x.relu()': lambda x: x.relu(),
    'in place': nn.ReLU(inplace=True),
    'relu_': lambda x: (x + 0.1).relu_(),
    'clamp': lambda x: x.clamp(min=0),
    'Hardtanh': nn.Hardtanh(-0.5, 2.0),
    'leaky': lambda x: F.leaky_relu(x, 0.1),
    'PReLU': nn.PReLU(),
    'ELU': nn.ELU(),
    'F.elu': F.elu,
    'GELU': nn.GELU(),
    'F.silu': F.silu,
    'Mish': nn.Mish(),
    'tanh': torch.tanh,
    'x.sigmoid()': lambda x: x.sigmoid(),
    'Softplus': nn.Softplus(),
}
NORMS = {
    'BatchNorm1d': lambda: nn.BatchNorm1d(WIDTH),
    'BatchNorm': lambda: pyg_nn.BatchNorm(WIDTH),
    'GraphSizeNorm': pyg_nn.GraphSizeNorm,
    'MeanSubtractionNorm': pyg_nn.MeanSubtractionNorm,
    'Dropout': lambda: nn.Dropout(0.5),
    'Identity': nn.Identity,
}
POOLS = {
    'none': None,
    'add': pyg_nn.global_add_pool,
    'mean': pyg_nn.global_mean_pool,
    'max': pyg_nn.global_max_pool,
    'module': pyg_nn.aggr.MeanAggregation(),
    'multi': pyg_nn.aggr.MultiAggregation(['mean', 'max', 'min']),
}
# Pieces in which signals meet.
MEETINGS = {
    'GLU': lambda: nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GLU()),
    'square': lambda: lambda x: x * x,
    'pow': lambda: lambda x: x**2,
    'softmax': lambda: nn.Softmax(dim=-1),
    'F.softmax': lambda: lambda x: F.softmax(x, dim=-1),
    'F.normalize': lambda: lambda x: F.normalize(x, dim=-1),
    'row max': lambda: lambda x: x + x.max(dim=-1, keepdim=True)[0],
    'LayerNorm': lambda: nn.LayerNorm(WIDTH),
    'PyG LayerNorm': lambda: pyg_nn.LayerNorm(WIDTH),
    'GraphNorm': lambda: pyg_nn.GraphNorm(WIDTH),
    'GAT': lambda: pyg_nn.GATConv(WIDTH, WIDTH),
    'Transformer': lambda: pyg_nn.TransformerConv(WIDTH, WIDTH),
    'gated': lambda: pyg_nn.GatedGraphConv(WIDTH, 2),
    'CG': lambda: pyg_nn.CGConv(WIDTH),
    'std': lambda: pyg_nn.SAGEConv(WIDTH, WIDTH, aggr='std'),
}
# Pieces without a counterpart, and what the error must name.
UNSUPPORTED = {
    'RReLU': (nn.RReLU, 'RReLU'),
    'sin': (lambda: torch.sin, '(sin)'),
    'sort': (lambda: lambda x: x.sort(dim=-1)[0], '(Tensor.sort)'),
    'cosh': (lambda: torch.cosh, '(cosh)'),
    'fft': (lambda: lambda x: torch.fft.fft(x).real, '(fft_fft)'),
    'inverse': (lambda: lambda x: 1 / x, '(truediv)'),
    'ratio': (lambda: lambda x: x / x.sum(dim=-1, keepdim=True), '(truediv)'),
    'log': (lambda: torch.log, '(log)'),
    'softmax and sort': (
        lambda: lambda x: x.softmax(dim=-1).sort(dim=-1)[0],
        '(Tensor.sort)',
    ),
    'falling': (lambda: nn.LeakyReLU(-0.5), 'LeakyReLU'),
    'GCN max': (lambda: pyg_nn.GCNConv(WIDTH, WIDTH, aggr='max'), 'GCNConv'),
    'sums of groups': (
        lambda: lambda x: x.view(-1, 2, WIDTH // 2).cumsum(1).flatten(1).exp().sin(),
        '(Tensor.sin)',
    ),
    'branch': (lambda: lambda x: x if x.sum() > 0 else -x, 'control flow'),
}


class Random(nn.Module):
    """A plan, drawn from a seed: steps of (kind, piece, argument), and another piece."""

    def __init__(self, seed, special=None, make_piece=None):
        super().__init__()
        torch.manual_seed(seed)
        self.draw = random.Random(seed)
        self.pieces, self.plan = nn.ModuleList(), []
        self.num_acts, self.names = 0, []
        width, same = NUM_FEATURES, []  # Earlier values of the usual width.
        num_layers = self.draw.randint(1, 3)
        at = self.draw.randint(0, num_layers - 1)
        for i in range(num_layers):
            self._add_layer(width)
            width = WIDTH
            if i == at and make_piece is not None:
                self._add('call', make_piece(), special)
            if self.draw.random() < 0.4:
                name = self.draw.choice(list(NORMS))
                self._add('call', NORMS[name](), name)
            if same and self.draw.random() < 0.3:
                kind = self.draw.choice(['add', 'swap'])
                self._add(kind, None, kind, self.draw.choice(same))
            if self.draw.random() < 0.75:
                name = self.draw.choice(list(ACTS))
                self._add('call', ACTS[name], name)
                self.num_acts += 1
            if same and self.draw.random() < 0.4:
                kind = self.draw.choice(['cat', 'max', 'amin'])
                self._add(kind, None, kind, self.draw.choice(same))
                width = 2 * WIDTH if kind == 'cat' else WIDTH
            if width == WIDTH:
                same.append(len(self.plan) - 1)
            if self.draw.random() < 0.3:
                self._add('scale', None, 'scale')
        pool = self.draw.choice(list(POOLS))
        if POOLS[pool] is not None:
            width *= 3 if pool == 'multi' else 1
            self._add('group', POOLS[pool], pool)
        self._add('call', nn.Linear(width, 3), 'Linear')
        self.log_softmax = self.draw.random() < 0.5

    def _add_layer(self, width):
        name = self.draw.choice(list(LAYERS))
        make, num_acts = LAYERS[name]
        self._add('call', make(width), name)
        self.num_acts += num_acts

    def _add(self, kind, piece, name, earlier=None):
        self.names.append(name)
        if isinstance(piece, WEIGHTED):
            kind = 'weighted'
        elif isinstance(piece, (pyg_nn.MessagePassing, pyg_nn.DirGNNConv)):
            kind = 'conv'
        elif isinstance(piece, (pyg_nn.GraphSizeNorm, pyg_nn.MeanSubtractionNorm)):
            kind = 'group'
        if isinstance(piece, nn.Module):  # Converted ones are of other types.
            self.pieces.append(piece)
            piece = len(self.pieces) - 1
        self.plan.append((kind, piece, earlier))

    def forward(self, x, edge_index, edge_weight, batch):
        values = []
        for kind, piece, earlier in self.plan:
            piece = self.pieces[piece] if isinstance(piece, int) else piece
            if kind == 'call':
                x = piece(x)
            elif kind == 'conv':
                x = piece(x, edge_index)
            elif kind == 'weighted':
                x = piece(x, edge_index, edge_weight=edge_weight)
            elif kind == 'group':
                x = piece(x, batch)
            elif kind == 'add':
                x = x + values[earlier]
            elif kind == 'swap':
                x = values[earlier] - x
            elif kind == 'cat':
                x = torch.cat([x, values[earlier]], dim=-1)
            elif kind == 'max':
                x = torch.stack([x, values[earlier]], dim=-1).max(dim=-1)[0]
            elif kind == 'amin':
                x = torch.stack([values[earlier], x]).amin(dim=0)
            elif kind == 'scale':
                x = 0.5 * x + 0.1
            values.append(x)
        return F.log_softmax(x, dim=-1) if self.log_softmax else x


def make(seed, *piece):
    """A model and a graph, both drawn from the seed."""
    model = randomize(Random(seed, *piece), seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.PReLU):
                module.weight.abs_()
    model.train(seed % 2 == 0)
    return model, graph_of(18, 50, shift=0.3 * (seed % 3 == 0))


def graph_of(num_nodes, num_edges, shift=0.0):
    x = torch.rand(num_nodes, NUM_FEATURES).double() - shift
    edge_index = torch.randint(num_nodes - 1, (2, num_edges))  # The last is alone.
    return x, edge_index, torch.rand(num_edges).double(), torch.arange(num_nodes) // 7


def config_of(seed):
    draw = random.Random(seed)
    return ConversionConfig(
        num_steps=draw.randint(2, 20),
        per_channel=draw.random() < 0.3,
        levels=draw.choice(['geometric', 'geometric', 'fitted']),
        fold_degree=draw.random() < 0.3,
        encode_input=draw.random() < 0.8,
        compensate=None,
    )


def remaining_activations(network):
    """Nodes that compute an activation, and are no population."""
    found = []
    for node in network.nodes:
        if node.op == 'call_module':
            module = network.get_submodule(node.target)
            if isinstance(module, tuple(ACTIVATIONS)):
                found.append(node)
            for part in module.modules():
                inside = part is not module and isinstance(part, tuple(ACTIVATIONS))
                if inside and not isinstance(module, PhaseNeuron):
                    found.append(node)
        elif node.op in ('call_function', 'call_method'):
            if is_activation(network, node):
                found.append(node)
    return found


@pytest.mark.parametrize('seed', range(60))
def test_supported_models_convert_into_what_they_are(seed):
    model, inputs = make(seed)
    config = config_of(seed)
    snn = convert(model, inputs, config)
    assert snn.report.analog == {}, model.names
    names = [p.name for p in snn.report.populations]
    entered = [name for name in names if name.startswith('input_')]
    relays = [name for name in names if name.startswith('relay_')]
    assert entered == ['input_x'] * config.encode_input
    assert len(names) - len(entered) - len(relays) == model.num_acts, model.names
    assert remaining_activations(snn.network) == []

    check_conversion(snn, model, inputs)


def check_conversion(snn, model, inputs):
    """Run as an ANN it is the model, on any graph; steps and closed form agree."""
    with torch.no_grad():
        expected = model.eval()(*inputs)
    found = AnalogReading(snn.network).run(snn.bind(*inputs))
    size = float(expected.abs().max())
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9 * size), model.names

    other = graph_of(25, 31)  # No size is baked in.
    with torch.no_grad():
        expected = model(*other)
    found = AnalogReading(snn.network).run(snn.bind(*other))
    size = max(size, float(expected.abs().max()))
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9 * size), model.names

    spikes, simulation = snn.spikes(*inputs), simulate(snn, *inputs)
    assert list(spikes) == list(simulation.spikes)
    for name, each in spikes.items():
        assert torch.equal(each.spike_time, simulation.spike_time[name]), name
    out = snn(*inputs)
    assert torch.allclose(simulation.output, out, rtol=1e-9, atol=1e-9 * size)


@pytest.mark.parametrize('name', MEETINGS)
@pytest.mark.parametrize('seed', [0, 1, 2])
def test_signals_meet_in_what_they_are(name, seed):
    model, inputs = make(seed, name, MEETINGS[name])
    assert name in model.names
    snn = convert(model, inputs, config_of(seed))
    assert snn.report.analog == {}, model.names
    assert remaining_activations(snn.network) == []
    check_conversion(snn, model, inputs)


@pytest.mark.parametrize('name', UNSUPPORTED)
@pytest.mark.parametrize('seed', [0, 1])
def test_other_models_are_refused_by_name(name, seed):
    make_piece, named = UNSUPPORTED[name]
    model, inputs = make(seed, name, make_piece)
    assert name in model.names
    with pytest.raises((NotImplementedError, ValueError)) as error:
        convert(model, inputs, config_of(seed))
    message = str(error.value)
    assert named in message, message
