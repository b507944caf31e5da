import pytest
import torch
from torch import nn
from torch_geometric.nn import (
    EdgeConv,
    GraphConv,
    PNAConv,
    SAGEConv,
    global_max_pool,
)
from torch_geometric.nn.models import GraphSAGE
from torch_geometric.utils import scatter, to_torch_coo_tensor

from spikegraph import ConversionConfig, convert, simulate
from spikegraph.coding import PhaseCode, Spikes
from spikegraph.nn import (
    EarliestAlong,
    EarliestMember,
    EarliestNeighbor,
    EarliestSpike,
    PhaseNeuron,
    SpikeGate,
)
from tests.conversion.zoo import randomize

CODES = [
    PhaseCode(6, 1.5),
    PhaseCode(6, 1.5, signed=True),
    PhaseCode(1, 2, signed=True),
    PhaseCode(126, 1.02, signed=True),  # The byte is full.
    PhaseCode.from_levels([1.0, 0.8, 0.3, 0.1]),
]
SCALES = [1.0, torch.tensor([0.3, 1.0, 2.0]).double()]


def spikes_of(code, scale, num_rows=40):
    values = torch.randn(num_rows, 3, dtype=torch.float64)
    values[num_rows // 4 :: 3] *= 1e-4  # Silent.
    values[num_rows // 4 + 1 :: 3] = -values[num_rows // 4 + 1 :: 3].abs()
    return Spikes.from_values(values, code, scale)


@pytest.mark.parametrize('smallest', [False, True])
@pytest.mark.parametrize('scale', SCALES, ids=['one', 'per channel'])
@pytest.mark.parametrize('code', CODES, ids=str)
def test_earliest_spike(code, scale, smallest):
    populations = [spikes_of(code, scale) for _ in range(3)]
    values = torch.stack([p.decode() for p in populations])
    gate = EarliestSpike(smallest)
    expected = values.amin(0) if smallest else values.amax(0)
    assert torch.equal(gate(populations).decode(), expected)
    assert torch.equal(gate([p.decode() for p in populations]), expected)
    assert torch.equal(gate(populations[:1]).spike_time, populations[0].spike_time)
    ties = gate([populations[0], populations[0]])
    assert torch.equal(ties.spike_time, populations[0].spike_time)


@pytest.mark.parametrize('smallest', [False, True])
def test_shapes_that_are_broadcast(smallest):
    many, one = spikes_of(CODES[1], 1.0), spikes_of(CODES[1], 1.0, 8)
    one = Spikes(one.spike_time[:1], one.code, one.scale)
    gate = EarliestSpike(smallest)
    compared = torch.minimum if smallest else torch.maximum
    expected = compared(many.decode(), one.decode())
    for pair in ([many, one], [one, many]):
        assert torch.equal(gate(pair).decode(), expected)
        assert torch.equal(gate([spikes.decode() for spikes in pair]), expected)
    with pytest.raises(ValueError, match=r'one shape.*\(40, 3\), \(8, 3\)'):
        gate([many, spikes_of(CODES[1], 1.0, 8)])


@pytest.mark.parametrize('smallest', [False, True])
@pytest.mark.parametrize('scale', SCALES, ids=['one', 'per channel'])
@pytest.mark.parametrize('code', CODES, ids=str)
def test_earliest_member(code, scale, smallest):
    spikes, how = spikes_of(code, scale), 'min' if smallest else 'max'
    gate = EarliestMember(smallest)
    index = torch.randint(9, (40,))
    index[index == 4] = 0  # An empty group.
    expected = scatter(spikes.decode(), index, dim=0, dim_size=11, reduce=how)
    assert torch.equal(gate(spikes, index, 11).decode(), expected)
    assert torch.equal(gate(spikes.decode(), index, 11), expected)
    assert gate(spikes, index, 11).spike_time[[4, 9, 10]].eq(code.num_steps).all()
    assert torch.equal(gate(spikes, index).decode(), expected[: index.max() + 1])
    whole = spikes.decode().amin(0) if smallest else spikes.decode().amax(0)
    assert torch.equal(gate(spikes).decode(), whole.view(1, 3))


@pytest.mark.parametrize('flow', ['source_to_target', 'target_to_source'])
@pytest.mark.parametrize('smallest', [False, True])
@pytest.mark.parametrize('code', CODES, ids=str)
def test_earliest_neighbor(code, smallest, flow):
    spikes, how = spikes_of(code, 1.0), 'min' if smallest else 'max'
    gate = EarliestNeighbor(flow, smallest)
    edges = torch.randint(36, (2, 120))
    edges[:, :3] = edges[:, 3:6]  # Twins.
    j, i = edges if flow == 'source_to_target' else edges.flip(0)
    expected = scatter(spikes.decode()[j], i, dim=0, dim_size=40, reduce=how)
    assert torch.equal(gate(spikes, edges).decode(), expected)
    assert torch.equal(gate(spikes.decode(), edges), expected)
    if flow == 'source_to_target':
        few = edges[:, i < 7]
        assert torch.equal(gate(spikes, few, 7).decode(), expected[:7])
        size = (40, 40)
        adj_t = to_torch_coo_tensor(torch.unique(edges, dim=1).flip(0), size=size)
        assert torch.equal(gate(spikes, adj_t.double()).decode(), expected)
    empty = gate(spikes, edges[:, :0])
    assert empty.num_spikes == 0 and empty.shape == (40, 3)


def test_groups_of_members_of_any_rank():
    spikes = spikes_of(CODES[1], 1.0, 12)
    cube = Spikes(spikes.spike_time.view(6, 2, 3), spikes.code, spikes.scale)
    index = torch.tensor([0, 2, 2, 0, 0, 2])
    expected = scatter(cube.decode(), index, dim=0, reduce='max')
    assert torch.equal(EarliestMember()(cube, index).decode(), expected)
    nothing = EarliestMember()(cube[:0], index[:0])
    assert nothing.shape == (0, 2, 3)


@pytest.mark.parametrize(
    'code, scale, shape, match',
    [
        (PhaseCode(6, 2), 1.0, (5,), r'one code and scale.*base=1.5.*base=2'),
        (PhaseCode(6, 1.5), 2.0, (5,), 'one code and scale'),
        (PhaseCode(6, 1.5), 1.0, (4,), r'one shape.*got \(5,\), \(4,\)'),
        (PhaseCode(6, 1.5, signed=True), 1.0, (5,), r'one code.*1.5.*signed'),
    ],
)
def test_spikes_that_do_not_compare(code, scale, shape, match):
    first = Spikes.from_values(torch.rand(5), PhaseCode(6, 1.5))
    other = Spikes.from_values(torch.rand(shape), code, scale)
    with pytest.raises(ValueError, match=match):
        EarliestSpike()([first, other])


def test_nodes_with_scales_of_their_own_do_not_compare():
    scale = torch.rand(5, 1) + 0.5
    spikes = Spikes.from_values(torch.rand(5, 2), PhaseCode(6, 1.5), scale)
    for gate in (EarliestMember(), EarliestNeighbor()):
        with pytest.raises(ValueError, match=r'one scale.*\(got shape \(5, 1\)\)'):
            gate(spikes, torch.zeros(2, 0).long())
    assert torch.equal(EarliestSpike()([spikes, spikes]).decode(), spikes.decode())


def test_neighbours_are_not_weighted():
    spikes = spikes_of(CODES[0], 1.0, 5)
    weights = 0.5 * torch.eye(5).double().to_sparse_csr()
    with pytest.raises(ValueError, match=r'without values.*\(got weights\); use'):
        EarliestNeighbor()(spikes, weights)


def mlp(num_in, num_out):
    return nn.Sequential(nn.Linear(num_in, 8), nn.ReLU(), nn.Linear(8, num_out))


class Convs(nn.Module):
    """Two layers with an activation between them, and perhaps a pool."""

    def __init__(self, first, second, act, pool=None):
        super().__init__()
        self.first, self.second, self.act, self.pool = first, second, act, pool

    def forward(self, x, edge_index):
        x = self.act(self.first(x, edge_index))
        if self.pool is not None:
            batch = edge_index.new_zeros(x.size(0))
            batch[20:] = 2
            return self.second(self.pool(x, batch))
        return self.second(x, edge_index)


class Pooled(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.conv, self.lin, self.act = SAGEConv(5, 8), nn.Linear(8, 3), act

    def forward(self, x, edge_index, batch):
        x = self.act(self.conv(x, edge_index))
        return self.lin(global_max_pool(x, batch))


class Stacked(nn.Module):
    """A minimum, a maximum, and a maximum of gates."""

    def __init__(self, act):
        super().__init__()
        self.a, self.b, self.act = nn.Linear(5, 8), SAGEConv(5, 8), act
        self.lin = nn.Linear(8, 3)

    def forward(self, x, edge_index):
        a, b = self.act(self.a(x)), self.act(self.b(x, edge_index))
        low = torch.stack([a, b]).amin(0)
        high = torch.stack([a, b], dim=1).max(dim=1).values
        return self.lin(torch.stack([low, high, b]).max(0)[0] - 2 * low)


def pna(a, b):
    how = ['max', 'min', 'mean', 'sum'], ['identity', 'amplification', 'attenuation']
    return PNAConv(a, b, *how, torch.tensor([0, 5, 9, 5, 2]), divide_input=False)


def sage(a, b, aggr='max', **kwargs):
    return SAGEConv(a, b, aggr=aggr, **kwargs)


# How many gates, and whether the potentials themselves are compared.
MODELS = {
    'SAGE max': (lambda act: Convs(sage(5, 8), sage(8, 3), act), 2),
    'SAGE min': (lambda act: Convs(sage(5, 8, 'min'), sage(8, 3, 'min'), act), 2),
    'SAGE project': (lambda act: Convs(sage(5, 8), sage(8, 3, project=True), act), 2),
    'Graph min': (
        lambda act: Convs(GraphConv(5, 8), GraphConv(8, 3, aggr='min'), act),
        1,
    ),
    'Edge': (lambda act: Convs(EdgeConv(mlp(10, 8)), EdgeConv(mlp(16, 3)), act), 2),
    'PNA': (lambda act: Convs(pna(5, 8), pna(8, 3), act), 4),
    'pool': (Pooled, 1),
    'JK max': (lambda act: GraphSAGE(5, 8, 3, 3, jk='max', act=act), 1),
    'SAGE and JK': (lambda act: GraphSAGE(5, 8, 2, 3, 0, act, aggr='max', jk='max'), 3),
    'stacked': (Stacked, 3),
}


@pytest.mark.parametrize('act', [nn.ReLU, nn.ELU, nn.Tanh], ids=lambda a: a.__name__)
@pytest.mark.parametrize('name', MODELS)
def test_gates_in_networks(name, act, graph):
    make, num_gates = MODELS[name]
    graph.x = graph.x - 0.3  # Values of either sign.
    args = [graph.x, graph.edge_index]
    if name == 'pool':
        args.append(torch.arange(60) // 13)
    model = randomize(make(act())).eval()
    snn = convert(model, tuple(args), ConversionConfig(num_steps=12, compensate=None))
    modules = dict(snn.network.named_modules())
    assert len(snn.neurons) == len(snn.report.populations)
    nodes = [n for n in snn.network.nodes if n.op == 'call_module']
    gates = [n for n in nodes if isinstance(modules[n.target], SpikeGate)]
    assert len(gates) == num_gates
    spikes, simulation = snn.spikes(*args), simulate(snn, *args)
    assert list(spikes) == list(simulation.spikes)
    for population, each in spikes.items():
        assert torch.equal(each.spike_time, simulation.spike_time[population])
    found = snn(*args)
    assert torch.allclose(simulation.output, found, rtol=1e-9, atol=1e-9)
    for gate in gates:  # No window of its own: it starts with what it compares.
        start = simulation.start_step[gate.record.label]
        before = [n for n in gate.all_input_nodes if n.target in modules]
        assert start == max(
            simulation.start_step[n.record.label]
            for n in before
            if n.record.label in spikes
        )


class Gated(nn.Module):
    """An activation right behind a maximum, and perhaps behind others."""

    def __init__(self, act, smallest=False, twice=False):
        super().__init__()
        self.a, self.b, self.lin = nn.Linear(5, 8), SAGEConv(5, 8), nn.Linear(8, 3)
        self.act, self.smallest, self.twice = act, smallest, twice

    def forward(self, x, edge_index):
        both = torch.stack([self.a(x), self.b(x, edge_index)])
        out = both.amin(0) if self.smallest else both.amax(0)
        return self.lin(self.act(out) + out if self.twice else self.act(out))


RELAYS = ['input_x', 'relay_a', 'relay_add', 'act']
MOVED = ['input_x', 'act', 'act_1']


@pytest.mark.parametrize('smallest', [False, True])
@pytest.mark.parametrize(
    'act, twice, populations',
    [
        (nn.ReLU(), False, MOVED),
        (nn.Tanh(), False, MOVED),
        (nn.LeakyReLU(0.2), False, MOVED),
        (nn.GELU(), False, RELAYS),  # Not monotone.
        (nn.Sigmoid(), False, RELAYS),  # Nothing is silence, not 1 / 2.
        (nn.ReLU(), True, RELAYS),  # The potential is read as well.
    ],
    ids=str,
)
def test_activations_move_in_front_of_maxima(act, smallest, twice, populations, graph):
    model = randomize(Gated(act, smallest, twice)).eval()
    config = ConversionConfig(num_steps=100, base=1.08, compensate=None)
    snn = convert(model, graph, config)
    assert sorted(snn.neurons) == sorted(populations)
    compared = [p for p in snn.neurons if p.startswith('relay') or p in MOVED[1:]]
    tied = [snn.neurons[p] for p in compared if p != 'act' or populations is MOVED]
    assert len(tied) == 2 and tied[0].code == tied[1].code
    assert torch.equal(tied[0].scale, tied[1].scale)
    expected = model(graph.x, graph.edge_index)
    assert (snn(graph) - expected).norm() < 0.05 * expected.norm()
    simulation = simulate(snn, graph)
    for name, each in snn.spikes(graph).items():
        assert torch.equal(each.spike_time, simulation.spike_time[name])


def test_gates_share_their_relays(graph):
    model = randomize(Convs(pna(5, 8), pna(8, 3), nn.ReLU())).eval()
    snn = convert(model, graph)  # A maximum and a minimum of the same potentials.
    modules = dict(snn.network.named_modules())
    fired = [n.target for n in snn.network.nodes if n.op == 'call_module']
    fired = [t for t in fired if isinstance(modules[t], PhaseNeuron)]
    assert len(fired) == len(set(fired)) == len(snn.neurons)


@pytest.mark.parametrize('keepdim', [False, True])
@pytest.mark.parametrize('smallest', [False, True])
@pytest.mark.parametrize('code', CODES, ids=str)
def test_earliest_along(code, smallest, keepdim):
    spikes = spikes_of(code, 1.0, 12)
    scale = torch.tensor([1.0, 2.0, 0.5], dtype=spikes.scale.dtype)
    cube = Spikes(spikes.spike_time.view(4, 3, 3), code, scale)
    reduce = torch.amin if smallest else torch.amax
    for dim in (-2, -3):
        gate = EarliestAlong(dim, keepdim, smallest)
        expected = reduce(cube.decode(), dim, keepdim)
        assert torch.equal(gate(cube).decode(), expected)
        assert torch.equal(gate(cube.decode()), expected)
        assert torch.equal(gate.count(cube.decode()), cube.decode().sum(dim, keepdim))
    with pytest.raises(ValueError, match=r'along dimension -1.*shape \(3,\)'):
        EarliestAlong(-1)(cube)
