import pytest
import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import LINKX, GCNConv, GeneralConv, MeanSubtractionNorm
from torch_geometric.nn.models import GCN
from torch_geometric.utils import add_remaining_self_loops

from spikegraph import ConversionConfig, convert, load, measure, save, simulate
from spikegraph.measurement import (
    HOROWITZ_45NM_FP32,
    HOROWITZ_45NM_INT8,
    HOROWITZ_45NM_INT32,
    Counts,
    EnergyTable,
    latency,
)
from tests.conversion.zoo import MODELS, SharedReLU, Sine, make, randomize


def rows_of(measurement):
    return {layer.name: layer.counts for layer in measurement.layers}


def brute_force_synops(spikes, weight):
    """One accumulate for each weight that each spike meets."""
    count = 0
    for node in range(spikes.shape[0]):
        for channel in range(spikes.shape[1]):
            if spikes.spike_time[node, channel] != spikes.code.num_steps:
                count += weight.size(0)
    return count


@pytest.mark.parametrize('encode_input', [True, False])
def test_counts_by_brute_force(encode_input, graph):
    model = make('F.relu')
    config = ConversionConfig(
        num_steps=6, encode_input=encode_input, input_scale='layer', compensate=None
    )
    snn = convert(model, graph, config)
    rows = rows_of(measure(snn, graph, model))
    simulation = simulate(snn, graph)
    edges, _ = add_remaining_self_loops(graph.edge_index, num_nodes=60)
    with torch.no_grad():
        hidden = model.eval().conv1(graph.x, graph.edge_index).relu()
    values = {'conv1': graph.x, 'conv2': hidden}
    for name, width, source in (('conv1', 8, 'input_x'), ('conv2', 3, 'relu')):
        row, value = rows[name], values[name]
        assert row.ann_macs == value.numel() * width
        assert row.ann_macs_nonzero == sum(int(v != 0) for v in value.flatten()) * width
        assert row.ann_aggregation_macs == edges.size(1) * width
        assert row.accumulates == edges.size(1) * width
        assert row.scalings == 2 * 60 * width
        if source in simulation.spikes:
            layer = snn.network.get_submodule(name)
            expected = brute_force_synops(simulation.spikes[source], layer.weight)
            assert row.synops == expected and row.snn_macs == 0
        else:
            assert row.synops == 0 and row.snn_macs == value.numel() * width
    for name, spikes in simulation.spikes.items():
        row = rows[name]
        fires = [
            min(int(t), 5) + 1 for t in spikes.phase().flatten()
        ]  # Silent neurons wait for all six steps.
        assert row.comparisons == sum(fires)
        charged = 0 if name == 'input_x' or not simulation.spikes.get('input_x') else 6
        assert row.membrane_updates == sum(fires) + charged * spikes.shape.numel()
        assert row.spikes == spikes.num_spikes
        assert row.neurons == spikes.shape.numel()
    assert rows['output'].membrane_updates == 6 * 60 * 3


def test_node_scale_and_folding_are_billed(graph):
    model = make('F.relu')
    config = ConversionConfig(num_steps=6, input_scale='node')
    rows = rows_of(measure(convert(model, graph, config), graph, model))
    assert rows['input_x'].scalings == 60 * 6
    assert rows['conv1'].scalings == 2 * 60 * 8  # Peak and degree in one.
    config = ConversionConfig(num_steps=6, input_scale='node', fold_degree=True)
    rows = rows_of(measure(convert(model, graph, config), graph, model))
    assert rows['conv1'].scalings == 60 * 8  # Only the node's own peak.
    assert rows['conv2'].scalings == 60 * 3  # Only the destination factor.
    config = ConversionConfig(num_steps=6, input_scale='layer', fold_degree=True)
    rows = rows_of(measure(convert(model, graph, config), graph, model))
    assert rows['conv1'].scalings == 0


def test_weighted_edges_are_macs(graph):
    model = randomize(SharedReLU())
    weight = torch.rand(200, dtype=torch.float64)
    arguments = (graph.x, graph.edge_index, weight)
    snn = convert(model, arguments)
    rows = rows_of(measure(snn, arguments, model))
    assert rows['convs_0'].accumulates == 0
    assert rows['convs_0'].snn_macs == rows['convs_0'].ann_aggregation_macs > 0


