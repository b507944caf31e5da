"""How long it takes to sum spike times over neighbours, next to what users run.

    python benchmarks/aggregation_speed.py --threads 1 2
    python benchmarks/aggregation_speed.py --graphs arxiv-128 --shrink 100

Graphs are real ones with their features (a batch of molecules with random ones),
and generated ones with random features; --shrink divides the sizes of the latter.
Every competitor computes the same GCN-normalised sums, of the decoded values, and
is checked on some nodes against sums in float64. Of its variants (competitors.py)
the soonest is then timed in turn with the others, in one process; what would take
more than 0.8 of the available memory is left out, and the record says why.

Bytes moved are those that the kernel asks for: for each of E edges, self-loops in, F
spike times of S bytes (1, or 1/2 where two are packed into one), the number of the
source and its factor; for each of N nodes F sums, a factor and where its edges start:
E (S F + 4 + 4) + N (4 F + 4 + 8), and N (F + S F) to pack. Caches hold some of it, so
that there may be more per second than a copy of memory reads and writes; what memory
moves at least, with every spike time read once, is N (F + 4 F + 4 + 8) + 8 E, of which
limits.py makes the limit. There is no product. --output has a file with every figure.
"""

import argparse
from functools import partial

import limits
import torch
from competitors import Graph, pick, relative_error, sums, sums_of_some
from records import (
    add_speed_arguments,
    measure_in_turn,
    parse_speed_arguments,
    print_seconds,
    ratios_to,
    write_speed,
)
from torch_geometric.data import Batch

from spikegraph import PhaseCode, Spikes
from spikegraph.kernels import gcn_adjacency, propagate, sent_size
from spikegraph.zoo.datasets import load_dataset, power_law_graph

# Nodes, undirected edges, width.
GENERATED = {
    'arxiv-128': (169_343, 1_170_000, 128),
    'arxiv-256': (169_343, 1_170_000, 256),
    'million-96': (1_000_000, 20_000_000, 96),
}
REAL = ('pubmed', 'computers', 'ogbg-molhiv')
MOLECULES, WIDTH = 256, 300  # A batch as of the networks of OGB.
OURS = 'spikes'


def inputs_of(name, shrink, root):
    """Edge indices and features: a bag of words, or random ones after a ReLU."""
    if name in GENERATED:
        num_nodes, num_edges, width = GENERATED[name]
        num_nodes, num_edges = num_nodes // shrink, num_edges // shrink
        edge_index = power_law_graph(num_nodes, num_edges)
    else:
        dataset = load_dataset(name, root)
        if name in ('pubmed', 'computers'):
            return dataset.data.edge_index, dataset.data.x
        batch = Batch.from_data_list(dataset.test[:MOLECULES])
        edge_index, num_nodes, width = batch.edge_index, batch.num_nodes, WIDTH
    generator = torch.Generator().manual_seed(0)
    return edge_index, torch.randn(num_nodes, width, generator=generator).relu_()


def measure(edge_index, x, arguments):
    num_nodes, width = x.shape
    code = PhaseCode.nearest(arguments.num_steps, 2**0.5)
    spikes = Spikes.from_values(x, code, x.max())
    adjacency = gcn_adjacency(edge_index, None, num_nodes, torch.float32)
    graph, values = Graph.from_edges(edge_index, num_nodes), spikes.decode()
    rows, expected = sums_of_some(edge_index, spikes)
    operations = {OURS: lambda: propagate(adjacency, spikes)}
    errors = {OURS: relative_error(operations[OURS](), rows, expected)}
    chosen, seconds_of_variants, skipped = {}, {}, {}
    for name, variants in sums(graph, values).items():
        at_most = 2e-2 if name.startswith('8-bit') else 1e-4
        check = partial(relative_error, rows=rows, expected=expected, at_most=at_most)
        best, error, seconds_of_variants[name], reasons = pick(variants, check)
        skipped |= {f'{name}, {variant}': why for variant, why in reasons.items()}
        if best is not None:
            chosen[name], errors[name] = best, error
            operations[name] = variants[best][0]
    seconds = measure_in_turn(operations, arguments.repeats, warm_up=1)
    sent, num_edges = sent_size(spikes, adjacency) * width, len(graph.col)
    least = num_nodes * (width + 4 * width + 4 + 8) + 8 * num_edges
    moved = num_edges * (sent + 4 + 4) + num_nodes * (4 * width + 4 + 8)
    moved += num_nodes * (width + sent) if sent < width else 0
    return {
        'nodes': num_nodes,
        'edges_with_loops': num_edges,
        'width': width,
        'threads': torch.get_num_threads(),
        'seconds': seconds,
        'ratios': ratios_to(OURS, seconds),
        'relative_errors': errors,
        'variants': chosen,
        'seconds_of_variants': seconds_of_variants,
        'skipped': skipped,
        'bytes_moved': moved,
        'bytes_per_second': moved / seconds[OURS]['min'],
        **limits.distance(seconds[OURS], {'bytes': least, 'multiply_adds': 0}),
    }


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_speed_arguments(parser, graphs=[*REAL, *GENERATED], repeats=7)
    arguments = parse_speed_arguments(parser, __file__)
    rows = []
    for name in arguments.graphs:
        try:
            inputs = inputs_of(name, arguments.shrink, arguments.root)
        except FileNotFoundError as error:
            rows.append({'graph': name, 'skipped': str(error)})
            continue
        for num_threads in arguments.threads:
            torch.set_num_threads(num_threads)
            row = {'graph': name, **measure(*inputs, arguments)}
            rows.append(row)
            print(
                f'{name}: {row["nodes"]:,} nodes, {row["edges_with_loops"]:,} edges, '
                f'width {row["width"]}, {num_threads} threads; '
                f'{row["bytes_per_second"] / 1e9:.1f} GB/s'
            )
            print_seconds(row['seconds'], row['ratios'])
            limits.print_distance(row)
        write_speed('aggregation_speed', arguments, rows=rows)


if __name__ == '__main__':
    main()
