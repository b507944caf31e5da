"""Values that stand for those of calibration when a saved network is traced again."""

import pytest
import torch
from torch import nn
from torch_geometric import EdgeIndex
from torch_geometric.data import Data

from spikegraph import convert
from spikegraph.conversion.tracing.examples import describe_example, make_example
from tests.foreign.adjacency_models import SparseTensor


def made(value):
    return make_example(describe_example(value), torch.float32)


def test_columns_of_integers_stay_in_their_ranges():
    table = torch.stack(
        [torch.arange(9) % 7, torch.arange(9) % 2, torch.full((9,), 5)], 1
    )
    found = made(table)
    assert found.shape == table.shape and found.dtype == table.dtype
    assert torch.equal(found.amin(0), table.amin(0))
    assert torch.equal(found.amax(0), table.amax(0))


def test_rows_of_edges_stay_in_their_ranges():
    edges = torch.tensor([[0, 3, 2], [5, 4, 9]])
    found = made(edges)
    assert found.tolist() == [[0, 2, 3], [4, 6, 9]]


@pytest.mark.parametrize('order', [None, 'row', 'col'])
def test_edge_indices_stay_what_they_are(order):
    index = torch.tensor([[0, 1, 2], [0, 1, 2]])
    found = made(EdgeIndex(index, sparse_size=(4, 5), sort_order=order))
    assert type(found) is EdgeIndex and found.sparse_size() == (4, 5)
    assert found.sort_order == order


@pytest.mark.parametrize('has_value', [True, False])
def test_matrices_of_other_packages_have_values_or_not(has_value):
    values = torch.ones(3) if has_value else None
    index = torch.arange(3)
    found = made(SparseTensor(index, index, values, (3, 3)))
    assert found.has_value() == has_value
    assert (found.coo()[2] is not None) == has_value
    assert found.fill_value(1.0).has_value() and not found.set_value(None).has_value()
    assert found.mul(torch.ones(3, 1)).t().sizes() == [3, 3]


class Weighted(nn.Module):
    """Takes the values of a matrix, if it has some."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x, adj_t):
        row, col, value = adj_t.coo()
        h = self.a(x)[col]
        if value is not None:
            h = h * value.view(-1, 1)
        return self.b(torch.zeros(x.size(0), 8).index_add(0, row, h).relu())


def test_values_that_were_missing_have_to_be_missing():
    index, x = torch.arange(20), torch.rand(20, 6)
    model = Weighted()
    snn = convert(model, (x, SparseTensor(index, index.flip(0), None, (20, 20))))
    with pytest.raises(ValueError, match=r'answer of True.*\(got False\)'):
        snn(x, SparseTensor(index, index.flip(0), torch.rand(20), (20, 20)))


class TakesBatch(nn.Module):
    """Calls the whole data what its vector of graphs is called."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, batch):
        h = self.a(batch.x).relu()
        out = torch.zeros(batch.num_graphs, 8).index_add(0, batch.batch, h)
        return self.b(out)


def test_data_may_be_called_batch():
    data = Data(x=torch.rand(20, 6), batch=torch.arange(20) // 5, num_graphs=4)
    assert convert(TakesBatch(), data)(data).shape == (4, 3)
