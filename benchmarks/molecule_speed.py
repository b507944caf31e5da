"""How long a spiking network for molecules takes next to the ANN it was made from.

    python benchmarks/molecule_speed.py --threads 1 2
    python benchmarks/molecule_speed.py --models gin --num-steps 16 --weights DIR

The networks of the Open Graph Benchmark: five layers, 300 features and a virtual node.
Weights are those of DIR/MODEL.pt, or drawn, batch norms' statistics then being those of
a pass in training; networks are converted on training molecules, and run on batches of
test molecules: "one batch" again and again, whose preparation is kept, and "stream", so
many batches in turn, each of new tensors, as a DataLoader gives them, so that every pass
prepares them; its times are those of all batches.

The ANN runs as PyG has it and with embedding bags in place of sums, batch norms folded
(networks.py). Checked first: both ANNs agree, no population's code is off by more than a
tenth, and on a few molecules the spiking network gives what its time steps do; with
weights of a file, its scores are near the ANN's. Drawn weights tell molecules hardly
apart, so that of those scores only the error is written. The limit that times are
compared with is that of limits.py. --output has a file with every figure.
"""

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

import limits
import torch
from networks import BagMoleculeGNN, untrained
from records import (
    add_speed_arguments,
    measure_in_turn,
    parse_speed_arguments,
    print_row,
    ratios_to,
    write_speed,
)
from torch_geometric.data import Batch

import spikegraph
from spikegraph import ConversionConfig
from spikegraph.zoo.training import build, load_weights, prepare

WIDTH, LAYERS = 300, 5
CALIBRATION, FEW = 256, 4  # Molecules.
OURS = 'SNN'


def data_and_recipe(model, root):
    dataset, recipe = prepare(
        'ogbg-molhiv', WIDTH, LAYERS, 1, root, model, loads_weights=True
    )
    return dataset, replace(recipe, dropout=0.0)


def batch_of(graphs):
    batch = Batch.from_data_list(list(graphs))
    return batch.x, batch.edge_index, batch.edge_attr, batch.batch


def errors_of(model, bags, snn, batches, few):
    """Checks what the networks return; the errors of the spiking one."""
    expected = torch.cat([model(*batch) for batch in batches])
    found = torch.cat([bags(bags.prepare(*batch)) for batch in batches])
    assert (found - expected).norm() < 1e-4 * expected.norm()
    found = torch.cat([snn(*batch) for batch in batches])
    both = torch.stack([found.flatten(), expected.flatten()]).double()
    in_steps = spikegraph.simulate(snn, *few).output
    # Potentials within rounding of a threshold may fire or not.
    assert (snn(*few) - in_steps).norm() < 1e-2 * in_steps.norm()
    coding_error = max(p.coding_error for p in snn.report.populations)
    assert coding_error < 0.1, coding_error
    return {
        'largest_coding_error': coding_error,
        'logit_relative_error': float((found - expected).norm() / expected.norm()),
        'correlation': float(both.corrcoef()[0, 1]),
    }


def operations_of(model, bags, snn, batches):
    """Forward passes over one batch, or over all."""
    batch, graph = batches[0], bags.prepare(*batches[0])

    def run(*batch):
        snn._plan = None  # Molecules that come again may be answered from what is kept.
        return snn(*batch)

    def in_turn(network):
        for batch in batches:
            network(*(tensor.clone() for tensor in batch))

    one = {
        OURS: lambda: run(*batch),
        'ANN, edge_index': lambda: model(*batch),
        'ANN, embedding_bag': lambda: bags(graph),
    }
    stream = {
        OURS: lambda: in_turn(run),
        'ANN, edge_index': lambda: in_turn(model),
        'ANN, embedding_bag': lambda: in_turn(lambda *x: bags(bags.prepare(*x))),
    }
    return {'one batch': (batches[:1], one), 'stream': (batches, stream)}


def measure(name, arguments):
    dataset, recipe = data_and_recipe(name, arguments.root)
    order = torch.randperm(
        len(dataset.train), generator=torch.Generator().manual_seed(0)
    )
    calibration = batch_of([dataset.train[i] for i in order[:CALIBRATION].tolist()])
    size, number = arguments.batch_size, arguments.batches
    most = len(dataset.test) // size
    if number > most:
        raise ValueError(
            f"Expected '--batches' to be at most {most}, of {size} test molecules each "
            f"(got {number}); choose fewer, or a smaller '--batch-size'"
        )
    starts = range(0, number * size, size)
    batches = [batch_of(dataset.test[i : i + size]) for i in starts]
    torch.manual_seed(0)
    if arguments.weights is None:
        model = untrained(build(dataset, recipe), *calibration)
    else:
        model = load_weights(dataset, recipe, arguments.weights / f'{name}.pt').model
    config = ConversionConfig(num_steps=arguments.num_steps, per_channel=True)
    snn = spikegraph.convert(model, [calibration], config)
    bags = BagMoleculeGNN(model)
    few = batch_of(dataset.test[:FEW])
    errors = errors_of(model, bags, snn, batches, few)
    assert arguments.weights is None or errors['logit_relative_error'] < 0.1, errors
    work = [limits.of_network(model, snn, *batch) for batch in batches]
    for num_threads in arguments.threads:
        torch.set_num_threads(num_threads)
        for mode, (inputs, run) in operations_of(model, bags, snn, batches).items():
            seconds = measure_in_turn(run, arguments.repeats, warm_up=1)
            yield {
                'network': name,
                'weights': 'drawn' if arguments.weights is None else 'loaded',
                'mode': mode,
                'batches': len(inputs),
                'molecules': size * len(inputs),
                'nodes': sum(len(x) for x, *_ in inputs),
                'edges': sum(edge_index.size(1) for _, edge_index, *_ in inputs),
                'width': recipe.hidden_channels,
                'threads': num_threads,
                'errors': errors,
                'seconds': seconds,
                'ratios': ratios_to(OURS, seconds),
                **limits.distance(seconds[OURS], sum_of(work[: len(inputs)])),
            }


def sum_of(work):
    return dict(sum(map(Counter, work), Counter()))


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    models = ['gin', 'gcn']
    parser.add_argument('--models', nargs='+', choices=models, default=models)
    parser.add_argument('--weights', type=Path, help='folder of MODEL.pt')
    parser.add_argument('--batch-size', type=int, default=256)
    parser.add_argument('--batches', type=int, default=16, help='of the stream')
    add_speed_arguments(parser, repeats=7, threads=(1, 2))
    arguments = parse_speed_arguments(parser, __file__)
    rows = []
    for name in arguments.models:
        for row in measure(name, arguments):
            rows.append(row)
            print_row(f'{name}, {row["mode"]}, {row["molecules"]} molecules', row)
            limits.print_distance(row)
        write_speed('molecule_speed', arguments, rows=rows)


if __name__ == '__main__':
    main()
