import pytest
import torch
from torch_geometric.nn import GCNConv
from torch_geometric.utils import to_torch_coo_tensor

from spikegraph.coding import PhaseCode, Spikes
from spikegraph.nn import PhaseNeuron, SpikingGCNConv
from spikegraph.nn.conv import DegreeFactor
from spikegraph.testing import assert_spiking

NUM_NODES = 30
EDGES = torch.randint(
    NUM_NODES - 2, (2, 90), generator=torch.Generator().manual_seed(0)
)
WEIGHT = torch.rand(90, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def random_spikes(num_nodes=NUM_NODES, width=7):
    values = torch.rand(num_nodes, width, dtype=torch.float64)
    return Spikes.from_values(values, PhaseCode(8, 1.5))


def random_conv(**kwargs):
    conv = GCNConv(7, 4, **kwargs).double()
    if conv.bias is not None:
        torch.nn.init.normal_(conv.bias)
    return conv


@pytest.mark.parametrize(
    'kwargs',
    [
        {},
        dict(improved=True),
        dict(add_self_loops=False),
        dict(normalize=False),
        dict(bias=False),
        dict(flow='target_to_source'),
        dict(cached=True),
    ],
    ids=str,
)
@pytest.mark.parametrize('weight', [None, WEIGHT], ids=['unweighted', 'weighted'])
def test_equals_pyg_on_decoded_spikes(kwargs, weight):
    conv = random_conv(**kwargs)
    layer = SpikingGCNConv.from_ann(conv)
    spikes = random_spikes()
    expected = conv(spikes.decode(), EDGES, weight)
    assert torch.allclose(layer(spikes, EDGES, weight), expected, atol=1e-12)
    features = layer.features(spikes, EDGES, weight)
    by_hand = features @ layer.weight.t() + (0 if layer.bias is None else layer.bias)
    assert torch.allclose(by_hand, expected, atol=1e-12)


@pytest.mark.parametrize('layout', ['csr', 'coo'])
def test_sparse_adjacency(layout):
    edges = torch.unique(EDGES, dim=1)
    size = (NUM_NODES, NUM_NODES)
    adj_t = to_torch_coo_tensor(edges.flip(0), size=size).double()
    adj_t = adj_t.to_sparse_csr() if layout == 'csr' else adj_t
    conv = random_conv()
    spikes = random_spikes()
    expected = conv(spikes.decode(), adj_t)
    found = SpikingGCNConv.from_ann(conv)(spikes, adj_t)
    assert torch.allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(
    'num_nodes, edges',
    [
        (1, torch.zeros(2, 0).long()),
        (1, torch.zeros(2, 3).long()),
        (4, torch.zeros(2, 0).long()),
        (5, torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]])),
    ],
    ids=['one node', 'self-loops', 'no edges', 'duplicates'],
)
def test_odd_graphs(num_nodes, edges):
    conv = random_conv()
    spikes = random_spikes(num_nodes)
    expected = conv(spikes.decode(), edges)
    found = SpikingGCNConv.from_ann(conv)(spikes, edges)
    assert torch.allclose(found, expected, atol=1e-12)


def test_cached_graph_is_kept_until_the_layer_moves():
    layer = SpikingGCNConv(7, 4, cached=True).double()
    spikes = random_spikes()
    first = layer(spikes, EDGES)
    other = EDGES.flip(1)[:, :10]
    assert torch.equal(layer(spikes, other), first)
    layer.double()
    assert not torch.allclose(layer(spikes, other), first)


def test_degree_factor_in_thresholds_delivers_equal_spikes():
    layer = SpikingGCNConv(7, 4, bias=False).double()
    x = torch.rand(NUM_NODES, 7, dtype=torch.float64)
    factor = DegreeFactor(layer)(x, EDGES)
    adjacency = layer.adjacency(x, (EDGES,))
    degree = adjacency.rowptr.diff().view(-1, 1).double()
    assert torch.allclose(factor, degree.sqrt())
    spikes = PhaseNeuron(PhaseCode(8, 1.5), 0.5)(x, factor)
    delivered = spikes.decode() * adjacency.source_factor
    levels = 0.5 * spikes.code.table()
    nearest = (delivered.view(-1, 1) - levels).abs().amin(dim=1)
    assert nearest.max() < 1e-15


def test_operations():
    spikes = random_spikes()
    kinds = {op.kind: op.num for op in random_layer().operations(spikes, EDGES)}
    loops = int((EDGES[0] == EDGES[1]).sum())
    num_edges = 90 - loops + NUM_NODES
    assert kinds == {
        'transform': NUM_NODES * 7 * 4,
        'aggregation': num_edges * 4,
        'scaling': 2 * NUM_NODES * 4,
    }
    weighted = random_layer().operations(spikes, EDGES, WEIGHT)
    assert weighted[1].kind == 'weighted aggregation'
    folded = random_layer(fold_degree=True).operations(spikes, EDGES)
    assert [op.kind for op in folded] == ['transform', 'aggregation']
    plain = random_layer(normalize=False).operations(spikes, EDGES)
    assert [op.kind for op in plain] == ['transform', 'aggregation']


def random_layer(**kwargs):
    return SpikingGCNConv(7, 4, **kwargs).double()


def test_is_spiking():
    assert_spiking(random_layer(), torch.rand(NUM_NODES, 7), EDGES)


@pytest.mark.parametrize(
    'kwargs, match',
    [
        (dict(normalize=False, add_self_loops=True), r"'normalize' is False.*got True"),
        (dict(flow='up'), r"'source_to_target' or 'target_to_source' \(got 'up'\)"),
    ],
)
def test_constructor_errors(kwargs, match):
    with pytest.raises(ValueError, match=match):
        SpikingGCNConv(7, 4, **kwargs)


def test_input_errors():
    layer = random_layer()
    with pytest.raises(ValueError, match=r'7 features per row.*\(got 8'):
        layer(torch.rand(30, 8).double(), EDGES)
    with pytest.raises(ValueError, match=r'\[num_nodes, in_channels\] \(got \[7\]\)'):
        layer(torch.rand(7).double(), EDGES)
    with pytest.raises(ValueError, match=r'0 to 4, as .x. has 5 rows'):
        layer(torch.rand(5, 7).double(), EDGES)