def test_residual_adds_and_compartments(graph):
    model = make('residual')
    snn = convert(model, graph, ConversionConfig(num_steps=5))
    rows = rows_of(measure(snn, graph, model))
    assert rows['add'].adds == 60 * 8
    spikes = snn.spikes(graph)
    name = list(spikes)[-1]
    fires = spikes[name].phase().long().clamp(max=4).sum() + 60 * 8
    assert rows[name].membrane_updates == 2 * 5 * 60 * 8 + fires  # Two sources.


def test_values_do_not_decide_roles(graph):
    """0/1 features do not make an ANN free, nor spikes a MAC."""
    model = make('F.relu')
    graph.x = (graph.x > 0.5).double()
    measurement = measure(convert(model, graph), graph, model)
    rows = rows_of(measurement)
    assert rows['conv1'].ann_macs == 60 * 5 * 8
    assert measurement.total.snn_macs == 0


@pytest.mark.parametrize('name', MODELS)
def test_every_model_is_counted(name, graph):
    model = make(name)
    measurement = measure(convert(model, graph), graph, model)
    assert measurement.uncounted == []
    assert 0 < measurement.spikes_per_neuron <= 1
    assert measurement.num_nodes == 60
    total = measurement.total
    assert total.synops <= total.ann_macs
    text = str(measurement)
    assert 'ISSCC 2014' in text and 'total' in text


def test_sums_over_a_loader(graph):
    model = make('F.relu')
    snn = convert(model, graph)
    once, twice = measure(snn, graph, model), measure(snn, [graph, graph], model)
    assert twice.total == once.total + once.total
    assert twice.energy_pj() == pytest.approx(once.energy_pj())


def test_analog_leftovers_are_billed_and_named(graph):
    model = randomize(Sine())
    snn = convert(model, graph, ConversionConfig(allow_analog=True))
    measurement = measure(snn, graph, model)
    assert 'estimated' in measurement.uncounted[0]
    assert measurement.total.snn_macs > 0
    assert 'NOT COUNTED' in str(measurement)


def test_energy_by_hand():
    counts = Counts(
        ann_macs=1000,
        ann_macs_nonzero=100,
        ann_aggregation_macs=50,
        ann_activations=10,
        synops=80,
        accumulates=50,
        snn_macs=2,
        scalings=3,
        membrane_updates=7,
        comparisons=5,
        spikes=8,
        adds=4,
    )
    table = HOROWITZ_45NM_FP32
    assert table.mac == pytest.approx(4.6)
    assert table.ann_pj(counts) == pytest.approx(1050 * 4.6 + 4 * 0.9)
    assert table.ann_pj(counts, skip_zeros=True) == pytest.approx(150 * 4.6 + 3.6)
    compute = 134 * 0.9 + 2 * 4.6 + 3 * 3.7
    assert table.snn_pj(counts) == pytest.approx(compute)
    ann_memory = 1050 * 4.6 + 3.6 + (1050 + 20) * 5 + 9
    assert table.ann_pj(counts, memory=True) == pytest.approx(ann_memory)
    words = 80 + 50 + 2 + 2 * 8 * 8 / 32
    snn_memory = compute + words * 5 + 5 * 0.9 + 7 * (10 + 3.7)
    assert table.snn_pj(counts, memory=True) == pytest.approx(snn_memory)


def test_tables_are_data_with_a_source(graph):
    model = make('F.relu')
    snn = convert(model, graph)
    for table in (HOROWITZ_45NM_FP32, HOROWITZ_45NM_INT32, HOROWITZ_45NM_INT8):
        assert 'ISSCC 2014' in table.source
    free = EnergyTable('free adds', 'made up', add=0.0, multiply=1.0, word=0.0)
    measurement = measure(snn, graph, model, free)
    total = measurement.total
    assert (
        measurement.energy_pj()['snn_compute'] * 60 == total.scalings + total.snn_macs
    )
    assert measurement.to_dict()['energy_table']['name'] == 'free adds'
    with pytest.raises(ValueError, match=r"'add' to be an energy.*\(got -1\)"):
        EnergyTable('bad', '', add=-1, multiply=1, word=1)
    with pytest.raises(ValueError, match=r"'word_bits' to be at least 1 \(got 0\)"):
        EnergyTable('bad', '', add=1, multiply=1, word=1, word_bits=0)


def test_another_model_is_refused(graph):
    snn = convert(make('F.relu'), graph)
    with pytest.raises(ValueError, match=r'converted from \(got another structure'):
        measure(snn, graph, make('residual'))


