"""Every twin against PyG's layer, on the decoded spikes."""

import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.nn import GATv2Conv, GraphConv, SAGEConv
from torch_geometric.utils import to_torch_coo_tensor

from spikegraph import ConversionConfig, convert, simulate
from spikegraph import nn as spiking
from spikegraph.coding import PhaseCode, Spikes
from spikegraph.network.interpreter import AnalogReading
from spikegraph.nn.conv import ATTENTION_TWINS, TWINS, SpikingGATv2Conv
from spikegraph.nn.layer import values_of
from spikegraph.testing import assert_spiking
from tests.conversion.zoo import randomize

NUM_NODES, NUM_EDGES, NUM_SOURCES = 12, 40, 15
SIGNED = PhaseCode(8, 1.5, signed=True)
MAX = dict(aggr='max')
MIN = dict(aggr='min')
MEAN = dict(aggr='mean')
BACK = dict(flow='target_to_source')


def mlp(num_in, num_out):
    return nn.Sequential(nn.Linear(num_in, 8), nn.ReLU(), nn.Linear(8, num_out))


def options(*args, **kwargs):
    return args, kwargs


# Arguments of the forward: e edge_index, w edge weights, a edge features, t edge
# types, p positions, n normals, s sizes, x other features, h hyperedges, v their
# weights; a + marks layers that are affine in one x and take (x, edge_index).
CASES = {
    'SAGEConv': [
        ('e+', options(6, 5)),
        ('e+', options(6, 5, aggr='sum', root_weight=False, bias=False)),
        ('e+', options(6, 5, **BACK)),
        ('e', options(6, 5, **MAX)),
        ('e', options(6, 5, root_weight=False, **MIN)),
        ('e', options(6, 5, **MAX, **BACK)),
        ('e', options(6, 5, normalize=True)),
        ('e', options(6, 5, project=True)),
        ('e', options(6, 5, project=True, **MAX)),
        ('e', options(6, 5, aggr=['mean', 'max'])),
        ('e', options(6, 5, aggr='std')),
    ],
    'GraphConv': [
        ('e+', options(6, 5)),
        ('ew', options(6, 5)),
        ('ew', options(6, 5, bias=False, **MEAN)),
        ('e', options(6, 5, **MAX)),
        ('ew', options(6, 5, **MAX)),
        ('ew', options(6, 5, **MIN, **BACK)),
    ],
    'GINConv': [
        ('e', options(lambda: mlp(6, 5), eps=0.3)),
        ('e', options(lambda: mlp(6, 5), train_eps=True, **MEAN)),
        ('e', options(lambda: mlp(6, 5), eps=-0.4, **MAX)),
        ('e+', options(lambda: nn.Linear(6, 5), eps=0.5, **BACK)),
    ],
    'GINEConv': [
        ('ea', options(lambda: mlp(6, 5), eps=0.3, edge_dim=4)),
        ('ea', options(lambda: mlp(6, 5), edge_dim=4, **MEAN)),
        ('ea', options(lambda: mlp(6, 5), train_eps=True, edge_dim=4, **BACK)),
    ],
    'SGConv': [
        ('e+', options(6, 5)),
        ('ew', options(6, 5, K=3)),
        ('e', options(6, 5, K=2, cached=True, add_self_loops=False)),
    ],
    'SSGConv': [('e+', options(6, 5, alpha=0.2)), ('ew', options(6, 5, 0.1, K=3))],
    'TAGConv': [
        ('e+', options(6, 5)),
        ('ew', options(6, 5, K=1, bias=False)),
        ('ew', options(6, 5, K=2, normalize=False)),
        ('e+', options(6, 5, K=0)),
    ],
    'LGConv': [('e+', options()), ('ew', options()), ('e', options(normalize=False))],
    'APPNP': [
        ('e+', options(3, 0.2)),
        ('ew', options(K=1, alpha=0.0)),
        ('e', options(2, 0.1, cached=True)),
        ('e', options(2, 0.1, add_self_loops=False)),
        ('ew', options(2, 0.1, normalize=False)),
    ],
    'ChebConv': [
        ('e+', options(6, 5, K=1)),
        ('e+', options(6, 5, K=4)),
        ('ew', options(6, 5, K=2, normalization='rw', bias=False)),
        ('ew', options(6, 5, K=3, normalization=None)),
    ],
    'ARMAConv': [
        ('e', options(6, 5)),
        ('ew', options(6, 5, num_stacks=2, num_layers=3)),
        ('e', options(6, 5, 2, 2, shared_weights=True, bias=False)),
        ('e+', options(6, 5, num_stacks=3, act=None)),
    ],
    'ClusterGCNConv': [
        ('e+', options(6, 5)),
        ('e', options(6, 5, diag_lambda=0.5)),
        ('e', options(6, 5, bias=False)),
    ],
    'LEConv': [
        ('e+', options(6, 5)),
        ('ew', options(6, 5, bias=False)),
        ('ew', options(6, 5, **BACK)),
    ],
    'MixHopConv': [
        ('e+', options(6, 5)),
        ('ew', options(6, 5, powers=[0, 3, 1], bias=False)),
    ],
    'GCN2Conv': [
        ('xe', options(6, 0.1)),
        ('xew', options(6, 0.2, theta=0.5, layer=3, shared_weights=False)),
        ('xe', options(6, 0.1, 0.5, 2, cached=True)),
        ('xew', options(6, 0.1, normalize=False, add_self_loops=False)),
    ],
    'SimpleConv': [
        ('e+', options()),
        ('ew', options(**MEAN)),
        ('e', options(**MAX)),
        ('e', options('min', combine_root='cat')),
        ('e', options(combine_root='sum')),
        ('e+', options('mean', combine_root='self_loop')),
    ],
    'HypergraphConv': [
        ('h', options(6, 5)),
        ('hv', options(6, 5, bias=False)),
    ],
    'DirGNNConv': [
        ('e+', options(lambda: SAGEConv(6, 5))),
        ('e', options(lambda: GraphConv(6, 5, aggr='max'), alpha=0.2)),
        ('e+', options(lambda: SAGEConv(6, 5), root_weight=False)),
    ],
    'EdgeConv': [
        ('e', options(lambda: mlp(12, 5))),
        ('e', options(lambda: mlp(12, 5), **MEAN)),
        ('e', options(lambda: mlp(12, 5), 'sum', **BACK)),
    ],
    'PointNetConv': [
        ('pe', options(lambda: mlp(9, 8), lambda: mlp(8, 5))),
        ('pe', options(lambda: mlp(9, 8), add_self_loops=False)),
        ('pe', options()),
    ],
    'PPFConv': [('pne', options(lambda: mlp(10, 8), lambda: mlp(8, 5)))],
    'RGCNConv': [
        ('et', options(6, 5, 3)),
        ('et', options(6, 5, 3, num_bases=2, root_weight=False)),
        ('et', options(6, 4, 3, num_blocks=2, bias=False)),
        ('et', options(6, 5, 3, aggr='sum')),
    ],
    'FastRGCNConv': [('et', options(6, 5, 3)), ('et', options(6, 5, 3, num_bases=2))],
    'MFConv': [
        ('e', options(6, 5)),
        ('e', options(6, 5, max_degree=2, bias=False)),
    ],
    'GATConv': [
        ('e', options(6, 5)),
        ('ea', options(6, 5, heads=3, edge_dim=4)),
        ('e', options(6, 5, heads=2, concat=False, bias=False)),
        ('e', options(6, 5, heads=2, residual=True, add_self_loops=False)),
        ('ew', options(6, 5, edge_dim=1, negative_slope=0.1, fill_value=2.0)),
    ],
    'GATv2Conv': [
        ('e', options(6, 5)),
        ('ea', options(6, 5, heads=3, edge_dim=4)),
        ('e', options(6, 5, heads=2, concat=False, share_weights=True)),
        ('e', options(6, 5, heads=2, residual=True, add_self_loops=False)),
    ],
    'TransformerConv': [
        ('e', options(6, 5)),
        ('ea', options(6, 5, heads=3, edge_dim=4)),
        ('e', options(6, 5, heads=2, concat=False, root_weight=False)),
    ],
    'AGNNConv': [('e', options()), ('e', options(add_self_loops=False))],
}
BIPARTITE = {
    'SAGEConv': [('e', options((6, 3), 5)), ('e', options((6, 3), 5, **MAX))],
    'GraphConv': [('ew', options((6, 3), 5)), ('e', options((6, 3), 5, **MIN))],
    'GINConv': [('e', options(lambda: mlp(6, 5), eps=0.3))],
    'GINEConv': [('ea', options(lambda: mlp(6, 5), eps=0.3, edge_dim=4))],
    'LEConv': [('ew', options((6, 3), 5))],
    'SimpleConv': [('e', options()), ('e', options(combine_root='cat', **MAX))],
    'EdgeConv': [('e', options(lambda: mlp(12, 5)))],
    'RGCNConv': [('et', options((6, 3), 5, 3))],
    'MFConv': [('e', options((6, 3), 5))],
    'GATConv': [('e', options((6, 3), 5, 2)), ('ea', options((6, 3), 5, edge_dim=4))],
    'GATv2Conv': [('e', options((6, 3), 5, 2))],
    'TransformerConv': [('e', options((6, 3), 5, 2))],
}
EQUAL_WIDTHS = ('GINConv', 'GINEConv', 'EdgeConv', 'SimpleConv')
# Layers that PyG lets read a sparse adjacency without other packages.
SPARSE = {
    'SAGEConv': [options(6, 5), options(6, 5, aggr='sum'), options(6, 5, **MAX)],
    'GraphConv': [options(6, 5), options(6, 5, **MEAN)],
    'GINConv': [options(lambda: mlp(6, 5))],
    'SGConv': [options(6, 5, K=2)],
    'SSGConv': [options(6, 5, alpha=0.2, K=2)],
    'TAGConv': [options(6, 5)],
    'LGConv': [options()],
    'APPNP': [options(3, 0.2)],
    'MixHopConv': [options(6, 5)],
    'SimpleConv': [options(), options(**MEAN)],
}


