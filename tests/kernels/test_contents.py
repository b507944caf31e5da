"""Changes that PyTorch does not count: none may go unnoticed."""

import ctypes

import numpy as np
import pytest
import torch
from torch_geometric import EdgeIndex
from torch_geometric.nn import GCNConv
from torch_geometric.nn.models import GCN

from spikegraph import convert
from spikegraph.coding import PhaseCode, Spikes
from spikegraph.kernels import (
    Adjacency,
    adjacency,
    aggregate,
    contents,
    dispatch,
    gcn_adjacency,
    info,
)
from spikegraph.kernels.contents import are_finite, digest, one_pass, state_of
from spikegraph.kernels.torch import operations
from spikegraph.nn import GraphFilter, SpikingGCNConv
from spikegraph.nn.conv.rgcn_conv import RelationShift
from spikegraph.nn.shift import GCNShift, MatrixShift, MemberShift, NeighborShift
from tests.graphs import SparseTensor

N = 9


def only_torch(monkeypatch):
    plain = [each for each in dispatch.backends() if each.name == 'torch']
    monkeypatch.setattr(dispatch, 'backends', lambda: plain)


def edit_numpy(part, change):
    change(part.numpy())


def edit_data(part, change):
    change(part.data)


def edit_buffer(part, change):
    kind = ctypes.c_byte * (part.numel() * part.element_size())
    buffer = np.frombuffer(kind.from_address(part.data_ptr()), part.numpy().dtype)
    change(buffer.reshape(part.shape))


def edit_in_place(part, change):
    change(part)


EDITS = [edit_numpy, edit_data, edit_buffer, edit_in_place]


def edges():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(N, (2, 20), generator=generator)


def weights(size=20):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(size, generator=generator) + 0.5


def matrix(layout):
    dense = torch.zeros(N, N)
    dense[tuple(edges())] = weights()
    return dense.to_sparse(layout=layout) if layout else dense


# What is given besides the features, and which of its parts is edited.
GRAPHS = {
    'edge_index': (GCNShift(), lambda: (edges(),), lambda g: g[0]),
    'neighbors': (NeighborShift(mean=True), lambda: (edges(),), lambda g: g[0]),
    'edge_weight': (GCNShift(), lambda: (edges(), weights()), lambda g: g[1]),
    'weights of neighbors': (
        NeighborShift(),
        lambda: (edges(), weights()),
        lambda g: g[1],
    ),
    'index': (MemberShift(mean=True), lambda: (edges()[0, :N] % 4, 9), lambda g: g[0]),
    'edge_type': (
        RelationShift(1),
        lambda: (edges(), torch.arange(20) % 2),
        lambda g: g[1],
    ),
    'EdgeIndex': (
        GCNShift(),
        lambda: (EdgeIndex(edges()),),
        lambda g: g[0].as_tensor(),
    ),
    'csr crow': (
        MatrixShift(),
        lambda: (matrix(torch.sparse_csr),),
        lambda g: g[0].crow_indices(),
    ),
    'csr col': (
        MatrixShift(),
        lambda: (matrix(torch.sparse_csr),),
        lambda g: g[0].col_indices(),
    ),
    'csr values': (
        GCNShift(),
        lambda: (matrix(torch.sparse_csr),),
        lambda g: g[0].values(),
    ),
    'csc rows': (
        MatrixShift(),
        lambda: (matrix(torch.sparse_csc),),
        lambda g: g[0].row_indices(),
    ),
    'coo values': (
        GCNShift(),
        lambda: (matrix(torch.sparse_coo),),
        lambda g: g[0]._values(),
    ),
    'coo indices': (
        MatrixShift(),
        lambda: (matrix(torch.sparse_coo),),
        lambda g: g[0]._indices(),
    ),
    'dense': (MatrixShift(), lambda: (matrix(None),), lambda g: g[0]),
    'SparseTensor values': (
        NeighborShift(),
        lambda: (SparseTensor(matrix(None)),),
        lambda g: g[0].value,
    ),
    'SparseTensor columns': (
        NeighborShift(),
        lambda: (SparseTensor(matrix(None)),),
        lambda g: g[0].col,
    ),
}


