"""What holds for every twin of a layer of PyG.

A file ``test_NAME.py`` beside this one has a class for the layer: ``TwinTests``, and
where they apply ``BipartiteTests`` and ``SparseTests``, with tables of cases. A case is
the arguments of the forward, a letter each (see `arguments`), and those of the layer as
text. Behind the letters may stand marks: ``+`` where the layer is affine in its features
and takes ``(x, edge_index)``, ``-`` where the twin refuses the options, ``!`` where PyG
needs an edge.
"""

import inspect
from importlib import import_module
from pkgutil import iter_modules

import pytest
import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg_nn
from torch import nn
from torch_geometric.utils import to_torch_coo_tensor

import tests.nn.conv
from spikegraph import ConversionConfig, convert, simulate
from spikegraph.coding import PhaseCode, Spikes
from spikegraph.network.interpreter import AnalogReading
from spikegraph.nn.conv.twin import _TWINS
from spikegraph.nn.layer import values_of
from spikegraph.testing import assert_spiking
from tests.conversion.zoo import randomize

NUM_NODES, NUM_EDGES, NUM_SOURCES = 14, 50, 17
SIGNED = PhaseCode(8, 1.5, signed=True)
TWINS = {each.ann_type: each for each in _TWINS}  # The library's own.
_TESTS = {}


def layers_with_tests():
    """The class of tests of each layer, by the name of the layer."""
    for found in iter_modules(tests.nn.conv.__path__):
        if found.name.startswith('test_'):
            import_module(f'{tests.nn.conv.__name__}.{found.name}')
    return _TESTS


def mlp(num_in, num_out):
    """A linear layer, a ReLU, a linear layer."""
    return nn.Sequential(nn.Linear(num_in, 8), nn.ReLU(), nn.Linear(8, num_out))


def construct(made_by, code):
    """What a class makes of the arguments that ``code`` spells."""
    names = {**vars(pyg_nn.aggr), **vars(pyg_nn), **vars(pyg_nn.models)}
    names |= {'mlp': mlp, 'nn': nn, 'deg': torch.tensor([0, 3, 5, 4, 2])}
    torch.manual_seed(0)
    return eval(f'made_by({code})', {**names, 'made_by': made_by})


def make(layer, code):
    """A layer that looks trained, in float64, and its twin."""
    conv = randomize(construct(layer, code)).eval()
    return conv, TWINS[layer].from_ann(conv)


def letters_of(case):
    return case.rstrip('+-!')


def arguments(
    letters, num_nodes=NUM_NODES, num_edges=NUM_EDGES, num_sources=None, seed=1
):
    """Arguments of a forward, on one random graph: x features, z others of nodes, X of
    two kinds of neighbours, H one-hot, y of several layers; e edges, s sorted ones, w
    their weights, a features, t types; p positions, n normals; h hyperedges, v their
    weights; b graphs (features of hyperedges beside h), o types of nodes, m edges of a
    mesh, d features by type, i images.
    """
    num_sources = num_nodes if num_sources is None else num_sources
    g = torch.Generator().manual_seed(seed)

    def real(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    def index(high, *shape):
        return torch.randint(high, shape, generator=g)

    source = index(max(1, num_sources - 2), num_edges)  # Some are isolated.
    edges = torch.stack([source, index(max(1, num_nodes - 2), num_edges)])
    known = {
        'x': real(num_nodes, 6),
        'z': real(num_nodes, 6),
        'X': real(num_nodes, 12),
        'H': F.one_hot(index(4, num_nodes), 4).double(),
        'y': real(num_nodes, 3, 6),
        'e': edges,
        's': edges[:, edges[1].argsort()],
        'w': real(num_edges).abs(),
        'a': real(num_edges, 4),
        't': index(3, num_edges),
        'p': real(num_nodes, 3),
        'n': F.normalize(real(num_nodes, 3)),
        'h': torch.stack([torch.arange(num_edges) % num_nodes, index(5, num_edges)]),
        'v': real(5).abs(),
        'b': torch.arange(num_nodes) // 5,
        'o': index(2, num_nodes),
        'm': index(num_nodes, 2, 4 * num_nodes),
        'd': {'a': real(num_nodes, 6)},
        'i': real(2, 6, 3, 6),
    }
    if 'h' in letters:
        known['b'] = real(5, 6)
    if 'd' in letters:
        known['e'] = {('a', 'to', 'a'): edges}
    return tuple(known[letter] for letter in letters)


def spikes_of(num_nodes, width=6):
    return Spikes.from_values(torch.randn(num_nodes, width).double(), SIGNED, 2.0)


def assert_equal(found, expected):
    found = values_of(found)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)


