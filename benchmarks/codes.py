"""One spike against the codes that one would use instead, on the same trained networks.

    python benchmarks/codes.py --networks cora_gcn photo_gcn --seeds 10
    python benchmarks/codes.py --networks cifar10_resnet20 --weights resnet20.th

Trains each network once per seed and converts it with every code and number of time
steps, on the same calibration data; benchmarks/code_tables.py says what the codes are.
Scales are those of least squared error for every code; one row takes the 99.9th
percentile for the rate code, as its users do. Rows with "ridge" have the weights that
the library corrects for what the code rounds; the others show the code alone. Codes of
more levels than a byte can tell apart are run by benchmarks/quantised.py, which is
first checked to repeat the library. For graph attention, coefficients are analog for
all codes, as only one spike can be delayed by another; and max pooling takes the largest
value for all, though it is the earliest spike only where there is one. Every network
has a file in --output, written cell by cell, so that an interrupted run goes on where
it stopped; benchmarks/code_pages.py makes tables and a picture of them.
"""

import argparse
import copy
import functools
from pathlib import Path

import torch
from code_tables import UniformCode, num_sent, without_repeats
from quantised import Quantised
from records import RESULTS, origin, resumed, summarize_cells, write
from tqdm import tqdm

from spikegraph import ConversionConfig, convert, measure
from spikegraph.measurement.counter import Counter
from spikegraph.zoo.datasets import ImageDataset
from spikegraph.zoo.experiment.evaluation import (
    calibration_batches,
    compare,
    measured_batches,
)
from spikegraph.zoo.training import load_weights, prepare, train

NETWORKS = (
    *(f'{name}_gcn' for name in ('cora', 'citeseer', 'pubmed', 'photo', 'computers')),
    *('cora_gin', 'cora_gat', 'digits_cnn', 'cifar10_resnet20'),
)
ONE_SPIKE = {
    'one spike': {},
    'one spike, not shifted': {'levels': 'geometric', 'threshold_shift': 1.0},
    'one spike, base 2': {'levels': 'geometric', 'base': 2.0},
}
RATE_CLIPPED = 'rate, 99.9 %'
CHECKED = 16  # Images of a batch, in float64.
ANALOG = {'cora_gat': {'products': 'analog', 'allow_analog': True}}


class Numbers(Counter):
    """Counts the events of neurons that fire as often as is said."""

    def __init__(self, snn, inputs, numbers):
        self.numbers = {name: number.double() for name, number in numbers.items()}
        super().__init__(snn, inputs)

    def _fires(self, node, value):
        value = super()._fires(node, value)
        self.arrivals[node] = self.numbers.get(node.record.label, self.arrivals[node])
        return value


class Task:
    """A trained network, what it is calibrated on, tested on, and measured on."""

    def __init__(self, network, seed, arguments):
        name, kind = network.rsplit('_', 1)
        is_given = network == 'cifar10_resnet20'
        self.data, recipe = prepare(
            name, None, None, 1, arguments.root, kind, loads_weights=is_given
        )
        if is_given:
            self.model = load_weights(self.data, recipe, arguments.weights).model
        else:
            self.model = train(self.data, recipe, seed, progress=False).model
        self.options, self.last = ANALOG.get(network, {}), None
        self.has_images = isinstance(self.data, ImageDataset)
        if self.has_images:
            self.calibration = [(x,) for x in calibration_batches(self.data)]
            self.measured = [(x,) for x in measured_batches(self.data)[:1]]
            x, num = self.data.normalize(self.data.test_x[: arguments.images]), 128
            self.tested = [(part,) for part in x.split(num)]
            self.y = self.data.test_y[: len(x)]
            self.rows = torch.ones(len(x), dtype=torch.bool)
        else:
            data = self.data.data
            self.calibration = [(data.x, data.edge_index)]
            self.tested = self.measured = self.calibration
            self.rows = data.test_mask
            self.y = data.y[self.rows]

    def converted(self, num_steps, **options):
        config = ConversionConfig(num_steps, **{**self.options, **options})
        return convert(self.model, self.calibration, config)

    def run(self, num_steps, options):
        """A network and its outputs; codes of the same levels share them."""
        key = num_steps, options
        if self.last is None or self.last[0] != key:
            snn = self.converted(num_steps, **options)
            self.last = key, snn, self.outputs(snn)
        return self.last[1:]

    @torch.no_grad()
    def outputs(self, network):
        return torch.cat([network(*args) for args in self.tested])[self.rows]

    @functools.cached_property
    def ann(self):
        return self.outputs(self.model)

    @functools.cached_property
    def plain(self):
        """The network that codes of many levels are put in."""
        return self.converted(4, compensate=None)