def change_of(name):
    def change(values):
        if name == 'csr crow':  # An entry moves to the next row.
            row = next(i for i in range(1, N) if values[i] < values[i + 1])
            values[row] += 1
        elif name in ('edge_type', 'index'):
            values[3] = 1 - min(int(values[3]), 1)
        elif values.ndim == 2:
            values[0][0], values[-1][1] = 3, 4
        else:
            values[0] = values[0] * 3 if 'f' in str(values.dtype) else 5

    return change


@pytest.mark.parametrize('inference', [False, True])
@pytest.mark.parametrize('edit', EDITS)
@pytest.mark.parametrize('name', GRAPHS)
def test_edits_count(name, edit, inference):
    shift, make, part_of = GRAPHS[name]
    layer, x = GraphFilter(shift), torch.rand(N, 3)
    with torch.inference_mode(inference):
        graph = make()
        before = layer(x, *graph).clone()
        assert layer.shift(x, *graph) is layer.shift(x, *graph)
        edit(part_of(graph), change_of(name))
        after = layer(x, *graph)
        fresh = make()
        edit(part_of(fresh), change_of(name))
        assert torch.equal(after, GraphFilter(shift)(x, *fresh))
        assert not torch.equal(after, before)


@pytest.mark.parametrize('edit', [edit_numpy, edit_data])
def test_permuted_weights_count(edit):
    layer, x, graph = GraphFilter(NeighborShift()), torch.rand(N, 3), edges()
    weight = torch.tensor([1.0, 2.0] * 10)
    before = layer(x, graph, weight).clone()
    edit(weight, lambda values: values.__setitem__(slice(0, 2), values[[1, 0]]))
    after = layer(x, graph, weight)
    assert torch.equal(after, layer(x, graph.clone(), weight.clone()))
    assert not torch.equal(after, before)


def test_other_storage_counts():
    layer, x, graph = GraphFilter(GCNShift()), torch.rand(N, 3), edges()
    layer(x, graph)
    graph.set_(edges().flip(1).flip(0).contiguous())
    assert torch.equal(layer(x, graph), layer(x, graph.clone()))


def test_equal_contents_of_one_graph_are_prepared_once():
    graph, weight = edges(), weights()
    first = gcn_adjacency(graph, weight, N, torch.float32)
    assert gcn_adjacency(graph, weight.clone(), N, torch.float32) is first
    other = gcn_adjacency(graph, None, N, torch.float32)
    assert gcn_adjacency(graph, weight, N, torch.float32) is first  # In turns.
    assert gcn_adjacency(graph, None, N, torch.float32) is other
    for k in range(8):  # Not all of many.
        gcn_adjacency(graph, weight + k + 1, N, torch.float32)
    assert gcn_adjacency(graph, weight, N, torch.float32) is not first


@pytest.mark.parametrize('edit', EDITS)
def test_nodes_that_do_not_exist(edit):
    graph, x = edges(), torch.rand(N, 3)
    layer = SpikingGCNConv(3, 2)
    layer(x, graph)
    edit(graph, lambda values: values.reshape(-1).__setitem__(0, 10**9))
    with pytest.raises(ValueError, match=r'nodes 0 to 8.*\(got node 1000000000\)'):
        layer(x, graph)


@pytest.mark.parametrize('inference', [False, True])
@pytest.mark.parametrize('edit', EDITS)
@pytest.mark.parametrize('name, value', [('col', 10**6), ('rowptr', -1)])
def test_an_adjacency_is_checked_again(name, value, edit, inference):
    with torch.inference_mode(inference):
        given = dict(rowptr=torch.tensor([0, 2, 3]), col=torch.tensor([0, 2, 1]))
        adjacency, x = Adjacency(**given, num_sources=3), torch.rand(3, 2)
        aggregate(adjacency, x)
        edit(given[name], lambda values: values.__setitem__(1, value))
        with pytest.raises(ValueError, match=f"'{name}'"):
            aggregate(adjacency, x)


