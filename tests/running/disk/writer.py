"""A process that writes layers, to be killed: each line of its input is a directory and
a way to die, for which it forks. Its answer is what the fork told before it died."""

import os
import random
import signal
import sys
import time

import torch

from spikegraph.running.disk import Storage

IDENTITY = {'network': 'a', 'graph': 'b'}
LAYERS = 6
SHAPE = (700, 9)
COUNTED = ('pwrite', 'fsync', 'replace', 'unlink', 'ftruncate', 'posix_fallocate')


def values_of(layer, before):
    """A layer's values, each from the layer before."""
    if before is None:
        return torch.arange(700 * 9, dtype=torch.int64).view(SHAPE) % 251
    order = torch.arange(SHAPE[0]).roll(layer)
    return (before.read(order) * 31 + layer) % 1_000_003


def run(directory, tell=lambda name: None):
    """Goes on from the last finished layer, and returns the last layer's values."""
    with Storage(directory, IDENTITY) as storage:
        before = None
        for layer in range(LAYERS):
            array = storage.open(f'layer{layer}')
            if array is None:
                values = values_of(layer, before)
                array = storage.create(f'layer{layer}', SHAPE, torch.int64)
                for start in range(0, SHAPE[0], 64):
                    array.write(start, values[start : start + 64])
                array.finish({'layer': layer, 'sum': values.sum()})
                tell(f'layer{layer}')
            before = array
        return before.read(slice(None))


def die_at(count, seed):
    """Ends this process at its count-th call of the system, before, in or after it."""
    left, choices = [count], random.Random(seed)

    def wrap(name, function):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                where = choices.randrange(3)
                if where == 1 and name == 'pwrite':
                    function(args[0], args[1][: len(args[1]) // 2], args[2])
                elif where == 2:
                    function(*args, **kwargs)
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    for name in COUNTED:
        setattr(os, name, wrap(name, getattr(os, name)))
    return left


def write_until_killed(directory, seed, calls, seconds):
    """Forks, and returns what the fork had told when it was killed."""
    choices = random.Random(seed)
    by_time = choices.random() < 0.5
    source, sink = os.pipe()
    child = os.fork()
    if child == 0:
        if not by_time:
            die_at(choices.randint(1, calls), seed)
        run(directory, lambda name: os.write(sink, f'{name} '.encode()))
        os._exit(0)
    os.close(sink)
    if by_time:
        time.sleep(choices.uniform(0, seconds))
        os.kill(child, signal.SIGKILL)
    with open(source) as file:
        told = file.read()
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) and status != 0:
        raise SystemExit(f'the writer failed with {status}')
    return told


def main():
    torch.set_num_threads(1)
    for line in sys.stdin:
        directory, seed, calls, seconds = line.rstrip('\n').split('\t')
        print(write_until_killed(directory, int(seed), int(calls), float(seconds)))
        sys.stdout.flush()


if __name__ == '__main__':
    main()
