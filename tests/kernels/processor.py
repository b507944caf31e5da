"""Runs kernels on what a file holds, on whatever processor Numba compiles for:

python -m tests.kernels.processor inputs.pt outputs.pt
"""

import sys
from unittest.mock import patch

import torch

from spikegraph.coding import PhaseCode, Spikes
from spikegraph.kernels import (
    Weights,
    earliest,
    encode_spikes,
    encode_transform,
    info,
    neighbor_adjacency,
    propagate,
    send,
)
from spikegraph.kernels.cpu import sums

CODES = PhaseCode(15, 1.5), PhaseCode(15, 1.5, signed=True), PhaseCode(63, 1.1)
M, N, WIDTH = 31, 23, 41


def make_inputs():
    """Spikes, weights and a graph."""
    shape = (M, WIDTH)
    inputs = {f'times_{i}': make_times(code, shape) for i, code in enumerate(CODES)}
    inputs['x'] = 2 * torch.randn(shape) * (torch.rand(shape) < 0.3)
    inputs['weight'], inputs['bias'] = torch.randn(17, WIDTH), torch.randn(WIDTH)
    inputs['scale'] = torch.rand(WIDTH) + 0.5
    inputs['edges'] = torch.randint(N, (2, 200))
    inputs['edge_weight'] = torch.rand(200)
    return inputs


def make_times(code, shape):
    return torch.randint(len(code.table()), shape, dtype=torch.uint8)


def run(inputs):
    """What kernels of sums and of neurons return; these agree bit by bit."""
    edges, weight, bias = (inputs[key] for key in ('edges', 'edge_weight', 'bias'))
    adjacency = neighbor_adjacency(edges, weight, M, N, torch.float32, mean=True)
    one, code, found = torch.tensor(0.7), CODES[1], {}
    for i, sent in enumerate(CODES):
        spikes = Spikes(inputs[f'times_{i}'], sent, one)
        found[f'sums_{i}'] = propagate(adjacency, spikes)
    spikes = Spikes(inputs['times_0'], CODES[0], one)
    messages = send(adjacency, spikes)
    found['fired'] = messages.encode(bias, code, inputs['scale'])
    found['values'] = propagate(adjacency, inputs['x'])
    found['earliest'] = earliest(adjacency, spikes.spike_time, 15)
    found['encoded'] = encode_spikes(inputs['x'], code, one)
    found['decoded'] = spikes.decode()
    found['transformed'] = encode_transform(inputs['x'], code, one, inputs['weight'])
    with patch.object(sums, '_saves_time', lambda *_: True):
        found['packed'] = propagate(adjacency, spikes)
    weights, out = Weights(inputs['weight'], None), torch.empty(N, 17)
    found['product'] = messages.products(weights, (0, N), out)
    return found


def main():
    torch.set_num_threads(1)
    source, target = sys.argv[1:]
    torch.save({'found': run(torch.load(source)), 'info': info()}, target)


if __name__ == '__main__':
    main()
