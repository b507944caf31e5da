"""Gates over the members of each group."""

import pytest
import torch
from torch_geometric.nn.aggr import MulAggregation, QuantileAggregation

from spikegraph.coding import PhaseCode, Spikes
from spikegraph.nn.members import ProductMember, RankedMember

INDEX = torch.tensor([3, 0, 0, 1, 3, 3, 0, 4, 4])  # None in 2.
CODES = [PhaseCode(6, 1.5, signed=s) for s in (False, True)]


def spikes_of(code, scale=2.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(INDEX), 40, generator=generator, dtype=torch.float64)
    return Spikes.from_values(values * 2, code, scale)


@pytest.mark.parametrize('code', CODES, ids=str)
@pytest.mark.parametrize('scale', [2.0, torch.linspace(0.5, 2, 40).double()])
def test_products(code, scale):
    x, gate = spikes_of(code, scale), ProductMember()
    out, expected = gate(x, INDEX, 5), MulAggregation()(x.decode(), INDEX, dim_size=5)
    assert torch.allclose(out.decode(), expected, rtol=1e-12, atol=0)
    assert torch.equal(gate.analog(x.decode(), INDEX, 5), expected)
    assert torch.equal(gate.stepped(x, INDEX, 5).spike_time, out.spike_time)
    assert (out.spike_time[2] == 0).all() and (out.decode()[2] == 1).all()
    assert bool((expected < 0).any()) == code.signed


def test_products_too_late_are_silent():
    x = Spikes.from_values(torch.full((4, 1), 0.5), PhaseCode(3, 2))
    for num_steps, time in ((5, 4), (4, 4)):  # One step each.
        gate = ProductMember(num_steps)
        for out in (gate(x), gate.stepped(x)):
            assert out.spike_time.item() == time
        assert gate.window([3]) == num_steps
        assert out.decode().item() == (0.5**4 if num_steps == 5 else 0)


def test_products_need_one_base():
    x = Spikes.from_values(torch.rand(4, 2), PhaseCode.from_levels([1.0, 0.7, 0.1]))
    with pytest.raises(ValueError, match='geometric code'):
        ProductMember()(x)
    rows = Spikes.from_values(torch.rand(4, 2), PhaseCode(3, 2), torch.ones(4, 1))
    with pytest.raises(ValueError, match=r'no scales of single rows.*\(4, 1\)'):
        ProductMember()(rows)


@pytest.mark.parametrize('code', CODES, ids=str)
@pytest.mark.parametrize('q', [0.0, 0.3, 0.5, 0.8, 1.0])
@pytest.mark.parametrize('how', ['lower', 'higher', 'nearest'])
def test_ranks(code, q, how):
    x, gate = spikes_of(code), RankedMember(q, how)
    pyg = QuantileAggregation(q, how).double()
    expected = pyg(x.decode(), INDEX, dim_size=5)
    out = gate(x, INDEX, 5)
    assert torch.equal(out.decode(), expected)
    assert torch.equal(gate.analog(x.decode(), INDEX, 5), expected)
    assert torch.equal(gate.stepped(x, INDEX, 5).spike_time, out.spike_time)
    assert (out.spike_time[2] == code.num_steps).all()


def test_ranks_of_nothing():
    x, gate = spikes_of(CODES[0]), RankedMember(0.5)
    none = Spikes(x.spike_time[:0], x.code, x.scale)
    for out in (gate(none, INDEX[:0], 2), gate.stepped(none, INDEX[:0], 2)):
        assert torch.equal(out.spike_time, torch.full((2, 40), 6, dtype=torch.uint8))


def test_ranks_need_one_scale():
    rows = Spikes.from_values(torch.rand(4, 2), PhaseCode(3, 2), torch.ones(4, 1))
    with pytest.raises(ValueError, match=r'one scale, or one per channel.*\(4, 1\)'):
        RankedMember(0.5)(rows)