def flat(table):
    return [
        pytest.param(name, *case, id=f'{name}-{i}')
        for name, cases in table.items()
        for i, case in enumerate(cases)
    ]


def twin_of(name):
    return getattr(spiking.conv, f'Spiking{name}')


def build(made_by, given, seed=0):
    args, kwargs = given
    torch.manual_seed(seed)
    args = [a() if inspect.isfunction(a) else a for a in args]
    torch.manual_seed(seed + 1)
    return made_by(*args, **kwargs)


def make(name, given):
    conv = randomize(build(twin_of(name).ann_type, given)).eval()
    return conv, twin_of(name).from_ann(conv)


def spikes_of(num_nodes, width=6):
    return Spikes.from_values(torch.randn(num_nodes, width).double(), SIGNED, 2.0)


def graph_of(num_nodes, num_edges, letters, num_sources=None):
    num_sources = num_nodes if num_sources is None else num_sources
    source = torch.randint(max(1, num_sources - 2), (num_edges,))  # Some isolated.
    target = torch.randint(max(1, num_nodes - 2), (num_edges,))
    nodes = torch.randint(num_nodes, (num_edges,))
    known = {
        'e': torch.stack([source, target]),
        'w': torch.rand(num_edges).double(),
        'a': torch.randn(num_edges, 4).double(),
        't': torch.randint(3, (num_edges,)),
        'p': torch.randn(num_nodes, 3).double(),
        'n': F.normalize(torch.randn(num_nodes, 3).double()),
        'x': torch.randn(num_nodes, 6).double(),
        'h': torch.stack([nodes, torch.randint(5, (num_edges,))]),
        'v': torch.rand(5).double(),
    }
    return [known[letter] for letter in letters.removesuffix('+')]


