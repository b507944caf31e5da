"""The event-driven machine, spike by spike, against what is counted at once."""

import bisect
import itertools
import math
from collections import Counter

import pytest
import torch
from torch import nn
from torch_geometric.nn import APPNP, GATConv, GCNConv, GINConv, GraphConv, SAGEConv
from torch_geometric.nn.models import JumpingKnowledge
from torch_geometric.utils import add_remaining_self_loops

from spikegraph import ConversionConfig, convert, measure, simulate
from spikegraph.measurement import HOROWITZ_45NM_FP32, MACHINES, Counts
from spikegraph.measurement.events import _num_moved
from spikegraph.network.roles import Role
from spikegraph.nn import GraphFilter
from spikegraph.nn.shift import NeighborShift
from spikegraph.running.steps import Run
from tests.conversion.zoo import MODELS, make, randomize
from tests.measurement.test_measure import Centered
from tests.meetings import Edges

NUM_STEPS = 6
CONFIG = ConversionConfig(num_steps=NUM_STEPS, input_scale='layer')


@pytest.fixture
def sparse():
    """A graph on which some nodes are silent, with neighbours, alone, or none."""
    torch.manual_seed(3)
    x = torch.rand(20, 6, dtype=torch.float64)
    x = x * (torch.rand(20, 6) < 0.3)
    x[:7] = 0
    edge_index = torch.randint(18, (2, 40))  # The last two have no edges.
    return x, edge_index[:, edge_index[0] != edge_index[1]]


class Stepped(Run):
    """The time-stepped run, which notes on which membranes something arrives."""

    def __init__(self, snn):
        super().__init__(snn)
        self.arrived = {}  # By potential: for each source, where.
        self.found = {}

    def _charge_windows(self, node):
        potential = super()._charge_windows(node)
        segment = self._segment(node)
        sources = sorted(self.feeds[node], key=self.nodes.index)
        silent = {n: torch.zeros_like(self.spiking[n].decode()) for n in sources}
        bias = self._run_segment(segment, silent)
        found = {}
        for source in sources if bias.is_floating_point() else ():
            spikes = self.spiking[source]
            found[source] = torch.zeros(bias.shape, dtype=torch.bool)
            for step in range(spikes.code.num_steps):
                arriving = spikes.current(step)
                sizes = 1 + torch.rand_like(arriving)  # So that none cancel out.
                current = {**silent, source: sizes * arriving}
                found[source] |= self._run_segment(segment, current) != bias
        self.arrived[node] = found
        return potential

    def population(self, node):
        super().population(node)
        if not node.record.encodes:
            divisor = node.kwargs.get('divisor')
            self.found[node.record.row] = (node, node.args[0], divisor)

    def at(self, node):
        """Where something arrives, and on how many membranes."""
        if node in self.spiking:
            where = self.spiking[node].decode() != 0
            return where, int(where.sum())
        parts = list(self.arrived[node].values())
        return torch.stack(parts).any(0), sum(int(part.sum()) for part in parts)


class Branches(nn.Module):
    """A CNN with max pooling, a residual and an average at the end."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.conv3 = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.out = nn.Linear(4, 3)

    def forward(self, x):
        x = self.pool(self.conv1(x).relu())
        x = (self.conv2(x) + x).relu()
        return self.out(self.conv3(x).relu().mean(dim=(2, 3)))


class Net(nn.Module):
    """Two convolutions of a kind."""

    def __init__(self, build):
        super().__init__()
        self.conv1, self.conv2 = build(6, 8), build(8, 3)

    def forward(self, x, edge_index):
        return self.conv2(self.conv1(x, edge_index).relu(), edge_index)


class Jumping(nn.Module):
    """The output sees two populations, one of them two hops away."""

    def __init__(self):
        super().__init__()
        self.lin, self.conv = nn.Linear(6, 5), GCNConv(5, 5)
        self.jump, self.spread = JumpingKnowledge('cat'), APPNP(2, 0.2)
        self.out = nn.Linear(10, 3)

    def forward(self, x, edge_index):
        a = self.lin(x).relu()
        b = self.spread(self.conv(a, edge_index), edge_index).relu()
        return self.out(self.jump([a, b]))


class Written(nn.Module):
    """Sums along edges as plain PyTorch."""

    def __init__(self):
        super().__init__()
        self.lin, self.out = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x, edge_index):
        x = self.lin(x)
        sums = torch.zeros_like(x).index_add(0, edge_index[1], x[edge_index[0]])
        return self.out(sums.relu())


class Differences(nn.Module):
    """Spikes arrive at a membrane as they are."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = nn.Linear(6, 5), nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x, edge_index):
        return self.out((self.a(x).relu() - self.b(x).relu()).relu())


