"""Runs kernels on what a file holds, on whatever processor Numba compiles for:

python -m tests.kernels.processor inputs.pt outputs.pt
"""

import itertools
import sys
from unittest.mock import patch

import torch

from spikegraph.coding import PhaseCode, Spikes
from spikegraph.kernels import (
    Filters,
    Weights,
    convolve,
    convolve_decode,
    earliest,
    encode_decode,
    encode_spikes,
    encode_transform,
    info,
    neighbor_adjacency,
    propagate,
    send,
)
from spikegraph.kernels.attention import send_delayed
from spikegraph.kernels.cpu import sums

CODES = PhaseCode(15, 1.5), PhaseCode(15, 1.5, signed=True), PhaseCode(63, 1.1)
M, N, WIDTH = 31, 23, 41
# Of 16, 17, 17, 31 and 34 levels, two of which are as many, one with silence last.
SENT = (
    *(PhaseCode(15, 1.5), PhaseCode(16, 1.4), PhaseCode(8, 1.5, signed=True)),
    *(PhaseCode(15, 1.3, signed=True), PhaseCode(33, 1.1)),
)
WIDTHS = (1, 4, 15, 16, 17, 31, 32, 33, 40, 63, 64, 65, 96, 130)
HEADS = ((8, 8), (4, 16), (3, 5), (1, 32), (5, 12), (2, 33))


def make_inputs():
    """Spikes, weights and a graph."""
    shape = (M, WIDTH)
    inputs = {f'times_{i}': make_times(code, shape) for i, code in enumerate(CODES)}
    for i, code in enumerate(SENT):
        inputs[f'sent_{i}'] = make_times(code, (M, WIDTHS[-1]))
    inputs['x'] = 2 * torch.randn(shape) * (torch.rand(shape) < 0.3)
    inputs['weight'], inputs['bias'] = torch.randn(17, WIDTH), torch.randn(WIDTH)
    inputs['scale'] = torch.rand(WIDTH) + 0.5
    images = torch.randn(2, 5, 9, 7).contiguous(memory_format=torch.channels_last)
    inputs['images'], inputs['kernels'] = images, torch.randn(WIDTH, 5, 3, 3)
    inputs['edges'] = torch.randint(N, (2, 200))
    inputs['coefficients'] = make_times(CODES[0], (200, 8))
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
    found['heard'] = encode_decode(inputs['x'], SENT[1], inputs['scale'])
    found['decoded'] = spikes.decode()
    found['transformed'] = encode_transform(inputs['x'], code, one, inputs['weight'])
    with patch.object(sums, '_saves_time', lambda *_: True):
        found['packed'] = propagate(adjacency, spikes)
    for (i, sent), width in itertools.product(enumerate(SENT), WIDTHS):
        spikes = Spikes(inputs[f'sent_{i}'][:, :width].contiguous(), sent, one)
        found[f'sums_{i}_{width}'] = propagate(adjacency, spikes)
    for (i, sent), heads in itertools.product(enumerate(SENT), HEADS):
        times = inputs[f'sent_{i}'][:, : heads[0] * heads[1]].reshape(M, *heads)
        own = inputs['coefficients'][:, : heads[0]].contiguous()
        by = Spikes(own, CODES[0], one)
        delayed = send_delayed(Spikes(times, sent, one), by, *edges, N)
        found[f'heads_{i}_{heads}'] = delayed.sums()
    weights, out = Weights(inputs['weight'], None), torch.empty(N, 17)
    found['product'] = messages.products(weights, (0, N), out)
    images, filters = inputs['images'], Filters(inputs['kernels'], bias, padding=(1, 1))
    found['convolved'] = convolve(images, filters)
    scale = inputs['scale'].view(-1, 1, 1)
    found['fired on images'] = convolve_decode(images, filters, SENT[1], scale)
    return found


def main():
    torch.set_num_threads(1)
    source, target = sys.argv[1:]
    torch.save({'found': run(torch.load(source)), 'info': info()}, target)


if __name__ == '__main__':
    main()
