import pytest
import torch
from torch_geometric.data import Data, EdgeAttr, FeatureStore, GraphStore, HeteroData
from torch_geometric.nn import GraphConv, HeteroConv, SAGEConv
from torch_geometric.nn.models import GraphSAGE

from spikegraph import convert, layerwise
from spikegraph.running.parts.stores import Stores


class Features(FeatureStore):
    """Rows that are read one request at a time, and counted."""

    def __init__(self, tensors):
        super().__init__()
        self.tensors, self.most = tensors, 0

    def _put_tensor(self, tensor, attr):
        raise NotImplementedError

    def _get_tensor(self, attr):
        found = self.tensors[attr.group_name, attr.attr_name]
        if attr.index is None:
            return found
        self.most = max(self.most, len(found[attr.index]))
        return found[attr.index]

    def _remove_tensor(self, attr):
        raise NotImplementedError

    def _get_tensor_size(self, attr):
        return tuple(self.tensors[attr.group_name, attr.attr_name].shape)

    def get_all_tensor_attrs(self):
        return [self._tensor_attr_cls(*key) for key in self.tensors]


class Graph(GraphStore):
    """Edges in one of the layouts of PyG."""

    def __init__(self, edges, layout):
        super().__init__()
        self.edges, self.layout = edges, layout

    def _put_edge_index(self, edge_index, edge_attr):
        raise NotImplementedError

    def _remove_edge_index(self, edge_attr):
        raise NotImplementedError

    def _get_edge_index(self, edge_attr):
        return self.edges[edge_attr.edge_type]

    def get_all_edge_attrs(self):
        return [EdgeAttr(key, self.layout) for key in self.edges]


def laid_out(edge_index, sizes, layout):
    """The edges, and in what order they are then read."""
    row, col = edge_index
    if layout == 'coo':
        return (row, col), edge_index
    first = row if layout == 'csr' else col
    order = first.argsort(stable=True)
    counts = torch.bincount(first, minlength=sizes[layout == 'csc'])
    start = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])
    pair = (start, col[order]) if layout == 'csr' else (row[order], start)
    return pair, edge_index[:, order]


@pytest.mark.parametrize('layout', ['coo', 'csr', 'csc'])
def test_layerwise_on_stores(layout):
    torch.manual_seed(0)
    edge_index, x = torch.randint(60, (2, 200)), torch.randn(60, 5)
    edges, edge_index = laid_out(edge_index, (60, 60), layout)
    snn = convert(GraphSAGE(5, 8, 2, 3), (x, edge_index))
    features = Features({(None, 'x'): x, (None, 'y'): torch.zeros(60)})
    out = layerwise(snn, (features, Graph({None: edges}, layout)), block_size=7)
    assert torch.equal(out, snn(x, edge_index))
    assert features.most == 7  # Rows that are read at once.


class Hetero(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = HeteroConv(
            {
                ('a', 'to', 'b'): SAGEConv((5, 4), 8),
                ('b', 'to', 'a'): GraphConv((4, 5), 8),
            }
        )
        self.out = torch.nn.Linear(8, 3)

    def forward(self, x_dict, edge_index_dict):
        x_dict = self.conv(x_dict, edge_index_dict)
        return self.out(x_dict['a'].relu()), self.out(x_dict['b'].relu())


def test_layerwise_on_stores_of_several_types(tmp_path):
    torch.manual_seed(0)
    data = HeteroData()
    data['a'].x, data['b'].x = torch.randn(20, 5), torch.randn(20, 4)  # As many.
    data['a', 'to', 'b'].edge_index = torch.randint(20, (2, 60))
    data['b', 'to', 'a'].edge_index = torch.randint(20, (2, 60))
    snn = convert(Hetero(), data)
    tensors = {(kind, 'x'): data[kind].x for kind in ('a', 'b')}
    edges = {kind: tuple(data[kind].edge_index) for kind in data.edge_types}
    pair = Features(tensors), Graph(edges, 'coo')
    for _ in range(2):  # The second time from the disk.
        found = layerwise(snn, pair, block_size=6, storage=tmp_path / 'kept')
        for out, expected in zip(found, snn(data), strict=True):
            assert torch.equal(out, expected)
    tensors['a', 'x'] = tensors['a', 'x'] + 1
    with pytest.raises(ValueError, match=r"'features'"):
        layerwise(snn, pair, storage=tmp_path / 'kept')


def test_features_must_be_finite():
    x, edge_index = torch.randn(9, 5), torch.randint(9, (2, 20))
    snn = convert(GraphSAGE(5, 8, 2, 3), (x, edge_index))
    x[4, 2] = float('nan')
    pair = Features({(None, 'x'): x}), Graph({None: tuple(edge_index)}, 'coo')
    with pytest.raises(ValueError, match=r"'x' to be finite \(got nan in 1"):
        layerwise(snn, pair)


def test_a_store_must_tell_sizes():
    features = Features({(None, 'x'): torch.tensor(1.0)})
    with pytest.raises(ValueError, match=r"'x' of the feature store.*shape \[\]"):
        Stores(features, Graph({}, 'coo'))


def test_data_is_no_pair():
    data = Data(x=torch.randn(9, 5), edge_index=torch.randint(9, (2, 20)))
    snn = convert(GraphSAGE(5, 8, 2, 3), data)
    assert torch.equal(layerwise(snn, data), snn(data))
