"""Networks, inputs and outputs whose memory is replaced, shared or written to, in one
process: each pass is that of a network that nobody touched, bit by bit.
"""

import copy
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from torch import nn
from torch_geometric.nn import GCN, GCNConv

from spikegraph import convert

NUM_NODES, NUM_EDGES = 30, 90


class Ends(nn.Module):
    """Reads edges and weights by operations of PyTorch, as they are given."""

    def __init__(self):
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x, edge_index, edge_weight):
        x = torch.relu(self.lin1(x))
        return self.lin2(x[edge_index[0]] + x[edge_index[1]]) * edge_weight[:, None]


class Cached(nn.Module):
    """Keeps its graph."""

    def __init__(self):
        super().__init__()
        self.conv1 = GCNConv(8, 16, cached=True)
        self.conv2 = GCNConv(16, 3, cached=True)

    def forward(self, x, edge_index):
        return self.conv2(torch.relu(self.conv1(x, edge_index)), edge_index)


class Images(nn.Sequential):
    def __init__(self):
        layers = nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU()
        super().__init__(*layers, nn.Flatten(), nn.Linear(256, 5))


def dense():  # 256 and 32: no row of weights is padded.
    return nn.Sequential(nn.Linear(8, 256), nn.ReLU(), nn.Linear(256, 32))


MODELS = {
    'dense': dense,
    'images': Images,
    'graph': lambda: GCN(8, 16, 2, 3),
    'cached': Cached,
    'ends': Ends,
}


def arguments(name, seed=0):
    torch.manual_seed(seed)
    if name == 'images':
        return (torch.rand(4, 3, 8, 8),)
    x = torch.rand(NUM_NODES, 8)
    if name == 'dense':
        return (x,)
    edge_index = torch.randint(NUM_NODES, (2, NUM_EDGES))
    weight = torch.rand(NUM_EDGES)
    return (x, edge_index, weight) if name == 'ends' else (x, edge_index)


def network(name):
    torch.manual_seed(1)
    return convert(MODELS[name]().eval(), arguments(name))


def tensors(snn):
    return [value for value in (*snn.parameters(), *snn.buffers()) if value.numel() > 0]


def junk(snn, args):
    """Takes the memory that was freed, and leaves no number there."""
    sizes = {value.nbytes for value in (*tensors(snn), *args)}
    return [torch.full((n,), 255, dtype=torch.uint8) for n in sizes for _ in range(50)]


def shared(snn):
    snn.share_memory()


def sent(snn):
    ForkingPickler.dumps(snn)  # As queues and spawned processes do it.


def resized(snn):
    for value in tensors(snn):
        if not value.untyped_storage().resizable():
            continue  # PyTorch refuses, where NumPy has an array of it.
        value.untyped_storage().resize_(3 * value.untyped_storage().nbytes())


def given_data(snn):
    for value in tensors(snn):
        old, value.data = value.data, value.data.clone()
        old.fill_(float('nan') if old.is_floating_point() else 0)


@torch.no_grad()
def set_to_others(snn):
    for value in tensors(snn):
        old = value.detach().view(value.shape)
        value.set_(value.clone())
        old.fill_(float('nan') if old.is_floating_point() else 0)


def every_one(snn):
    shared(snn)
    given_data(snn)
    sent(snn)


@pytest.mark.parametrize('num_before', [1, 4])
@pytest.mark.parametrize(
    'move', [shared, sent, resized, given_data, set_to_others, every_one]
)
@pytest.mark.parametrize('name', MODELS)
def test_moved_networks(name, move, num_before):
    """Before a pass is recorded, and after."""
    snn, args = network(name), arguments(name)
    fresh = copy.deepcopy(snn)
    for _ in range(num_before):
        snn(*args)
    assert num_before == 1 or snn.plan.way == 'recorded'
    others = arguments(name, 2)[0], *args[1:]
    expected, expected_of_others = fresh(*args), fresh(*others)
    move(snn)
    kept = junk(snn, args)
    for _ in range(4):
        assert torch.equal(snn(*args), expected)
        assert torch.equal(snn(*others), expected_of_others)
    assert snn.plan.way == 'recorded' and len(kept) > 0


@pytest.mark.parametrize('name', ['graph', 'cached', 'ends'])
def test_moved_graphs(name):
    snn, args = network(name), arguments(name)
    expected = copy.deepcopy(snn)(*args)
    for _ in range(4):
        snn(*args)
    same = [value.clone() for value in args]
    for value in args:
        value.share_memory_()
    kept = junk(snn, args)
    for _ in range(3):
        assert torch.equal(snn(*args), expected)
        assert torch.equal(snn(*same), expected)
    assert snn.plan.way == 'recorded' and len(kept) > 0