class Pairs(nn.Module):
    """Scores of all pairs of rows, which products of spikes arrive at."""

    def __init__(self):
        super().__init__()
        self.lin, self.out = nn.Linear(6, 5), nn.Linear(20, 3)

    def forward(self, x, edge_index):
        x = self.lin(x).relu()
        return self.out((x @ x.t()).relu())


class Attention(nn.Module):
    """One head, on which a population reads the result."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        scores = self.query(x) @ self.key(x).transpose(1, 2)
        return self.out((scores.softmax(-1) @ self.value(x)).relu())


def gin(num_inputs, num_outputs):
    layers = (
        nn.Linear(num_inputs, 7),
        nn.ReLU(),
        nn.Linear(7, num_outputs),
    )
    return GINConv(nn.Sequential(*layers))


NETWORKS = {
    'GCN': lambda: Net(GCNConv),
    'GIN': lambda: Net(gin),
    'GAT': lambda: Net(lambda i, o: GATConv(i, o, heads=2, concat=False)),
    'SAGE': lambda: Net(SAGEConv),
    'maximum': lambda: Net(lambda i, o: SAGEConv(i, o, aggr='max')),
    'GraphConv': lambda: Net(GraphConv),
    'jumping': Jumping,
    'written': Written,
    'differences': Differences,
    'pairs': Pairs,
    'CNN': Branches,
}


def made(name, sparse):
    torch.manual_seed(1)
    model = randomize(NETWORKS[name]().double()).eval()
    if name == 'CNN':
        x = torch.rand(3, 2, 8, 8, dtype=torch.float64)
        x[:, :, :4] *= torch.rand(3, 2, 4, 8) < 0.2
        x[0] = 0
        inputs = (x,)
    else:
        inputs = sparse
    return model, inputs, convert(model, inputs, CONFIG)


@pytest.mark.parametrize('name', NETWORKS)
def test_both_machines_step_by_step(name, sparse):
    """Which membranes receive anything in any step; and how often all are updated."""
    model, inputs, snn = made(name, sparse)
    measured = measure(snn, inputs, model)
    rows = {layer.name: layer.counts for layer in measured.layers}
    run = Stepped(snn)
    run.run(snn.bind(*inputs))
    assert run.found
    for row, (node, potential, divisor) in run.found.items():
        counts, spikes = rows[row], run.result.spikes[node.record.label]
        where, num_membranes = run.at(potential)
        if divisor is not None:
            moves, more = run.at(divisor)
            where, shared = where | moves, torch.broadcast_to(moves, where.shape)
            assert more == int(moves.sum()) <= int(shared.sum())
        else:
            assert counts.openings == num_membranes, row
        neuron = snn.network.operation(node)
        compared = math.ceil(
            math.log2(spikes.code.num_steps * neuron.comparisons_per_step + 1)
        )
        assert counts.receivers == int(where.sum()), row
        assert counts.searches == counts.receivers * compared
        moves = 0 if divisor is None else counts.searches
        assert counts.decays == counts.touches + counts.openings + moves
        waited = spikes.phase().long().clamp(max=spikes.code.num_steps - 1) + 1
        sources = run.arrived.get(potential)
        if sources is not None and divisor is None:
            steps = sum(run.spiking[n].code.num_steps for n in sources)
            updates = steps * where.numel() + int(waited.sum())
            assert counts.membrane_updates == updates, row
    for node in snn.network.nodes:
        if node.record.encodes:
            counts, label = rows[node.record.row], node.record.label
            assert counts.encoded == run.result.spikes[label].num_spikes
            assert counts.openings == counts.receivers == counts.touches == 0


def check_bounds(measured):
    """What cannot be otherwise, whatever the network."""
    total = measured.total
    for row in measured.layers:
        c = row.counts
        assert 0 <= c.moved <= c.accumulates and c.synops + c.moved <= c.touches
        assert c.encoded in (0, c.spikes)
        assert c.receivers <= max(c.neurons, c.openings), row.name
        if c.neurons and row.role != 'input encoding':
            assert c.openings <= c.membrane_updates
    assert total.encoded <= total.spikes
    assert total.decays >= total.touches + total.openings
    for machine in MACHINES:
        table = HOROWITZ_45NM_FP32
        compute, memory = (table.snn_pj(total, m, machine) for m in (False, True))
        assert 0 <= compute <= memory
    compute = [table.snn_pj(total, machine=machine) for machine in MACHINES]
    assert compute[1] <= compute[0]  # Nothing moves that holds no spike.


@pytest.mark.parametrize('name', MODELS)
def test_bounds(name, graph):
    model = make(name)
    check_bounds(measure(convert(model, graph), graph, model))


@pytest.mark.parametrize('name', NETWORKS)
def test_bounds_of_sparse_inputs(name, sparse):
    model, inputs, snn = made(name, sparse)
    check_bounds(measure(snn, inputs, model))


def test_sums_written_out(sparse):
    model, (x, edge_index), snn = made('written', sparse)
    rows = {row.name: row.counts for row in measure(snn, (x, edge_index), model).layers}
    (counts,) = (c for c in rows.values() if c.accumulates)
    fires = (simulate(snn, x, edge_index).spikes['input_x'].decode() != 0).any(1)
    assert counts.accumulates == 5 * edge_index.size(1)
    assert counts.moved == 5 * int(fires[edge_index[0]].sum()) < counts.accumulates


def test_spikes_that_arrive_as_they_are(sparse):
    model, inputs, snn = made('differences', sparse)
    rows = {row.name: row.counts for row in measure(snn, inputs, model).layers}
    spikes = list(simulate(snn, *inputs).spikes.items())
    (_, a), (_, b), (last, _) = spikes[1:]
    touches = sum(c.touches for name, c in rows.items() if not c.synops)
    assert touches == rows[last].openings == a.num_spikes + b.num_spikes


@pytest.mark.parametrize('rows', [[[0, 1]], [[0.5, 1]], [[0, 0, 1]], [[1, 0, 2]]])
@pytest.mark.parametrize('has_weights', [False, True])
def test_hops_by_brute_force(rows, has_weights):
    edge_index = torch.tensor([[0, 1, 2, 2, 4], [1, 2, 3, 0, 3]])
    x = torch.zeros(5, 2)
    x[0, 0] = x[4, 1] = 1
    weight = torch.rand(3, 2) if has_weights else None
    layer = GraphFilter(NeighborShift(), rows, weight)
    held = {(0, 0), (4, 1)}  # Nodes and channels.
    if has_weights:
        held = {(node, channel) for node, _ in held for channel in range(3)}
    at, expected = set(), 0
    for power in range(len(rows[0]) - 1, 0, -1):
        at |= held if rows[0][power] else set()
        moves = [
            (target, channel)
            for source, target in edge_index.t().tolist()
            for node, channel in at
            if node == source
        ]
        expected, at = expected + len(moves), set(moves)
    adjacency = layer.adjacency(x, (edge_index,))
    assert _num_moved(layer, x > 0, adjacency) == expected > 0


def test_what_follows_the_last_layer_reads_the_same(sparse):
    class Probabilities(Net):
        def forward(self, x, edge_index):
            return super().forward(x, edge_index).log_softmax(dim=-1)

    found = []
    for kind in (Net, Probabilities):
        torch.manual_seed(0)
        model = randomize(kind(GraphConv).double())
        model.conv1.lin_rel.bias.data.fill_(-0.2)  # So that some are silent.
        snn = convert(model, sparse, CONFIG)
        (row,) = [r for r in measure(snn, sparse, model).layers if r.name == 'output']
        found.append((row.counts.openings, row.counts.receivers))
    assert found[0] == found[1] and 0 < found[0][0] < 20 * 3


def test_a_shared_threshold_is_one_membrane():
    """The sum of a row of coefficients divides all that its row attends to."""
    torch.manual_seed(0)
    model, x = Attention().double().eval(), torch.rand(2, 5, 8, dtype=torch.float64)
    snn = convert(model, x, CONFIG)
    rows = {row.name: row.counts for row in measure(snn, x, model).layers}
    shared = {
        node.record.row: node for node in snn.network.nodes if 'divisor' in node.kwargs
    }
    assert shared
    for name in shared:
        counts = rows[name]
        assert counts.receivers == counts.neurons == 2 * 5 * 8
        assert counts.openings == 2 * 5 * 8 + 2 * 5


def test_a_threshold_of_several_channels_is_one_membrane(graph):
    model = Edges().double().eval()
    call = (graph.x.abs() + 1, graph.edge_index)
    rows = {r.name: r.counts for r in measure(convert(model, call), call, model).layers}
    # The sums, the bias times the denominator, and that of each node and head.
    assert rows['elu'].openings == 2 * 60 * 8 + 60 * 2
    assert rows['elu'].receivers == 60 * 8


def test_rows_that_a_norm_adds_up(sparse):
    model = randomize(Centered().double())
    x, batch = sparse[0], torch.arange(4).repeat_interleave(5)
    snn = convert(model, (x, batch), CONFIG)
    rows = {row.name: row.counts for row in measure(snn, (x, batch), model).layers}
    fires = (simulate(snn, x, batch).spikes['input_x'].decode() != 0).any(1)
    assert rows['norm'].accumulates == 20 * 8
    assert rows['norm'].moved == 8 * int(fires.sum()) < 20 * 8


def test_silence_costs_nothing(sparse):
    """Without a spike there is nothing but what is done for every node or value."""
    x, edge_index = sparse
    model = randomize(Net(GraphConv).double())
    for name, value in model.named_parameters():
        if name.endswith('bias'):
            value.data.fill_(-1.0)
    snn = convert(model, sparse, CONFIG)
    total = measure(snn, (torch.zeros_like(x), edge_index), model).total
    kept = {
        name: getattr(total, name)
        for name in ('synops', 'moved', 'touches', 'receivers', 'openings')
    }
    assert set(kept.values()) == {0} and total.spikes == total.searches == 0
    table = HOROWITZ_45NM_FP32
    least = total.adds * table.add + total.scalings * table.multiply
    assert table.snn_pj(total, True, 'event-driven') == pytest.approx(least)
    assert table.snn_pj(total, True) > 100 * least


# One machine after the other, spike by spike.


class Membranes:
    """Membranes that are touched when something arrives, and decay lazily."""

    def __init__(self, code):
        self.code, self.value, self.last = code, {}, {}
        self.done = Counter()

    def power(self, first, last):
        """What a membrane is multiplied by from one step to another."""
        self.done['decays'] += 1
        return float(self.code.levels[first] / self.code.levels[last])

    def arrive(self, where, step, size):
        self.done['touches'] += 1
        before = self.value.get(where, 0.0)
        before *= self.power(self.last.get(where, step), step)
        self.value[where], self.last[where] = before + size, step

    def read(self, where):
        """The potential when the window opens."""
        self.done['openings'] += 1
        end = self.code.num_steps - 1
        scaled = self.value[where] * self.power(self.last[where], end)
        return scaled * float(self.code.levels[end])


def test_a_gcn_spike_by_spike(sparse):
    """Lazy decay and a search of the table give the same spikes as every step does,
    with as many touches, multiplications and comparisons as are counted.
    """
    torch.manual_seed(0)
    x, edge_index = sparse
    model = randomize(Net(GCNConv).double())
    snn = convert(model, sparse, CONFIG)
    simulation = simulate(snn, x, edge_index)
    rows = {layer.name: layer.counts for layer in measure(snn, sparse, model).layers}
    edges, _ = add_remaining_self_loops(edge_index, num_nodes=20)
    degree = torch.bincount(edges[1], minlength=20).double()
    labels, checked = list(simulation.spikes), 0
    for i, (label, name) in enumerate(zip(labels, ('conv1', 'conv2'), strict=True)):
        spikes, layer = simulation.spikes[label], snn.network.get_submodule(name)
        weight, code = layer.weight.detach(), spikes.code
        scale = spikes.scale.expand(spikes.shape)
        sent, sums = Membranes(code), Membranes(code)
        for step, node, channel in itertools.product(
            range(code.num_steps), range(20), range(weight.size(1))
        ):
            if spikes.spike_time[node, channel] == step:
                size = float(scale[node, channel]) * weight[:, channel]
                for out in range(len(weight)):
                    sent.arrive((node, out), step, float(size[out]))
        end = code.num_steps - 1
        for source, target in edges.t().tolist():
            for out in range(len(weight)):
                if (source, out) in sent.value:
                    late = end - sent.last[source, out]
                    factor = float(code.levels[end - late] / code.levels[end])
                    sum_ = (
                        sent.value[source, out] * factor / float(degree[source]) ** 0.5
                    )
                    sums.arrive((target, out), end, sum_)
        counts = rows[name]
        assert sent.done['touches'] == counts.synops
        assert sums.done['touches'] == counts.moved <= counts.accumulates
        assert i == 1 or counts.moved < counts.accumulates
        assert counts.touches == counts.synops + counts.moved == counts.decays
        potentials = layer.bias.detach().repeat(20, 1)
        for where in sums.value:
            potentials[where] += sums.read(where) / float(degree[where[0]]) ** 0.5
        counts = rows['output' if i == 1 else labels[1]]
        assert counts.openings == counts.receivers == sums.done['openings']
        if i == 1:
            assert torch.allclose(potentials, simulation.output, rtol=1e-12)
            continue
        fired = simulation.spikes[labels[1]]
        assert counts.receivers < fired.shape.numel()  # Some receive nothing.
        neuron = snn.network.get_submodule(f'neurons.{labels[1]}')
        table = (-neuron.threshold.flatten()).tolist()  # Rising.
        for where in itertools.product(range(20), range(len(weight))):
            time = bisect.bisect_left(table, -float(potentials[where]))
            assert time == int(fired.spike_time[where])
            checked += time < NUM_STEPS and where not in sums.value
        most = math.ceil(math.log2(len(table) + 1))
        assert counts.searches == most * counts.receivers
    assert checked > 0  # Some fire by their bias alone.


def test_a_gin_spike_by_spike(sparse):
    model, (x, edge_index), snn = made('GIN', sparse)
    spikes = simulate(snn, x, edge_index).spikes
    rows = {row.name: row.counts for row in measure(snn, (x, edge_index), model).layers}
    name = next(name for name in rows if name.startswith('conv1') and rows[name].moved)
    raster = next(iter(spikes.values())).raster().any(0)
    touched, touches = set(), 0
    for node, channel in raster.nonzero().tolist():
        assert x[node, channel] != 0
        touches += 7
        touched.add(node)
    touches += sum(7 for source in edge_index[0].tolist() if source in touched)
    assert rows[name].touches == touches
    assert rows[name].accumulates == 7 * edge_index.size(1) > rows[name].moved


def test_a_gat_spike_by_spike(sparse):
    """Values arrive once, delayed by their coefficients; so do these."""
    model, inputs, snn = made('GAT', sparse)
    measured = measure(snn, inputs, model)
    rows = {row.name: row.counts for row in measured.layers}
    simulation = simulate(snn, *inputs)
    spikes = simulation.spikes
    first = next(iter(spikes.values()))
    lin = next(c for n, c in rows.items() if n.startswith('conv1') and c.synops)
    assert lin.touches == first.num_spikes * 16
    for node in snn.network.nodes:
        counts = rows.get(node.record.row)
        if node.role is not Role.LAYER or counts is None or not counts.accumulates:
            continue
        # Sums over the edges of a node: each spike is one addition.
        source, *others = node.all_input_nodes
        env = Stepped(snn)
        env.run(snn.bind(*inputs))
        value = env._spikes_at(source)
        assert counts.moved == value.num_spikes <= counts.accumulates
    assert measured.total.delays > 0


def test_a_cnn_spike_by_spike(sparse):
    model, (x,), snn = made('CNN', sparse)
    spikes = simulate(snn, x).spikes
    measured = measure(snn, x, model)
    rows = {row.name: row.counts for row in measured.layers}
    names = list(spikes)
    encoded, first, pooled, second = (spikes[name] for name in names[:4])

    def reached(source, weight, size, stride):
        touched = Counter()
        for image, _, i, j in (source.decode() != 0).nonzero().tolist():
            for di, dj, out in itertools.product(
                range(3), range(3), range(len(weight))
            ):
                row, column = i + 1 - di, j + 1 - dj
                if row % stride == column % stride == 0:
                    row, column = row // stride, column // stride
                    if 0 <= row < size and 0 <= column < size:
                        touched[image, out, row, column] += 1
        return touched

    touched = reached(encoded, model.conv1.weight, 8, 1)
    assert rows['conv1'].touches == sum(touched.values())
    assert rows[names[1]].receivers == len(touched) < first.shape.numel()
    # A spike is looked at by the window that it belongs to.
    assert rows[names[2]].searches == first.num_spikes
    assert rows[names[2]].comparisons == 3 * pooled.shape.numel()
    touched = reached(pooled, model.conv2.weight, 4, 1)
    own = {tuple(where) for where in (pooled.decode() != 0).nonzero().tolist()}
    assert rows['conv2'].touches == sum(touched.values())
    assert rows['add'].touches == len(own) == pooled.num_spikes
    counts = rows[names[3]]
    assert counts.receivers == len(own | set(touched))
    # The pooled spikes are one source of both, whose membrane they share.
    assert counts.openings == counts.receivers
    touched = reached(second, model.conv3.weight, 2, 2)
    assert rows['conv3'].touches == sum(touched.values())


def test_energy_of_events_by_hand():
    counts = Counts(
        synops=80,
        accumulates=50,
        moved=30,
        snn_macs=2,
        scalings=3,
        membrane_updates=7000,
        comparisons=5000,
        spikes=8,
        adds=4,
        touches=115,
        openings=20,
        searches=60,
        decays=140,
        analog_values=6,
        delays=9,
    )
    table = HOROWITZ_45NM_FP32
    compute = (80 + 30 + 4) * 0.9 + 2 * 4.6 + 3 * 3.7 + 9 * 0.03
    found = table.snn_pj(counts, machine='event-driven')
    assert found == pytest.approx(compute)
    words = 80 + 30 + 2 + 2 * 6 + 2 * 115 + 20
    num_bytes = 2 * 8 + 2 * 115 + 20 + 2 * 9
    memory = compute + words * 5 + num_bytes * 1.25 + 60 * 0.9 + 140 * 3.7
    found = table.snn_pj(counts, True, 'event-driven')
    assert found == pytest.approx(memory)
    with pytest.raises(ValueError, match=r"'clocked', 'event-driven' \(got 'analog'\)"):
        table.snn_pj(counts, machine='analog')
