"""What is counted where signals meet, against loops over edges, pairs and spikes."""

import pytest
import torch
from torch import nn
from torch_geometric.nn import global_max_pool
from torch_geometric.utils import add_self_loops, remove_self_loops

from spikegraph import ConversionConfig, convert, measure, simulate
from spikegraph.measurement import Counts, EnergyTable
from spikegraph.network.roles import Role
from tests.meetings import Attention, Edges, Normed, Product

CONFIG = ConversionConfig(num_steps=6, relay_steps=6, compensate=None)


def counted(model, call):
    """The network, its rows, the row that each gate is in, and all spikes."""
    model = model.double().eval()
    snn = convert(model, call, CONFIG)
    args = call if isinstance(call, tuple) else (call,)
    measured = measure(snn, call, model)
    rows = {layer.name: layer.counts for layer in measured.layers}
    assert measured.uncounted == [] and not snn.report.analog
    return snn, measured, rows, simulate(snn, *args).spikes


def fires(spikes, *index):
    return int(spikes.spike_time[index]) != spikes.code.num_steps


def waiting(spikes):
    """Steps until each neuron has fired; all of them for silent ones."""
    num_steps = spikes.code.num_steps
    return sum(min(int(t), num_steps - 1) + 1 for t in spikes.phase().flatten())


def node(snn, label):
    return next(n for n in snn.network.nodes if n.record.label == label)


def test_products_of_elements():
    """One delay for each pair that fires, also where one meets many."""
    x = torch.rand(9, 5).double()
    _, measured, rows, spikes = counted(Product(), x)
    a, b = spikes['relu'], spikes['sigmoid']
    pairs = sum(fires(a, i, j) and fires(b, i, 0) for i in range(9) for j in range(4))
    assert 0 < pairs < a.num_spikes + b.num_spikes
    assert rows['mul'].delays == rows['mul'].spikes == measured.total.delays == pairs
    assert rows['mul'].neurons == rows['mul'].comparisons == 0
    assert rows['mul'].membrane_updates == rows['mul'].ann_activations == 0
    assert rows['c'].synops == 3 * pairs  # Each product meets the weights.
    assert measured.total.snn_macs == 0
    assert measured.total.ann_multiplications == 36
    num_steps = a.code.num_steps + b.code.num_steps - 1
    assert rows['output'].membrane_updates == num_steps * 9 * 3
    assert 'delays' in str(measured).splitlines()[0]
    assert measured.to_dict()['total']['delays'] == pairs


def num_pairs(a, b):
    """Pairs of spikes of two matrices that fire both."""
    return sum(
        fires(a, i, k) and fires(b, k, j)
        for i in range(a.shape[0])
        for k in range(a.shape[1])
        for j in range(b.shape[1])
    )


def test_products_of_matrices():
    n, x = 7, torch.rand(7, 5).double()
    snn, measured, rows, spikes = counted(Attention(), x)
    q, k, v = (spikes[f'relay_{name}'] for name in 'qkv')
    moved = type(k)(k.spike_time.t(), k.code, k.scale)
    weight, out = spikes['softmax'], spikes['relu']
    scores, mixed = num_pairs(q, moved), num_pairs(weight, v)
    assert 0 < scores < n * n * 4 and mixed > 0
    for row, pairs in (('matmul', scores), ('matmul_1', mixed)):
        assert rows[row].delays == rows[row].accumulates == pairs
        assert rows[row].synops == rows[row].snn_macs == rows[row].adds == 0
    num_steps = q.code.num_steps + k.code.num_steps - 1
    raw = spikes['ramp_softmax']
    assert rows['ramp_softmax'].membrane_updates == num_steps * n * n + waiting(raw)
    assert rows['softmax'].comparisons == n * (n - 1)
    assert rows['softmax'].delays == 0 and rows['softmax'].spikes == weight.num_spikes
    own = (weight.code.num_steps + v.code.num_steps - 1) * n * 4
    second = weight.code.num_steps * n  # One membrane for each row.
    assert rows['relu'].membrane_updates == own + second + waiting(out)
    assert rows['relu'].comparisons == waiting(out)
    assert rows['relu'].scalings == 0
    layers = 3 * n * 5 * 4 + n * 4 * 3
    assert measured.total.ann_macs == layers + 2 * n * n * 4
    assert rows['matmul'].ann_macs == n * n * 4
    assert rows['softmax'].ann_activations == 0
    assert rows['ramp_softmax'].ann_activations == n * n
    assert measured.total.snn_macs == 0 and snn.network is not None


def gat(graph):
    call = graph.x, graph.edge_index
    found = counted(Edges(), call)
    edges = add_self_loops(remove_self_loops(graph.edge_index)[0], num_nodes=60)[0]
    return *found, edges


