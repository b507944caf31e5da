import pytest
import torch
from torch_geometric.nn import TAGConv
from torch_geometric.utils import to_dense_adj

from spikegraph.coding import PhaseCode, Spikes
from spikegraph.nn import GraphFilter
from spikegraph.nn.conv import (
    SpikingAPPNP,
    SpikingSAGEConv,
    SpikingSGConv,
    SpikingTAGConv,
)
from spikegraph.nn.shift import GCNShift, MatrixShift, MemberShift, NeighborShift
from tests.graphs import MATRIX_FORMS

N, E, WIDTH = 12, 40, 6
GENERATOR = torch.Generator().manual_seed(0)
EDGES = torch.randint(N - 2, (2, E), generator=GENERATOR)
WEIGHT = torch.rand(E, generator=GENERATOR, dtype=torch.float64)
LOOPS = int((EDGES[0] == EDGES[1]).sum())
WITH_LOOPS = E - LOOPS + N  # GCN keeps one loop for each node.


def spikes_of(num_nodes=N, width=WIDTH):
    values = torch.randn(num_nodes, width, dtype=torch.float64)
    return Spikes.from_values(values, PhaseCode(8, 1.5, signed=True), 2.0)


@pytest.mark.parametrize('num_outputs', [3, 8])  # Wider after and before.
@pytest.mark.parametrize('mean', [False, True])
def test_is_the_polynomial(num_outputs, mean):
    coefficients = [[0.5, 0, 2], [0], [1, -1]]
    weight = torch.randn(num_outputs, 3 * WIDTH, dtype=torch.float64)
    bias = torch.randn(num_outputs, dtype=torch.float64)
    layer = GraphFilter(NeighborShift(mean), coefficients, weight, bias)
    spikes = spikes_of()
    x = spikes.decode()
    shift = to_dense_adj(EDGES, max_num_nodes=N)[0].t().double()
    if mean:
        shift = shift / shift.sum(dim=1, keepdim=True).clamp(min=1)
    first, _, last = weight.chunk(3, dim=1)
    expected = (0.5 * x + 2 * shift @ shift @ x) @ first.t() + bias
    expected = expected + (x - shift @ x) @ last.t()
    found = layer(spikes, EDGES)
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)
    by_hand = layer.features(spikes, EDGES) @ layer.weight.t() + layer.bias
    assert torch.allclose(by_hand, expected, rtol=1e-9, atol=1e-9)
    assert layer.num_hops == 2


@pytest.mark.parametrize('num_outputs', [3, 8])
def test_weights_taken_later_act_on_the_last_dimension(num_outputs):
    index = torch.arange(N) // 5
    layer = GraphFilter(MemberShift(mean=True))
    values = torch.randn(N, 2, WIDTH, dtype=torch.float64)
    sums = layer(values, index, 3)
    weight = torch.randn(num_outputs, WIDTH, dtype=torch.float64)
    layer.set_parameters(weight, None)
    assert torch.allclose(layer(values, index, 3), sums @ weight.t(), atol=1e-12)
    kinds = {op.kind: op.num for op in layer.operations(values, index, 3)}
    width = 2 * num_outputs
    assert kinds['transform'] == N * 2 * WIDTH * num_outputs
    assert kinds['aggregation'] == N * width and kinds['scaling'] == 3 * width


@pytest.mark.parametrize('order', ['transform', 'aggregate'])
@pytest.mark.parametrize('num_rows', [0, N])
@torch.no_grad()
def test_weights_taken_later_in_either_order(order, num_rows):
    index = torch.arange(num_rows) // 5
    layer = GraphFilter(MemberShift())
    weight = torch.randn(8, WIDTH, dtype=torch.float64)
    values = torch.randn(num_rows, 2, WIDTH, dtype=torch.float64)
    sums = layer(values, index, 3)
    layer.set_parameters(weight, None)
    layer.order = order
    assert torch.allclose(layer(values, index, 3), sums @ weight.t(), atol=1e-12)
    spikes = Spikes.from_values(values, PhaseCode(8, 1.5, signed=True), 2.0)
    expected = layer(spikes.decode(), index, 3)
    assert torch.allclose(layer(spikes, index, 3), expected, atol=1e-12)


