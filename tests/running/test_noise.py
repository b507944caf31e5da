"""Noise on the spikes of one population, by hand and by counting."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from spikegraph import PhaseCode, SpikeNoise, Spikes
from spikegraph.running.noise import LEAST_GAIN, Disturbance, generator

T = 6
CODES = {
    'unsigned': PhaseCode(T, 1.5),
    'signed': PhaseCode(T, 1.5, signed=True),
    'fitted': PhaseCode.from_levels([1.0, 0.9, 0.5, 0.3, 0.2, 0.1]),
}


def spikes_of(code, *shape):
    """As many of each spike time, in random order."""
    generator = torch.Generator().manual_seed(1)
    times = torch.randint(code.num_times, shape, generator=generator).byte()
    return Spikes(times, code, torch.tensor(1.0))


def sent(spikes, fires_off=True, inference=0, shares_rows=False, **noise):
    disturbance = Disturbance(SpikeNoise(**noise), inference, shares_rows)
    return disturbance.sent('name', spikes, fires_off)


def assert_share(marks, probability):
    """A number of independent marks, within five standard deviations."""
    n, found = marks.numel(), int(marks.sum())
    assert abs(found - n * probability) <= 5 * math.sqrt(
        n * probability * (1 - probability)
    )


@pytest.mark.parametrize('code', CODES.values(), ids=CODES)
def test_without_noise_nothing_changes(code):
    spikes = spikes_of(code, 50, 8)
    found = sent(spikes)
    assert torch.equal(found.spike_time, spikes.spike_time) and found.code is code


@pytest.mark.parametrize('code', CODES.values(), ids=CODES)
def test_noise_neuron_by_neuron(code):
    """All kinds at once, with the numbers that are drawn, as the docstring says it."""
    noise = SpikeNoise(
        jitter=0.4, drop=0.2, extra=0.5, stuck_silent=0.1, stuck_firing=0.2, seed=3
    )
    spikes = spikes_of(code, 30, 7)
    disturbance = Disturbance(noise, 5, shares_rows=False)

    def drawn(*key):
        return generator(3, 'name', *key).random((30, 7), dtype='float32')

    extra, step, sign = (drawn(f'extra{k}', 5) for k in ('', ' step', ' sign'))
    stuck, stuck_step, stuck_sign = (drawn(f'stuck{k}') for k in ('', ' step', ' sign'))
    jitter, drop = drawn('jitter', 5), drawn('drop', 5)
    found = disturbance.sent('name', spikes, True)
    for i in range(30):
        for j in range(7):
            time = int(spikes.spike_time[i, j])
            is_off = time > T
            time = time - T - 1 if is_off else time
            own = int(step[i, j] * T)
            if extra[i, j] < 0.5 and own < time:
                if time == T and code.signed:
                    is_off = sign[i, j] < 0.5
                time = own
            if stuck[i, j] < 0.1:
                time = T
            elif stuck[i, j] < 0.1 + 0.2:
                time = int(stuck_step[i, j] * T)
                is_off = code.signed and stuck_sign[i, j] < 0.5
            if time < T and jitter[i, j] < 0.4:
                time = max(time - 1, 0) if jitter[i, j] < 0.2 else time + 1
            if drop[i, j] < 0.2:
                time = T
            time = time + T + 1 if is_off and time < T else time
            assert time == int(found.spike_time[i, j]), (i, j)


def test_all_spikes_are_lost():
    for code in CODES.values():
        assert sent(spikes_of(code, 40, 5), drop=1.0, extra=1.0).num_spikes == 0
        assert sent(spikes_of(code, 40, 5), stuck_silent=1.0).num_spikes == 0


def test_all_spikes_are_early_or_late():
    spikes = spikes_of(CODES['signed'], 200, 50)
    found = sent(spikes, jitter=1.0)
    before, after = spikes.phase().int(), found.phase().int()
    first, last, silent = before == 0, before == T - 1, before == T
    moved = after - before
    assert bool((after[silent] == T).all())
    assert sorted(moved[first].unique().tolist()) == [0, 1]
    assert sorted(moved[~silent & ~first].unique().tolist()) == [-1, 1]
    assert_share(moved[~silent & ~first] == 1, 0.5)
    assert_share(after[last] == T, 0.5)  # Out of the window.
    kept = after < T
    assert torch.equal(found.polarity()[kept], spikes.polarity()[kept])
    assert bool((found.spike_time[~kept] == T).all())


@pytest.mark.parametrize('probability', [0.01, 0.3, 0.9])
def test_probabilities(probability):
    spikes = spikes_of(CODES['unsigned'], 300, 100)
    fires = spikes.spike_time < T
    found = sent(spikes, drop=probability)
    assert_share(found.spike_time[fires] == T, probability)
    found = sent(spikes, jitter=probability)
    inner = fires & (spikes.spike_time > 0)
    assert_share((found.spike_time != spikes.spike_time)[inner], probability)
    silent = replace(spikes, spike_time=torch.full_like(spikes.spike_time, T))
    found = sent(silent, extra=probability)
    assert_share(found.spike_time < T, probability)
    for step in range(T):
        assert_share(found.spike_time == step, probability / T)
    found = sent(spikes, stuck_silent=probability / 2, stuck_firing=probability / 2)
    assert_share((found.spike_time == T)[fires], probability / 2)
    assert_share((found.spike_time < T)[~fires], probability / 2)


def test_neurons_fire_by_themselves_only_before_they_would():
    spikes = spikes_of(CODES['signed'], 300, 100)
    found = sent(spikes, extra=1.0)
    assert found.num_spikes == found.spike_time.numel()
    assert bool((found.phase() <= spikes.phase()).all())
    silent = spikes.phase() == T
    assert torch.equal(found.polarity()[~silent], spikes.polarity()[~silent])
    assert_share(found.polarity()[silent] == 1, 0.5)


def test_populations_that_never_fire_off():
    times = torch.randint(T + 1, (100, 20)).byte()
    spikes = Spikes(times, CODES['signed'], torch.tensor(1.0))
    for noise in (dict(extra=1.0), dict(stuck_firing=1.0), dict(jitter=1.0)):
        assert bool((sent(spikes, fires_off=False, **noise).spike_time <= T).all())
        off = sent(spikes, fires_off=True, **noise).spike_time > T
        assert bool(off.any()) == ('jitter' not in noise)


def test_faults_stay_and_the_rest_is_drawn_anew():
    spikes = spikes_of(CODES['signed'], 50, 8)
    for noise, stays in [
        (dict(stuck_silent=0.3, stuck_firing=0.3), True),
        (dict(drop=0.3), False),
        (dict(jitter=0.5), False),
        (dict(extra=0.5), False),
    ]:
        first, second = (sent(spikes, inference=k, **noise).spike_time for k in (0, 1))
        assert torch.equal(first, second) == stays
        again = sent(spikes, inference=0, **noise).spike_time
        assert torch.equal(first, again)
        other = sent(spikes, inference=0, seed=1, **noise).spike_time
        assert not torch.equal(first, other)


def test_rows_do_not_depend_on_those_behind_them():
    spikes = spikes_of(CODES['signed'], 50, 8)
    noise = SpikeNoise(0.3, 0.1, 0.3, 0.1, 0.1, 0.1)
    disturbance = Disturbance(noise, 0, shares_rows=False)
    all_rows, few = (
        disturbance.sent('name', s, True).spike_time for s in (spikes, spikes[:7])
    )
    assert torch.equal(all_rows[:7], few)
    gains = [disturbance.gain('name', torch.zeros(n, 8)) for n in (50, 7)]
    assert torch.equal(gains[0][:7], gains[1])


def test_samples_share_neurons():
    code = CODES['unsigned']
    spikes = Spikes(torch.full((30, 40), 2).byte(), code, torch.tensor(1.0))
    noise = SpikeNoise(stuck_silent=0.3, stuck_firing=0.3, threshold=0.1)
    found = Disturbance(noise, 0, shares_rows=True).sent('name', spikes, True)
    assert bool((found.spike_time == found.spike_time[0]).all())
    assert len(found.spike_time[0].unique()) > 3
    assert Disturbance(noise, 0, True).gain('name', torch.zeros(30, 40)).shape == (40,)
    dropped = Disturbance(SpikeNoise(drop=0.5), 0, True).sent('name', spikes, True)
    assert not bool((dropped.spike_time == dropped.spike_time[0]).all())
    single = Spikes(torch.zeros(5).byte(), code, torch.tensor(1.0))
    found = Disturbance(SpikeNoise(stuck_silent=1.0), 0, True).sent(
        'name', single, True
    )
    assert found.spike_time.tolist() == [T] * 5


def test_gains_of_thresholds():
    like = torch.zeros(300, 200, dtype=torch.float64)
    gain = Disturbance(SpikeNoise(threshold=0.1), 0, False).gain('name', like)
    assert abs(float(gain.mean()) - 1) < 0.002 and abs(float(gain.std()) - 0.1) < 0.002
    gain = Disturbance(SpikeNoise(threshold=1.0), 0, False).gain('name', like)
    assert float(gain.min()) == LEAST_GAIN
    assert Disturbance(SpikeNoise(), 0, False).gain('name', like) is None


@pytest.mark.parametrize(
    'kwargs, match',
    [
        (dict(jitter=-0.1), r"'jitter' to be a probability from 0 to 1 \(got -0.1\)"),
        (dict(drop=1.5), r"'drop' to be .* \(got 1.5\)"),
        (dict(extra=math.nan), r"'extra' to be .* \(got nan\)"),
        (dict(extra='0.1'), r"'extra' to be .* \(got '0.1'\)"),
        (dict(drop=True), r"'drop' to be .* \(got True\)"),
        (dict(threshold=1.1), r"'threshold' to be a relative standard .* \(got 1.1\)"),
        (dict(weight=-1), r"'weight' to be a relative standard .* \(got -1\)"),
        (dict(stuck_silent=0.6, stuck_firing=0.5), r'at most 1 together \(got 1.1\)'),
        (dict(seed=-1), r"'seed' to be an integer of at least 0 \(got -1\)"),
        (dict(drop='a'), r"'drop' to be a probability .* \(got 'a'\)"),
        (dict(seed=1.0), r"'seed' to be an integer .* \(got 1.0\)"),
    ],
)
def test_errors(kwargs, match):
    with pytest.raises(ValueError, match=match):
        SpikeNoise(**kwargs)


def test_it_does_not_change():
    with pytest.raises(AttributeError):
        SpikeNoise().drop = 0.5
    assert SpikeNoise(drop=0.1) == SpikeNoise(drop=0.1)


def test_numbers_of_numpy_are_numbers():
    noise = SpikeNoise(drop=np.float32(0.25), seed=np.int64(3))
    assert noise == SpikeNoise(drop=0.25, seed=3)
