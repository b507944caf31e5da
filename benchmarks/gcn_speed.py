"""How long a spiking GCN takes, and how much memory, next to the ANN.

    python benchmarks/gcn_speed.py --threads 1 2
    python benchmarks/gcn_speed.py --graphs arxiv --shrink 100 --no-memory

The graphs: one that is generated, of the size of ogbn-arxiv (--shrink divides it),
and PubMed and Computers. On the former, the network is a GCN 128-256-256-40 with
batch norm, not trained: weights are drawn, the statistics of batch norms are those
of a forward pass in training, and features are normally distributed; it is converted
on a smaller graph of the same kind. On the latter, it is that of the recipe, trained.

The ANN runs on edge indices and on a sparse CSR matrix, normalising the adjacency in
every pass (as PyG does by default) or once (cached), and as embedding bags with batch
norms folded, features summed where they are narrower and the adjacency normalised
beforehand. The spiking network prepares a graph once; "new graph" makes it do so in
every pass. Checked first: all ANNs agree, and the spiking one up to the coding error.

Memory is what a pass takes at its peak on top of what was there before it, in a
process of its own for each (memory.py): the first pass, which prepares the graph, and
the second, which finds it prepared. Linux only. The limit that times are compared with is
that of limits.py. --output has a file with every figure.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import limits
import torch
from memory import in_fresh_process, peak_memory
from networks import PASSES, untrained_gcn
from records import (
    add_speed_arguments,
    measure_in_turn,
    parse_speed_arguments,
    print_seconds,
    ratios_to,
    write_speed,
)

import spikegraph
from spikegraph import ConversionConfig
from spikegraph.zoo.datasets import power_law_graph
from spikegraph.zoo.training import prepare, train

ARXIV = (169_343, 1_170_000)  # Nodes, undirected edges.
SIZES = (128, 256, 256, 40)
CALIBRATION = 20_000  # Nodes of the graph that converts the network, at most.
OURS = 'SNN, edge_index'
NAME = 'gcn_speed'


def generated(shrink, untrained):
    """A network that nobody trained, its graph, and one to convert it on."""
    torch.manual_seed(0)
    graphs = []
    for part in (shrink, max(shrink, ARXIV[0] / CALIBRATION)):
        num_nodes, num_edges = (int(size / part) for size in ARXIV)
        edge_index = power_law_graph(num_nodes, num_edges)
        graphs.append((torch.randn(num_nodes, SIZES[0]), edge_index))
    return untrained(SIZES, *graphs[1]), *graphs


def trained(name, root, model=None):
    dataset, recipe = prepare(name, None, None, 1, root, model)
    model = train(dataset, recipe, 0, progress=False).model
    graph = dataset.data.x, dataset.data.edge_index
    return model, graph, graph


def errors_of(passes, most):
    """Checks what the networks return; the error of the spiking one."""
    expected = passes['ANN, edge_index']()
    for name, run in passes.items():
        difference = run() - expected
        at_most = 1e-4 if name.startswith('ANN') else most
        assert difference.norm() < at_most * expected.norm(), name
    found = passes[OURS]()
    agreement = (found.argmax(dim=1) == expected.argmax(dim=1)).double().mean()
    assert agreement > 1 - 4 / 3 * most
    # The mean over nodes says nothing about any of them.
    spread = (expected - expected.mean(dim=0)).norm()
    return {
        'agreement': 100 * float(agreement),
        'logit_relative_error': float((found - expected).norm() / expected.norm()),
        'centred_logit_relative_error': float((found - expected).norm() / spread),
    }


def leave(folder, model, snn, graph):
    """Leaves in a folder what :func:`memory_of` finds there."""
    torch.save({'model': model, 'graph': graph}, folder / 'inputs.pt')
    spikegraph.save(snn, folder / 'snn')


@torch.no_grad()
def memory_of(name, folder, num_threads):
    """The bytes that the first and the second pass take. What the code itself takes,
    compiled kernels among it, is there before, from a pass over a small graph."""
    torch.set_num_threads(num_threads)
    model, (x, edge_index) = torch.load(
        folder / 'inputs.pt', weights_only=False
    ).values()
    snn = spikegraph.load(folder / 'snn', model)
    few = torch.arange(16)
    PASSES[name](model, snn, x[:16], torch.stack([few, few.roll(1)]))()
    run = PASSES[name](model, snn, x, edge_index)
    return {number: peak_memory(run)[0] for number in ('first', 'second')}


def measure(model, graph, calibration, arguments, names, most):
    snn = spikegraph.convert(
        model, calibration, ConversionConfig(num_steps=arguments.num_steps)
    )
    passes = {name: PASSES[name](model, snn, *graph) for name in names}
    row = {'errors': errors_of(passes, most), 'by_threads': []}
    work = limits.of_network(model, snn, *graph)
    for num_threads in arguments.threads:
        torch.set_num_threads(num_threads)
        seconds = measure_in_turn(passes, arguments.repeats, warm_up=1)
        ratios = ratios_to(OURS, seconds)
        print(f'  {num_threads} threads')
        print_seconds(seconds, ratios)
        found = {'threads': num_threads, 'seconds': seconds, 'ratios': ratios}
        found |= limits.distance(seconds[OURS], work)
        limits.print_distance(found)
        row['by_threads'].append(found)
    if arguments.memory:
        del passes
        with tempfile.TemporaryDirectory() as folder:
            leave(Path(folder), model, snn, graph)
            row['peak_bytes'] = {
                name: in_fresh_process(memory_of, name, Path(folder), num_threads)
                for name in names
            }
        for name, found in row['peak_bytes'].items():
            print(
                f'  {name:<28} {found["first"] / 1e6:>10.1f} MB at first, then '
                f'{found["second"] / 1e6:.1f}'
            )
    return row


@torch.no_grad()
def run(script, graphs, untrained, model=None, names=PASSES, most=0.15):
    """Measures a network on all graphs, whose logit error is at most so much, and
    writes what was found after each."""
    parser = argparse.ArgumentParser(description=script.__doc__.splitlines()[0])
    add_speed_arguments(parser, graphs=graphs, repeats=5)
    parser.add_argument('--memory', action=argparse.BooleanOptionalAction, default=True)
    arguments = parse_speed_arguments(parser, script.__file__)
    rows = []
    for name in arguments.graphs:
        if name == 'arxiv':
            network, graph, calibration = generated(arguments.shrink, untrained)
        else:
            with torch.enable_grad():
                network, graph, calibration = trained(name, arguments.root, model)
        x, edge_index = graph
        sizes = [network.in_channels, *(conv.out_channels for conv in network.convs)]
        print(f'{name}: {len(x):,} nodes, {edge_index.size(1):,} edges, {sizes}')
        row = {'graph': name, 'nodes': len(x), 'edges': edge_index.size(1)}
        found = measure(network, graph, calibration, arguments, names, most)
        rows.append({**row, 'sizes': sizes, **found})
        write_speed(script.NAME, arguments, rows=rows)


def main():
    script = sys.modules[__name__]
    run(script, ['arxiv', 'pubmed', 'computers'], untrained_gcn)


if __name__ == '__main__':
    main()