def test_filters_without_weights_take_any_rank():
    layer = GraphFilter(MemberShift(), [[0, 1]])
    x, index = torch.randn(N, 3, 2), torch.randint(4, (N,))
    expected = torch.zeros(5, 3, 2).index_add(0, index, x)
    assert torch.allclose(layer(x, index, 5), expected, atol=1e-6)
    counts = torch.bincount(index, minlength=5).clamp(min=1)
    mean = GraphFilter(MemberShift(mean=True))(x, index, 5)
    assert torch.allclose(mean, expected / counts.view(5, 1, 1), atol=1e-6)
    assert torch.equal(GraphFilter(MemberShift(), [[0.0]])(x, index, 5), 0 * expected)


COUNTS = {
    'SAGE sum': (
        lambda: SpikingSAGEConv(WIDTH, 5, aggr='sum').lin_l,
        (),
        {'transform': N * WIDTH * 5, 'aggregation': E * 5},
    ),
    'SAGE mean': (
        lambda: SpikingSAGEConv(WIDTH, 5).lin_l,
        (),
        {'transform': N * WIDTH * 5, 'aggregation': E * 5, 'scaling': N * 5},
    ),
    'SAGE, few targets': (
        lambda: SpikingSAGEConv(WIDTH, 5).lin_l,
        (None, 10),
        {'transform': N * WIDTH * 5, 'aggregation': E * 5, 'scaling': 10 * 5},
    ),
    'weighted': (
        lambda: SpikingSAGEConv(WIDTH, 5, aggr='sum').lin_l,
        (WEIGHT,),
        {'transform': N * WIDTH * 5, 'weighted aggregation': E * 5},
    ),
    'SG': (
        lambda: SpikingSGConv(WIDTH, 5, K=2).filter,
        (),
        {
            'transform': N * WIDTH * 5,
            'aggregation': 2 * WITH_LOOPS * 5,
            'scaling': 2 * (N + N) * 5,
        },
    ),
    'TAG': (
        lambda: SpikingTAGConv(WIDTH, 5, K=3).filter,
        (),
        {
            'transform': N * WIDTH * 4 * 5,
            'aggregation': 3 * E * 5,
            'scaling': 3 * (N + N) * 5,
        },
    ),
    'APPNP': (
        lambda: SpikingAPPNP(3, 0.1).filter,
        (),
        {
            'aggregation': 3 * WITH_LOOPS * WIDTH,
            'scaling': 3 * (N + N) * WIDTH + 4 * N * WIDTH,  # Four coefficients.
        },
    ),
    'plain': (
        lambda: SpikingAPPNP(3, 0.0, normalize=False, add_self_loops=False).filter,
        (),
        {'aggregation': 3 * E * WIDTH},
    ),
}


@pytest.mark.parametrize('name', COUNTS)
def test_operations(name):
    make, graph, expected = COUNTS[name]
    operations = make().double().operations(spikes_of(), EDGES, *graph)
    assert {op.kind: op.num for op in operations} == expected
    for op in operations:
        if op.kind == 'transform':
            assert op.num_weights == op.fan_out * WIDTH
            assert op.num == N * WIDTH * op.fan_out


def test_each_hop_is_made_once(monkeypatch):
    from spikegraph.nn import filter as filter_module

    calls = []

    def count(adjacency, x):
        calls.append(x.size(1))
        return propagate(adjacency, x)

    propagate = filter_module.propagate
    monkeypatch.setattr(filter_module, 'propagate', count)
    for num_outputs in (30, 2):  # Features travel, or potentials.
        calls.clear()
        conv = TAGConv(WIDTH, num_outputs, K=3).double()
        SpikingTAGConv.from_ann(conv)(spikes_of(), EDGES)
        assert calls == [min(WIDTH, num_outputs)] * 3


