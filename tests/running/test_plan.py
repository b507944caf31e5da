"""Recorded passes are those that would be run, or are not made again."""

import copy
import sys
import threading

import pytest
import torch
from torch import nn
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.nn import (
    GAT,
    GCN,
    GIN,
    GCNConv,
    GraphConv,
    GraphSAGE,
    HeteroConv,
    SAGEConv,
)

from spikegraph import ConversionConfig, convert, register_rule
from spikegraph.conversion.operations.rules import RULES
from spikegraph.kernels import dispatch, memory, tape
from spikegraph.network.interpreter import Interpreter
from spikegraph.nn import PhaseNeuron
from spikegraph.running.state import State
from tests.conversion.zoo import MODELS, make, randomize

NEEDS_KERNELS = pytest.mark.skipif(
    dispatch.find('digest_all', torch.empty(1)) is None, reason='no kernels'
)
pytestmark = NEEDS_KERNELS


def call(seed, num_nodes=30, num_edges=90):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num_nodes, 5, generator=generator, dtype=torch.float64)
    edge_index = torch.randint(num_nodes, (2, num_edges), generator=generator)
    return x, edge_index


def converted(kind=GCN, **options):
    torch.manual_seed(0)
    model = randomize(kind(5, 16, 2, 3, **options).double())
    return convert(model, call(0), ConversionConfig(num_steps=8))


def expected(snn, *args):
    """Of a copy that has recorded nothing."""
    fresh = copy.deepcopy(snn)
    out = fresh(*args)
    assert fresh.plan.way == 'node by node'
    return out


def recorded(snn, *args):
    for _ in range(3):
        snn(*args)
    assert snn.plan.way == 'recorded' and snn.plan.num_calls > 0, snn.plan
    return snn


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
@pytest.mark.parametrize('kind', [GCN, GIN, GraphSAGE])
def test_equals_node_by_node(kind, dtype):
    snn = converted(kind).to(dtype)
    x, edge_index = call(1)
    x = x.to(dtype)
    recorded(snn, x, edge_index)
    for seed in (2, 3, 4):
        other = call(seed)[0].to(dtype)
        found = snn(other, edge_index)
        assert snn.plan.way == 'recorded'
        assert torch.equal(found, expected(snn, other, edge_index))
        assert torch.equal(snn(other, edge_index.clone()), found)
        assert snn.plan.way == 'recorded'  # The same edges in other memory.


@pytest.mark.parametrize('name', MODELS)
def test_models_of_the_zoo(name):
    torch.manual_seed(0)
    model = make(name)
    x, edge_index = call(0)
    data = Data(
        x=x,
        edge_index=edge_index,
        edge_weight=torch.rand(90, dtype=torch.float64),
        edge_attr=torch.rand(90, 4, dtype=torch.float64),
        batch=torch.arange(30) // 10,
    )
    snn = convert(model, data)
    for seed in (1, 1, 1, 2, 3):
        data = data.clone()
        data.x = call(seed)[0]
        for a, b in zip(leaves(snn(data)), leaves(expected(snn, data)), strict=True):
            assert torch.equal(a, b), snn.plan


def leaves(value):
    return [v for v in torch.utils._pytree.tree_leaves(value) if torch.is_tensor(v)]


def test_outputs_belong_to_the_caller():
    snn, (x, edge_index) = converted(), call(1)
    recorded(snn, x, edge_index)
    first = snn(x, edge_index)
    kept = first.clone()
    second = snn(-x, edge_index)
    assert torch.equal(first, kept) and not torch.equal(first, second)
    first.zero_()
    assert torch.equal(snn(x, edge_index), kept)


def edges(snn, x, edge_index):
    edge_index[0, 0] = (edge_index[0, 0] + 1) % 30


def edges_unseen(snn, x, edge_index):
    edge_index.numpy()[1, 5] = (edge_index[1, 5] + 1) % 30


