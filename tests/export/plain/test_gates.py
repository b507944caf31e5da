import pytest
import torch
from torch import nn

from spikegraph import PhaseCode, Spikes
from spikegraph.export.plain.gates import GATES
from spikegraph.export.plain.graphs import Graphs
from spikegraph.export.plain.populations import decoded
from spikegraph.nn.gate import (
    EarliestAlong,
    EarliestMember,
    EarliestNeighbor,
    EarliestSpike,
)
from spikegraph.nn.members import ProductMember
from spikegraph.nn.pool import EarliestInWindow
from spikegraph.nn.products import Delay, Rebase
from spikegraph.nn.relative import Leading, Relative
from tests.export.graphs import odd_graphs

UNSIGNED, SIGNED = PhaseCode(7, 1.5), PhaseCode(6, 1.5, signed=True)
CODES = pytest.mark.parametrize('code', [UNSIGNED, SIGNED], ids=str)
INDEX = torch.tensor([2, 2, 0, 4, 4, 4, 0, 2, 0])


def spikes(code, *shape, scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    times = torch.randint(0, code.num_times, shape, generator=generator)
    return Spikes(times.to(torch.uint8), code, torch.as_tensor(scale).double())


def plain(x):
    if isinstance(x, Spikes):
        return Spikes(x.spike_time.int(), x.code, x.scale)
    return [plain(each) for each in x] if isinstance(x, list) else x


def check(gate, *args):
    expected = gate(*args)
    found = GATES[type(gate)](Graphs(), gate, *map(plain, args))
    if not isinstance(expected, Spikes):
        assert torch.allclose(found, expected, atol=1e-14)
        return
    assert found.code == expected.code
    assert torch.equal(found.spike_time, expected.spike_time.int())
    assert torch.allclose(decoded(found), expected.decode(), rtol=1e-14)


@CODES
@pytest.mark.parametrize('smallest', [False, True])
def test_extremes(code, smallest):
    x = spikes(code, 9, 3, scale=[1.0, 2.0, 0.5])
    for num in (None, 5, 7):
        check(EarliestMember(smallest), x, INDEX, num)
    check(EarliestMember(smallest), x)
    check(EarliestMember(smallest), x.decode(), INDEX, 7)
    check(EarliestSpike(smallest), [x, spikes(code, 9, 3, scale=x.scale, seed=1)])
    check(EarliestSpike(smallest), [x.decode(), -x.decode()])
    for keepdim in (False, True):
        dense = spikes(code, 4, 6, 3)
        check(EarliestAlong(-2, keepdim, smallest), dense)
        check(EarliestAlong(-1, keepdim, smallest), dense)
        scaled = spikes(code, 4, 6, 3, scale=torch.rand(4, 1, 3) + 0.5)
        check(EarliestAlong(-2, keepdim, smallest), scaled)
    for x, edge_index, _ in odd_graphs():
        sent = spikes(code, len(x), 2)
        for flow in ('source_to_target', 'target_to_source'):
            check(EarliestNeighbor(flow, smallest), sent, edge_index)
            check(EarliestNeighbor(flow, smallest), sent.decode(), edge_index)
        check(EarliestNeighbor(smallest=smallest), sent, edge_index, len(x) + 2)


@CODES
@pytest.mark.parametrize(
    'pool, shape',
    [
        (nn.MaxPool2d(2), (2, 3, 6, 6)),
        (nn.MaxPool2d(3, 2, padding=1), (3, 7, 5)),
        (nn.MaxPool1d(3, 1, dilation=2, ceil_mode=True), (2, 3, 11)),
        (nn.AdaptiveMaxPool2d(2), (2, 3, 5, 7)),
        (nn.MaxPool3d(2), (1, 2, 4, 4, 4)),
    ],
    ids=str,
)
def test_windows(code, pool, shape):
    check(EarliestInWindow(pool), spikes(code, *shape))
    check(EarliestInWindow(pool), spikes(code, *shape).decode())


@pytest.mark.parametrize('a', [UNSIGNED, SIGNED], ids=str)
@pytest.mark.parametrize('b', [UNSIGNED, SIGNED], ids=str)
def test_products(a, b):
    x, other = spikes(a, 50, 4, scale=[1.0, 2.0, 3.0, 0.1]), spikes(b, 50, 4, seed=1)
    check(Delay(), x, other)
    check(Delay(), x, spikes(b, 50, 1, scale=torch.rand(50, 1) + 1))
    check(Delay(), x.decode(), other.decode())


@CODES
def test_powers(code):
    for exponent, keeps_sign in ((2, False), (0.5, False), (3, True)):
        check(Rebase(exponent, keeps_sign), spikes(code, 50, scale=1.7))


def test_windows_that_open_at_the_first_spike():
    x = spikes(UNSIGNED, 9, 3)
    for gate in (Leading(), Relative(3), Relative(20)):
        for num in (None, 5, 7):
            check(gate, x, INDEX, num)
        check(gate, spikes(UNSIGNED, 9, 2, 3), INDEX, 5)
        check(gate, x)
        check(gate, x.decode(), INDEX, 5)
    for gate in (Leading(-1), Relative(3, -2)):
        check(gate, x)
        check(gate, x.decode())


@CODES
def test_products_of_groups(code):
    x = spikes(code, 9, 4, scale=1.2)
    for num in (None, 5, 7):
        check(ProductMember(), x, INDEX, num)
        check(ProductMember(9), x, INDEX, num)