def test_wrong_arguments(graph):
    model = make('F.relu')
    snn, name = convert(model, graph), type(model).__name__
    for args, kwargs, match in (
        (
            (None,),
            {},
            r"'snn' to be a SpikingModel \(got NoneType\); call .measure\(snn",
        ),
        ((model,), {}, rf"'snn' to be a SpikingModel \(got {name}\)"),
        ((), {'data': graph}, r"'snn' to be a SpikingModel \(got NoneType\)"),
        ((model, graph, model), {}, rf"'snn' to be a SpikingModel \(got {name}\)"),
        ((snn, graph, snn), {}, r"'model' to be the ANN .*\(got SpikingModel\)"),
        ((snn, graph, graph), {}, r"'model' to be the ANN .*\(got Data\)"),
        ((snn, None), {}, r"'data' to be PyG data, .*\(got NoneType\)"),
        ((snn, []), {}, r"'data' to hold at least one sample \(got 0 samples"),
        ((snn, graph.x.numpy()), {}, r"'data' to be a tensor.*\(got numpy.ndarray"),
        ((snn, (graph.x,)), {}, r"the data to give .*'edge_index' \(got x\)"),
        ((snn, graph, None, 4.6), {}, r"'energy_table' to be an .*\(got float\)"),
        ((snn, graph), {'per': 'row'}, r"'per' to be one of .*\(got 'row'\)"),
    ):
        with pytest.raises(ValueError, match=match):
            measure(*args, **kwargs)


def test_the_old_order_is_deprecated(graph):
    model = make('F.relu')
    snn, table = convert(model, graph), HOROWITZ_45NM_FP32
    expected = measure(snn, graph, model).to_dict()
    match = r'first, .measure\(snn, data, model\)'
    for args, kwargs in (
        ((model, snn, graph), {}),
        ((model, snn, graph, table, 'node'), {}),
        ((model,), {'snn': snn, 'data': graph}),
        ((model, snn), {'data': graph, 'per': 'node'}),
    ):
        with pytest.warns(DeprecationWarning, match=match) as found:
            assert measure(*args, **kwargs).to_dict() == expected
        assert [warning.filename for warning in found] == [__file__]
    assert measure(data=graph, model=model, snn=snn).to_dict() == expected


def test_latency(graph):
    snn = convert(make('deep GCN'), graph, ConversionConfig(num_steps=10))
    result = latency(snn, step_us=2.0)
    assert (result.steps, result.pipelined_steps) == (70, 10)
    assert result.latency_ms == pytest.approx(0.14)
    assert result.pipelined_ms == pytest.approx(0.02)
    with pytest.raises(ValueError, match=r"'step_us' to be positive \(got 0\)"):
        latency(snn, 0)


def test_read_out_of_a_linear_model(graph):
    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = GCNConv(5, 3)

        def forward(self, x, edge_index):
            return self.conv(x, edge_index)

    model = randomize(Linear())
    snn = convert(model, graph, ConversionConfig(num_steps=4))
    rows = rows_of(measure(snn, graph, model))
    assert set(rows) == {'input_x', 'conv', 'output'}
    assert snn.latency_steps == 8


class Sliced(nn.Module):
    """Returns the first rows, as many as an argument says."""

    def __init__(self):
        super().__init__()
        self.conv, self.out = GCNConv(6, 8), nn.Linear(8, 3)

    def forward(self, x, edge_index, batch_size):
        return self.out(self.conv(x, edge_index).relu())[:batch_size]


def test_inputs_that_are_sizes():
    call = (torch.randn(30, 6), torch.randint(30, (2, 90)), 7)
    model = Sliced()
    assert measure(convert(model, call), call, model).num_nodes == 7


def test_an_edge_of_a_sparse_layer_adds_one_row():
    model = LINKX(30, 6, 8, 3, num_layers=2)
    call = (torch.randn(30, 6), torch.randint(30, (2, 90)))
    rows = rows_of(measure(convert(model, call), call, model))
    assert rows['edge_lin'].accumulates == 90 * 8
    assert rows['edge_lin'].ann_aggregation_macs == 90 * 8


class Centered(nn.Module):
    """Subtracts the mean of each graph, which has no weights."""

    def __init__(self):
        super().__init__()
        self.lin, self.norm, self.out = (
            nn.Linear(6, 8),
            MeanSubtractionNorm(),
            nn.Linear(8, 3),
        )

    def forward(self, x, batch):
        return self.out(self.norm(self.lin(x), batch).relu())


def test_affine_layers_without_weights_are_billed():
    call = (torch.randn(30, 6), torch.arange(3).repeat_interleave(10))
    model = Centered()
    rows = rows_of(measure(convert(model, call), call, model))
    assert rows['norm'].accumulates == rows['norm'].ann_aggregation_macs == 30 * 8
    assert rows['norm'].adds == 30 * 8  # The difference.