def weights(snn, x, edge_index):
    snn.network.get_submodule('convs.0').weight.data.mul_(1.5)


def weights_unseen(snn, x, edge_index):
    snn.network.get_submodule('convs.1').weight.detach().numpy()[:] *= 0.5


def replaced_weights(snn, x, edge_index):
    layer = snn.network.get_submodule('convs.0')
    layer.weight = nn.Parameter(layer.weight * 2)


def moved_weights(snn, x, edge_index):
    layer = snn.network.get_submodule('convs.0')
    layer.weight.data = layer.weight.data * 2


def no_bias(snn, x, edge_index):
    snn.network.get_submodule('convs.1').bias = None


def scale(snn, x, edge_index):
    next(reversed(snn.neurons.values())).scale.mul_(2)


def code(snn, x, edge_index):
    neuron = next(reversed(snn.neurons.values()))
    neuron.code = type(neuron.code)(8, 2.0)


def loaded(snn, x, edge_index):
    state = {k: 2 * v if v.is_floating_point() else v for k, v in own(snn).items()}
    snn.load_state_dict({**snn.state_dict(), **state})


def own(snn):
    return {k: v for k, v in snn.state_dict().items() if k.endswith('.weight')}


def precision(snn, x, edge_index):
    snn.double()


def coefficients(snn, x, edge_index):
    layer = snn.network.get_submodule('convs.0')
    layer.coefficients[0][-1] *= 2


@pytest.mark.parametrize(
    'change',
    [
        *(edges, edges_unseen, weights, weights_unseen, replaced_weights),
        *(moved_weights, no_bias, scale, code, loaded, precision, coefficients),
    ],
)
def test_changes_are_noticed(change):
    snn, (x, edge_index) = converted(), call(1)
    recorded(snn, x, edge_index)
    before = snn(x, edge_index)
    change(snn, x, edge_index)
    found = snn(x, edge_index)
    assert torch.equal(found, expected(snn, x, edge_index))
    assert change is precision or not torch.equal(found, before)


def test_hooks_are_called():
    snn, (x, edge_index) = converted(), call(1)
    recorded(snn, x, edge_index)
    seen = []
    layer = snn.network.get_submodule('convs.0')
    handle = layer.register_forward_hook(lambda *args: seen.append(args))
    for n in (1, 2, 3):
        snn(x, edge_index)
        assert len(seen) == n and 'hooks' in str(snn.plan)
    handle.remove()
    handle = snn.network.register_forward_hook(lambda module, args, out: 0 * out)
    assert not snn(x, edge_index).any()
    handle.remove()
    layer.forward = lambda *args: torch.zeros(30, 16, dtype=torch.float64)
    assert 'forward methods' in str(snn.plan)
    del layer.forward
    recorded(snn, x, edge_index)


def test_modes_see_operations():
    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        num = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.num += 1
            return func(*args, **(kwargs or {}))

    snn, (x, edge_index) = converted(), call(1)
    recorded(snn, x, edge_index)
    with Watch() as watch:
        snn(x, edge_index)
    assert watch.num > 20 and 'watched' in str(snn.plan)


def test_bad_features_raise_as_ever():
    snn, (x, edge_index) = converted(), call(1)
    recorded(snn, x, edge_index)
    x[3, 2] = float('nan')
    with pytest.raises(ValueError, match=r"'x' to be finite \(got nan in 1 places\)"):
        snn(x, edge_index)
    with pytest.raises(ValueError, match='features per row'):
        snn(torch.rand(30, 4).double(), edge_index)


def test_large_features_are_finite():
    snn, (x, edge_index) = converted(), call(1)
    snn, x = snn.float(), torch.full_like(x, 3e38).float()
    for _ in range(3):
        assert torch.equal(snn(x, edge_index), expected(snn, x, edge_index))


def test_other_shapes_and_graphs():
    snn = converted()
    for _ in range(3):
        for seed, size in ((1, (30, 90)), (2, (31, 90)), (3, (30, 91)), (4, (30, 90))):
            args = call(seed, *size)
            assert torch.equal(snn(*args), expected(snn, *args))


