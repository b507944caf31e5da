"""Numbers that user code reads from sizes and structure stay symbolic."""

import math
import types

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import spikegraph
from spikegraph import convert

CHANNELS = 8


class Readout(nn.Module):
    """Features, summed over the nodes of each graph in some way."""

    def __init__(self, pool):
        super().__init__()
        self.lin1 = nn.Linear(5, CHANNELS)
        self.lin2 = nn.Linear(CHANNELS, 3)
        self.pool = pool

    def forward(self, x, batch):
        return self.lin2(self.pool(self.lin1(x).relu(), batch))


def sum_into(h, batch, num_graphs):
    zeros = torch.zeros(num_graphs, CHANNELS, dtype=h.dtype)
    return zeros.index_add(0, batch, h)


def largest(h, batch):
    return sum_into(h, batch, int(batch.max()) + 1)


def largest_item(h, batch):
    return sum_into(h, batch, int(batch.max().item() + 1))


def last(h, batch):
    return sum_into(h, batch, int(batch[-1]) + 1)


def distinct(h, batch):
    return sum_into(h, batch, len(torch.unique(batch)))


def at_least_one(h, batch):
    return sum_into(h, batch, max(int(batch.max()) + 1, 1))


def shape_in_tuple(h, batch):
    return h.new_zeros((int(batch[-1] + 1), CHANNELS)).index_add_(0, batch, h)


def memberships(h, batch):
    return F.one_hot(batch, int(batch.max()) + 1).t().to(h.dtype) @ h


def sparse_memberships(h, batch):
    index = torch.stack([batch, torch.arange(len(batch))])
    size = (int(batch.max()) + 1, len(h))
    ones = torch.ones(len(h), dtype=h.dtype)
    return torch.sparse_coo_tensor(index, ones, size) @ h


def divided_by_number(h, batch):
    return largest(h, batch) / float(len(h))


def half_of_rows(h, batch):
    half = int(math.ceil(0.5 * len(h)))
    return sum_into(h[:half], batch[:half], int(batch.max()) + 1)


def is_whole(h, batch):
    num_graphs = int(batch.max()) + 1
    assert isinstance(num_graphs, int)
    assert not isinstance(num_graphs, (float, str))
    return sum_into(h, batch, num_graphs)


def caught(h, batch):
    try:
        num_graphs = int(batch.max()) + 1
    except:  # noqa: E722
        num_graphs = 0
    return sum_into(h, batch, num_graphs)


FREE = [
    *(largest, largest_item, last, distinct, at_least_one, shape_in_tuple),
    *(memberships, sparse_memberships, divided_by_number, half_of_rows, is_whole),
    caught,
]


def looped(h, batch):
    return torch.stack([h[batch == i].sum(0) for i in range(int(batch.max()) + 1)])


def split(h, batch):
    sizes = list(map(int, torch.bincount(batch)))
    return torch.stack([part.sum(0) for part in h.split(sizes)])


def of_builtin_type(h, batch):  # Of PyTorch's own, which no other passes for.
    zeros = torch.zeros(int(batch.max()) + 1, CHANNELS, dtype=float)
    return zeros.to(h.dtype).index_add(0, batch, h)


FIXED = [looped, split, of_builtin_type]


def batch_of(*sizes):
    torch.manual_seed(sum(sizes))
    batch = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return torch.randn(sum(sizes), 5).double(), batch


OTHERS = [batch_of(3, 2), batch_of(6, 1, 2, 4, 8), batch_of(7)]


def relative_error(found, expected):
    return float((found - expected).norm() / expected.norm())


@pytest.fixture
def converted(request):
    torch.manual_seed(0)
    model = Readout(request.param).double().eval()
    config = spikegraph.ConversionConfig(num_steps=40)
    return model, convert(model, [batch_of(4, 3, 5), batch_of(9, 8, 20)], config)


@torch.no_grad()
@pytest.mark.parametrize('converted', FREE, indirect=True)
def test_other_numbers_of_graphs(converted, tmp_path):
    model, snn = converted
    for call in OTHERS:
        assert relative_error(snn(*call), model(*call)) < 0.1
    spikegraph.save(snn, tmp_path / 'network')
    again = spikegraph.load(tmp_path / 'network', Readout(model.pool).double())
    assert torch.equal(again(*OTHERS[1]), snn(*OTHERS[1]))
    assert spikegraph.measure(snn, OTHERS[1], model).uncounted == []


@torch.no_grad()
@pytest.mark.parametrize('converted', FIXED, indirect=True)
def test_what_python_has_to_know_is_fixed(converted, tmp_path):
    model, snn = converted
    call = batch_of(4, 3, 5)
    assert relative_error(snn(*call), model(*call)) < 0.1
    for other in OTHERS:
        with pytest.raises(ValueError, match=r'convert again.*'):
            snn(*other)
    spikegraph.save(snn, tmp_path / 'network')
    again = spikegraph.load(tmp_path / 'network', Readout(model.pool).double())
    assert torch.equal(again(*call), snn(*call))


def test_modules_are_as_before():
    convert(Readout(largest).eval(), [(x.float(), batch) for x, batch in OTHERS])
    assert not {'int', 'float', 'len'} & set(globals())


SOURCE = """
import torch

def pool(h, batch):
    num_graphs = int(batch.max()) + 1
    {}
    zeros = torch.zeros(num_graphs, 8, dtype=h.dtype)
    return zeros.index_add(0, batch, h)
"""


def pool_of(line):
    module = types.ModuleType('written_elsewhere')
    exec(SOURCE.format(line), module.__dict__)
    return module.pool


@torch.no_grad()
def test_code_of_other_modules():
    model = Readout(pool_of('pass')).double().eval()
    snn = convert(model, batch_of(4, 3, 5))
    assert relative_error(snn(*OTHERS[1]), model(*OTHERS[1])) < 0.3


@torch.no_grad()
@pytest.mark.parametrize(
    'line', ["assert f'{num_graphs}' == '3'", 'assert [0] * num_graphs == [0, 0, 0]']
)
def test_numbers_that_are_used_as_such_are_fixed(line):
    model = Readout(pool_of(line)).double().eval()
    snn = convert(model, batch_of(4, 3, 5))
    with pytest.raises(ValueError, match='convert again'):
        snn(*OTHERS[1])


def test_a_type_that_is_compared(tmp_path, monkeypatch):
    """Code that asks whether ``type(n) is int`` keeps its numbers."""
    source = SOURCE.format('assert type(num_graphs) is int')
    (tmp_path / 'compares_types.py').write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    import compares_types

    model = Readout(compares_types.pool).double().eval()
    snn = convert(model, batch_of(4, 3, 5))
    with pytest.raises(ValueError, match='compares_types.py, line 5'):
        snn(*OTHERS[1])


def test_numbers_made_of_features_are_refused():
    def pool(h, batch):
        return largest(h, batch) / int(h.max() + 1)

    with pytest.raises(NotImplementedError, match=r"'.*int\(h.max\(\) \+ 1\)'"):
        convert(Readout(pool).eval(), (torch.rand(6, 5), torch.arange(6) // 2))