def test_fold_scales_and_shifts():
    layer = SpikingSGConv(WIDTH, 5, K=2).double().filter
    gain, offset = torch.rand(5).double() + 0.5, torch.randn(5).double()
    spikes = spikes_of()
    expected = gain * layer(spikes, EDGES) + offset
    layer.fold(gain, offset)
    assert torch.allclose(layer(spikes, EDGES), expected, rtol=1e-9)


def test_cached_graphs():
    layer = GraphFilter(GCNShift(), cached=True)
    first = layer(spikes := spikes_of(), EDGES)
    assert torch.equal(layer(spikes, EDGES[:, :3]), first)
    with pytest.raises(ValueError, match=r"'x' to have 12 rows.*got 5\).*clear_cache"):
        layer(spikes_of(5), EDGES[:, :0])
    layer.clear_cache()
    assert not torch.allclose(layer(spikes, EDGES[:, :3]), first)


def test_errors():
    with pytest.raises(ValueError, match=r'one row without weights \(got 2\)'):
        GraphFilter(GCNShift(), [[1.0], [0.0, 1.0]])
    layer = GraphFilter(GCNShift(), weight=torch.zeros(5, WIDTH).double())
    with pytest.raises(ValueError, match=r'\[num_nodes, in_channels\] \(got \[6\]\)'):
        layer(torch.zeros(WIDTH).double(), EDGES)
    with pytest.raises(ValueError, match=r'6 features per row.*\(got 7, shape'):
        layer(spikes_of(N, 7), EDGES)
    with pytest.raises(ValueError, match=r'12 entries.*\(got 3\)'):
        GraphFilter(MemberShift())(spikes_of(), torch.zeros(3).long())


@pytest.mark.parametrize('form', MATRIX_FORMS)
@pytest.mark.parametrize('shape', [(12, 12), (5, 12), (30, 12)])
@pytest.mark.parametrize('num_outputs', [None, 3, 8])
@pytest.mark.parametrize('values', ['any', 'ones'])
def test_a_matrix_given_by_hand(form, shape, num_outputs, values):
    matrix = torch.randint(-2, 3, shape).double() / 4  # Exact as half and float, too.
    matrix = matrix if values == 'any' else (matrix > 0).double()
    weight = bias = None
    if num_outputs is not None:
        weight = torch.randn(num_outputs, WIDTH, dtype=torch.float64)
        bias = torch.randn(num_outputs, dtype=torch.float64)
    layer = GraphFilter(MatrixShift(), weight=weight, bias=bias)
    spikes = spikes_of()
    expected = matrix @ spikes.decode()
    if weight is not None:
        expected = expected @ weight.t() + bias
    given = MATRIX_FORMS[form](matrix)
    for x in (spikes, spikes.decode()):
        assert torch.allclose(layer(x, given), expected, rtol=1e-12, atol=1e-12)
    sums = {op.kind: op.num for op in layer.operations(spikes, given)}
    width = WIDTH if weight is None else num_outputs
    kind = 'weighted aggregation' if values == 'any' else 'aggregation'
    assert sums[kind] == int((matrix != 0).sum()) * width


@pytest.mark.parametrize('form', ['dense', 'coo'])
def test_a_full_matrix_is_multiplied_as_it_is(form):
    matrix = torch.randn(N, N, dtype=torch.float64)
    spikes, layer = spikes_of(), GraphFilter(MatrixShift())
    given = MATRIX_FORMS[form](matrix)
    adjacency = layer.shift(spikes, given)
    assert (adjacency.matrix is not None) == (form == 'dense')
    assert torch.allclose(layer(spikes, given), matrix @ spikes.decode(), atol=1e-12)
    twice = GraphFilter(MatrixShift(), [[0.5, 0, 2]])(spikes, given)
    x = spikes.decode()
    assert torch.allclose(twice, 0.5 * x + 2 * matrix @ (matrix @ x), atol=1e-10)