@pytest.mark.parametrize('name', ['graph', 'ends'])
@pytest.mark.parametrize('place', [1, 2])
def test_graphs_that_are_written_to_later(name, place):
    """The pass was recorded with them, and is made again for equal ones."""
    snn, args = network(name), arguments(name)
    if place >= len(args):
        pytest.skip('it has no weights')
    expected = copy.deepcopy(snn)(*args)
    for _ in range(4):
        snn(*args)
    same = [value.clone() for value in args]
    args[place].copy_(args[place].flip(-1))
    assert torch.equal(snn(*same), expected) and snn.plan.way == 'recorded'
    assert torch.equal(snn(*args), copy.deepcopy(snn)(*args))


def resize(out):
    out.resize_(2)


def grow(out):
    out.resize_(2 * len(out), *out.shape[1:]).fill_(7)


def set_to_nothing(out):
    out.set_()


def edit(out):
    out.fill_(float('nan'))


def give_data(out):
    out.data = torch.zeros(3)


def share(out):
    out.share_memory_().fill_(float('nan'))


def free(out):
    out.untyped_storage().resize_(0)


@pytest.mark.parametrize(
    'change', [resize, grow, set_to_nothing, edit, give_data, share, free]
)
@pytest.mark.parametrize('name', MODELS)
def test_outputs_are_the_callers(name, change):
    """Whatever is done to one, later and earlier ones are right."""
    snn, args = network(name), arguments(name)
    fresh, found, expected = copy.deepcopy(snn), [], []
    for seed in range(8):
        now = arguments(name, seed)[0], *args[1:]
        expected.append(copy.deepcopy(fresh)(*now))
        found.append(snn(*now))
        change(snn(*now))
    assert snn.plan.way == 'recorded'
    for out, wanted in zip(found, expected, strict=True):
        assert torch.equal(out, wanted)


def test_large_outputs_are_the_callers():
    """Those in memory that is used again, once they have moved to that of others."""
    snn, x = network('dense'), torch.rand(70_000, 8)
    expected = snn(x).clone()
    found = [snn(x) for _ in range(3)]
    for out in found:
        out.share_memory_()
        other = snn(x.flip(0))
    assert all(torch.equal(out, expected) for out in found)
    assert torch.equal(other, expected.flip(0))
    found[0].fill_(0)
    assert torch.equal(snn(x), expected) and torch.equal(found[1], expected)


@pytest.mark.parametrize('name', MODELS)
def test_inputs_in_shared_memory_that_is_used_again(name):
    """As a producer does with its buffers; outputs are those of what was there."""
    snn, (buffer, *rest) = network(name), arguments(name)
    fresh = copy.deepcopy(snn)
    buffer.share_memory_()
    found, expected = [], []
    for seed in range(8):
        buffer.copy_(arguments(name, seed)[0])
        found.append(snn(buffer, *rest))
        expected.append(copy.deepcopy(fresh)(buffer.clone(), *rest))
    buffer.fill_(0)
    for out, wanted in zip(found, expected, strict=True):
        assert torch.equal(out, wanted)


def test_outputs_in_queues():
    snn, args = network('dense'), arguments('dense')
    queue = torch.multiprocessing.get_context('spawn').SimpleQueue()
    expected = copy.deepcopy(snn)(*args)
    for _ in range(4):
        queue.put(snn(*args))
        snn(args[0].flip(0))
        assert torch.equal(queue.get(), expected)
    queue.close()


@pytest.mark.parametrize('num_before', [0, 1, 4])
@pytest.mark.parametrize('what', ['weight', 'edges'])
def test_memory_that_is_gone_raises(what, num_before):
    """As with the ANN; to read on would end the process."""
    snn, args = network('graph'), arguments('graph')
    for _ in range(num_before):
        snn(*args)
    value = args[1] if what == 'edges' else tensors(snn)[0]
    with pytest.raises(RuntimeError, match=r'got 0 bytes|of size 0|not resizable'):
        value.untyped_storage().resize_(0)
        snn(*args)


def test_moved_constants_of_recorded_passes():
    """Such as prepared graphs, which others may hold and send as well. Tables of codes are
    those of all networks: a copy with a graph of its own has the same."""
    snn, args = network('graph'), arguments('graph')
    other, its = copy.deepcopy(snn), [arg.clone() for arg in args]
    for _ in range(4):
        snn(*args)
        other(*its)
    (recorded,), (others,) = (each.plan._tapes.values() for each in (snn, other))
    kept = {value.data_ptr() for value in tensors(snn)}
    kept |= {storage.data_ptr() for storage in others.places._storages}
    storages = [s for s in recorded.places._storages if s.data_ptr() not in kept]
    for storage in storages:
        torch.empty(0, dtype=torch.uint8).set_(storage).share_memory_()
    assert len(storages) > 0 and not recorded.places.are_same()
    snn(*args)
    assert snn.plan.way == 'node by node'
