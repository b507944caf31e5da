"""Inference on a graph whose features do not fit into the memory that is left.

    python benchmarks/out_of_core.py --folder FOLDER
    python benchmarks/out_of_core.py --shrink 100 --folder FOLDER

A graph is generated in files (4 million nodes, 50 million edges, 256 features: 4.1 GB,
and 0.8 GB of edges). A process that has converted a GraphSAGE network is then given a
limit on what it may still allocate (RLIMIT_DATA, of Linux), far below the features, and
runs it layer by layer, in blocks, with spike times in files. Outputs of sampled nodes
are compared, bit by bit, with those on their whole neighbourhood; the peak, with what
spikegraph says beforehand. The limit has to hold for all but files.
"""

import argparse
import resource
import threading
import time
from pathlib import Path

import numpy as np
import torch
from memory import in_fresh_process
from records import RESULTS, write_speed
from torch_geometric.nn.models import GraphSAGE

import spikegraph
from spikegraph.partitioning.arrays import map_array, tensor_of
from spikegraph.running.parts.memory import block_bytes
from spikegraph.running.parts.staged import Staged

NODES, EDGES, WIDTH, HIDDEN, CLASSES = 4_000_000, 50_000_000, 256, 128, 32
PIECE = 1 << 20  # Rows that are generated, or looked through, at once.


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--folder', type=Path, required=True, help='for 10 GB of files')
    parser.add_argument('--shrink', type=int, default=1, help='divides the graph')
    parser.add_argument('--block-size', type=int, default=8192, help='nodes at once')
    parser.add_argument('--limit', type=float, default=0.8, help='GB left to allocate')
    parser.add_argument('--samples', type=int, default=20, help='nodes to compare')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--output', type=Path, default=RESULTS)
    return parser.parse_args()


def generate(folder, num_nodes, num_edges):
    """Features, and edges that mostly lead to nodes near by, some of them hubs."""
    random = np.random.default_rng(0)
    shape = num_nodes, WIDTH
    x = np.lib.format.open_memmap(folder / 'x.npy', 'w+', np.float32, shape)
    for start in range(0, num_nodes, PIECE):
        piece = x[start : start + PIECE]
        piece[:] = random.standard_normal(piece.shape, np.float32)
    x.flush()
    shape = 2, num_edges
    edges = np.lib.format.open_memmap(folder / 'edges.npy', 'w+', np.int64, shape)
    for start in range(0, num_edges, PIECE):
        piece = edges[:, start : start + PIECE]
        piece[0] = random.random(piece.shape[1]) ** 2 * num_nodes
        far = random.standard_normal(piece.shape[1]) * num_nodes / 200
        piece[1] = (piece[0] + far.astype(np.int64)) % num_nodes
    edges.flush()


def mapped(path):
    return tensor_of(map_array(path, read_only=True), path.name)


def allocated():
    """Bytes that a process has allocated, files that it has mapped left out."""
    with open('/proc/self/status') as file:
        fields = dict(line.split(':', 1) for line in file)
    return int(fields['VmData'].split()[0]) * 1024


class Peak(threading.Thread):
    """Looks again and again at how much is allocated."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most, self.stopped = allocated(), threading.Event()
        self.start()

    def run(self):
        while not self.stopped.wait(0.01):
            self.most = max(self.most, allocated())

    def stop(self):
        self.stopped.set()
        self.join()
        return self.most


def neighborhood(edge_index, node, num_hops):
    """All edges within some hops of a node, in order."""
    nodes = torch.tensor([node])
    for _ in range(num_hops):
        found = []
        for start in range(0, edge_index.size(1), 16 * PIECE):
            target = edge_index[1, start : start + 16 * PIECE]
            found.append(torch.isin(target, nodes).nonzero().view(-1) + start)
        places = torch.cat(found)
        nodes = torch.cat([nodes, edge_index[0, places]]).unique()
    return nodes, edge_index[:, places]


def limited(folder, arguments):
    """Runs under the limit; what it took, and how outputs differ."""
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    few = torch.randn(2000, WIDTH), torch.randint(2000, (2, 20_000))
    snn = spikegraph.convert(GraphSAGE(WIDTH, HIDDEN, 2, CLASSES), few)
    spikegraph.layerwise(snn, *few, block_size=256)  # Compiles what is compiled.
    x, edge_index = mapped(folder / 'x.npy'), mapped(folder / 'edges.npy')
    before, limit = allocated(), int(arguments.limit * 1e9)
    bounds = before + limit, resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_DATA, bounds)
    peak = Peak()
    start = time.perf_counter()
    out = spikegraph.layerwise(
        snn,
        *(x, edge_index),
        block_size=arguments.block_size,
        storage=folder / 'kept',
        output=folder / 'out.npy',
        progress=True,
    )
    seconds, most = time.perf_counter() - start, peak.stop()
    resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY,) * 2)
    staged = Staged(snn, snn.bound(x, edge_index), by_rows=False)
    largest = 0.0
    for node in torch.randint(len(x), (arguments.samples,)).tolist():
        nodes, edges = neighborhood(edge_index, node, 2)
        near = snn(x[nodes], torch.searchsorted(nodes, edges))
        place = int(torch.searchsorted(nodes, torch.tensor(node)))
        largest = max(largest, float((near[place] - out[node]).abs().max()))
    return {
        'seconds': seconds,
        'limit_bytes': limit,
        'peak_bytes': most - before,
        'bound_bytes': block_bytes(staged, arguments.block_size),
        'feature_bytes': x.numel() * x.element_size(),
        'largest_difference': largest,
        'spike_time_bytes': sum(f.stat().st_size for f in folder.glob('kept/*')),
    }


def main():
    arguments = parse()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    num_nodes, num_edges = NODES // arguments.shrink, EDGES // arguments.shrink
    generate(folder, num_nodes, num_edges)
    found = in_fresh_process(limited, folder, arguments)
    assert found['largest_difference'] == 0, found
    assert found['peak_bytes'] <= found['bound_bytes'], found
    assert found['bound_bytes'] < found['feature_bytes'], found
    for name in ('limit', 'peak', 'bound', 'feature', 'spike_time'):
        print(f'{name.replace("_", " "):<12} {found[f"{name}_bytes"] / 1e9:>8.3f} GB')
    print(f'{"run":<12} {found["seconds"]:>8.1f} s')
    print(f'outputs of {arguments.samples} nodes are the same, bit by bit')
    del arguments.folder
    write_speed('out_of_core', arguments, nodes=num_nodes, edges=num_edges, **found)


if __name__ == '__main__':
    main()