def test_data_is_recorded():
    snn, (x, edge_index) = converted(), call(1)
    data = Data(x=x, edge_index=edge_index, y=torch.zeros(30))
    recorded(snn, data)
    assert torch.equal(snn(data), expected(snn, x, edge_index))
    data.x = -x
    assert torch.equal(snn(data), expected(snn, -x, edge_index))
    assert snn.plan.way == 'recorded'


def test_what_depends_on_values_is_not_recorded():
    class Picks(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(5, 8), nn.Linear(8, 3)

        def forward(self, x):
            return self.b(self.a(x).relu())[x[:, 0] > 0]

    snn, (x, _) = convert(Picks().double(), (call(0)[0],)), call(1)
    for _ in range(3):
        assert len(snn(x)) == int((x[:, 0] > 0).sum())
    assert 'as many values as' in str(snn.plan)
    assert len(snn(-x)) == int((x[:, 0] < 0).sum())


def test_threads():
    snn, (x, edge_index) = converted(), call(1)
    inputs = [call(seed)[0] for seed in range(8)]
    wanted = [expected(snn, each, edge_index) for each in inputs]
    recorded(snn, x, edge_index)
    wrong = []

    def work(k):
        for _ in range(50):
            if not torch.equal(snn(inputs[k], edge_index), wanted[k]):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize('kind, most', [(GCN, 40), (GIN, 60), (GraphSAGE, 60)])
def test_few_frames(kind, most):
    snn, (x, edge_index) = converted(kind), call(1)
    recorded(snn, x, edge_index)
    frames = []
    sys.setprofile(lambda frame, event, arg: frames.append(event == 'call'))
    try:
        snn(x, edge_index)
    finally:
        sys.setprofile(None)
    assert sum(frames) <= most


def test_attention_stays_right():
    torch.manual_seed(0)
    config = ConversionConfig(allow_analog=True)
    snn = convert(GAT(5, 8, 2, 3, heads=2).double().eval(), call(0), config)
    x, edge_index = call(1)
    for seed in (1, 1, 1, 2, 3):
        x = call(seed)[0]
        assert torch.equal(snn(x, edge_index), expected(snn, x, edge_index)), snn.plan


def test_says_how_it_ran():
    snn, (x, edge_index) = converted(), call(1)
    assert 'nothing has run yet' in str(copy.deepcopy(snn).plan)
    snn(x, edge_index)
    assert 'seen for the first time' in str(snn.plan)
    snn(x, edge_index)
    assert 'just been recorded' in str(snn.plan)
    snn(x, edge_index)
    assert str(snn.plan) == f'recorded, {snn.plan.num_calls} calls'
    found = Interpreter(snn.network).run(snn.bind(x, edge_index))
    assert torch.allclose(found, snn(x, edge_index), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('layout', [torch.sparse_csr, torch.sparse_coo])
def test_sparse_adjacencies(layout):
    snn, (x, edge_index) = converted(GraphSAGE), call(1)
    values = torch.ones(90, dtype=torch.float64)
    adj = torch.sparse_coo_tensor(edge_index.flip(0), values, (30, 30)).coalesce()
    adj = adj.to_sparse(layout=layout) if layout is torch.sparse_csr else adj
    recorded(snn, x, adj)
    assert torch.equal(snn(-x, adj), expected(snn, -x, adj))
    assert snn.plan.way == 'recorded'
    adj.values().mul_(2)
    assert torch.equal(snn(x, adj), expected(snn, x, adj))


def test_sparse_features():
    class Opened(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(5, 8), nn.Linear(8, 3)

        def forward(self, x):
            return self.b(self.a(x.to_dense()).relu())

    x = call(1)[0].relu()
    snn = convert(Opened().double(), (x.to_sparse_coo(),))
    for other in (x, x, x, 0.5 * x, x, 2 * x):
        found = snn(other.to_sparse_coo())
        assert torch.equal(found, expected(snn, other.to_sparse_coo()))


@pytest.mark.parametrize(
    'limit, reason',
    [('_MOST_HELD', 'too much memory'), ('_MOST_COPIED', 'features are larger')],
)
def test_large_passes_are_not_kept(limit, reason, monkeypatch):
    monkeypatch.setattr(tape, limit, 1_000)
    snn, args = converted(), call(1)
    for _ in range(4):
        assert torch.equal(snn(*args), expected(snn, *args))
    assert reason in str(snn.plan)


def test_passes_are_recorded_for_a_number_of_threads():
    snn, args, before = converted(), call(1), torch.get_num_threads()
    try:
        ways = []
        for count in (1, 1, 1, 2, 2, 2, 1):
            torch.set_num_threads(count)
            assert torch.equal(snn(*args), expected(snn, *args))
            ways.append(snn.plan.way)
    finally:
        torch.set_num_threads(before)
    assert ways[2] == ways[5] == ways[6] == 'recorded' and ways[3] != 'recorded'


@pytest.mark.parametrize('kind', [GCN, GIN, GraphSAGE])
def test_large_tensors_are_recorded(kind, monkeypatch):
    monkeypatch.setattr(memory, '_HUGE', 64)
    snn, (x, edge_index) = converted(kind), call(1)
    recorded(snn, x, edge_index)
    other = call(2)[0]
    assert torch.equal(snn(other, edge_index), expected(snn, other, edge_index))
    assert snn.plan.way == 'recorded'


class Weighted(nn.Module):
    """Edge weights are made of features, and decide on the graph."""

    def __init__(self):
        super().__init__()
        self.a, self.b = GCNConv(5, 8), GraphConv(8, 3)

    def forward(self, x, edge_index):
        row, col = edge_index
        weight = (-(x[row] - x[col]).square().sum(-1)).exp()
        return self.b(self.a(x, edge_index, weight).relu(), edge_index, weight)


class Sparse(nn.Module):
    """Features become a sparse matrix on the way."""

    def __init__(self):
        super().__init__()
        self.weight, self.last = nn.Parameter(torch.rand(5, 8)), nn.Linear(8, 3)

    def forward(self, x, edge_index):
        return self.last(torch.sparse.mm(x.to_sparse(), self.weight).relu())


@pytest.mark.parametrize('kind', [Weighted, Sparse])
def test_what_features_decide_is_not_recorded(kind):
    torch.manual_seed(0)
    snn = convert(randomize(kind().double()), call(0))
    for seed in (1, 1, 1, 1, 2, 3):
        x, edge_index = call(seed)[0], call(1)[1]
        found = snn(x, edge_index)
        assert torch.equal(found, expected(snn, x, edge_index)), snn.plan


def test_inference_mode():
    snn, args = converted(), call(1)
    with torch.inference_mode():
        recorded(snn, *args)
    for _ in range(4):
        assert torch.equal(snn(*args), expected(snn, *args))
    with torch.inference_mode():
        assert torch.equal(snn(*args), expected(snn, *args))


def test_weights_that_lie_otherwise():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 5)).double()
    x = call(1)[0]
    snn = convert(model, x)
    recorded(snn, x)
    before, weight = snn(x), snn.network.get_submodule('2').weight
    weight.data = weight.data.t()
    assert torch.equal(snn(x), expected(snn, x)) and not torch.equal(snn(x), before)
    big = torch.rand(5, 10).double()
    weight.data = big[:, ::2]
    for _ in range(4):
        snn(x)
    big[-1] += 1
    assert torch.equal(snn(x), expected(snn, x))


def test_patched_classes(monkeypatch):
    snn, args = converted(), call(1)
    recorded(snn, *args)
    forward = PhaseNeuron.forward

    def silent(self, potential, factor=None):
        return forward(self, torch.zeros_like(potential), factor)

    monkeypatch.setattr(PhaseNeuron, 'forward', silent)
    assert torch.equal(snn(*args), expected(snn, *args))


def test_code_of_the_user_is_not_recorded():
    class Scaled(nn.Module):
        factors = {'gain': 2.0}

        def forward(self, x):
            return self.factors['gain'] * x.flip(0).sin().asin().flip(0)

    register_rule(Scaled)(lambda module: module)
    try:
        model = nn.Sequential(nn.Linear(5, 8), Scaled(), nn.ReLU(), nn.Linear(8, 3))
        x = call(1)[0] / 10
        snn = convert(model.double(), x)
    finally:
        del RULES[Scaled]
    for _ in range(4):
        snn(x)
    assert 'code of yours' in str(snn.plan)


def test_arguments_are_checked():
    snn, (x, edge_index) = converted(), call(1)
    recorded(snn, x, edge_index)
    for args, kwargs in (
        ((x, edge_index), {'x': x}),
        ((x, edge_index, x, x, x, x), {}),
    ):
        with pytest.raises((TypeError, ValueError)):
            snn(*args, **kwargs)
    with pytest.raises((TypeError, ValueError)):
        snn(x, edge_index, unknown=1)


def test_features_that_carry_gradients():
    snn, (x, edge_index) = converted(), call(1)
    wanted = snn(x, edge_index)
    x.requires_grad_()
    for _ in range(4):
        found = snn(x, edge_index)
        assert torch.equal(found, wanted) and not found.requires_grad


class OfData(nn.Module):
    """Reads PyG data, and what a method of theirs says."""

    def __init__(self):
        super().__init__()
        self.a, self.b = GCNConv(5, 8), GraphConv(8, 3)

    def forward(self, data):
        x = self.a(data.x, data.edge_index).relu()
        return (
            -self.b(x, data.edge_index)
            if data.is_undirected()
            else self.b(x, data.edge_index)
        )


class OfTypes(nn.Module):
    """Reads dictionaries of tensors."""

    def __init__(self):
        super().__init__()
        kinds = {TO: SAGEConv(5, 8), BACK: SAGEConv(5, 8)}
        self.a, self.b = HeteroConv(kinds), nn.Linear(8, 3)

    def forward(self, x_dict, edge_index_dict):
        found = self.a(x_dict, edge_index_dict)
        return {key: self.b(value.relu()) for key, value in found.items()}


TO, BACK = ('u', 'to', 'v'), ('v', 'to', 'u')


def data(seed):
    x, edge_index = call(seed)
    return Data(x=x, edge_index=edge_index, y=torch.zeros(30), name='a graph')


def batch(seed):
    return Batch.from_data_list([data(seed), data(seed + 10)])


def hetero(seed):
    found, (x, edge_index) = HeteroData(), call(seed)
    found['u'].x, found['v'].x = x, call(seed + 10)[0]
    found[TO].edge_index, found[BACK].edge_index = edge_index, edge_index.flip(0)
    return found


def dictionaries(seed):
    found = hetero(seed)
    return dict(found.x_dict), dict(found.edge_index_dict)


CONTAINERS = [
    (lambda: GCN(5, 16, 2, 3), batch),
    (OfData, data),
    (OfData, batch),
    (OfTypes, hetero),
    (OfTypes, dictionaries),
]


@pytest.mark.parametrize('kind, make_call', CONTAINERS)
def test_what_containers_hold_is_recorded(kind, make_call):
    def call_of(seed):
        found = make_call(seed)
        return found if isinstance(found, tuple) else (found,)

    def equal(a, b):
        pairs = zip(leaves(a), leaves(b), strict=True)
        return all(torch.equal(left, right) for left, right in pairs)

    torch.manual_seed(0)
    snn = convert(randomize(kind().double()), make_call(0))
    recorded(snn, *call_of(1))
    given = copy.deepcopy(call_of(1))  # The same graph in other memory.
    features = [v for v in leaves_of(given) if v.is_floating_point()]
    for value in features:
        value.neg_()
    assert equal(snn(*given), expected(snn, *given))
    assert snn.plan.way == 'recorded'
    edges = next(v for v in leaves_of(given) if v.dtype == torch.long and v.dim() == 2)
    edges[0, 0] = (edges[0, 0] + 1) % 30
    assert equal(snn(*given), expected(snn, *given))
    assert 'first time' in str(snn.plan)


def leaves_of(args):
    return leaves([v.to_dict() if hasattr(v, 'to_dict') else v for v in args])


def test_what_was_asked_of_containers_is_asked_again():
    snn = convert(randomize(OfData().double()), data(0))
    recorded(snn, data(1))
    other = data(1)
    other.edge_index = torch.cat([other.edge_index, other.edge_index.flip(0)], 1)
    with pytest.raises(ValueError, match='is_undirected'):
        snn(other)
    snn = convert(randomize(OfTypes().double()), dictionaries(0))
    recorded(snn, *dictionaries(1))
    x_dict, edges = dictionaries(1)
    with pytest.raises(ValueError, match=r"got 'w', too"):
        snn({**x_dict, 'w': x_dict['u']}, edges)


def test_says_what_cannot_be_recorded():
    snn, (x, edge_index) = converted(GraphSAGE), call(1)
    values = torch.ones(90, dtype=torch.float64)
    adj = torch.sparse_coo_tensor(edge_index.flip(0), values, (30, 30)).coalesce()
    for _ in range(3):
        snn(x, adj.to_sparse_csc())
    assert str(snn.plan) == (
        'node by node (its inputs are more than tensors, CSR, COO and numbers)'
    )


def test_reason_after_an_error(monkeypatch):
    snn, (x, edge_index) = converted(), call(1)
    recorded(snn, x, edge_index)
    broken = (x.float().new_full((30, 5), float('nan')), edge_index)
    for args in (broken, (x,), (x[:, :4], edge_index)):
        with pytest.raises((TypeError, ValueError)) as found:
            snn(*args)
        assert str(snn.plan) == f'node by node (the last pass raised {found.typename})'
        recorded(snn, x, edge_index)

    def digest(self, values):
        raise MemoryError

    monkeypatch.setattr(State, 'digest', digest)
    with pytest.raises(MemoryError):
        snn(x, edge_index)
    assert 'raised MemoryError' in str(snn.plan)


def test_a_miss_is_read_once(monkeypatch):
    snn, (x, edge_index) = converted(), call(1)
    recorded(snn, x, edge_index)
    digests, digest = [], State.digest
    monkeypatch.setattr(
        State, 'digest', lambda *args: digests.append(digest(*args)) or digests[-1]
    )
    snn(x, edge_index.flip(0))
    assert snn.plan.way == 'node by node' and len(digests) == 1
    snn(x, edge_index)
    assert snn.plan.way == 'recorded' and len(set(digests)) == len(digests) == 2


@torch.no_grad()
def test_passes_in_blocks_are_recorded_with_what_is_kept_of_weights(monkeypatch):
    """Panels that a pass before has made are no memory that a kernel may write to."""
    monkeypatch.setattr('spikegraph.nn.potentials.BLOCK_SIZE', 1 << 8)
    torch.manual_seed(0)
    x, edge_index = torch.randn(40, 8), torch.randint(40, (2, 200))
    snn = convert(GraphSAGE(8, 16, 2, 3).eval(), (x, edge_index))
    first = snn(x, edge_index)
    for _ in range(3):
        assert torch.equal(snn(x, edge_index), first)
    assert snn.plan.way == 'recorded', snn.plan
    other = snn(2 * x, edge_index)
    assert snn.plan.way == 'recorded'
    snn.plan._tapes.clear()
    assert torch.equal(snn(2 * x, edge_index), other)
