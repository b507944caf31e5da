"""How time and memory of a spiking GCN grow with the graph.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --products
    python benchmarks/scaling.py --edges 1e4 3e4 1e5 --output DIR

Generated graphs of --degree directed edges a node, each in a process of its own:
seconds (shortest of --repeats) and bytes (at the peak, on top of what was there
before) of preparing the graph, of a sum of spike times over neighbours and of a
forward pass of a GCN 100-256-256-47 with batch norm; and the bytes of all of it, with
the features, the edges and how they were drawn. The network is not trained, and converted
on 5,000 nodes. Sums are checked on some nodes of every graph, and the network where
it is converted. --products runs one graph of the size of ogbn-products instead.

Exponents are least-squares slopes in log-log over all sizes; over those that take at
least ten times what the smallest takes ("of large ones"), so that a fixed cost is at
most a tenth of any of them; and from each size to the next. At a constant degree,
features leave one cache after another as graphs grow, and steps in these slopes are
to be expected there. --output has a file with every figure.
"""

import argparse
import math
import statistics
import tempfile
import time
from pathlib import Path

import torch
from competitors import relative_error, sums_of_some
from memory import in_fresh_process, peak_memory, process_peak, resident_memory
from networks import untrained_gcn
from records import RESULTS, measure_in_turn, write_speed

import spikegraph
from spikegraph import ConversionConfig, PhaseCode, Spikes
from spikegraph.kernels import encode_spikes, gcn_adjacency, propagate
from spikegraph.zoo.datasets import power_law_graph

SIZES = (100, 256, 256, 47)
EDGES = [1e5, 3e5, 1e6, 3e6, 1e7, 3e7, 1e8]  # Directed.
PRODUCTS = (2_449_029, 61_859_140)  # Nodes, undirected edges.
CALIBRATION = 5000  # Nodes.
STEPS = ('prepare', 'aggregate', 'forward')
FIXED = 10  # Times what the smallest size takes.


def graph_of(num_nodes, num_edges):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(num_nodes, SIZES[0], generator=generator)
    return x, power_law_graph(num_nodes, num_edges)


@torch.no_grad()
def convert(arguments, folder):
    torch.manual_seed(0)
    graph = graph_of(CALIBRATION, round(CALIBRATION * arguments.degree / 2))
    model = untrained_gcn(SIZES, *graph)
    config = ConversionConfig(num_steps=arguments.num_steps)
    snn = spikegraph.convert(model, graph, config)
    expected = model(*graph)
    assert (snn(*graph) - expected).norm() < 0.15 * expected.norm()
    torch.save(model, folder / 'model.pt')
    spikegraph.save(snn, folder / 'snn')


def steps_of(snn, num_steps, x, edge_index):
    """The spikes of the features, and what is measured."""
    scale = x.max()
    code = PhaseCode.nearest(num_steps, 2**0.5)
    spikes = Spikes(encode_spikes(x, code, scale), code, scale)

    def adjacency():
        return gcn_adjacency(edge_index, None, len(x), x.dtype)

    def prepare():
        edge_index[:, :0].zero_()  # Counts as a change: nothing is kept.
        return adjacency()

    return spikes, {
        'prepare': prepare,
        'aggregate': lambda: propagate(adjacency(), spikes),
        'forward': lambda: snn(x, edge_index),
    }


@torch.no_grad()
def run_size(num_nodes, num_edges, folder, arguments):
    """What a graph of so many undirected edges takes."""
    torch.set_num_threads(arguments.threads)
    model = torch.load(folder / 'model.pt', weights_only=False)
    snn = spikegraph.load(folder / 'snn', model)
    for run in steps_of(snn, arguments.num_steps, *graph_of(100, 500))[1].values():
        run()  # Loads what is compiled.
    before, start = resident_memory(), time.perf_counter()
    x, edge_index = graph_of(num_nodes, num_edges)
    seconds = {'draw': time.perf_counter() - start}
    spikes, steps = steps_of(snn, arguments.num_steps, x, edge_index)
    peaks = {}
    for name, run in steps.items():
        peaks[name], result = peak_memory(run)
        if name == 'aggregate':
            error = relative_error(result, *sums_of_some(edge_index, spikes))
        elif name == 'forward':
            assert result.shape == (num_nodes, SIZES[-1]) and result.isfinite().all()
        del result
    peaks['all'] = process_peak() - before
    found = measure_in_turn(steps, arguments.repeats, warm_up=0)
    seconds |= {name: times['min'] for name, times in found.items()}
    return {
        'nodes': num_nodes,
        'edges': 2 * num_edges,
        'seconds': seconds,
        'peak_bytes': peaks,
        'process_bytes': peaks['all'] + before,
        'relative_error': error,
    }


def exponent_of(sizes, values):
    """The exponent over all sizes, that of sizes whose fixed cost is small, and the
    slope from each size to the next."""
    x, y = ([math.log(max(v, 1e-9)) for v in found] for found in (sizes, values))
    slopes = [(y[i] - y[i - 1]) / (x[i] - x[i - 1]) for i in range(1, len(sizes))]
    large = [i for i, v in enumerate(values) if v >= FIXED * values[0] and v > 0]

    def slope(used):
        picked = [x[i] for i in used], [y[i] for i in used]
        return statistics.linear_regression(*picked).slope if len(used) > 2 else None

    return {
        'exponent': slope(range(len(sizes))),
        'exponent_of_large': slope(large),
        'large_sizes': [sizes[i] for i in large],
        'local_slopes': slopes,
    }


def print_size(row):
    cells = [
        f'{name} {row["seconds"][name]:.4g} s, {row["peak_bytes"][name] / 1e6:,.0f} MB'
        for name in STEPS
    ]
    held = f'{row["process_bytes"] / 1e9:.2f} GB held'
    print(f'{row["nodes"]:>11,} {row["edges"]:>12,}', *cells, held, sep='  ')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--edges', type=float, nargs='+', default=EDGES, help='directed'
    )
    parser.add_argument('--degree', type=float, default=50.0)
    parser.add_argument('--products', action='store_true')
    parser.add_argument('--num-steps', type=int, default=15)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--output', type=Path, default=RESULTS)
    arguments = parser.parse_args()
    sizes = [(round(n / arguments.degree), round(n / 2)) for n in arguments.edges]
    record, rows = {}, []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        convert(arguments, folder)
        print(f'{"nodes":>11} {"edges":>12}  shortest time, memory at the peak')
        for size in [PRODUCTS] if arguments.products else sorted(sizes):
            rows.append(in_fresh_process(run_size, *size, folder, arguments))
            print_size(rows[-1])
    if not arguments.products:
        edges = [row['edges'] for row in rows]
        for what in ('seconds', 'peak_bytes'):
            record[what] = {
                name: exponent_of(edges, [row[what][name] for row in rows])
                for name in rows[0][what]
            }
            for name, found in record[what].items():
                slope, of_large = (
                    'too few sizes' if value is None else f'{value:.3f}'
                    for value in (found['exponent'], found['exponent_of_large'])
                )
                local = ', '.join(f'{value:.2f}' for value in found['local_slopes'])
                print(
                    f'{name}, {what}: exponent {slope}, of large ones {of_large} '
                    f'(from size to size: {local})'
                )
    name = 'scaling_products' if arguments.products else 'scaling'
    write_speed(name, arguments, rows=rows, exponents=record)


if __name__ == '__main__':
    main()
