"""Spikes at random times, and how they compare."""

import itertools

import torch

from spikegraph.coding import Spikes

BASES = [2.0, 1.35, 1.05]
STEPS = [(1, 1), (3, 3), (1, 7), (5, 2), (16, 16)]
SIGNS = [*itertools.product([False, True], repeat=2)]
INDEX = torch.tensor([3, 0, 0, 1, 3, 3, 0, 4, 4])  # None in 2.


def random_spikes(code, *shape, scale=1.0, seed=0):
    """Each time as likely as any other, silence among them."""
    generator = torch.Generator().manual_seed(seed)
    most = 2 * code.num_steps if code.signed else code.num_steps
    times = torch.randint(most + 1, shape, generator=generator, dtype=torch.uint8)
    return Spikes(times, code, torch.as_tensor(scale, dtype=torch.float64))


def uniform(*shape, low, high, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(*shape, generator=generator, dtype=torch.float64)
    return low + (high - low) * values


def assert_close(found, expected):
    """Up to what float64 rounds."""
    assert found.dtype == torch.float64 and found.shape == expected.shape
    assert torch.allclose(found, expected, rtol=1e-13, atol=0)


def assert_same(found, expected):
    assert torch.equal(found.spike_time, expected.spike_time)
    assert found.code == expected.code and torch.equal(found.scale, expected.scale)