class TwinTests:
    """The twin against PyG's layer, on the decoded spikes."""

    layer: type[nn.Module]
    shown = []  # Cases that docs/convolutions.md shows.
    others = []

    def __init_subclass__(cls):
        super().__init_subclass__()
        _TESTS[cls.layer.__name__] = cls

    def pytest_generate_tests(self, metafunc):
        taken = [case for case in (*self.shown, *self.others) if '-' not in case[0]]
        tables = {
            'case': taken,
            'refused_or_affine': (*self.shown, *self.others),
            'two': getattr(self, 'bipartite', []),
            'options': getattr(self, 'sparse', []),
        }
        for name, cases in tables.items():
            if name in metafunc.fixturenames:
                ids = [each if isinstance(each, str) else each[1] for each in cases]
                metafunc.parametrize(name, cases, ids=ids)

    def test_equals_pyg_on_decoded_spikes(self, case):
        for num_nodes, num_edges in ((NUM_NODES, NUM_EDGES), (4, 0)):
            if num_edges or '!' not in case[0]:
                conv, twin = make(self.layer, case[1])  # It may cache the graph.
                _, *graph = arguments(letters_of(case[0]), num_nodes, num_edges)
                spikes = spikes_of(num_nodes)
                expected = conv(spikes.decode(), *graph)
                assert_equal(twin(spikes, *graph), expected)
                assert_equal(twin(spikes.decode(), *graph), expected)

    def test_constructed_like_pyg(self, case):
        twin_type = TWINS[self.layer]
        assert inspect.signature(twin_type) == inspect.signature(self.layer)
        torch.set_default_dtype(torch.float64)
        try:  # The same seed, so the same parameters.
            conv = construct(self.layer, case[1]).eval()
            twin = construct(twin_type, case[1]).eval()
        finally:
            torch.set_default_dtype(torch.float32)
        _, *graph = arguments(letters_of(case[0]))
        spikes = spikes_of(NUM_NODES)
        assert_equal(twin(spikes, *graph), conv(spikes.decode(), *graph))

    def test_is_spiking_or_refused(self, refused_or_affine):
        letters, code = refused_or_affine
        if '-' in letters:
            with pytest.raises(NotImplementedError, match="^Expected '.*got "):
                make(self.layer, code)
        if '+' in letters:
            _, edges = arguments(letters_of(letters))
            assert_spiking(make(self.layer, code)[1], torch.rand(NUM_NODES, 6), edges)


class _Bipartite(nn.Module):
    """Features of sources and destinations are two inputs."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x, y, edge_index, edge_attr=None):
        if edge_attr is None:
            return self.conv((x, y), edge_index)
        return self.conv((x, y), edge_index, edge_attr)


class BipartiteTests:
    """Between two kinds of nodes: features are a pair, of widths 6 and ``width``."""

    bipartite = []
    width = 3

    def test_bipartite_graphs(self, two):
        letters, code = two
        conv, twin = make(self.layer, code)
        source, target = spikes_of(NUM_SOURCES), spikes_of(NUM_NODES, self.width)
        _, *graph = arguments(letters, num_sources=NUM_SOURCES)
        expected = conv((source.decode(), target.decode()), *graph)
        assert expected.size(0) == NUM_NODES
        assert_equal(twin((source, target), *graph), expected)

    def test_bipartite_models_convert(self, two):
        letters, code = two
        model = _Bipartite(make(self.layer, code)[0])
        source = torch.randn(NUM_SOURCES, 6).double()
        target = torch.randn(NUM_NODES, self.width).double()
        inputs = (source, target, *arguments(letters, num_sources=NUM_SOURCES)[1:])
        is_attention = bool(TWINS[self.layer].needs_analog)
        names = ['input_x', 'input_y'] if code else ['input_x']  # As SimpleConv.
        self._check_conversion(model, inputs, names, compensate=None)
        if is_attention:  # Which reads the features of edges as they are.
            options = dict(products='analog', allow_analog=True, compensate=None)
            self._check_conversion(model, inputs, names, **options)

    def _check_conversion(self, model, inputs, names, **options):
        snn = convert(model, inputs, ConversionConfig(**options))
        is_analog = 'products' in options
        if not is_analog and TWINS[self.layer].needs_analog and len(inputs) > 3:
            names = [*names, 'input_edge_attr']
        entered = [name for name in snn.neurons if name.startswith('input_')]
        assert entered == names
        assert bool(snn.report.analog) == is_analog
        found = AnalogReading(snn.network).run(snn.bind(*inputs))
        expected = model(*inputs)
        assert_equal(found, expected)
        error = (snn(*inputs) - expected).norm() / expected.norm()
        assert error < 0.15, float(error)
        spikes, simulation = snn.spikes(*inputs), simulate(snn, *inputs)
        for population, each in spikes.items():
            assert torch.equal(each.spike_time, simulation.spike_time[population])


class SparseTests:
    """On sparse adjacencies, where PyG takes them without other packages."""

    sparse = []

    @pytest.mark.parametrize('layout', ['csr', 'coo'])
    def test_sparse_adjacency(self, options, layout):
        conv, twin = make(self.layer, options)
        edges = torch.unique(arguments('e')[0], dim=1)
        adj_t = to_torch_coo_tensor(edges.flip(0), size=(NUM_NODES, NUM_NODES))
        adj_t = adj_t.double()
        adj_t = adj_t.to_sparse_csr() if layout == 'csr' else adj_t
        spikes = spikes_of(NUM_NODES)
        assert_equal(twin(spikes, adj_t), conv(spikes.decode(), adj_t))
