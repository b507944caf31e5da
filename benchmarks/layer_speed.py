"""From which size of a graph on a spiking network is faster than its ANN.

    python benchmarks/layer_speed.py
    python benchmarks/layer_speed.py --graphs 100 1000 --threads 1

Untrained networks of PyG, two layers of 64 channels each, on power-law graphs of so many
nodes, eight undirected edges each. Timed in turn with the ANN on edge indices, its graph as
it is, and on a sparse matrix; checked first: the spiking network gives the ANN's outputs
but for the coding error (of the median node), and the same in either form of the graph.
The limit that times are compared with is that of limits.py.
"""

import argparse

import limits
import torch
from competitors import adjacency_matrix
from records import (
    add_speed_arguments,
    measure_in_turn,
    parse_speed_arguments,
    print_row,
    ratios_to,
    write_speed,
)
from torch_geometric.nn.models import GCN, GIN, GraphSAGE

import spikegraph
from spikegraph.zoo.datasets import power_law_graph

NETWORKS = {'GCN': GCN, 'GIN': GIN, 'GraphSAGE': GraphSAGE}
SIZES = ('100', '1000', '10000', '100000')
CHANNELS, CLASSES, DEGREE = 64, 10, 8
OURS = 'SNN, edge_index'


def measure(name, num_nodes, arguments):
    torch.manual_seed(0)
    x = torch.randn(num_nodes, CHANNELS).relu_()
    edge_index = power_law_graph(num_nodes, DEGREE * num_nodes)
    model = NETWORKS[name](CHANNELS, CHANNELS, 2, CLASSES).eval()
    config = spikegraph.ConversionConfig(num_steps=arguments.num_steps)
    snn = spikegraph.convert(model, (x, edge_index), config)
    matrix = adjacency_matrix(edge_index, num_nodes)
    operations = {
        OURS: lambda: snn(x, edge_index),
        'SNN, CSR': lambda: snn(x, matrix),
        'ANN, edge_index': lambda: model(x, edge_index),
        'ANN, CSR': lambda: model(x, matrix),
    }
    expected, found = model(x, edge_index), snn(x, edge_index)
    error = float(((found - expected).norm(dim=1) / expected.norm(dim=1)).median())
    assert error < 0.25, error
    assert torch.allclose(snn(x, matrix), found, rtol=1e-3, atol=1e-3)
    seconds = measure_in_turn(operations, arguments.repeats, warm_up=2)
    return {
        'network': name,
        'nodes': num_nodes,
        'edges': edge_index.size(1),
        'threads': torch.get_num_threads(),
        'median_relative_error': error,
        'seconds': seconds,
        'ratios': ratios_to(OURS, seconds),
        **limits.distance(seconds[OURS], limits.of_network(model, snn, x, edge_index)),
    }


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_speed_arguments(parser, graphs=SIZES, repeats=20)
    arguments = parse_speed_arguments(parser, __file__)
    rows = []
    for num_threads in arguments.threads:
        torch.set_num_threads(num_threads)
        for size in arguments.graphs:
            for name in NETWORKS:
                rows.append(measure(name, int(size) // arguments.shrink, arguments))
                print_row(name, rows[-1])
                limits.print_distance(rows[-1])
        write_speed('layer_speed', arguments, rows=rows)


if __name__ == '__main__':
    main()