def assert_equal(found, expected):
    found = values_of(found)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_the_table_is_complete():
    assert {f'Spiking{name}' for name in CASES} == {
        twin.__name__ for twin in (*TWINS, *ATTENTION_TWINS)
    }


# PyG divides by zero hyperedges, and by the largest entry of no Laplacian.
NEED_EDGES = {'HypergraphConv-0', 'HypergraphConv-1', 'ChebConv-3'}
SIZES = [
    pytest.param(*case.values, *size, id=f'{case.id}-{size[1]}')
    for case in flat(CASES)
    for size in ((NUM_NODES, NUM_EDGES), (4, 0))
    if size[1] > 0 or case.id not in NEED_EDGES
]


@pytest.mark.parametrize('name, letters, given, num_nodes, num_edges', SIZES)
def test_equals_pyg_on_decoded_spikes(name, letters, given, num_nodes, num_edges):
    conv, twin = make(name, given)
    graph = graph_of(num_nodes, num_edges, letters)
    spikes = spikes_of(num_nodes)
    assert_equal(twin(spikes, *graph), conv(spikes.decode(), *graph))
    assert_equal(twin(spikes.decode(), *graph), conv(spikes.decode(), *graph))


@pytest.mark.parametrize('name, letters, given', flat(BIPARTITE))
def test_bipartite_graphs(name, letters, given):
    conv, twin = make(name, given)
    source = spikes_of(NUM_SOURCES)
    target = spikes_of(NUM_NODES, 6 if name in EQUAL_WIDTHS else 3)
    graph = graph_of(NUM_NODES, NUM_EDGES, letters, NUM_SOURCES)
    expected = conv((source.decode(), target.decode()), *graph)
    assert expected.size(0) == NUM_NODES
    assert_equal(twin((source, target), *graph), expected)


