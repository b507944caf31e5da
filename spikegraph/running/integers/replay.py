"""Runs a spiking network in integers, one time step after the other, with NumPy alone.

`python replay.py [DIRECTORY]` sends the recorded spikes of a bundle through its network,
and compares all spike times and potentials with the recorded ones, bit by bit.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np


def rounded(x, shift):
    """Integers divided by a power of two, halves up; a negative one multiplies."""
    left, right = np.maximum(-np.int64(shift), 0), np.clip(np.int64(shift), 0, 62)
    return ((x << left) + ((np.int64(1) << right) >> 1)) >> right


def product(x, weight):
    """A matrix product of integers, exact: doubles hold all below 2**53."""
    most = np.abs(x).max(initial=0) * float(np.abs(np.int64(weight)).max(initial=0))
    kind = np.float64 if most * weight.shape[1] < 2.0**53 else np.int64
    return (x.astype(kind) @ weight.T.astype(kind)).astype(np.int64)


def conv(x, op):
    """A convolution over images (N, C, H, W)."""
    x = np.pad(x, ((0, 0), (0, 0), *op['padding']))
    (down, across), (high, wide) = op['stride'], op['dilation']
    size = [d * (k - 1) + 1 for d, k in zip((high, wide), op['weight'].shape[2:])]
    seen = np.lib.stride_tricks.sliding_window_view(x, size, axis=(2, 3))
    seen = seen[:, :, ::down, ::across, ::high, ::wide].transpose(0, 2, 3, 1, 4, 5)
    both = zip(np.split(seen, op['groups'], 3), np.split(op['weight'], op['groups']))
    parts = [product(s.reshape(-1, w[0].size), w.reshape(len(w), -1)) for s, w in both]
    return (
        np.concatenate(parts, axis=1).reshape(*seen.shape[:3], -1).transpose(0, 3, 1, 2)
    )


def sparse(x, op):
    """A sparse matrix (CSR) times rows of some width."""
    x = x.reshape(-1, op['width'])[op['col']]
    x = x if op['value'] is None else x * op['value'][:, None]
    sums = np.concatenate([np.zeros((1, op['width']), x.dtype), x]).cumsum(0)
    return (sums[op['rowptr'][1:]] - sums[op['rowptr'][:-1]]).reshape(op['shape'])


LINEAR = {'linear': lambda x, op: product(x, op['weight']), 'conv': conv}
LINEAR |= {'scale': lambda x, op: x * op['value'], 'sparse': sparse}


def synapses(current, path):
    """What a current becomes on the way to a membrane: each step reads earlier values."""
    values = [current]
    for op in path:
        parts = [values[i] << s for i, s in zip(op['inputs'], op['shifts'])]
        value = sum(parts) if op['op'] == 'add' else LINEAR[op['op']](parts[0], op)
        values.append(rounded(value, op['right']))
    return values[-1]


def phase(time, num_steps):
    """The step of each spike, ON or OFF; ``num_steps`` if there is none."""
    return np.where(time > num_steps, np.int64(time) - num_steps - 1, time)


def polarity(time, num_steps):
    return (time < num_steps).astype(np.int64) - (time > num_steps)


def charge(op, spikes, watch=lambda membrane: None):
    """The membranes after their windows, and how often one of them was full."""
    most, clipped = 2 ** (op['width'] - 1) - 1, 0
    membrane = np.broadcast_to(np.int64(op['bias']), op['shape'])
    for source in op['sources']:
        time, num_steps = spikes[source['spikes']], len(source['levels'])
        when = phase(time, num_steps)
        sent = polarity(time, num_steps) * source['amplitude']
        for step in np.unique(when[when < num_steps]):
            current = synapses(np.where(when == step, sent, 0), source['path'])
            current = current * source['levels'][step]
            value = membrane + rounded(current, source['shifts'][step])
            membrane = np.clip(value, -most, most)
            clipped += int((membrane != value).sum())
            watch(membrane)
    return membrane, clipped


def fire(op, membranes):
    """The step at which each neuron reaches its falling threshold, ON or OFF."""
    v, num_steps = membranes[op['membrane']], op['num_steps']
    z = 1 if op['divisor'] is None else membranes[op['divisor']]
    v, z = np.left_shift(v, op['left']), np.left_shift(z, op['right'])
    time = np.full(op['shape'], num_steps, dtype=np.uint8)
    for step in range(num_steps):
        waiting = time == num_steps
        if op['off'] is not None:
            low, high = (table[step] * z for table in op['off'])
            time[(low <= v) & (v <= high) & waiting] = num_steps + 1 + step
        time[(v >= op['on'][step] * z) & waiting] = step
    return time


def ranks(time, num_steps):
    """The smaller, the larger the value that a spike stands for; its own inverse."""
    return np.where(time > num_steps, 3 * num_steps + 1 - np.int64(time), time)


def first(op, spikes):
    """The spike of the largest, or smallest, value in each row of a matrix (CSR)."""
    times = np.concatenate([spikes[name].reshape(-1) for name in op['inputs']])
    rank = ranks(times, op['num_steps']).reshape(-1, op['width'])[op['col']]
    start, end = op['rowptr'][:-1], op['rowptr'][1:]
    out = np.full((len(start), op['width']), op['num_steps'], dtype=np.int64)
    reduce = np.maximum if op['smallest'] else np.minimum
    out[end > start] = reduce.reduceat(rank, start[end > start], axis=0)
    return ranks(out, op['num_steps']).astype(np.uint8).reshape(op['shape'])


def relative(op, spikes):
    """Spikes as they come after the first of their group, or that first one."""
    opening = first(op, spikes)[op['group']].reshape(op['sent'])
    if op['window'] is None:
        return opening
    time = np.int64(spikes[op['inputs'][0]])
    late = np.where(time < op['num_steps'], time - opening, op['window'])
    return np.minimum(late, op['window']).astype(np.uint8)


def take(op, spikes):
    """Rows of spikes that are moved, or read as ON; behind the last one is silence."""
    time = spikes[op['inputs'][0]].reshape(-1, op['width'])
    time = np.pad(time, ((0, 1), (0, 0)), constant_values=op['silent'])
    time = (time if op['signed'] else phase(time, op['silent']))[op['index']]
    return np.minimum(time, op['latest']).astype(np.uint8).reshape(op['shape'])


def delay(op, spikes):
    """The spike of one waits for as many steps as that of the other took."""
    (a, b), (num_a, num_b) = (spikes[name] for name in op['inputs']), op['num_steps']
    sign, silent = polarity(a, num_a) * polarity(b, num_b), num_a + num_b - 1
    time = np.where(sign != 0, phase(a, num_a) + phase(b, num_b), silent)
    return (time + (sign < 0) * (silent + 1)).astype(np.uint8)


GATES = {'first': first, 'take': take, 'delay': delay, 'relative': relative}


def run(operations, spikes):
    """All spike times, all membranes and how many were full, given input spikes."""
    spikes, membranes, clipped = dict(spikes), {}, {}
    for op in operations:
        if op['op'] == 'charge':
            membranes[op['name']], clipped[op['name']] = charge(op, spikes)
        elif op['op'] == 'fire':
            spikes[op['name']] = fire(op, membranes)
        else:
            spikes[op['name']] = GATES[op['op']](op, spikes)
    return spikes, membranes, clipped


def load(directory):
    """The manifest of a bundle, with its arrays in their places, if it is as written."""
    directory = Path(directory)
    for line in (directory / 'SHA256SUMS').read_text().splitlines():
        expected, name = line.split('  ')
        if hashlib.sha256((directory / name).read_bytes()).hexdigest() != expected:
            raise ValueError(f"'{name}' has other bytes than were written")
    arrays = np.load(directory / 'arrays.npz', allow_pickle=False)
    put = lambda part: arrays[part['array']] if 'array' in part else part  # noqa: E731
    network = json.loads((directory / 'network.json').read_text(), object_hook=put)
    if (network['format'], network['version']) != ('spikegraph integers', 1):
        raise ValueError(f'version 1 is known, this is {network["version"]!r}')
    return network


def main(directory):
    network, given, wrong = load(directory), {}, 0
    events, golden = network['events'], network['golden']
    for number, each in enumerate(network['inputs']):
        given[each['name']] = time = np.full(each['shape'], each['num_steps'], np.uint8)
        when, _, place, sign = events[events[:, 1] == number].T
        time.reshape(-1)[place] = when + (sign < 0) * (each['num_steps'] + 1)
    spikes, membranes, clipped = run(network['operations'], given)
    for kind, found in (('spike times', spikes), ('potentials', membranes)):
        for name, expected in golden[kind].items():
            wrong += (num := int((found[name] != expected).sum()))
            print(f'{name}: {expected.size:,} {kind}, {num:,} differ')
    print(f'{sum(clipped.values()):,} times, a membrane was full')
    print(f'{wrong:,} values differ' if wrong else 'the same, bit by bit')
    return int(wrong > 0)


if __name__ == '__main__':
    try:
        sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent))
    except (OSError, ValueError, LookupError, TypeError) as error:
        sys.exit(f'Expected a bundle that is whole (got: {error}); export it again')
