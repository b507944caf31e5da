"""How soon this processor could do it at best, and how far from that we are.

The limit is the longer of two times: of the bytes that have to move, at the speed of
copying (read and written bytes are counted), and of the multiply-adds of the products
with weights, at the speed of the vendor's own product, the best of some large ones.
Both speeds are measured once in a process for every number of threads, in float32.

Bytes of a network: its inputs, weights and outputs once, as they lie in memory, with the
edges as kernels read them, 4 bytes for each source and 8 for each node; and the spikes of
every population, written and read once: 1 byte each, 1/2 where there are at most 15 time
steps and no signs. What a layer sums need not be in memory before it fires, and is not
counted; nor is it that features are read again for every edge, since a cache may hold
them, nor what prepares a graph. Where caches hold more, bytes move faster than that:
small inputs can take less than the limit.

Multiply-adds: those of linear layers and convolutions in the ANN, one for each output
and weight that it depends on. Sums over neighbours, attention and norms are not counted.
"""

import functools
import itertools

import torch
import torch.nn.functional as F
from records import measure_in_turn
from torch import nn
from torch_geometric.nn import Linear

COPIED = 1 << 29  # Bytes.
PRODUCTS = ((4096, 1024, 1024), (16384, 256, 256))  # Rows, and channels in and out.
COUNTED = (nn.Linear, Linear, nn.Conv2d)


def copied_bytes_per_second(num_bytes=None):
    """How much a copy reads and writes."""
    x = torch.ones(num_bytes or COPIED, dtype=torch.uint8)
    out = torch.empty_like(x)
    found = measure_in_turn({'copy': lambda: out.copy_(x)}, 5, warm_up=1)
    return 2 * x.numel() / found['copy']['min']


def multiply_adds_per_second():
    """How many of them a linear layer does, at its best."""
    best = 0.0
    for rows, channels, out_channels in PRODUCTS:
        x, weight = torch.randn(rows, channels), torch.randn(out_channels, channels)
        run = functools.partial(F.linear, x, weight)
        found = measure_in_turn({'product': run}, 5, warm_up=1)
        best = max(best, rows * channels * out_channels / found['product']['min'])
    return best


@functools.cache
def rates(num_threads):
    """Both speeds; PyTorch runs with so many threads."""
    assert num_threads == torch.get_num_threads()
    return {
        'copied_bytes_per_second': copied_bytes_per_second(),
        'multiply_adds_per_second': multiply_adds_per_second(),
    }


@torch.no_grad()
def multiply_adds(model, *inputs):
    """The multiply-adds of the products with weights in a forward pass."""
    counts = []

    def count(module, _, output):
        counts.append(output.numel() * module.weight[0].numel())

    hooks = [
        module.register_forward_hook(count)
        for module in model.modules()
        if isinstance(module, COUNTED)
    ]
    model(*inputs)
    for hook in hooks:
        hook.remove()
    return sum(counts)


@torch.no_grad()
def least_bytes(model, snn, *inputs):
    """The bytes that a forward pass of the spiking network moves at least; graphs have
    their edge indices second."""
    x, *others = inputs
    moved = x.nbytes
    if others:
        edge_index, *others = others
        moved += 4 * edge_index.size(1) + 8 * len(x)
    moved += sum(other.nbytes for other in others)
    weights = itertools.chain(model.parameters(), [model(*inputs)])
    moved += sum(tensor.nbytes for tensor in weights)
    for spikes in snn.spikes(*inputs).values():
        is_half = spikes.code.num_steps <= 15 and not spikes.code.signed
        moved += spikes.shape.numel() if is_half else 2 * spikes.shape.numel()
    return moved


def of_network(model, snn, *inputs):
    """What :func:`distance` takes."""
    return {
        'bytes': least_bytes(model, snn, *inputs),
        'multiply_adds': multiply_adds(model, *inputs),
    }


def distance(seconds, work):
    """The limit of some work, and how many times that the seconds are."""
    speeds = rates(torch.get_num_threads())
    found = {
        'seconds_of_bytes': work['bytes'] / speeds['copied_bytes_per_second'],
        'seconds_of_multiply_adds': (
            work['multiply_adds'] / speeds['multiply_adds_per_second']
        ),
    }
    limit = max(found.values())
    return {
        'limit': {**work, **speeds, **found},
        'times_limit': {key: value / limit for key, value in seconds.items()},
    }


def print_distance(row):
    """Prints the limit of a row, and how far from it we are."""
    limit, times = row['limit'], row['times_limit']
    print(
        f'  {times["min"]:.2f} ({times["median"]:.2f}) times the limit: '
        f'{1e3 * limit["seconds_of_bytes"]:.2f} ms for {limit["bytes"] / 1e6:.1f} MB at '
        f'{limit["copied_bytes_per_second"] / 1e9:.1f} GB/s, '
        f'{1e3 * limit["seconds_of_multiply_adds"]:.2f} ms for '
        f'{limit["multiply_adds"] / 1e6:.1f} million multiply-adds at '
        f'{limit["multiply_adds_per_second"] / 1e9:.1f} billion/s'
    )
