"""What ogbn-papers100M would cost, projected from what was measured on smaller graphs.

    python benchmarks/papers100m.py

The graph is not run. Read are the results of out_of_core.py, and of distributed.py on a
generated graph as large as ogbn-arxiv, with as many edges per node. Projected are:

* Rows that are sent, if a hash divides the nodes. A node whose edges lead to d others is
  needed by (P - 1)(1 - (1 - 1/P)^d) of the other P - 1 processes on average; over all nodes
  that is at most the same with the mean of d, as it is concave. METIS or an order of the
  nodes that follows the graph cut less, by how much nobody can say without the graph.
* Bytes: rows, times the bytes of a row over all layers, as measured.
* Seconds of computing: those of one process with one thread for each edge, as measured,
  with the same widths, divided by the number of processes; of a network of 10 Gbit/s for
  each process, which is assumed. They overlap at best.
* Memory of a process: its features, the spike times of two layers of its rows and of those
  that it is sent, and the whole structure, 16 bytes an edge, with what it takes to plan at
  most, which is measured here on a graph of 6 million edges.
"""

import argparse
import json
from pathlib import Path

import torch
import torch.distributed as dist
from distributed import SIZES, row_bytes
from memory import in_fresh_process, peak_memory
from records import RESULTS, origin, write
from torch_geometric.nn.models import GCN

import spikegraph
from spikegraph.partitioning import Partition

NODES, EDGES = 111_059_956, 1_615_685_872  # Edges as published, in one direction.
BYTES_PER_SECOND = 1.25e9  # Assumed: 10 Gbit/s.
INDEX_BYTES = 2 * 8


def planning_bytes(num_nodes, num_edges):
    """The bytes of an edge at the peak, beyond its indices, while a process plans."""
    torch.manual_seed(0)
    few = torch.rand(2000, 8), torch.randint(2000, (2, 20_000))
    snn = spikegraph.convert(GCN(8, 16, 3, 4).eval(), few)
    x, edge_index = torch.rand(num_nodes, 8), torch.randint(num_nodes, (2, num_edges))
    dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)

    def plan(*graph):
        whole = Partition(
            {'': torch.zeros(len(graph[0]), dtype=torch.int32)}, 1, 'whole'
        )
        spikegraph.DistributedModel(snn, *graph, partition=whole).run()

    plan(*few)  # Compiles what is compiled.
    peak, _ = peak_memory(lambda: plan(x, edge_index))
    return peak / num_edges


def measured(folder, graph, model, shrink):
    """Constants of the machine, and of the network."""
    rows = json.loads((folder / f'distributed_{graph}.json').read_text())['rows']
    rows = [row for row in rows if row['model'] == model]
    found = {}
    for row in rows:
        if row['processes'] == 1:
            seconds = sum(s['local_s'] + s['fire_s'] for s in row['stages'])
            found['seconds_per_edge'] = seconds / row['cut']['num_edges']
        elif row['processes'] == 2:
            each = row_bytes(row)
            found[f'row_bytes_{row["num_steps"]}'] = each['bytes_sent']
            found['row_bytes_float'] = each['float_bytes']
    disk = json.loads((folder / 'out_of_core.json').read_text())
    found['disk_seconds_per_edge'] = disk['seconds'] / disk['edges']
    sizes = 400_000 // shrink, 6_000_000 // shrink
    found['planning_bytes_per_edge'] = in_fresh_process(planning_bytes, *sizes)
    found['disk_bytes_per_node'] = disk['spike_time_bytes'] / disk['nodes']
    return found


def halo_rows(size):
    """At most so many rows are sent, with a hash."""
    return NODES * (size - 1) * (1 - (1 - 1 / size) ** (EDGES / NODES))


def project(size, constants):
    """The cost for each of some processes."""
    halo = halo_rows(size) / size
    row = {'processes': size, 'nodes': NODES / size, 'halo_rows_at_most': halo}
    for key, value in constants.items():
        if key.startswith('row_bytes_'):
            name = key.removeprefix('row_bytes_')
            row[f'bytes_{name}'] = halo * value
            row[f'exchange_seconds_{name}'] = halo * value / BYTES_PER_SECOND
    row['compute_seconds'] = constants['seconds_per_edge'] * EDGES / size
    row['feature_bytes'] = NODES / size * SIZES[0] * 4
    row['spike_time_bytes'] = 2 * (NODES / size + halo) * max(SIZES)
    row['structure_bytes'] = EDGES * (
        INDEX_BYTES + constants['planning_bytes_per_edge']
    )
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--graph', default='arxiv', help='where constants are from')
    parser.add_argument('--model', default='gcn')
    parser.add_argument('--processes', type=int, nargs='+', default=[1, 4, 16, 64])
    parser.add_argument(
        '--results', type=Path, default=RESULTS, help='what was measured'
    )
    parser.add_argument('--output', type=Path, default=RESULTS)
    parser.add_argument('--shrink', type=int, default=1, help='divides the graph')
    arguments = parser.parse_args()
    how = (arguments.results, arguments.graph, arguments.model, arguments.shrink)
    constants = measured(*how)
    rows = [project(size, constants) for size in arguments.processes]
    steps = [key[6:] for key in rows[0] if key.startswith('bytes_')]
    print('measured, on this or another machine')
    for name, value in constants.items():
        print(f'  {name.replace("_", " "):<24} {value:>12.4g}')
    print(
        f'projected: {NODES:,} nodes, {EDGES:,} edges, {arguments.model}; per process'
    )
    heads = [
        f'{"GB, " + ("floats" if s == "float" else "T = " + s):>12}' for s in steps
    ]
    print(
        f'{"processes":>9} {"halo, M":>9} {" ".join(heads)} {"compute s":>10} ', end=''
    )
    print(f'{"memory, GB":>10}')
    for row in rows:
        sent = ' '.join(f'{row[f"bytes_{step}"] / 1e9:>12.2f}' for step in steps)
        memory = sum(row[f'{n}_bytes'] for n in ('feature', 'spike_time', 'structure'))
        print(
            f'{row["processes"]:>9} {row["halo_rows_at_most"] / 1e6:>9.1f} {sent} '
            f'{row["compute_seconds"]:>10.0f} {memory / 1e9:>10.1f}'
        )
    disk = {
        'seconds': constants['disk_seconds_per_edge'] * EDGES,
        'spike_time_bytes': constants['disk_bytes_per_node'] * NODES,
        'feature_bytes': NODES * SIZES[0] * 4,
    }
    print(
        f'from disk, one process: {disk["seconds"] / 60:.0f} min, '
        f'{disk["spike_time_bytes"] / 1e9:.0f} GB of spike times beside '
        f'{disk["feature_bytes"] / 1e9:.0f} GB of features'
    )
    record = {'nodes': NODES, 'edges': EDGES, 'graph': arguments.graph}
    record |= {'model': arguments.model, 'measured': constants, 'projected': rows}
    record |= {'assumed_bytes_per_second': BYTES_PER_SECOND, 'from_disk': disk}
    write(arguments.output / 'papers100m.json', {**record, **origin()})


if __name__ == '__main__':
    main()
