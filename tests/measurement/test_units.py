import pytest
import torch
from torch import nn
from torch_geometric.nn import GCNConv, global_mean_pool

from spikegraph import ConversionConfig, convert, measure
from tests.conversion.zoo import Sine, make, randomize


class WithHidden(nn.Module):
    """Returns its hidden features, too."""

    def __init__(self, hidden=True):
        super().__init__()
        self.conv, self.out = GCNConv(6, 8), nn.Linear(8, 3)
        self.hidden = hidden

    def forward(self, x, edge_index):
        h = self.conv(x, edge_index).relu()
        return (self.out(h), h) if self.hidden else self.out(h)


class GraphLevel(nn.Module):
    """One row for each graph."""

    def __init__(self, pool):
        super().__init__()
        self.conv, self.out, self.pool = GCNConv(6, 8), nn.Linear(8, 3), pool

    def forward(self, x, edge_index, batch):
        return self.out(self.pool(self.conv(x, edge_index).relu(), batch))


class Waves(nn.Module):
    """A convolution over sequences."""

    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv1d(2, 4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.out(self.conv(x).relu().mean(-1))


def measured(model, *args, **options):
    randomize(model)
    args = [a.double() if a.is_floating_point() else a for a in args]
    return measure(convert(model, tuple(args)), tuple(args), model, **options)


GRAPH = torch.rand(30, 6), torch.randint(30, (2, 90))
BATCH = torch.arange(5).repeat_interleave(6)


def test_rows_of_the_first_output():
    torch.manual_seed(0)
    both = measured(WithHidden(), *GRAPH)
    torch.manual_seed(0)
    alone = measured(WithHidden(hidden=False), *GRAPH)
    assert both.num_nodes == alone.num_nodes == 30
    assert both.unit == 'node'
    pj = both.energy_pj()['ann_compute']
    assert pj == pytest.approx(alone.energy_pj()['ann_compute'])
    assert pj == pytest.approx(both.table.ann_pj(both.total) / 30)


@pytest.mark.parametrize(
    'pool', [global_mean_pool, lambda x, batch: x.view(5, 6, -1).sum(1)]
)
def test_outputs_of_graphs(pool):
    measurement = measured(GraphLevel(pool), *GRAPH, BATCH)
    assert measurement.num_nodes == 5
    if pool is global_mean_pool:
        assert measurement.unit == 'graph'
        assert 'nJ per graph' in str(measurement)


def test_one_graph_without_an_index():
    def pool(x, batch):
        return x.mean(0, keepdim=True)

    measurement = measured(GraphLevel(pool), *GRAPH, BATCH)
    assert (measurement.unit, measurement.num_nodes) == ('graph', 1)


def test_a_vector_is_one_row():
    measurement = measured(GraphLevel(lambda x, batch: x.mean(0)), *GRAPH, BATCH)
    assert (measurement.unit, measurement.num_nodes) == ('graph', 1)


def test_sequences_and_samples():
    assert measured(Waves(), torch.rand(7, 2, 9)).unit == 'sequence'
    mlp = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    measurement = measured(mlp, torch.rand(7, 6))
    assert (measurement.unit, measurement.num_nodes) == ('sample', 7)
    assert measurement.to_dict()['unit'] == 'sample'


def test_the_unit_can_be_chosen():
    args = (*GRAPH, BATCH)
    per_node = measured(GraphLevel(global_mean_pool), *args, per='node')
    assert (per_node.unit, per_node.num_nodes) == ('node', 30)
    assert 'nJ per node' in str(per_node)
    match = r"'per' to be 'node' or 'graph' or 'sample'.* \(got 'image'\)"
    with pytest.raises(ValueError, match=match):
        measured(GraphLevel(global_mean_pool), *args, per='image')
    with pytest.raises(ValueError, match=r"'per' to be one of .*\(got 'edge'\)"):
        measured(GraphLevel(global_mean_pool), *args, per='edge')


def test_no_ratio_where_something_is_not_counted(graph):
    model = randomize(Sine())
    snn = convert(model, graph, ConversionConfig(allow_analog=True))
    measurement = measure(snn, graph, model)
    assert len(measurement.uncounted) == 1
    assert measurement.energy_ratios() == {}
    assert not [key for key in measurement.to_dict() if 'ratio' in key]
    last = str(measurement).splitlines()[-1]
    assert 'there is no ratio' in last and 'estimated' in last
    assert 'x  ' not in str(measurement).split('compute only')[1].splitlines()[0]
    model = make('F.relu')
    assert measure(convert(model, graph), graph, model).energy_ratios()
