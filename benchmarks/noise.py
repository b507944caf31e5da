"""What a network still knows when spikes are lost, shifted or invented, and devices vary.

    python benchmarks/noise.py --networks cora_gcn --seeds 5
    python benchmarks/noise.py --networks cifar10_resnet20 --weights resnet20.th

Accuracy, and agreement with the ANN, in percent, over the level of each kind of noise, for
the one-spike phase code and for a rate code: as many spikes as a level is high, T of them
for the largest, with scales and compensation of its own by the same calibration, of the
same trained network. Noise is physical, so that it is the same for both: each spike is
lost with one probability, each silent step of a neuron has a spike with one probability
("extra", per neuron and step), and so on. A neuron of the rate code that is stuck sends
some number of spikes, as one of the phase code is stuck at some step. Attention of rates
is left analog, since only times add up to products. "Corrected" are losses that receivers
know of: they count each spike for more, by the share that arrives. Then each population
is disturbed by itself, and weights are rounded. A network that is loaded sees other images
with each seed, and is another device. The file in --output is written seed by seed.
"""

import argparse
import functools
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from records import RESULTS, run_seeds, summarize_cells

from spikegraph import ConversionConfig, PhaseCode, SpikeNoise, convert, disturb
from spikegraph.conversion.fitting import populations
from spikegraph.conversion.fitting.codes import SortedValues, fit_scales
from spikegraph.running.noise import Disturbance
from spikegraph.zoo.experiment.evaluation import calibration_batches
from spikegraph.zoo.training import load_weights, prepare, train

NETWORKS = ('cora_gcn', 'cora_gin', 'cora_gat', 'cifar10_resnet20')
LEVELS = {
    'jitter': (0.05, 0.1, 0.2, 0.4, 0.7, 1.0),
    'drop': (0.01, 0.02, 0.05, 0.1, 0.2, 0.4),
    'drop_corrected': (0.01, 0.02, 0.05, 0.1, 0.2, 0.4),
    'extra': (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2),  # Per neuron and step.
    'threshold': (0.02, 0.05, 0.1, 0.2, 0.3, 0.5),
    'stuck_silent': (0.01, 0.02, 0.05, 0.1, 0.2, 0.4),
    'stuck_firing': (1e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1),
    'weight': (0.02, 0.05, 0.1, 0.2, 0.3, 0.5),
}
BITS = (8, 6, 4)
ALONE = {'jitter': 1.0, 'drop': 0.2}  # Of a single population.


class RateDisturbance(Disturbance):
    """Noise of neurons that send k of T possible spikes: the byte T - k."""

    def started(self, label, spikes, phase, is_off, fires_off):
        if self.noise.extra == 0:
            return phase, is_off
        num_steps = spikes.code.num_steps
        per_step = 1 - (1 - self.noise.extra) ** (1 / num_steps)
        # Steps without a spike are as many as the byte says.
        more = self.binomial(label, 'extra', phase, per_step)
        if fires_off:
            drawn = self.uniform(label, 'extra sign', phase) < 0.5
            is_off = torch.where((phase == num_steps) & (more > 0), drawn, is_off)
        return phase - more, is_off

    def arrived(self, label, spikes, phase):
        num_steps = spikes.code.num_steps
        count = num_steps - phase
        if self.noise.jitter > 0:  # The last step's comes too late.
            drawn = self.uniform(label, 'jitter', phase)
            count = count - (drawn < self.noise.jitter / 2 * count / num_steps).byte()
        if self.noise.drop > 0:
            count = count - self.binomial(label, 'drop', count, self.noise.drop)
        return num_steps - count

    def binomial(self, label, what, number, probability):
        generator = self._generator(label, what, self.inference)
        found = generator.binomial(number.cpu().numpy(), probability)
        return torch.as_tensor(found).to(number)


class Corrected(Disturbance):
    def sent(self, label, spikes, fires_off):
        found = super().sent(label, spikes, fires_off)
        return replace(found, scale=found.scale / (1 - self.noise.drop))


class CorrectedRate(Corrected, RateDisturbance):
    pass


DISTURBANCES = {
    ('phase', False): Disturbance,
    ('rate', False): RateDisturbance,
    ('phase', True): Corrected,
    ('rate', True): CorrectedRate,
}


def linear_code(rows, config, signed, weight=None, target=None):
    """As the library's ``fit_code``: k of T spikes stand for k / T of a scale."""
    if signed:
        target = None if target is None else target * rows.sign()
        rows = rows.abs()
    data, num_steps = SortedValues.of(rows, weight, target), config.num_steps
    levels = [(num_steps - t) / num_steps for t in range(num_steps)]
    code = PhaseCode.from_levels(levels, signed=signed)
    scales, errors = fit_scales(data, [code], config)
    return code, scales[:, 0], float(errors[0])


def noise_of(kind, level, seed, num_steps):
    if kind == 'extra':  # In any of the steps.
        level = 1 - (1 - level) ** num_steps
    return SpikeNoise(**{kind.removesuffix('_corrected'): level}, seed=seed)


