"""How much sooner spike times are summed on a graph that is renumbered.

    python benchmarks/reordering.py
    python benchmarks/reordering.py --graphs plane --shrink 100

The graphs: nodes in nearly separate communities, and next to each other in the plane,
each shuffled, so that their numbers say nothing; one whose degrees follow a power law;
and PubMed and Computers. --shrink divides the sizes of those that are generated. Sums
of random spike times over neighbours are timed in turn on the graph as it is and in
the order of each method; checked first: sums put back are the same, bit by bit.
"""

import argparse

import numpy as np
import torch
from records import (
    add_graph_arguments,
    add_processor,
    add_threads,
    measure_in_turn,
    parse_speed_arguments,
    print_row,
    ratios_to,
    write_speed,
)
from scipy.spatial import cKDTree
from torch_geometric.data import Data
from torch_geometric.utils import to_undirected

from spikegraph import PhaseCode, Spikes, reorder
from spikegraph.kernels import gcn_adjacency, propagate
from spikegraph.zoo.datasets import load_dataset, power_law_graph

NUM_NODES, DEGREE = 200_000, 16
COMMUNITY, INSIDE = 200, 0.95  # Nodes of one, and the share of edges that stay there.
METHODS = ('rcm', 'degree')
WIDTHS = (128, 256)
OURS = 'as it is'


def communities(num_nodes, generator):
    source = torch.randint(num_nodes, (num_nodes * DEGREE // 2,), generator=generator)
    near = source - source % COMMUNITY
    near += torch.randint(COMMUNITY, source.shape, generator=generator)
    far = torch.randint(num_nodes, source.shape, generator=generator)
    is_near = torch.rand(source.shape, generator=generator) < INSIDE
    return torch.stack([source, torch.where(is_near & (near < num_nodes), near, far)])


def plane(num_nodes, generator):
    points = torch.rand(num_nodes, 2, generator=generator).numpy()
    neighbors = cKDTree(points).query(points, DEGREE // 2 + 1)[1][:, 1:]
    source = np.repeat(np.arange(num_nodes), neighbors.shape[1])
    return torch.from_numpy(np.stack([source, neighbors.ravel()]))


def power_law(num_nodes, generator):
    return power_law_graph(num_nodes, num_nodes * DEGREE // 2)


GENERATED = {'communities': communities, 'plane': plane, 'power law': power_law}
REAL = ('pubmed', 'computers')


def graph_of(name, shrink, root):
    if name in REAL:
        return load_dataset(name, root).data.edge_index
    num_nodes, generator = NUM_NODES // shrink, torch.Generator().manual_seed(0)
    edge_index = GENERATED[name](num_nodes, generator)
    shuffled = torch.randperm(num_nodes, generator=generator)
    return to_undirected(shuffled[edge_index], num_nodes=num_nodes)


def measure(edge_index, width, arguments):
    num_nodes, code = int(edge_index.max()) + 1, PhaseCode.nearest(15, 2**0.5)
    times = torch.randint(16, (num_nodes, width), dtype=torch.uint8)
    data, orders = Data(times, edge_index), {}
    orders[OURS] = data, torch.arange(num_nodes)
    orders |= {method: reorder(data, method) for method in METHODS}

    def sums_in(data):
        adjacency = gcn_adjacency(data.edge_index, None, num_nodes, torch.float32)
        spikes = Spikes(data.x, code, torch.tensor(1.0))
        return lambda: propagate(adjacency, spikes)

    operations = {name: sums_in(data) for name, (data, _) in orders.items()}
    expected = operations[OURS]()
    for name, (_, position) in orders.items():
        assert torch.equal(operations[name]()[position], expected), name
    seconds = measure_in_turn(operations, arguments.repeats, warm_up=1)
    return {
        'nodes': num_nodes,
        'edges': edge_index.size(1),
        'width': width,
        'threads': torch.get_num_threads(),
        'seconds': seconds,
        'ratios': ratios_to(OURS, seconds),
    }


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_graph_arguments(parser, graphs=[*GENERATED, *REAL], repeats=9)
    add_threads(parser)
    add_processor(parser)
    arguments = parse_speed_arguments(parser, __file__)
    rows = []
    for name in arguments.graphs:
        edge_index = graph_of(name, arguments.shrink, arguments.root)
        for num_threads in arguments.threads:
            torch.set_num_threads(num_threads)
            for width in WIDTHS:
                rows.append({'graph': name, **measure(edge_index, width, arguments)})
                print_row(name, rows[-1])
        write_speed('reordering', arguments, rows=rows)


if __name__ == '__main__':
    main()
