"""What two-byte and one-byte weights would gain, and which spikes they would move.

    python benchmarks/weight_precision.py --weights resnet20.th

Times of PyTorch's product of matrices and of its convolutions, in float32, bfloat16 and,
products only, int8, next to our product, and how many times as fast they are as
PyTorch in float32. Values are drawn from a normal distribution, and conversion between
types is not timed. Then ResNet-20 on CIFAR-10 (cnn_speed.py) converted with float32
weights, and with those rounded to bfloat16, or to 255 steps of each output channel: how
many spikes come at another time, and how many predictions differ. Also how many
channels of its populations never fire on the test images, as all that these are
multiplied by could be left out. --output has a file with every figure.
"""

import argparse
import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from cnn_speed import converted, network_of
from records import (
    add_speed_arguments,
    measure_in_turn,
    parse_speed_arguments,
    ratios_to,
    write_speed,
)
from tqdm import tqdm

from spikegraph.kernels import Weights, multiply_rows

PRODUCTS = ((20_000, 128, 256), (20_000, 256, 256))  # Rows, inputs, outputs.
CONVOLUTIONS = ((16, 16, 32), (16, 32, 16), (16, 64, 8))  # Images, channels, size.
BASE = 'PyTorch, float32'
BATCH = 125


def product(num_rows, num_inputs, num_outputs):
    x, weight = torch.randn(num_rows, num_inputs), torch.randn(num_outputs, num_inputs)
    weights, out = Weights(weight, None), torch.empty(num_rows, num_outputs)
    half, other = x.bfloat16(), weight.t().bfloat16()
    small, narrow = (
        torch.randint(-127, 128, shape, dtype=torch.int8)
        for shape in (x.shape, (num_inputs, num_outputs))
    )
    return {
        BASE: lambda: x @ weight.t(),
        'spikegraph, float32': lambda: multiply_rows(x, weights, out),
        'PyTorch, bfloat16': lambda: half @ other,
        'PyTorch, int8': lambda: torch._int_mm(small, narrow),
    }


def convolution(num_images, num_channels, size):
    x = torch.randn(num_images, num_channels, size, size)
    weight = torch.randn(num_channels, num_channels, 3, 3)
    x, weight = (v.contiguous(memory_format=torch.channels_last) for v in (x, weight))
    half, other = x.bfloat16(), weight.bfloat16()
    return {
        BASE: lambda: F.conv2d(x, weight, padding=1),
        'PyTorch, bfloat16': lambda: F.conv2d(half, other, padding=1),
    }


def rounded(snn, kind):
    """The network with other weights; thresholds and biases stay as they are."""
    snn = copy.deepcopy(snn)
    for weight in snn.parameters():
        if weight.dim() < 2:
            continue
        if kind == 'bfloat16':
            weight.data = weight.data.bfloat16().float()
        else:
            step = weight.data.flatten(1).abs().amax(1) / 127
            step = step.view(-1, *[1] * (weight.dim() - 1))
            weight.data = (weight.data / step).round() * step
    return snn


def moved_spikes(snn, images, labels):
    """What rounding does, in percent; and channels that never fire."""
    kinds = ('bfloat16', 'int8')
    networks = {kind: rounded(snn, kind) for kind in kinds}
    moved, same, right = ({kind: 0 for kind in kinds} for _ in range(3))
    total, right_before, fires = 0, 0, {}
    for start in tqdm(range(0, len(images), BATCH), desc='images'):
        x, y = images[start : start + BATCH], labels[start : start + BATCH]
        spikes, predicted = snn.spikes(x), snn(x).argmax(1)
        right_before += int((predicted == y).sum())
        for name, each in spikes.items():
            total += each.spike_time.numel()
            if each.spike_time.dim() == 4:
                found = (each.spike_time != each.code.num_steps).any(dim=(0, 2, 3))
                fires[name] = found | fires.get(name, found)
        for kind, network in networks.items():
            others, answer = network.spikes(x), network(x).argmax(1)
            same[kind] += int((answer == predicted).sum())
            right[kind] += int((answer == y).sum())
            for name, each in spikes.items():
                differs = each.spike_time != others[name].spike_time
                moved[kind] += int(differs.sum())
    share = 100 / len(images)
    return {
        'images': len(images),
        'spikes_moved': {kind: 100 * moved[kind] / total for kind in kinds},
        'agreement': {kind: share * same[kind] for kind in kinds},
        'accuracy': {
            'float32': share * right_before,
            **{kind: share * right[kind] for kind in kinds},
        },
        'channels': sum(len(found) for found in fires.values()),
        'silent_channels': sum(int((~found).sum()) for found in fires.values()),
    }


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--weights', type=Path, help='the state dict of ResNet-20')
    parser.add_argument('--images', type=int, default=1000)
    add_speed_arguments(parser, repeats=15, num_steps=16, threads=(1, 2))
    arguments = parse_speed_arguments(parser, __file__)
    rows = []
    tasks = [('product', product, size) for size in PRODUCTS]
    tasks += [('convolution', convolution, size) for size in CONVOLUTIONS]
    for num_threads in arguments.threads:
        torch.set_num_threads(num_threads)
        for kind, make, size in tasks:
            seconds = measure_in_turn(make(*size), arguments.repeats, warm_up=2)
            ratios = {
                name: {key: 1 / value for key, value in ratio.items()}
                for name, ratio in ratios_to(BASE, seconds).items()
            }
            row = {'kind': kind, 'size': list(size), 'threads': num_threads}
            rows.append({**row, 'seconds': seconds, 'times_as_fast': ratios})
            shown = ', '.join(f'{n} {r["median"]:.2f}' for n, r in ratios.items())
            print(f'{kind} {size}, {num_threads} threads, times as fast: {shown}')
    dataset, model, weights = network_of('resnet20', arguments)
    snn = converted(model, dataset, arguments)
    num_images = arguments.images
    images = dataset.normalize(dataset.test_x[:num_images])
    found = moved_spikes(snn, images, dataset.test_y[:num_images])
    print(f'ResNet-20, weights {weights}: {found["images"]} images')
    for kind, percent in found['spikes_moved'].items():
        print(
            f'  {kind}: {percent:.1f} % of the spikes come at another time, '
            f'{found["agreement"][kind]:.1f} % of the predictions stay, accuracy '
            f'{found["accuracy"]["float32"]:.1f} to {found["accuracy"][kind]:.1f} %'
        )
    print(
        f'  channels that never fire: {found["silent_channels"]} of {found["channels"]}'
    )
    write_speed(
        'weight_precision', arguments, rows=rows, weights=weights, network=found
    )


if __name__ == '__main__':
    main()
