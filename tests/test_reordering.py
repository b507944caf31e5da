import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.nn import SAGEConv
from torch_geometric.nn.models import GAT, GCN, GIN, GraphSAGE
from torch_geometric.utils import to_torch_csr_tensor

from spikegraph import ConversionConfig, convert, reorder, simulate
from tests.conversion.zoo import randomize

NETWORKS = {
    'GCN': lambda: GCN(5, 8, 3, 3, norm='batch_norm'),
    'SAGE, mean': lambda: GraphSAGE(5, 8, 2, 3),
    'SAGE, max': lambda: GraphSAGE(5, 8, 2, 3, aggr='max'),
    'GIN': lambda: GIN(5, 8, 2, 3),
    'one layer': lambda: SAGEConv(5, 3),
}
methods = pytest.mark.parametrize('method', ['rcm', 'degree'])


@methods
@pytest.mark.parametrize('network', NETWORKS)
def test_outputs_put_back_are_the_same(network, method, graph):
    snn = convert(randomize(NETWORKS[network]()).eval(), graph, ConversionConfig(12))
    reordered, position = reorder(graph, method)
    inputs = reordered.x, reordered.edge_index
    assert not torch.equal(reordered.x, graph.x)
    expected = snn(graph.x, graph.edge_index)
    torch.testing.assert_close(snn(*inputs)[position], expected, rtol=1e-12, atol=1e-12)
    there, here = simulate(snn, *inputs), simulate(snn, graph.x, graph.edge_index)
    for name, spikes in here.spikes.items():
        found = there.spikes[name].spike_time[position]
        assert torch.equal(found, spikes.spike_time), name


def test_edge_features_stay_with_their_edges(graph):
    graph.edge_attr = torch.rand(graph.num_edges, 4, dtype=torch.float64)
    model = randomize(GAT(5, 8, 2, 3, edge_dim=4)).eval()
    reordered, position = reorder(graph)
    out = model(reordered.x, reordered.edge_index, edge_attr=reordered.edge_attr)
    expected = model(graph.x, graph.edge_index, edge_attr=graph.edge_attr)
    torch.testing.assert_close(out[position], expected, rtol=1e-12, atol=1e-12)


@methods
@pytest.mark.parametrize('num_edges', [9, 30])  # As many as nodes, and not.
def test_every_attribute_of_a_node_moves_with_it(method, num_edges):
    edge_index = torch.randint(9, (2, num_edges))
    number = torch.arange(9)
    data = Data(
        x=torch.rand(9, 2),
        edge_index=edge_index.int(),
        edge_attr=torch.rand(num_edges, 3),
        y=number,
        train_mask=number > 5,
        pos=np.arange(18).reshape(9, 2),
        names=[f'node {i}' for i in range(9)],
        parent_index=torch.tensor([8, 0, 3]),
        face=torch.tensor([[0], [7], [8]]),
        graph_attr=torch.rand(1, 7),
        title='a graph',
    )
    before = data.clone()
    result, position = reorder(data, method)
    assert position.sort().values.tolist() == list(range(9))
    for key in ('x', 'y', 'train_mask'):
        assert torch.equal(result[key][position], data[key]), key
    assert np.array_equal(result.pos[position], data.pos)
    assert [result.names[i] for i in position] == data.names
    for key in ('edge_index', 'parent_index', 'face'):
        assert torch.equal(result[key], position[data[key].long()].to(data[key].dtype))
        assert result[key].dtype == data[key].dtype
    for key in ('edge_attr', 'graph_attr', 'title'):
        assert result[key] is data[key]
    for key, value in before.to_dict().items():  # The argument is left as it was.
        same = torch.equal if isinstance(value, torch.Tensor) else np.array_equal
        assert same(data[key], value), key


def test_rcm_brings_neighbours_together():
    number = torch.randperm(200)
    path = torch.stack([number[:-1], number[1:]])  # Directed.
    edge_index = reorder(Data(edge_index=path, num_nodes=200))[0].edge_index
    assert int((edge_index[0] - edge_index[1]).abs().max()) == 1


def test_degree_puts_what_is_read_most_first(graph):
    edge_index = reorder(graph, 'degree')[0].edge_index
    degree = torch.bincount(edge_index[0], minlength=60)
    assert (degree.diff() <= 0).all() and degree[0] > degree[-1] == 0


@methods
@pytest.mark.parametrize('num_nodes', [0, 1, 5])
def test_no_edges(num_nodes, method):
    edge_index = torch.empty(2, 0, dtype=torch.long)
    data = Data(x=torch.rand(num_nodes, 3), edge_index=edge_index)
    result, position = reorder(data, method)
    assert torch.equal(result.x[position], data.x)
    assert result.edge_index.shape == (2, 0) and result.edge_index.dtype == torch.long


EDGES = torch.tensor([[0, 1], [1, 2]])


@pytest.mark.parametrize(
    'data, method, match',
    [
        (
            Data(edge_index=EDGES, num_nodes=3),
            'RCM',
            r"'rcm' or 'degree' \(got 'RCM'\)",
        ),
        (HeteroData(), 'rcm', r'one graph.*\(got HeteroData\)'),
        (
            Batch.from_data_list([Data(edge_index=EDGES, num_nodes=3)]),
            'rcm',
            r'\(got .*Batch\)',
        ),
        (Data(x=torch.rand(3, 1)), 'rcm', r"edge_index' .*\(got NoneType\)"),
        (Data(edge_index=EDGES, num_nodes=2), 'rcm', r'nodes 0 to 1.*\(got node 2\)'),
        (Data(edge_index=EDGES.float(), num_nodes=3), 'rcm', r'\(got torch.float32\)'),
        (
            Data(edge_index=to_torch_csr_tensor(EDGES, size=(3, 3)), num_nodes=3),
            'rcm',
            r'\(got torch.sparse_csr\)',
        ),
    ],
)
def test_errors(data, method, match):
    with pytest.raises(ValueError, match=match):
        reorder(data, method)


def test_numbers_of_no_node_are_refused(graph):
    graph.seed_index = torch.tensor([-1, 0])
    with pytest.raises(ValueError, match=r"'data.seed_index' .*\(got node -1\)"):
        reorder(graph)
