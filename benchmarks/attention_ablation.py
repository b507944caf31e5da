"""What attention with spike times owes to its parts: quotients and windows.

    python benchmarks/attention_ablation.py
    python benchmarks/attention_ablation.py --models gat --weights DIR

Converts the same trained networks in four ways:

    spiking   a window opens at each neighborhood's first spike; the sum of the
              coefficients is the threshold of what fires next
    coded     the reciprocal of that sum is coded by spikes of its own, which delay
              the coefficients
    fixed     coefficients are exponentials, not relative to the largest one
    analog    coefficients are computed by the ANN, in floating point

Written seed by seed to --output, so that an interrupted run goes on.
"""

import argparse
import contextlib
import functools

from records import add_arguments, load_or_train, print_table, run_seeds

from spikegraph import ConversionConfig
from spikegraph.conversion.passes import meeting
from spikegraph.conversion.passes.relays import Fraction
from spikegraph.conversion.passes.softmax import softmax
from spikegraph.nn import Delay
from spikegraph.nn.activation import Exponential
from spikegraph.zoo.experiment import run_conversion, summarize

COLUMNS = {
    'loss_points': ('loss, points', 1, 3),
    'agreement': ('agreement %', 1, 2),
    'logit_relative_error': ('logit error %', 100, 2),
    'spikes_per_neuron': ('spikes/neuron', 1, 3),
    'delays': ('delays, k', 1e-3, 1),
    'energy_ratio_memory': ('energy/ANN', 1, 3),
}
MODELS = ['gat', 'gatv2', 'transformer']


def coded(relays, node):
    """Coefficients that the reciprocal of their sum delays."""
    part = softmax(relays, node)
    inverse = Fraction(1, relays.den(part))
    relays.fractions[node] = inverse
    spikes = relays.population(node, node, 'relu', 'inverse')
    del relays.fractions[node]
    relays.tie(part.num, spikes)
    return relays.gate(f'coded_{node.name}', Delay(), part.num, spikes)


def fixed(relays, node):
    """Exponentials of one scale, and their sum."""
    source, index, *_ = node.args
    number = node.kwargs.get('num_nodes', node.args[3] if len(node.args) > 3 else None)
    spikes = relays.population(node, source, Exponential())
    relays.tie(spikes)
    return Fraction(spikes, None, (spikes, index, number))


VARIANTS = {'spiking': softmax, 'coded': coded, 'fixed': fixed, 'analog': None}


@contextlib.contextmanager
def computed_by(function):
    """Computes softmax in another way."""
    known = meeting.COMPUTED['softmax']
    meeting.COMPUTED['softmax'] = function or known
    try:
        yield
    finally:
        meeting.COMPUTED['softmax'] = known


def run(variant, name, model, arguments, seed):
    dataset, trained = load_or_train(name, model, arguments, seed)
    is_analog = variant == 'analog'
    config = ConversionConfig(
        num_steps=arguments.num_steps,
        per_channel=arguments.per_channel,
        products='analog' if is_analog else 'spiking',
        allow_analog=is_analog,
    )
    with computed_by(VARIANTS[variant]):
        found = run_conversion(trained, dataset, config)
    return {**found.metrics, 'num_analog': len(found.snn.report.analog)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, datasets=['cora'], models=MODELS, seeds=5)
    arguments = parser.parse_args()
    records = {}
    for dataset in arguments.datasets:
        for model in arguments.models:
            for variant in VARIANTS:
                path = f'attention_ablation_{dataset}_{model}_{variant}.json'
                records[f'{dataset} {model}', variant] = run_seeds(
                    arguments.output / path,
                    f'{dataset} {model} {variant}',
                    arguments.seeds,
                    functools.partial(run, variant, dataset, model, arguments),
                    summarize=lambda seeds: summarize(list(seeds.values())),
                    dataset=dataset,
                    model=model,
                    variant=variant,
                    num_steps=arguments.num_steps,
                )
    print_table(records, COLUMNS)


if __name__ == '__main__':
    main()