def test_attention_along_edges(graph):
    _, measured, rows, spikes, edges = gat(graph)
    edge_list = list(enumerate(edges.t().tolist()))
    for layer, sent, softmax, product, heads, width in (
        ('a', 'relay_a_lin', 'softmax', 'mul_2', 2, 4),
        ('b', 'elu', 'softmax_1', 'mul_5_in_front', 1, 8),
    ):
        weight, relay = spikes[softmax], spikes[sent]
        pairs = sum(
            fires(weight, e, head) and fires(relay, source, head * width + channel)
            for e, (source, _) in edge_list
            for head in range(heads)
            for channel in range(width)
        )
        assert 0 < pairs < len(edge_list) * heads * width
        assert rows[product].delays == rows[product].spikes == pairs
        members = [0] * 60
        for _, (_, target) in edge_list:
            members[target] += 1
        compared = sum(heads * (count - 1) for count in members if count)
        assert rows[softmax].comparisons == compared
        assert rows[softmax].spikes == weight.num_spikes
        ramp = spikes[f'ramp_{softmax}']
        assert rows[f'ramp_{softmax}'].neurons == ramp.shape.numel()
        starts = f'{layer}_aggr_module_reduce_'
        sums = [
            row.accumulates for name, row in rows.items() if name.startswith(starts)
        ]
        num_scores = len(edge_list) * heads  # Summed up, and what they weigh.
        assert sorted(sums) == [num_scores, num_scores * width]
    behind = rows['mul_5_in_front'].delays
    assert rows['b_lin_behind'].synops == 3 * behind  # Weights come behind the sums.
    assert measured.total.delays == rows['mul_2'].delays + behind
    assert measured.unit == 'node' and measured.num_nodes == 60


def test_second_membranes(graph):
    """Those of a threshold: one for each node and head, not for each channel."""
    _, _, rows, spikes, _ = gat(graph)
    weight, product = spikes['softmax'], spikes['mul_2']
    num_steps = product.code.num_steps, weight.code.num_steps
    own = sum(num_steps) * 60 * 8  # The sums, and the bias times the denominator.
    second = num_steps[1] * 60 * 2
    expected = own + second + waiting(spikes['elu'])
    assert rows['elu'].membrane_updates == expected
    assert rows['elu'].comparisons == 2 * waiting(spikes['elu'])  # ON and OFF.


def test_quotients_that_are_read_out(graph):
    _, measured, rows, spikes, _ = gat(graph)
    weight, product = spikes['softmax_1'], spikes['mul_5_in_front']
    num_steps = product.code.num_steps, weight.code.num_steps
    charged = sum(num_steps) * 60 * 3 + num_steps[1] * 60
    assert rows['output'].membrane_updates == charged
    assert rows['output'].snn_macs == measured.total.snn_macs == 60 * 3
    assert rows['output'].scalings == 0 and 'quotient' not in rows
    alone = measure_alone(graph)
    assert 'quotient' not in {layer.name for layer in alone.layers}
    assert alone.total.delays == measured.total.delays


def measure_alone(graph):
    torch.manual_seed(0)
    call = graph.x, graph.edge_index
    return measure(convert(Edges().double().eval(), call, CONFIG), call)


def test_norms():
    """Powers are the same spikes; a row of the threshold has one membrane."""
    n, x = 9, torch.rand(9, 5).double()
    snn, measured, rows, spikes = counted(Normed(), x)
    (power,) = [n for n in snn.network.nodes if n.role is Role.GATE]
    row = rows[power.record.row]
    passed = sum(fires(spikes['relay_sub'], i, j) for i in range(n) for j in range(4))
    assert row == Counts(spikes=passed)
    deviation, out = spikes['sqrt'], spikes['relu']
    own = spikes['input_x'].code.num_steps * n * 4
    second = deviation.code.num_steps * n
    assert deviation.shape == (n, 1)
    assert rows['relu'].membrane_updates == own + second + waiting(out)
    assert measured.total.delays == measured.total.snn_macs == 0


def test_empty_groups_compare_nothing():
    """A graph without nodes has no largest one."""

    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.c = nn.Linear(5, 4), nn.Linear(4, 3)

        def forward(self, x, batch):
            return self.c(global_max_pool(self.a(x).relu(), batch))

    batch = torch.tensor([0, 0, 0, 2, 2, 4])
    call = torch.rand(6, 5).double(), batch
    _, _, rows, _ = counted(Pooled(), call)
    gates = [row for row in rows.values() if row.comparisons and not row.neurons]
    assert [row.comparisons for row in gates] == [(2 + 1) * 4]


@pytest.mark.parametrize('add_byte, expected', [(0.03, 0.03), (None, 0.9)])
def test_energy_of_a_delay(add_byte, expected):
    """Read, add and write of a byte, and the add alone without memory."""
    table = EnergyTable('mine', 'made up', 0.9, 3.7, 5.0, 32, add_byte)
    counts = Counts(delays=10)
    assert table.snn_pj(counts) == pytest.approx(10 * expected)
    memory = 10 * (expected + 2 * 5 / 4)
    assert table.snn_pj(counts, memory=True) == pytest.approx(memory)
    assert table.ann_pj(counts, memory=True) == 0
    with pytest.raises(ValueError, match=r"'add_byte' to be an energy .*\(got -1\)"):
        EnergyTable('bad', '', 1, 1, 1, 32, -1)


class Divided(nn.Module):
    """Divides by what may be silent."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(5, 4), nn.Linear(5, 4), nn.Linear(4, 3)

        nn.init.uniform_(self.b.weight, -6, 6)  # So that some are silent.

    def forward(self, x):
        return self.c(self.a(x).relu() / self.b(x).sigmoid())


def test_spikes_at_the_end():
    """What others are divided by fires at the last step at the latest."""
    torch.manual_seed(1)
    _, _, rows, spikes = counted(Divided(), torch.rand(40, 5).double())
    sent = sum(row.spikes for name, row in rows.items() if 'never_silent' in name)
    silent = spikes['sigmoid'].shape.numel() - spikes['sigmoid'].num_spikes
    assert sent == silent > 0