@pytest.mark.parametrize('edit', EDITS)
@pytest.mark.parametrize('name', ['weight', 'source_factor'])
def test_weights_of_an_adjacency_are_read_again(name, edit):
    given = dict(weight=torch.rand(3), source_factor=torch.rand(3, 1))
    index = torch.tensor([0, 2, 3]), torch.tensor([0, 2, 1])
    adjacency, x = Adjacency(*index, **given, num_sources=3), torch.rand(3, 2)
    before = aggregate(adjacency, x).clone(), adjacency.edge_factor.clone()
    edit(given[name], lambda values: values.__setitem__(1, values[1] + 2))
    expected = given['weight'] * given['source_factor'].view(-1)[index[1]]
    assert torch.equal(adjacency.edge_factor, expected)
    assert not torch.equal(adjacency.edge_factor, before[1])


@pytest.mark.parametrize('bad', [float('nan'), float('inf'), -float('inf')])
@pytest.mark.parametrize('edit', EDITS)
@pytest.mark.parametrize('density', [0.1, 1.0])
def test_features_are_checked_at_every_inference(bad, edit, density):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = GCNConv(31, 4), torch.nn.Linear(4, 2)

        def forward(self, x, edge_index):
            return self.last(self.first(x, edge_index).relu())

    x, graph = (torch.rand(N, 31) < density) * torch.rand(N, 31), edges()
    snn = convert(Net().eval(), (x, graph))
    for with_inference_mode in (False, True):
        with torch.inference_mode(with_inference_mode):
            given = x.clone()
            expected = snn(given, graph)
            for place in (0, N * 31 - 1, 100):
                value = float(given.view(-1)[place])
                edit(given, lambda a, p=place: a.reshape(-1).__setitem__(p, bad))
                with pytest.raises(ValueError, match=r"'x' to be finite .*1 places"):
                    snn(given, graph)
                given.view(-1)[place] = value
            assert torch.equal(snn(given, graph), expected)


