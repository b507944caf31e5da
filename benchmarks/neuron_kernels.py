"""What firing and decoding cost, next to a ReLU and a batch norm.

    python benchmarks/neuron_kernels.py --threads 1 2

Checks that the kernels equal `spikegraph.encode` and `decode` bit by bit, then
times both, in turn, in one process, with what an ANN computes in their place:
`relu`, and `batch_norm` in evaluation. Times are in nanoseconds per value, the
shortest and the median of --repeats; values are drawn from a normal
distribution, and the signed bag of words is sparse. --output has a file with
every figure.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from records import (
    RESULTS,
    add_processor,
    parse_speed_arguments,
    time_in_turn,
    write_speed,
)

from spikegraph import PhaseCode, decode, encode
from spikegraph.kernels import decode_spikes, encode_spikes

SIZES = {
    'images': ((128, 16, 32, 32), PhaseCode(16, 1.4), (16, 1, 1)),
    'images, channels last': ((128, 16, 32, 32), PhaseCode(16, 1.4), (16, 1, 1)),
    'small images': ((128, 64, 8, 8), PhaseCode(16, 1.4), (64, 1, 1)),
    'bag of words, signed': ((2708, 1433), PhaseCode(16, 1.4, signed=True), ()),
    'nodes': ((169343, 128), PhaseCode(15, 1.4), (128,)),
    'nodes, one scale': ((169343, 128), PhaseCode(15, 1.4), ()),
}


def inputs_of(name):
    shape, code, channels = SIZES[name]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator)
    if name.startswith('bag of words'):
        x *= torch.rand(shape, generator=generator) < 0.01
    if name.endswith('channels last'):
        x = x.contiguous(memory_format=torch.channels_last)
    return x, code, torch.rand(channels, generator=generator) + 0.5


def operations_of(x, code, scale):
    spike_time = encode(x, code, scale)
    assert torch.equal(encode_spikes(x, code, scale), spike_time)
    assert torch.equal(
        decode_spikes(spike_time, code, scale), decode(spike_time, code, scale)
    )
    channels = x.size(1)
    mean, variance = torch.zeros(channels), torch.ones(channels)
    weight, bias = torch.ones(channels), torch.zeros(channels)
    return {
        'encode_spikes': lambda: encode_spikes(x, code, scale),
        'decode_spikes': lambda: decode_spikes(spike_time, code, scale),
        'encode': lambda: encode(x, code, scale),
        'decode': lambda: decode(spike_time, code, scale),
        'relu': lambda: F.relu(x),
        'batch_norm': lambda: F.batch_norm(x, mean, variance, weight, bias),
    }


def measure(operations, num_values, repeats):
    seconds = time_in_turn(operations, repeats, warm_up=1)
    return {
        name: {
            'min_ns_per_value': 1e9 * min(times) / num_values,
            'median_ns_per_value': 1e9 * statistics.median(times) / num_values,
        }
        for name, times in seconds.items()
    }


def first_call(x, code, scale):
    start = time.perf_counter()
    decode_spikes(encode_spikes(x, code, scale), code, scale)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--sizes', nargs='+', choices=SIZES, default=list(SIZES))
    parser.add_argument('--threads', nargs='+', type=int, default=[1, 2])
    parser.add_argument('--repeats', type=int, default=15)
    parser.add_argument('--output', type=Path, default=RESULTS)
    add_processor(parser)
    arguments = parse_speed_arguments(parser, __file__)
    rows = []
    print('ns per value, min (median)'.ljust(36), end='')
    heads = ('fire', 'decode', 'encode', 'decode', 'relu', 'batch norm')
    print(*(f'{head:>15}' for head in heads), f'{"both/ANN":>9}')
    for name in arguments.sizes:
        x, code, scale = inputs_of(name)
        seconds = first_call(x[:2], code, scale)
        for num_threads in arguments.threads:
            torch.set_num_threads(num_threads)
            found = measure(operations_of(x, code, scale), x.numel(), arguments.repeats)
            low = {key: value['min_ns_per_value'] for key, value in found.items()}
            both = low['encode_spikes'] + low['decode_spikes']
            ratios = {
                'fire_and_decode_to_relu_and_batch_norm': both
                / (low['relu'] + low['batch_norm']),
                'encode_to_fire': low['encode'] / low['encode_spikes'],
                'decode_to_decode': low['decode'] / low['decode_spikes'],
            }
            rows.append(
                {
                    'name': name,
                    'shape': list(x.shape),
                    'code': str(code),
                    'scale': list(scale.shape),
                    'num_threads': num_threads,
                    'first_call_seconds': seconds,
                    **found,
                    'ratios': ratios,
                }
            )
            cells = [
                f'{v["min_ns_per_value"]:>6.2f} ({v["median_ns_per_value"]:>6.2f})'
                for v in found.values()
            ]
            print(f'{name:<24} {num_threads} threads', end='   ')
            print(*(f'{cell:>15}' for cell in cells), end=' ')
            print(f'{ratios["fire_and_decode_to_relu_and_batch_norm"]:>9.2f}')
    write_speed('neuron_kernels', arguments, rows=rows)


if __name__ == '__main__':
    main()