@pytest.mark.parametrize('name', ['SAGEConv', 'GraphConv', 'GINConv', 'SimpleConv'])
def test_destinations_without_features(name):
    given = options() if name == 'SimpleConv' else options((6, 3), 5)
    given = options(lambda: mlp(6, 5)) if name == 'GINConv' else given
    conv, twin = make(name, given)
    source, size = spikes_of(NUM_SOURCES), (NUM_SOURCES, NUM_NODES)
    (edges,) = graph_of(NUM_NODES, NUM_EDGES, 'e', NUM_SOURCES)
    expected = conv((source.decode(), None), edges, size=size)
    assert_equal(twin((source, None), edges, size=size), expected)


class Bipartite(nn.Module):
    """Features of sources and destinations are two inputs."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x, y, edge_index, edge_attr=None):
        if edge_attr is None:
            return self.conv((x, y), edge_index)
        return self.conv((x, y), edge_index, edge_attr)


@pytest.mark.parametrize('name, letters, given', flat(BIPARTITE))
def test_bipartite_models_convert(name, letters, given):
    model = Bipartite(make(name, given)[0])
    source = torch.randn(NUM_SOURCES, 6).double()
    target = torch.randn(NUM_NODES, 6 if name in EQUAL_WIDTHS else 3).double()
    graph = graph_of(NUM_NODES, NUM_EDGES, letters, NUM_SOURCES)
    inputs = (source, target, *graph)
    is_attention = twin_of(name) in ATTENTION_TWINS
    config = ConversionConfig(compensate=None, allow_analog=is_attention)
    snn = convert(model, inputs, config)
    entered = [name for name in snn.neurons if name.startswith('input_')]
    reads_target = given != options()  # SimpleConv by default does not.
    assert entered == ['input_x', 'input_y'][: 1 + reads_target]
    assert bool(snn.report.analog) == is_attention
    found = AnalogReading(snn.network).run(snn.bind(*inputs))
    assert_equal(found, model(*inputs))
    spikes, simulation = snn.spikes(*inputs), simulate(snn, *inputs)
    for population, each in spikes.items():
        assert torch.equal(each.spike_time, simulation.spike_time[population])


@pytest.mark.parametrize('layout', ['csr', 'coo'])
@pytest.mark.parametrize(
    'name, given', [(name, given) for name, cases in SPARSE.items() for given in cases]
)
def test_sparse_adjacency(name, given, layout):
    conv, twin = make(name, given)
    edges = torch.unique(graph_of(NUM_NODES, NUM_EDGES, 'e')[0], dim=1)
    adj_t = to_torch_coo_tensor(edges.flip(0), size=(NUM_NODES, NUM_NODES)).double()
    adj_t = adj_t.to_sparse_csr() if layout == 'csr' else adj_t
    spikes = spikes_of(NUM_NODES)
    assert_equal(twin(spikes, adj_t), conv(spikes.decode(), adj_t))


@pytest.mark.parametrize('name, letters, given', flat(CASES))
def test_constructed_like_pyg(name, letters, given):
    twin_type = twin_of(name)
    signature = inspect.signature(twin_type)
    assert signature == inspect.signature(twin_type.ann_type)
    torch.set_default_dtype(torch.float64)
    try:  # The same seed, so the same parameters.
        conv, twin = build(twin_type.ann_type, given), build(twin_type, given)
    finally:
        torch.set_default_dtype(torch.float32)
    graph = graph_of(NUM_NODES, NUM_EDGES, letters)
    spikes = spikes_of(NUM_NODES)
    assert_equal(twin(spikes, *graph), conv(spikes.decode(), *graph))


@pytest.mark.parametrize(
    'name, letters, given', [p for p in flat(CASES) if '+' in p.values[1]]
)
def test_is_spiking(name, letters, given):
    conv, twin = make(name, given)
    (edges,) = graph_of(NUM_NODES, NUM_EDGES, letters)
    assert_spiking(twin, torch.rand(NUM_NODES, 6), edges)


@pytest.mark.parametrize('name', ['SGConv', 'SSGConv'])
def test_cached_has_no_effect_where_pyg_caches_features(name):
    given = options(6, 5, cached=True)
    given = options(6, 5, alpha=0.1, cached=True) if name == 'SSGConv' else given
    twin = make(name, given)[1]
    plain = twin_of(name).ann_type
    (edges,) = graph_of(NUM_NODES, NUM_EDGES, 'e')
    for _ in range(2):
        spikes = spikes_of(NUM_NODES)
        given[1]['cached'] = False
        conv = randomize(build(plain, given)).eval()
        assert_equal(twin(spikes, edges), conv(spikes.decode(), edges))


@pytest.mark.parametrize('name', ['APPNP', 'GCN2Conv'])
def test_cached_graphs(name):
    given = options(2, 0.1, cached=True)
    given = options(6, 0.1, cached=True) if name == 'GCN2Conv' else given
    conv, twin = make(name, given)
    first = ['x'] * (name == 'GCN2Conv')
    for _ in range(2):  # The second time on another graph.
        graph = graph_of(NUM_NODES, NUM_EDGES, [*first, 'e'][0] + 'e' * len(first))
        spikes = spikes_of(NUM_NODES)
        assert_equal(twin(spikes, *graph), conv(spikes.decode(), *graph))


REFUSED = {
    'GATConv': (options(6, 5), (True,), r"'return_attention_weights' to be None.*True"),
    'GINConv': (options(lambda: mlp(6, 5), aggr='std'), (), r"'add'.*\(got 'std' and"),
    'GraphConv': (options(6, 5, aggr='mul'), (), r"'add', 'mean'.*\(got 'mul' and"),
    'SimpleConv': (options('mul'), (), r"'aggr'.*'mean'.*\(got 'mul' and"),
    'LEConv': (options(6, 5, aggr='max'), (), r"'aggr' to be 'add'.*\(got 'max' and"),
    'TAGConv': (options(6, 5, node_dim=1), (), r"'node_dim' to be -2.*'add' and 1\)"),
    'RGCNConv': (options(6, 5, 3, aggr='max'), (), r"'add', 'mean'.*\(got 'max'"),
    'HypergraphConv': (
        options(6, 5, use_attention=True),
        (),
        r"'use_attention' to be False \(got True\).*coefficients",
    ),
    'TransformerConv': (options(6, 5, beta=True), (), r"'beta' to be False.*got True"),
}


@pytest.mark.parametrize('name', REFUSED)
def test_options_without_a_counterpart_are_refused(name):
    given, wanted, match = REFUSED[name]
    with pytest.raises(NotImplementedError, match=match):
        twin = build(twin_of(name), given).double()
        (edges,) = graph_of(NUM_NODES, NUM_EDGES, 'e')
        twin(spikes_of(NUM_NODES), edges, None, None, *wanted)


def test_maxima_do_not_take_edge_weights():
    twin = spiking.conv.SpikingSimpleConv('max')
    with pytest.raises(NotImplementedError, match=r"no 'edge_weight'.*'max'"):
        twin(spikes_of(NUM_NODES), *graph_of(NUM_NODES, NUM_EDGES, 'ew'))


def test_input_errors():
    twin = spiking.conv.SpikingSAGEConv(6, 5).double()
    (edges,) = graph_of(NUM_NODES, NUM_EDGES, 'e')
    with pytest.raises(ValueError, match=r'6 features per row.*\(got 4, shape'):
        twin(spikes_of(NUM_NODES, 4), edges)
    with pytest.raises(ValueError, match=r'data type of the weights.*float64.*float32'):
        twin(spikes_of(NUM_NODES).decode().float(), edges)
    with pytest.raises(ValueError, match=r'nodes 0 to 2.*as .x. has 3 rows'):
        twin(spikes_of(3), edges)
    with pytest.raises(ValueError, match=r'one weight per edge \(got \[3\]\)'):
        spiking.conv.SpikingTAGConv(6, 5).double()(
            spikes_of(NUM_NODES), edges, torch.ones(3).double()
        )


def test_attention_with_shared_weights_of_both_sides():
    conv = GATv2Conv((6, 6), 5, 2, add_self_loops=False, share_weights=True)
    conv = conv.double()
    x = torch.randn(9, 6, dtype=torch.float64), torch.randn(7, 6, dtype=torch.float64)
    edge_index = torch.stack([torch.randint(9, (30,)), torch.randint(7, (30,))])
    out = SpikingGATv2Conv.from_ann(conv)(x, edge_index)
    assert torch.allclose(out, conv(x, edge_index), rtol=0, atol=1e-12)
