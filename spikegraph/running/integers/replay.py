"""Runs an integer spiking network one time step after the other. Needs NumPy alone.

    python replay.py [DIRECTORY]

reads ``network.json`` and ``arrays.npz`` of the directory, by default that of this file,
sends the recorded input events through the network, and compares every spike time and
every output with the recorded ones, bit by bit. All values are integers.
"""

import json
import sys
from pathlib import Path

import numpy as np


def rounded(x, shift):
    """Integers divided by a power of two, halves up; a negative one multiplies."""
    shift = np.asarray(shift, dtype=np.int64)
    right = np.maximum(shift, 0)
    half = np.where(right > 0, np.left_shift(1, np.maximum(right - 1, 0)), 0)
    return (np.left_shift(x, np.maximum(-shift, 0)) + half) >> right


def product(x, weight):
    """A matrix product of integers, exact: below 2**53, doubles are."""
    bound = float(np.abs(x).max(initial=0)) * float(np.abs(weight).max(initial=0))
    if bound * weight.shape[1] < 2.0**53:
        return (x.astype(np.float64) @ weight.T.astype(np.float64)).astype(np.int64)
    return x @ weight.T.astype(np.int64)


def linear(x, op):
    return product(x, op['weight'])


def conv(x, op):
    """A convolution over images (N, C, H, W)."""
    weight, groups = op['weight'], op['groups']
    (top, bottom), (left, right) = op['padding']
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    size = [d * (k - 1) + 1 for d, k in zip(op['dilation'], weight.shape[2:])]
    seen = np.lib.stride_tricks.sliding_window_view(x, size, axis=(2, 3))
    (down, across), (high, wide) = op['stride'], op['dilation']
    seen = seen[:, :, ::down, ::across, ::high, ::wide].transpose(0, 2, 3, 1, 4, 5)
    parts = zip(np.split(seen, groups, axis=3), np.split(weight, groups))
    parts = [product(s.reshape(-1, w[0].size), w.reshape(len(w), -1)) for s, w in parts]
    out = np.concatenate(parts, axis=1).reshape(*seen.shape[:3], -1)
    return np.ascontiguousarray(out.transpose(0, 3, 1, 2))


def sparse(x, op):
    """A sparse matrix (CSR) times rows of some width."""
    x = x.reshape(-1, op['width'])[op['col']]
    x = x if op['value'] is None else x * op['value'][:, None]
    sums = np.concatenate([np.zeros_like(x[:1], shape=(1, op['width'])), x]).cumsum(0)
    return (sums[op['rowptr'][1:]] - sums[op['rowptr'][:-1]]).reshape(op['shape'])


def scale(x, op):
    return x * op['value']


LINEAR = {'linear': linear, 'conv': conv, 'sparse': sparse, 'scale': scale}


def synapses(current, path):
    """What a current becomes on the way to a membrane: each step reads earlier values."""
    values = [current]
    for op in path:
        if op['op'] == 'add':
            parts = zip(op['inputs'], op['shifts'])
            values.append(sum(np.left_shift(values[i], s) for i, s in parts))
        else:
            values.append(LINEAR[op['op']](values[op['inputs'][0]], op))
    return values[-1]


def phase(time, num_steps):
    """The step of each spike, ON or OFF; ``num_steps`` if there is none."""
    time = time.astype(np.int64)
    return np.where(time > num_steps, time - num_steps - 1, time)


def polarity(time, num_steps):
    return (time < num_steps).astype(np.int64) - (time > num_steps)


def charge(op, spikes):
    """The membranes after their windows, how often one was full, and their peaks."""
    most, clipped = 2 ** (op['width'] - 1) - 1, 0
    peak = np.zeros(op['shape'], dtype=np.int64)

    def kept(value):
        nonlocal clipped, peak
        full = np.clip(value, -most, most)
        clipped += int((value != full).sum())
        peak = np.maximum(peak, np.abs(full))
        return full

    total = kept(np.broadcast_to(op['bias'], op['shape']))
    for source in op['sources']:
        time, gains = spikes[source['spikes']], source['gains']
        num_steps = len(source['levels'])
        when = phase(time, num_steps)
        sent = polarity(time, num_steps) * source['amplitude']
        membrane = total if gains is None else np.zeros_like(total)
        for step, level in enumerate(source['levels']):
            if gains is not None:
                membrane = kept(rounded(membrane * gains[step], source['gain_shift']))
            if (when == step).any():
                current = synapses(np.where(when == step, sent, 0), source['path'])
                membrane = kept(membrane + rounded(current * level, source['shift']))
        if gains is not None:
            last = rounded(membrane * source['last'], source['last_shift'])
            membrane = kept(total + last)
        total = membrane
    return total, clipped, peak


def fire(op, membranes):
    """The step at which each neuron reaches its falling threshold, ON or OFF."""
    v, num_steps = membranes[op['membrane']], op['num_steps']
    z = 1 if op['divisor'] is None else membranes[op['divisor']]
    v, z = np.left_shift(v, op['left']), np.left_shift(z, op['right'])
    time = np.full(op['shape'], num_steps, dtype=np.uint8)
    for step in range(num_steps):
        waiting = time == num_steps
        on = v >= op['on'][step] * z
        if op['off_high'] is not None:
            off = v <= op['off_high'][step] * z
            if op['off_low'] is not None:
                off &= v >= op['off_low'][step] * z
            time[off & waiting] = num_steps + 1 + step
        time[on & waiting] = step
    return time


