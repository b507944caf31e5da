"""What only some twins do; for the rest see their own files."""

import pytest
import torch
import torch_geometric.nn as pyg_nn
from torch_geometric.nn import GATv2Conv

from spikegraph import nn as spiking
from spikegraph.nn.conv import SpikingGATv2Conv
from tests.conversion.zoo import randomize
from tests.nn.conv.twin_tests import (
    NUM_NODES,
    NUM_SOURCES,
    TWINS,
    arguments,
    assert_equal,
    construct,
    layers_with_tests,
    make,
    spikes_of,
)


def test_every_twin_has_tests():
    conv = 'spikegraph.nn.conv.'
    twins = [layer for layer, twin in TWINS.items() if twin.__module__.startswith(conv)]
    assert {layer.__name__ for layer in twins} == {*layers_with_tests()}
    assert len(twins) >= 28


@pytest.mark.parametrize(
    'name, code',
    [
        ('SAGEConv', '(6, 3), 5'),
        ('GraphConv', '(6, 3), 5'),
        ('GINConv', 'mlp(6, 5)'),
        ('SimpleConv', ''),
    ],
)
def test_destinations_without_features(name, code):
    conv, twin = make(getattr(pyg_nn, name), code)
    source, size = spikes_of(NUM_SOURCES), (NUM_SOURCES, NUM_NODES)
    (edges,) = arguments('e', num_sources=NUM_SOURCES)
    expected = conv((source.decode(), None), edges, size=size)
    assert_equal(twin((source, None), edges, size=size), expected)


@pytest.mark.parametrize(
    'name, code', [('SGConv', '6, 5'), ('SSGConv', '6, 5, alpha=0.1')]
)
def test_cached_has_no_effect_where_pyg_caches_features(name, code):
    layer = getattr(pyg_nn, name)
    twin = make(layer, f'{code}, cached=True')[1]
    (edges,) = arguments('e')
    for _ in range(2):
        spikes = spikes_of(NUM_NODES)
        conv = randomize(construct(layer, code)).eval()
        assert_equal(twin(spikes, edges), conv(spikes.decode(), edges))


@pytest.mark.parametrize(
    'name, letters, code',
    [('APPNP', 'e', '2, 0.1, cached=True'), ('GCN2Conv', 'ze', '6, 0.1, cached=True')],
)
def test_cached_graphs(name, letters, code):
    conv, twin = make(getattr(pyg_nn, name), code)
    for seed in range(2):  # The second time on another graph.
        graph = arguments(letters, seed=seed)
        spikes = spikes_of(NUM_NODES)
        assert_equal(twin(spikes, *graph), conv(spikes.decode(), *graph))


REFUSED = {
    'GATConv': ('6, 5', (True,), r"'return_attention_weights' to be None.*True"),
    'GINConv': ("mlp(6, 5), aggr='std'", (), r"'add' or 'mean' \(got 'std'\)"),
    'GraphConv': ("6, 5, aggr='mul'", (), r"'add' or 'mean' \(got 'mul'\)"),
    'SimpleConv': ("'mul'", (), r"'aggr'.*'mean' \(got 'mul'\)"),
    'LEConv': ("6, 5, aggr='max'", (), r"'aggr' to be 'add' \(got 'max'\)"),
    'TAGConv': ('6, 5, node_dim=1', (), r"'node_dim' to be -2 \(got 1\)"),
    'RGCNConv': ("6, 5, 3, aggr='max'", (), r"'add' or 'mean' \(got 'max'\)"),
    'HypergraphConv': (
        '6, 5, use_attention=True',
        (),
        r"'use_attention' to be False \(got True\).*coefficients",
    ),
    'TransformerConv': ('6, 5, beta=True', (), r"'beta' to be False.*got True"),
}


@pytest.mark.parametrize('name', REFUSED)
def test_options_without_a_counterpart_are_refused(name):
    code, wanted, match = REFUSED[name]
    with pytest.raises(NotImplementedError, match=match):
        twin = construct(TWINS[getattr(pyg_nn, name)], code).double()
        twin(spikes_of(NUM_NODES), *arguments('e'), None, None, *wanted)


def test_maxima_do_not_take_edge_weights():
    twin = spiking.conv.SpikingSimpleConv('max')
    with pytest.raises(NotImplementedError, match=r"no 'edge_weight'.*'max'"):
        twin(spikes_of(NUM_NODES), *arguments('ew'))


def test_input_errors():
    twin = spiking.conv.SpikingSAGEConv(6, 5).double()
    (edges,) = arguments('e')
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
