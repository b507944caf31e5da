"""How long the spiking ResNet-20 takes next to the ANN it was made from.

    python benchmarks/cnn_speed.py --weights resnet20.th --threads 1 2

Converts the network and checks that it is the ANN up to the coding error, then
times both forward passes, in turn, in one process, with images in either layout of
memory: the channels before the pixels, as PyTorch's are by default, and behind
them (channels_last). --output has a file with every figure.
"""

import argparse
import time
from pathlib import Path

import torch
from records import RESULTS, measure_in_turn, origin, write

from spikegraph import ConversionConfig, convert
from spikegraph.kernels import info
from spikegraph.zoo.experiment.evaluation import calibration_batches
from spikegraph.zoo.training import load_weights, prepare

LAYOUTS = {'contiguous': torch.contiguous_format, 'channels_last': torch.channels_last}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--weights', type=Path, required=True, help='the state dict')
    parser.add_argument('--num-steps', type=int, default=16)
    parser.add_argument('--batch-size', type=int, default=128)
    parser.add_argument('--threads', type=int, nargs='+', default=[1, 2])
    parser.add_argument('--repeats', type=int, default=30)
    parser.add_argument('--root', help='folder of the dataset')
    parser.add_argument('--output', type=Path, default=RESULTS)
    return parser.parse_args()


def convert_network(arguments):
    root = arguments.root
    dataset, recipe = prepare(
        'cifar10', None, None, 1, root, 'resnet20', loads_weights=True
    )
    model = load_weights(dataset, recipe, arguments.weights).model
    config = ConversionConfig(
        num_steps=arguments.num_steps,
        per_channel=True,
        levels='fitted',
        encode_input=False,
    )
    start = time.perf_counter()
    snn = convert(model, calibration_batches(dataset), config)
    seconds = time.perf_counter() - start
    images = dataset.normalize(dataset.test_x[: arguments.batch_size])
    expected, found = model(images), snn(images)
    assert snn.report.num_activations == 19 and not snn.report.analog
    assert (found - expected).norm() < 0.25 * expected.norm()
    assert (found.argmax(-1) == expected.argmax(-1)).float().mean() > 0.9
    return model, snn, images, seconds


@torch.no_grad()
def main():
    arguments = parse_arguments()
    model, snn, images, conversion_seconds = convert_network(arguments)
    print(f'conversion with compensation {conversion_seconds:.1f} s')
    print(f'{"threads":>7}  {"layout":<13}  {"ANN, ms":>8}  {"SNN, ms":>8}  ratio')
    rows = []
    for num_threads in arguments.threads:
        torch.set_num_threads(num_threads)
        for layout, memory_format in LAYOUTS.items():
            x = images.contiguous(memory_format=memory_format)
            operations = {'ann': lambda x=x: model(x), 'snn': lambda x=x: snn(x)}
            found = measure_in_turn(operations, arguments.repeats, warm_up=2)
            ann, spiking = found['ann'], found['snn']
            ratio = {key: spiking[key] / ann[key] for key in ann}
            rows.append(
                {
                    'threads': num_threads,
                    'layout': layout,
                    'seconds': found,
                    'snn_to_ann': ratio,
                }
            )
            print(
                f'{num_threads:>7}  {layout:<13}  {1e3 * ann["min"]:>8.1f}  '
                f'{1e3 * spiking["min"]:>8.1f}  {ratio["min"]:.2f} (median '
                f'{ratio["median"]:.2f})'
            )
    record = {
        'rows': rows,
        'conversion_seconds': conversion_seconds,
        'num_steps': arguments.num_steps,
        'batch_size': arguments.batch_size,
        'repeats': arguments.repeats,
        'kernels': info(),
        **origin(),
    }
    write(arguments.output / 'cnn_speed.json', record)


if __name__ == '__main__':
    main()