def cells_of(arguments):
    """What is converted, by name: the code, its steps, and options of the library."""
    cells = {}
    for steps in arguments.num_steps + arguments.more_steps:
        for how, compensate in (('', None), (' ridge', 'ridge')):
            for kind, options in ONE_SPIKE.items():
                options = {**options, 'compensate': compensate}
                cells[f'{kind} T={steps}{how}'] = None, steps, options
            for kind in ('linear', 'rate', RATE_CLIPPED, 'binary', 'few spikes'):
                code = UniformCode(kind.split(',')[0], steps)
                options = {'levels': code.table(), 'compensate': compensate}
                if kind == RATE_CLIPPED:
                    options['scale'] = ('percentile', 99.9)
                if compensate is None or (code.table() and kind != RATE_CLIPPED):
                    cells[f'{kind} T={steps}{how}'] = code, steps, options
    for steps in arguments.more_steps:  # Only what needs them.
        for name in list(cells):
            if f'T={steps}' in name.split() and not name.startswith(('linear', 'rate')):
                del cells[name]
    chosen = arguments.cells or list(cells)
    return {name: cells[name] for name in chosen}


def library_cell(task, code, steps, options):
    snn, out = task.run(steps if code is None else code.num_levels, options)
    return snn, out, [sent_by(snn, args, code) for args in task.measured]


def sent_by(snn, args, code):
    """How often every neuron fires, by population; features that are 0 or 1 once."""
    found = snn.spikes(*args)
    for name, spikes in found.items():
        number = num_sent(spikes, code)
        if name.startswith('input'):
            number = without_repeats(number, spikes.code.num_steps - spikes.phase())
        found[name] = number
    return found


def reference_cell(task, code):
    network = Quantised(task.plain, code, task.calibration)
    numbers = []
    for args in task.measured:
        network(*args)
        numbers.append(dict(network.numbers))
    return task.plain, task.outputs(network), numbers


def run_cell(task, code, steps, options):
    if code is None or code.table() is not None:
        snn, out, numbers = library_cell(task, code, steps, options)
    else:
        snn, out, numbers = reference_cell(task, code)
    total, weights = {'all': [0, 0], 'hidden': [0, 0]}, 0
    for args, sent in zip(task.measured, numbers, strict=True):
        counter = Numbers(snn, snn.bind(*args), sent)
        weights += sum(row.counts.synops for row in counter.rows.values())
        for name in snn.neurons:  # Gates pass on what these send.
            number = sent[name]
            for key in ('all',) if name.startswith('input') else ('all', 'hidden'):
                total[key][0] += int(number.sum())
                total[key][1] += number.numel()
    windows = snn.latency_steps // snn.config.num_steps
    samples = (
        len(task.y) if not task.has_images else sum(len(a[0]) for a in task.measured)
    )
    return {
        **compare(task.ann, out, task.y),
        'spikes_per_neuron': total['all'][0] / total['all'][1],
        'hidden_spikes_per_neuron': total['hidden'][0] / max(1, total['hidden'][1]),
        'synops': weights / (samples if task.has_images else len(task.rows)),
        'layer_steps': steps,
        'network_steps': windows * steps,
    }