class Bipartite(nn.Module):
    """A layer without a rule on a pair of features."""

    def __init__(self):
        super().__init__()
        self.conv, self.out = GeneralConv((6, 4), 8), nn.Linear(8, 3)

    def forward(self, x_source, x_target, edge_index):
        return self.out(self.conv((x_source, x_target), edge_index).relu())


def test_affine_layers_on_bipartite_graphs_are_billed():
    edge_index = torch.stack([torch.randint(20, (50,)), torch.randint(9, (50,))])
    call = (torch.randn(20, 6), torch.randn(9, 4), edge_index)
    model = Bipartite()
    measurement = measure(convert(model, call), call, model)
    total = measurement.total
    assert total.ann_macs == (50 * 6 + 9 * 4) * 8 + 9 * 8 * 3  # At each edge
    assert total.ann_aggregation_macs == total.accumulates == 50 * 8
    assert measurement.uncounted == []


class Picked(nn.Module):
    """Reads some rows of its features."""

    def __init__(self):
        super().__init__()
        self.lin, self.out = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x, index):
        return self.out(self.lin(x[index]).relu())


def test_rows_that_are_gathered_keep_the_scale_of_their_node():
    call = (torch.randn(30, 6), torch.randint(30, (50,)))
    model = Picked()
    snn = convert(model, call, ConversionConfig(input_scale='node'))
    assert rows_of(measure(snn, call, model))['lin'].scalings == 50 * 8


def test_weights_read_spikes_that_were_only_moved():
    model = randomize(GCN(5, 8, 2, 3, jk='cat'))
    data = Data(x=torch.rand(30, 5).double(), edge_index=torch.randint(30, (2, 90)))
    snn = convert(model, data)
    rows = {row.name: row.counts for row in measure(snn, data, model).layers}
    num_spikes = rows['act'].spikes + rows['act_1'].spikes
    assert rows['lin'].synops == 3 * num_spikes
    assert rows['lin'].snn_macs == rows['lin'].analog_values == 0


class Differences(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Linear(5, 4), torch.nn.Linear(4, 3)

    def forward(self, x, edge_index):
        x = self.a(x).relu()
        return self.b(x[edge_index[0]] - x[edge_index[1]])


def test_a_difference_of_spikes_is_two_spikes():
    model = randomize(Differences())
    data = Data(x=torch.rand(30, 5).double(), edge_index=torch.randint(30, (2, 90)))
    snn = convert(model, data)
    fired = snn.spikes(data)['relu']
    fired = (fired.spike_time != fired.code.num_steps).sum(dim=1)
    rows = {row.name: row.counts for row in measure(snn, data, model).layers}
    assert rows['b'].synops == 3 * int(fired[data.edge_index].sum())
    assert rows['b'].snn_macs == 0


@pytest.mark.parametrize('name', ['F.relu', 'GCN', 'residual', 'JK cat', 'JK max'])
def test_without_the_ann(name, graph, tmp_path):
    """The ANN as the network holds it does the same products as the model."""
    model = make(name)
    snn = convert(model, graph)
    alone, both = measure(snn, graph), measure(snn, graph, model)
    assert alone.num_nodes == both.num_nodes and alone.unit == both.unit
    for field in ('ann_macs', 'synops', 'accumulates', 'spikes', 'membrane_updates'):
        assert getattr(alone.total, field) == getattr(both.total, field), field
    moved = both.total.ann_aggregation_macs
    assert alone.total.ann_aggregation_macs == pytest.approx(moved, rel=0.3)
    assert not alone.uncounted and len(alone.energy_ratios()) == 8
    save(snn, tmp_path / 'snn')
    assert measure(load(tmp_path / 'snn'), graph).to_dict() == alone.to_dict()


def test_images_without_the_ann():
    model = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(36, 3)),
    )
    x = torch.rand(20, 1, 8, 8)
    snn = convert(model.eval(), x)
    alone, both = measure(snn, x), measure(snn, x, model)
    assert alone.total.ann_macs == both.total.ann_macs == 20 * (4 * 36 * 9 + 36 * 3)
    assert alone.unit == both.unit == 'image'


def test_analog_parts_without_the_ann(graph):
    config = ConversionConfig(allow_analog=True)
    model = randomize(Sine())
    snn = convert(model, graph, config)
    alone = measure(snn, graph)
    assert alone.total.ann_macs > 0 and alone.total.snn_macs > 0
