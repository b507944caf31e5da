"""How long spiking CNNs take next to the ANNs they were made from.

    python benchmarks/cnn_speed.py
    python benchmarks/cnn_speed.py --weights resnet20.th --batch-sizes 128

ResNet-20 on CIFAR-10, with the weights of a state dict, or else drawn ones, batch norms'
statistics then being those of a pass in training; and the CNN of the zoo for MNIST,
trained by its recipe, which takes about a minute. Images are in either layout of memory:
the channels before the pixels, as PyTorch's are by default, and behind them
(channels_last), to which the ANN's weights are changed, too, once as it is and once with
its batch norms folded into its convolutions.

Checked first: all ANNs agree, and the spiking network is the ANN up to the coding error.
Then all are timed in turn, in one process. The limit that times are compared with is
that of limits.py. --output has a file with every figure.
"""

import argparse
import copy
import time
from pathlib import Path

import limits
import torch
from networks import fold_convolutions, untrained
from records import (
    add_speed_arguments,
    measure_in_turn,
    parse_speed_arguments,
    print_seconds,
    ratios_to,
    write_speed,
)

from spikegraph import ConversionConfig, convert
from spikegraph.zoo.experiment.evaluation import calibration_batches
from spikegraph.zoo.training import build, load_weights, prepare, train

NETWORKS = {'resnet20': 'cifar10', 'cnn': 'mnist'}
ACTIVATIONS = {'resnet20': 19, 'cnn': 3}
CHECKED = 128  # Images.
OURS = 'SNN, contiguous'


def network_of(name, arguments):
    """A dataset, a network, and where its weights are from."""
    torch.manual_seed(0)
    dataset, recipe = prepare(
        NETWORKS[name], None, None, 1, arguments.root, name, loads_weights=True
    )
    if recipe.epochs > 0:
        with torch.enable_grad():
            return dataset, train(dataset, recipe, 0).model, 'trained'
    if arguments.weights is not None:
        return dataset, load_weights(dataset, recipe, arguments.weights).model, 'loaded'
    images = torch.cat(calibration_batches(dataset))
    return dataset, untrained(build(dataset, recipe), images), 'drawn'


def converted(model, dataset, arguments):
    config = ConversionConfig(
        num_steps=arguments.num_steps,
        per_channel=True,
        levels='fitted',
        encode_input=False,
    )
    return convert(model, calibration_batches(dataset), config)


def operations_of(model, snn, x):
    """Forward passes; the first is that of the ANN as it is."""
    last = x.contiguous(memory_format=torch.channels_last)
    ann = copy.deepcopy(model).to(memory_format=torch.channels_last)
    folded = fold_convolutions(model).to(memory_format=torch.channels_last)
    return {
        'ANN, contiguous': lambda: model(x),
        'ANN, channels_last': lambda: ann(last),
        'ANN, channels_last, folded': lambda: folded(last),
        OURS: lambda: snn(x),
        'SNN, channels_last': lambda: snn(last),
    }


def errors_of(operations, weights):
    """Checks what the networks return; the error of the spiking one."""
    expected, *outputs = (run() for run in operations.values())
    for name, found in zip(list(operations)[1:], outputs, strict=True):
        if name.startswith('ANN'):
            assert (found - expected).norm() < 1e-4 * expected.norm(), name
    ours, other = outputs[-2:]
    assert (ours - other).norm() < 1e-2 * ours.norm()
    error = float((ours - expected).norm() / expected.norm())
    agreement = float((ours.argmax(-1) == expected.argmax(-1)).float().mean())
    # Scores that nobody trained hardly tell classes apart.
    assert error < 0.25 and agreement > (0.6 if weights == 'drawn' else 0.9)
    return {'logit_relative_error': error, 'agreement': 100 * agreement}


def measure(name, arguments):
    dataset, model, weights = network_of(name, arguments)
    start = time.perf_counter()
    snn = converted(model, dataset, arguments)
    found = {
        'network': name,
        'weights': weights,
        'conversion_seconds': time.perf_counter() - start,
    }
    report = snn.report
    assert report.num_activations == ACTIVATIONS[name] and not report.analog
    x = dataset.normalize(dataset.test_x[:CHECKED])
    found['errors'] = errors_of(operations_of(model, snn, x), weights)
    for num_threads in arguments.threads:
        torch.set_num_threads(num_threads)
        for size in arguments.batch_sizes:
            x = dataset.normalize(dataset.test_x[:size])
            run = operations_of(model, snn, x)
            seconds = measure_in_turn(run, arguments.repeats, warm_up=2)
            yield {
                **found,
                'batch_size': len(x),
                'threads': num_threads,
                'seconds': seconds,
                'ratios': ratios_to(OURS, seconds),
                **limits.distance(seconds[OURS], limits.of_network(model, snn, x)),
            }


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = list(NETWORKS)
    parser.add_argument('--networks', nargs='+', choices=names, default=names)
    parser.add_argument('--weights', type=Path, help='the state dict of ResNet-20')
    parser.add_argument('--batch-sizes', type=int, nargs='+', default=[1, 16, 128])
    add_speed_arguments(parser, repeats=30, num_steps=16, threads=(1, 2))
    arguments = parse_speed_arguments(parser, __file__)
    rows = []
    for name in arguments.networks:
        for row in measure(name, arguments):
            rows.append(row)
            print(
                f'{name}, weights {row["weights"]}: {row["batch_size"]} images, '
                f'{row["threads"]} threads'
            )
            print_seconds(row['seconds'], row['ratios'])
            limits.print_distance(row)
        write_speed('cnn_speed', arguments, rows=rows)


if __name__ == '__main__':
    main()