def ranks(time, num_steps):
    """The smaller, the larger the value that a spike stands for."""
    time = time.astype(np.int64)
    return np.where(time > num_steps, 3 * num_steps + 1 - time, time)


def groups(values, op, empty, largest=False):
    """The least, or the largest, of each group; groups are given as in :func:`sparse`."""
    x, ptr = values.reshape(-1, op['width'])[op['col']], op['rowptr']
    out = np.full((len(ptr) - 1, op['width']), empty, dtype=np.int64)
    has = ptr[1:] > ptr[:-1]
    if has.any():
        reduce = np.maximum if largest else np.minimum
        out[has] = reduce.reduceat(x, ptr[:-1][has], axis=0)
    return out


def first(op, spikes):
    """The spike of the largest, or the smallest, value of each group."""
    num_steps = op['num_steps']
    times = np.concatenate([spikes[s].reshape(-1) for s in op['inputs']])
    rank = groups(ranks(times, num_steps), op, num_steps, op['smallest'])
    return ranks(rank, num_steps).astype(np.uint8).reshape(op['shape'])


def take(op, spikes):
    """Spikes that are moved; silence where none is."""
    time = np.append(spikes[op['inputs'][0]].reshape(-1), op['silent'])
    return (
        np.minimum(time[op['index']], op['latest'])
        .astype(np.uint8)
        .reshape(op['shape'])
    )


def delay(op, spikes):
    """The spike of one waits for as many steps as that of the other took."""
    a, b = (spikes[s] for s in op['inputs'])
    num_a, num_b = op['num_steps']
    silent = num_a + num_b - 1
    sign = polarity(a, num_a) * polarity(b, num_b)
    time = np.where(sign != 0, phase(a, num_a) + phase(b, num_b), silent)
    return (time + (sign < 0) * (silent + 1)).astype(np.uint8)


def relative(op, spikes):
    """Spikes as they come after the first of their group."""
    time, num_steps = spikes[op['inputs'][0]].astype(np.int64), op['num_steps']
    opening = groups(time, op, num_steps)[op['group']].reshape(time.shape)
    if op['window'] is None:
        return opening.astype(np.uint8)
    late = np.minimum(time - opening, op['window'])
    return np.where(time < num_steps, late, op['window']).astype(np.uint8)


def power(op, spikes):
    """The same spikes, read with another base; OFF may become ON."""
    time = spikes[op['inputs'][0]]
    return time if op['signed'] else phase(time, op['num_steps']).astype(np.uint8)


GATES = {'first': first, 'take': take, 'delay': delay}
GATES |= {'relative': relative, 'power': power}


def run(operations, spikes):
    """All spike times, all membranes and how many were full, given input spikes."""
    spikes, membranes, clipped = dict(spikes), {}, {}
    for op in operations:
        name, kind = op['name'], op['op']
        if kind == 'charge':
            membranes[name], clipped[name], _ = charge(op, spikes)
        elif kind == 'fire':
            spikes[name] = fire(op, membranes)
        else:
            spikes[name] = GATES[kind](op, spikes)
    return spikes, membranes, clipped


def load(directory):
    """The manifest of a bundle, with its arrays in their places."""
    directory = Path(directory)
    network = json.loads((directory / 'network.json').read_text())
    if network.get('format') != 'spikegraph integers' or network.get('version') != 1:
        raise ValueError(f"Expected '{directory}' to be a bundle of version 1")
    with np.load(directory / 'arrays.npz', allow_pickle=False) as file:
        arrays = dict(file)

    def filled(value):
        if isinstance(value, dict):
            if set(value) == {'array'}:
                return arrays[value['array']]
            return {name: filled(part) for name, part in value.items()}
        return [filled(part) for part in value] if isinstance(value, list) else value

    return filled(network)


def spikes_of(events, inputs):
    """The spike times of the input populations, from events (t, layer, place, sign)."""
    found = {}
    for layer, op in enumerate(inputs):
        time = np.full(op['shape'], op['num_steps'], dtype=np.uint8).reshape(-1)
        own = events[events[:, 1] == layer]
        time[own[:, 2]] = own[:, 0] + (own[:, 3] < 0) * (op['num_steps'] + 1)
        found[op['name']] = time.reshape(op['shape'])
    return found


def main(directory):
    network = load(directory)
    wrong = 0
    for number, golden in enumerate(network['golden']):
        given = spikes_of(golden['events'], network['inputs'])
        spikes, membranes, clipped = run(network['operations'], given)
        for kind, found in (('spike times', spikes), ('potentials', membranes)):
            for name, expected in golden[kind].items():
                num = int((found[name] != expected).sum())
                wrong += num
                print(f'{number} {name}: {expected.size} {kind}, {num} differ')
        print(f'{number} full membranes: {sum(clipped.values())}')
    print('the same, bit by bit' if not wrong else f'{wrong} values differ')
    return int(wrong > 0)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent))
