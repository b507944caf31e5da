"""What ogbn-papers100M would cost, projected from what was measured on smaller graphs.

    python benchmarks/papers100m.py

Nothing is run. Read are the results of distributed.py on a generated graph of the size of
ogbn-arxiv, with a similar number of edges per node, and of out_of_core.py. Projected are:

* Rows that are sent, if a hash divides the nodes. A node whose edges lead to d others is
  needed by (P - 1)(1 - (1 - 1/P)^d) of the other P - 1 processes on average; over all nodes
  that is at most the same with the mean of d, as it is concave. METIS or an order of the
  nodes that follows the graph cut less, by how much nobody can say without the graph.
* Bytes: rows, times the bytes of a row over all layers, as measured.
* Seconds of computing: those of one process with one thread for each edge, as measured,
  with the same widths, divided by the number of processes; of a network of 10 Gbit/s for
  each process, which is assumed. They overlap at best.
* Memory of a process: its features, the spike times of two layers of its rows and of those
  that it is sent, and the whole structure, which each process reads while it plans.
"""

import argparse
import json
from pathlib import Path

from distributed import SIZES, row_bytes
from records import RESULTS, origin, write

NODES, EDGES = 111_059_956, 1_615_685_872  # Edges as published, in one direction.
BYTES_PER_SECOND = 1.25e9  # Assumed: 10 Gbit/s.
INDEX_BYTES = 2 * 8


def measured(folder, graph, model):
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
    row['structure_bytes'] = EDGES * INDEX_BYTES
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
    arguments = parser.parse_args()
    constants = measured(arguments.results, arguments.graph, arguments.model)
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