@pytest.mark.parametrize('kernel', [True, False])
@pytest.mark.parametrize(
    'dtype', [torch.int64, torch.int32, torch.uint8, torch.float64]
)
@pytest.mark.parametrize('size', [0, 1, 7, 8, 9, 1000, 70_001])
def test_every_bit_counts(kernel, dtype, size, monkeypatch):
    if not kernel:
        only_torch(monkeypatch)
    x = torch.arange(size).to(dtype)
    seen = {digest(x), digest(x.view(1, -1)), digest(torch.arange(size + 1).to(dtype))}
    octets = x.view(torch.uint8) if size else x
    places = {k * (octets.numel() - 1) // 7 for k in range(8)} if size else ()
    for place in places:
        for bit in (1, 128):
            octets[place] ^= bit
            seen.add(digest(x))
            octets[place] ^= bit
    if size > 300:
        seen.add(digest(x.flip(0)))
        seen.add(digest(x.roll(8)))
    assert digest(x) in seen
    assert len(seen) == 3 + 2 * len(places) + 2 * (size > 300)


@pytest.mark.parametrize('size', [0, 3, 8, 1001, 300_000])
def test_digest_without_numba_is_the_same(size, monkeypatch):
    if info()['path'] == 'torch':
        pytest.skip('There is no kernel.')
    generator = torch.Generator().manual_seed(size)
    x = torch.randint(-(1 << 62), 1 << 62, (size,), generator=generator)
    parts = [x, x.int(), x.to(torch.uint8)[: size - 1 if size else 0], x.double()]
    expected = [digest(part) for part in parts]
    only_torch(monkeypatch)
    monkeypatch.setattr(operations, '_BLOCK', 1000)
    assert [digest(part) for part in parts] == expected


def test_gaps_and_order_in_memory():
    x = torch.arange(24).view(4, 6)
    assert digest(x[:, ::2]) == digest(x[:, ::2].clone())
    assert digest(x.t()) != digest(x.t().contiguous())  # In doubt, made anew.
    view = x[:, ::2]
    before = digest(view)
    x[0, 1] = 99
    assert digest(view) == before
    x[3, 4] = 99
    assert digest(view) != before


@pytest.mark.parametrize('kernel', [True, False])
@pytest.mark.parametrize(
    'dtype', [torch.float64, torch.float32, torch.float16, torch.bfloat16]
)
@pytest.mark.parametrize('size', [1, 2, 3, 5, 17, 140_003])
def test_finite(kernel, dtype, size, monkeypatch):
    if not kernel:
        only_torch(monkeypatch)
    x = torch.randn(size).to(dtype)
    info = torch.finfo(dtype)
    x[0] = info.max
    x[-1] = info.min if size > 1 else info.max
    assert are_finite(x)
    assert are_finite(torch.zeros(0, dtype=dtype)) and are_finite(torch.arange(3))
    for bad in (float('nan'), -float('nan'), float('inf'), -float('inf')):
        for place in {0, size // 2, size - 1}:
            kept = x[place].clone()
            x[place] = bad
            assert not are_finite(x)
            x[place] = kept
    assert are_finite(x)


def test_one_pass_reads_once_but_sees_changes(monkeypatch):
    num_read, given = [0], digest

    def counted(x):
        num_read[0] += 1
        return given(x)

    monkeypatch.setattr(contents, 'digest', counted)
    graph, csr = edges(), matrix(torch.sparse_csr)
    with one_pass():
        for _ in range(3):
            state_of(graph)
        assert num_read[0] == 1
        for _ in range(3):
            state_of(csr)
        assert num_read[0] == 4
        before = state_of(graph), state_of(csr)
        graph[0, 0] += 1
        csr.values().mul_(2)
        assert state_of(graph) != before[0] and state_of(csr) != before[1]
        with torch.inference_mode():  # Nothing counts changes.
            other = edges()
            before = state_of(other)
            other[0, 0] += 1
            assert state_of(other) != before
    num_read[0] = 0
    state_of(graph), state_of(graph)
    assert num_read[0] == 2


def test_a_network_reads_its_graph_once(monkeypatch):
    x, graph = torch.rand(N, 5), edges()
    snn = convert(GCN(5, 4, 3, 2).eval(), (x, graph))
    num_read, given = [0], digest

    def counted(part):
        num_read[0] += part is graph
        return given(part)

    monkeypatch.setattr(contents, 'digest', counted)
    snn(x, graph)
    assert num_read[0] == 1


@pytest.mark.parametrize('weighted', [False, True])
def test_layers_read_what_is_prepared_once(weighted, monkeypatch):
    read = []
    monkeypatch.setattr(adjacency, 'digest', lambda part: read.append(digest(part)))
    x, edge_index = torch.rand(30, 8), torch.randint(30, (2, 90))
    weight = torch.rand(90) if weighted else None
    snn = convert(GCN(8, 8, 4).eval(), (x, edge_index, weight))
    read.clear()
    snn(x, edge_index, weight)
    assert len(read) == (5 if weighted else 2)  # However many layers there are.


def test_spikes_through_an_edited_matrix():
    spikes = Spikes.from_values(torch.rand(N, 70), PhaseCode(8, 1.5), 1.0)
    layer, given = GraphFilter(MatrixShift()), matrix(torch.sparse_csr)
    layer(spikes, given)
    given.values().numpy()[:] = 2.5
    expected = given.to_dense() @ spikes.decode()
    assert torch.allclose(layer(spikes, given), expected, atol=1e-5)
