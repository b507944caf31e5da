"""Gates that compute with spike times: products and powers."""

import pytest
import torch

from spikegraph.coding import PhaseCode, Spikes, max_relative_error
from spikegraph.nn import charge
from spikegraph.nn.delayed_sum import Arriving, DelayedSum
from spikegraph.nn.products import Delay, Rebase
from tests.nn.timed import (
    BASES,
    SIGNS,
    STEPS,
    assert_close,
    assert_same,
    random_spikes,
    uniform,
)


@pytest.mark.parametrize('base', BASES)
@pytest.mark.parametrize('num_steps', STEPS, ids=str)
@pytest.mark.parametrize('signed', SIGNS, ids=str)
def test_a_delay_is_a_product(base, num_steps, signed):
    codes = [
        PhaseCode(t, base, signed=s) for t, s in zip(num_steps, signed, strict=True)
    ]
    a = random_spikes(codes[0], 200, 7, scale=1.7)
    b = random_spikes(codes[1], 200, 7, scale=0.3, seed=1)
    out, gate = Delay()(a, b), Delay()
    assert_close(out.decode(), a.decode() * b.decode())
    assert_same(gate.stepped(a, b), out)
    assert_same(gate(b, a), out)
    assert torch.equal(gate.analog(a.decode(), b.decode()), a.decode() * b.decode())
    assert out.code.base == base and out.code.signed == any(signed)
    assert out.code.num_steps == sum(num_steps) - 1 == gate.window(num_steps)
    if sum(num_steps) > 2:  # Some fire at the first step, some at the last.
        assert {0, out.code.num_steps - 1} <= {*out.phase().flatten().tolist()}


def test_a_square_has_one_window():
    x = random_spikes(PhaseCode(5, 1.5, signed=True), 90)
    out = Delay()(x, x)
    assert out.code.num_steps == Delay().window([5]) == 9
    assert_close(out.decode(), x.decode().square())
    assert_same(Delay().stepped(x, x), out)


@pytest.mark.parametrize(
    'shapes',
    [
        ((6, 5), (6, 1)),
        ((6, 5), (5,)),
        ((6, 1), (5,)),
        ((3, 6, 5), (6, 1)),
        ((1,), (6, 5)),
        ((0, 5), (0, 1)),
        ((0, 5), (5,)),
        ((6, 0), (6, 1)),
        ((), (4,)),
    ],
    ids=str,
)
def test_delays_broadcast(shapes):
    code = PhaseCode(6, 1.5, signed=True)
    a = random_spikes(code, *shapes[0], scale=2.0)
    b = random_spikes(code, *shapes[1], scale=0.7, seed=1)
    out = Delay()(a, b)
    assert_close(out.decode(), a.decode() * b.decode())
    assert_same(Delay().stepped(a, b), out)


def test_scales_of_delays_are_multiplied():
    code = PhaseCode(6, 1.5, signed=True)
    columns, rows = torch.linspace(0.5, 2, 5).double(), torch.rand(8, 1).double() + 1
    a = random_spikes(code, 8, 5, scale=columns)
    b = random_spikes(code, 8, 5, scale=rows, seed=1)
    out = Delay()(a, b)
    assert torch.equal(out.scale, columns * rows)
    assert_close(out.decode(), a.decode() * b.decode())
    assert_same(Delay().stepped(a, b), out)


@pytest.mark.parametrize('base', BASES)
@pytest.mark.parametrize('num_steps', [4, 16, 40])
def test_the_error_of_products_is_bounded(base, num_steps):
    code = PhaseCode(num_steps, base, signed=True)
    scales, lowest = (2.0, 0.25), float(code.levels[-1])
    a, b = (
        scale * uniform(4000, low=lowest, high=1.0, seed=seed)
        for seed, scale in enumerate(scales)
    )
    a, b = a * a.new_tensor([1.0, -1.0]).repeat(2000), -b
    spikes = [
        Spikes.from_values(v, code, s) for v, s in zip((a, b), scales, strict=True)
    ]
    out = Delay()(*spikes).decode()
    e = (base - 1) / (base + 1)
    assert max_relative_error(code) == pytest.approx(e)
    error, bound = (out / (a * b) - 1).abs().max(), (1 + e) ** 2 - 1
    assert 0.6 * bound < error <= bound * (1 + 1e-9)


@pytest.mark.parametrize('layer', [Delay(), DelayedSum()], ids=repr)
@pytest.mark.parametrize(
    'codes',
    [
        (PhaseCode(4, 2), PhaseCode(4, 1.5)),
        (PhaseCode(4, 2), PhaseCode.from_levels([1.0, 0.7, 0.1])),
        (PhaseCode.from_levels([1.0, 0.7, 0.1]), PhaseCode(4, 2)),
        (PhaseCode.from_levels([1.0, 0.7, 0.1]),) * 2,
    ],
    ids=str,
)
def test_products_need_one_base(layer, codes):
    a, b = (random_spikes(code, 5, 5) for code in codes)
    match = (
        r"'x' and 'other' to have geometric codes of one base.*\(got PhaseCode.* and"
    )
    with pytest.raises(ValueError, match=match):
        layer(a, b)
    if isinstance(layer, Delay):
        with pytest.raises(ValueError, match=match):
            layer.stepped(a, b)
    else:
        with pytest.raises(ValueError, match=match):
            Arriving(layer, a, b)