def check_reference(task):
    """The reference must send, scale for scale and spike for spike, what the library
    does, for codes that both can express, in float64."""
    twin = Task.__new__(Task)
    twin.__dict__ = {**task.__dict__, 'model': _double(task.model)}
    some = slice(CHECKED if task.has_images else None)
    twin.calibration, twin.measured = (
        [(_double(x[some]), *graph) for x, *graph in calls[:2]]
        for calls in (task.calibration, task.measured)
    )
    for kind in ('rate', 'binary', 'few spikes'):
        code = UniformCode(kind, 4)
        options = {'levels': code.table(), 'compensate': None}
        snn = twin.converted(code.num_levels, **options)
        network = Quantised(snn, code, twin.calibration)
        for args in twin.measured:
            out, expected = network(*args), snn(*args)
            for name, number in sent_by(snn, args, code).items():
                assert torch.equal(number, network.numbers[name]), (kind, name)
            torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-9)
    total = sum(
        row.counts.synops
        for args in twin.measured
        for row in Numbers(snn, snn.bind(*args), {}).rows.values()
    )
    assert total == measure(snn, twin.measured).total.synops  # One spike each.


def _double(value):
    return copy.deepcopy(value).double()


def run_network(network, seed, arguments):
    path = arguments.output / f'codes_{network}.json'
    record = resumed(path, '--', network=network, images=arguments.images)
    cells = cells_of(arguments)
    row = record['seeds'].setdefault(str(seed), {'cells': {}})
    missing = [name for name in cells if name not in row['cells']]
    if not missing:
        return record
    task = Task(network, seed, arguments)
    if 'checked' not in record:
        check_reference(task)
        record['checked'] = True
    for name in tqdm(missing, f'{network} {seed}'):
        row['cells'][name] = run_cell(task, *cells[name])
        record |= {
            'num_tested': len(task.y),
            'summary': summarize_cells(record['seeds']),
            **origin(f'{torch.get_num_threads()} threads'),
        }
        write(path, record)
    return record


def print_table(network, record):
    print(
        f'\n{network:<30} {"ANN %":>6} {"loss":>14} {"agreement":>9} {"logits":>7} '
        f'{"spikes":>7} {"hidden":>7} {"synops":>9} {"steps":>6}'
    )
    for name, row in record['summary'].items():
        mean = {key: value['mean'] for key, value in row.items()}
        print(
            f'{name:<30} {mean["ann_accuracy"]:>6.2f} {mean["loss_points"]:>6.2f} ± '
            f'{row["loss_points"]["std"]:<5.2f} {mean["agreement"]:>9.2f} '
            f'{100 * mean["logit_relative_error"]:>7.2f} '
            f'{mean["spikes_per_neuron"]:>7.3f} '
            f'{mean["hidden_spikes_per_neuron"]:>7.3f} '
            f'{mean["synops"]:>9.0f} {mean["network_steps"]:>6.0f}'
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--networks', nargs='*', choices=NETWORKS, default=NETWORKS)
    parser.add_argument('--num-steps', type=int, nargs='+', default=[4, 8, 16, 32])
    parser.add_argument(
        '--more-steps',
        type=int,
        nargs='*',
        default=[64],
        help='of linear and rate codes',
    )
    parser.add_argument('--seeds', type=int, default=10)
    parser.add_argument('--cells', nargs='+', help='by name, not all of them')
    parser.add_argument('--weights', type=Path, help='the state dict of the ResNet-20')
    parser.add_argument('--images', type=int, default=2000, help='test images')
    parser.add_argument('--root', help='folder of the datasets')
    parser.add_argument('--output', type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if 'cifar10_resnet20' in arguments.networks and arguments.weights is None:
        parser.error("Expected '--weights' to name the state dict of the ResNet-20")
    records = {}
    for seed in range(arguments.seeds):  # What is cut short has few seeds of each.
        for network in arguments.networks:
            if seed == 0 or network != 'cifar10_resnet20':
                records[network] = run_network(network, seed, arguments)
    for network, record in records.items():
        print_table(network, record)


if __name__ == '__main__':
    main()