HELD = {}  # The last two, which come again with another seed, if they were loaded.


def converted(model, data, code, config):
    key = model, code, config
    if key not in HELD:
        while len(HELD) > 1:
            HELD.pop(next(iter(HELD)))
        fit = linear_code if code == 'rate' else populations.fit_code
        with mock.patch.object(populations, 'fit_code', fit):
            HELD[key] = convert(model, data, config)
    return HELD[key]


@functools.lru_cache(maxsize=1)
def loaded(name, model, weights, root):
    dataset, recipe = prepare(name, None, None, 1, root, model, loads_weights=True)
    model = load_weights(dataset, recipe, weights).model.eval()
    return dataset, model, calibration_batches(dataset)


def network(name, seed, arguments):
    """A network, what it is calibrated on, test inputs by batches, labels, and the rows
    of the outputs that have one.
    """
    dataset_name, _, model_name = name.partition('_')
    if dataset_name != 'cifar10':
        root = arguments.root
        dataset, recipe = prepare(dataset_name, None, None, 1, root, model_name)
        model = train(dataset, recipe, seed, progress=False).model.eval()
        data = dataset.data
        batches, rows = [(data.x, data.edge_index)], data.test_mask
        return model, data, batches, data.y[rows], rows
    dataset, model, data = loaded(
        dataset_name, model_name, arguments.weights, arguments.root
    )
    some = slice(seed * arguments.images, (seed + 1) * arguments.images)
    x, y = dataset.test_x[some], dataset.test_y[some]
    assert len(x), 'more seeds than images'
    return model, data, [(dataset.normalize(part),) for part in x.split(125)], y, ...


def run_seed(name, seed, arguments):
    model, data, batches, labels, rows = network(name, seed, arguments)

    @torch.no_grad()
    def predictions(network):
        return torch.cat([network(*batch) for batch in batches])[rows].argmax(1)

    expected = predictions(model)

    def score(network):
        found = predictions(network)
        return {
            'accuracy': 100 * float((found == labels).double().mean()),
            'agreement': 100 * float((found == expected).double().mean()),
        }

    def noisy(kind, level, of=None):
        noise = noise_of(kind, level, seed, arguments.num_steps)
        found = disturb(snn, noise, populations=of)
        found.disturbance = DISTURBANCES[code, kind.endswith('_corrected')]
        return score(found)

    cells = {'ann': score(model)}
    config = {'num_steps': arguments.num_steps}
    config |= {} if name.startswith('cifar10') else {'per_channel': True}
    for code in arguments.codes:
        analog = code == 'rate' and name.endswith('gat')
        more = {'products': 'analog', 'allow_analog': True} if analog else {}
        snn = converted(model, data, code, ConversionConfig(**config, **more))
        cells[code] = score(snn)
        for kind in arguments.kinds:
            for level in LEVELS[kind]:
                cells[f'{code} {kind} {level:g}'] = noisy(kind, level)
            if code == 'phase' and kind in ALONE:
                for each in snn.neurons:
                    key = f'{code} {kind} {ALONE[kind]:g} @ {each}'
                    cells[key] = noisy(kind, ALONE[kind], [each])
        if code == 'phase':
            for bits in arguments.bits:
                rounded = ConversionConfig(**config, weight_bits=bits)
                found = converted(model, data, code, rounded)
                cells[f'{code} bits {bits}'] = score(found)
    return {'cells': cells}


def run(name, arguments):
    is_loaded = name.startswith('cifar10')
    return run_seeds(
        arguments.output / f'noise_{name}.json',
        name,
        arguments.seeds,
        lambda seed: run_seed(name, seed, arguments),
        summarize=summarize_cells,
        network=name,
        num_steps=arguments.num_steps,
        codes=arguments.codes,
        kinds=arguments.kinds,
        bits=arguments.bits,
        images=arguments.images if is_loaded else 0,
    )


def print_table(name, summary):
    for cell, row in summary.items():
        print(
            f'{name:<17} {cell:<45} {row["accuracy"]["mean"]:>7.2f} '
            f'± {row["accuracy"]["std"]:<5.2f} {row["agreement"]["mean"]:>7.2f}'
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--networks', nargs='+', default=list(NETWORKS))
    codes = ['phase', 'rate']
    parser.add_argument('--codes', nargs='+', choices=codes, default=codes)
    parser.add_argument('--kinds', nargs='+', choices=LEVELS, default=list(LEVELS))
    parser.add_argument('--bits', nargs='*', type=int, default=list(BITS))
    parser.add_argument('--num-steps', type=int, default=16)
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--images', type=int, default=250, help='of each seed')
    parser.add_argument('--weights', type=Path, help='the state dict of ResNet-20')
    parser.add_argument('--root', help='folder of the datasets')
    parser.add_argument('--output', type=Path, default=RESULTS)
    arguments = parser.parse_args()
    print(f'{"network":<17} {"code, noise":<45} {"accuracy, %":>15} {"agree %":>7}')
    for name in arguments.networks:
        print_table(name, run(name, arguments)['summary'])


if __name__ == '__main__':
    main()