def test_products_of_too_many_steps():
    a, b = (random_spikes(PhaseCode(t, 1.1), 300) for t in (63, 64))
    out = Delay()(a, b)  # As many as a byte can count.
    assert out.code.num_steps == 126
    assert_close(out.decode(), a.decode() * b.decode())
    with pytest.raises(ValueError, match=r"'num_steps' .* they take 127"):
        Delay()(b, b)


@pytest.mark.parametrize('base', BASES)
@pytest.mark.parametrize('num_steps', [1, 6, 16])
@pytest.mark.parametrize('signed', [False, True])
@pytest.mark.parametrize('keeps_sign', [False, True])
@pytest.mark.parametrize('exponent', [0.5, 2, 3, 1])
def test_a_power_is_another_base(base, num_steps, signed, keeps_sign, exponent):
    gate = Rebase(exponent, keeps_sign)
    for shape in ((100, 5), (0, 5)):
        x = random_spikes(PhaseCode(num_steps, base, signed=signed), *shape, scale=1.7)
        out, values = gate(x), x.decode()
        expected = values.abs() ** exponent * (values.sign() if keeps_sign else 1)
        assert_close(out.decode(), expected)
        assert_close(gate.analog(values), expected)
        assert_same(gate.stepped(x), out)
        assert torch.equal(out.phase(), x.phase())
        assert out.code.base == pytest.approx(base**exponent)
        assert out.code.signed == (signed and keeps_sign)
        assert gate.window([num_steps]) == num_steps


@pytest.mark.parametrize('exponent', [0.5, 2])
def test_the_error_of_powers_is_bounded(exponent):
    code = PhaseCode(16, 1.35)
    x = 2 * uniform(4000, low=float(code.levels[-1]), high=1.0)
    out = Rebase(exponent)(Spikes.from_values(x, code, 2.0)).decode()
    bound = max(
        abs((1 + s * max_relative_error(code)) ** exponent - 1) for s in (1, -1)
    )
    error = (out / x**exponent - 1).abs().max()
    assert 0.8 * bound < error <= bound * (1 + 1e-9)


@pytest.mark.parametrize(
    'args, match',
    [
        ((0,), r"'exponent' to be a positive number \(got 0\)"),
        ((-1.0,), r"'exponent' to be a positive number \(got -1.0\)"),
        ((float('inf'),), r"'exponent' to be a positive number \(got inf\)"),
        ((float('nan'),), r"'exponent' to be a positive number \(got nan\)"),
        ((True,), r"'exponent' to be a positive number \(got True\)"),
        (('2',), r"'exponent' to be a positive number \(got '2'\)"),
        ((2, 1), r"'keeps_sign' to be a bool \(got 1\)"),
    ],
)
def test_power_errors(args, match):
    with pytest.raises(ValueError, match=match):
        Rebase(*args)


def test_powers_need_a_base():
    x = random_spikes(PhaseCode.from_levels([1.0, 0.7, 0.1]), 5)
    for function in (Rebase(2), Rebase(2).stepped):
        with pytest.raises(ValueError, match=r"'x' to have a geometric code.*\(got Ph"):
            function(x)


@pytest.mark.parametrize('base', BASES)
@pytest.mark.parametrize('num_steps', STEPS, ids=str)
@pytest.mark.parametrize('signed', SIGNS, ids=str)
def test_sums_of_delays_arrive_in_steps(base, num_steps, signed):
    codes = [
        PhaseCode(t, base, signed=s) for t, s in zip(num_steps, signed, strict=True)
    ]
    layer = DelayedSum()
    for shapes in (((9, 30), (30, 5)), ((2, 3, 4), (2, 4, 1)), ((3, 0), (0, 2))):
        a = random_spikes(codes[0], *shapes[0], scale=1.7)
        b = random_spikes(codes[1], *shapes[1], scale=0.3, seed=1)
        out = layer(a, b)
        assert torch.equal(out, a.decode() @ b.decode())
        pairs = a.decode()[..., None] * b.decode()[..., None, :, :]
        delays = Delay()(
            Spikes(a.spike_time[..., None], a.code, a.scale),
            Spikes(b.spike_time[..., None, :, :], b.code, b.scale),
        )
        assert_close(delays.decode(), pairs)
        size = pairs.abs().sum(-2)
        assert ((out - delays.decode().sum(-2)).abs() <= 1e-12 * size).all()
        spoken = [(s.polarity() != 0).double() for s in (a, b)]
        num_pairs = (delays.polarity() != 0).sum(-2).double()
        assert torch.equal(layer.num_pairs(*spoken), num_pairs)
        arriving = Arriving(layer, a, b)
        num_all = layer.window(num_steps)
        assert arriving.code.num_steps == num_all == sum(num_steps) - 1
        membrane = torch.zeros_like(out)
        for step in range(num_all):
            now = delays.current(step).sum(-2)
            assert torch.allclose(arriving.current(step), now, rtol=1e-13, atol=1e-13)
            membrane = charge(membrane, arriving.current(step), arriving.code, step)
        potential = membrane * float(arriving.code.levels[-1])
        assert ((potential - out).abs() <= 1e-12 * size).all()
        assert torch.equal(arriving.decode(), out)


def test_the_sum_of_squares_has_one_window():
    assert DelayedSum().window([5]) == 9
