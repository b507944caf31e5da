"""What runs on a GPU, checked and timed in one go.

    PYTHONPATH=. python benchmarks/gpu.py --out DIR
    PYTHONPATH=. python benchmarks/gpu.py --out DIR --device cpu --shrink 500

Needs torch, torch-geometric, Triton, Numba, NumPy and SciPy. Four sections follow each
other, and the result of each is written to DIR/gpu.json at once; what fails, or what
--seconds leave no time for, stands there with its reason:

* kernels: every Triton kernel against the reference on the CPU, bit by bit, on odd shapes.
* networks: spike times of whole networks on the GPU against those on the CPU. Products with
  weights are rounded in another order there, so that few spikes differ: their share.
* sums: spike times summed over neighbours, next to the messages of PyG, to a sparse product
  and to what a copy on the device reads and writes.
* forward: a GCN, next to the ANN by PyG, compiled, and on a sparse matrix; peak memory.

On the CPU, some of the kernels' cases are interpreted: that checks this script, and times
nothing.
"""

import argparse
import itertools
import json
import os
import platform
import statistics
import time
import traceback
from pathlib import Path

ARXIV = (169_343, 2_340_000)  # Nodes, directed edges, both directions counted.
GRAPHS = {
    'arxiv': (*ARXIV, 128),
    'arxiv-256': (*ARXIV, 256),
    'million': (1_000_000, 41_000_000, 96),
    'products': (2_449_029, 123_718_280, 100),
}
WIDTHS = {'arxiv': (128, 256, 256, 40), 'products': (100, 256, 256, 47)}
CALIBRATION = 20_000  # Nodes.
SHAPES = ((1, 1), (7, 5), (9, 17), (3, 1000), (33, 64))
CASES = (((1, 1, 0), 1), ((7, 5, 0), 17), ((9, 6, 40), 1), ((2, 20, 67), 17))
CASES += (((30, 40, 400), 65), ((3, 4, 8), 1000))


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, required=True, help='folder of gpu.json')
    parser.add_argument('--device', default='cuda', choices=['cuda', 'cpu'])
    parser.add_argument('--seconds', type=float, default=420, help='time for all of it')
    parser.add_argument('--shrink', type=int, default=1, help='divides the graphs')
    parser.add_argument('--repeats', type=int, default=20)
    parser.add_argument('--graphs', nargs='+', choices=GRAPHS, default=list(GRAPHS))
    arguments = parser.parse_args()
    if arguments.device == 'cpu':  # Before Triton is imported.
        os.environ['TRITON_INTERPRET'] = '1'
    return arguments


arguments = parse() if __name__ == '__main__' else None

import torch  # noqa: E402
from torch_geometric.nn.conv.gcn_conv import gcn_norm  # noqa: E402
from torch_geometric.nn.models import GAT, GCN, GIN, GraphSAGE  # noqa: E402
from torch_geometric.utils import scatter  # noqa: E402

import spikegraph  # noqa: E402
from spikegraph import ConversionConfig, PhaseCode, Spikes  # noqa: E402
from spikegraph.kernels import CSR, gcn_adjacency, propagate, reference  # noqa: E402


class OutOfTime(Exception):
    pass


class Runner:
    """Runs sections, and keeps what they have found.

    Args:
        device (str): Where.
        seconds (float): How long all may take.
        path (pathlib.Path): Where results are written.
        shrink (int): What sizes of graphs are divided by.
        repeats (int): How often each operation is timed.
    """

    def __init__(self, device, seconds, path, shrink, repeats):
        self.device, self.path = torch.device(device), path
        self.shrink, self.repeats = shrink, repeats
        self.end = time.monotonic() + seconds
        self.record = {'environment': environment(self.device), 'failed': []}

    def section(self, name, function, *args):
        start = time.monotonic()
        try:
            if start > self.end:
                raise OutOfTime('no time was left')
            found = function(self, *args)
        except Exception as error:  # The others may run nevertheless.
            reason = ''.join(traceback.format_exception_only(error)).strip()
            found = {'failed': reason}
            if not isinstance(error, OutOfTime):
                traceback.print_exc()
            self.record['failed'].append(name)
        found['section_seconds'] = time.monotonic() - start
        self.record[name] = found
        self.path.write_text(json.dumps(self.record, indent=1) + '\n')
        shown = {k: v for k, v in found.items() if not isinstance(v, (dict, list))}
        print(f'{name}: {shown}', flush=True)
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()

    def seconds(self, operation):
        """The shortest and the median time; peak bytes beyond what was there."""
        if time.monotonic() > self.end:
            raise OutOfTime('no time was left')
        is_cuda, times = self.device.type == 'cuda', []
        operation()
        if is_cuda:
            torch.cuda.synchronize()
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
        for _ in range(self.repeats):
            if is_cuda:
                first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                first.record()
                operation()
                last.record()
                torch.cuda.synchronize()
                times.append(first.elapsed_time(last) / 1e3)
            else:
                start = time.perf_counter()
                operation()
                times.append(time.perf_counter() - start)
        found = {'min': min(times), 'median': statistics.median(times)}
        if is_cuda:
            found['peak_bytes'] = torch.cuda.max_memory_allocated() - before
        return found

    def time_all(self, operations):
        """Times of all operations, and how many times as long as the first one each of
        the others takes, by medians; what cannot run says why.
        """
        found = {}
        for name, operation in operations.items():
            try:
                found[name] = self.seconds(operation)
            except (RuntimeError, NotImplementedError) as error:
                found[name] = {'failed': str(error).splitlines()[0][:200]}
                if self.device.type == 'cuda':
                    torch.cuda.empty_cache()
        ours = found[next(iter(found))].get('median')
        ratios = {
            name: times['median'] / ours
            for name, times in found.items()
            if ours and 'median' in times
        }
        return {'seconds': found, 'ratios': ratios}


def environment(device):
    found = {'python': platform.python_version(), 'torch': torch.__version__}
    found['spikegraph'] = spikegraph.__version__
    for name in ('torch_geometric', 'triton', 'numba', 'numpy', 'scipy'):
        try:
            found[name] = __import__(name).__version__
        except ImportError:
            found[name] = None
    if device.type == 'cuda':
        kind = torch.cuda.get_device_properties(device)
        found |= {'device': kind.name, 'memory_bytes': kind.total_memory}
        found['capability'] = list(torch.cuda.get_device_capability(device))
    else:
        found['device'] = 'cpu, Triton interpreted'
    return found


def random_graph(num_nodes, num_edges, device):
    """Both directions of edges, one end of which are hubs."""
    random = torch.Generator(device).manual_seed(0)
    half = num_edges // 2
    place = torch.rand(2, half, generator=random, device=device)
    place[0] **= 3
    pairs = (place * num_nodes).long().clamp_(max=num_nodes - 1)
    order = torch.randperm(num_nodes, generator=random, device=device)
    pairs[0] = order[pairs[0]]
    return torch.cat([pairs, pairs.flip(0)], dim=1)


def check_kernels(runner):
    """How many calls of Triton's kernels were compared, and which differ."""
    from spikegraph.kernels.triton import operations as triton

    torch.manual_seed(0)
    num, different = 0, []
    # Interpreted, they take long: every 17th is compared, or fewer.
    every = 1 if runner.device.type == 'cuda' else 17 * max(1, runner.shrink // 2000)

    def move(value):
        if isinstance(value, CSR):
            return CSR(*map(move, value))
        return value.to(runner.device) if isinstance(value, torch.Tensor) else value

    def compare(name, function, args, expected):
        nonlocal num
        num += 1
        if num % every > 0:
            return
        found, expected = function(*map(move, args)).cpu(), expected(*args)
        same = found.dtype == expected.dtype and torch.equal(found, expected)
        if not same:
            different.append(name)

    codes = [PhaseCode(15, 1.4), PhaseCode(16, 1.5), PhaseCode(7, 2.0, signed=True)]
    codes += [PhaseCode(1, 2.0), PhaseCode(126, 1.05, signed=True)]
    for code, shape, dtype in itertools.product(
        codes, SHAPES, (torch.float32, torch.float64)
    ):
        x, scale = (
            torch.randn(shape, dtype=dtype),
            torch.rand(shape[1], dtype=dtype) + 0.5,
        )
        name = f'{code}, {shape}, {dtype}'
        for s in (scale, scale[:1]):
            times = torch.randint(len(code.table()), shape, dtype=torch.uint8)
            how = (times, code, s, dtype)
            compare(f'encode, {name}', triton.encode, (x, code, s), reference.encode)
            compare(f'decode, {name}', triton.decode, how, reference.decode)
    for (graph, width), code, dtype in itertools.product(
        CASES, codes[:3], (torch.float32, torch.float64)
    ):
        num_targets, num_sources, num_edges = graph
        target = torch.randint(num_targets, (num_edges,))
        counts = torch.bincount(target, minlength=num_targets)
        rowptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        col = torch.randint(num_sources, (num_edges,)).int()
        factors = (
            torch.randn(num_edges, dtype=dtype),
            torch.rand(num_sources, 1, dtype=dtype),
            torch.rand(num_targets, 1, dtype=dtype),
        )
        table, thresholds = code.table().to(dtype), code.thresholds.to(dtype)
        x = torch.randn(num_sources, width, dtype=dtype)
        times = torch.randint(len(table), x.shape, dtype=torch.uint8)
        bias, one = torch.randn(width, dtype=dtype), torch.ones(1, dtype=dtype)

        def fired(times, csr, table, bias, thresholds, one, signed, code=code):
            sums = reference.aggregate_spikes(times, csr, table)
            return reference.encode(sums + bias, code, one)

        for kept in itertools.product([True, False], repeat=3):
            given = [f if keep else None for f, keep in zip(factors, kept, strict=True)]
            csr, name = CSR(rowptr, col, *given), f'{graph}, {width}, {kept}, {dtype}'
            compare(f'sum, {name}', triton.aggregate, (x, csr), reference.aggregate)
            how, sums = (times, csr, table), reference.aggregate_spikes
            compare(f'sum of spikes, {name}', triton.aggregate, how, sums)
            how = (*how, bias, thresholds, one, code.signed)
            compare(f'fired, {name}', triton.aggregate_encode, how, fired)
        csr = CSR(rowptr, col)
        for latest in (False, True):
            how = (times, csr, code.num_steps, latest)
            earliest = f'earliest, {graph}, {width}'
            compare(earliest, triton.earliest, how, reference.earliest)
    return {'calls': num // every, 'different': len(different), 'which': different[:20]}


def check_networks(runner):
    """The share of spikes that differ from those of the CPU, and logit errors, in %."""
    torch.manual_seed(0)
    num_nodes = max(50, 3000 // runner.shrink)
    edge_index = random_graph(num_nodes, 10 * num_nodes, 'cpu')
    x = torch.randn(num_nodes, 33)
    models = {
        'GCN': GCN(33, 65, 3, 7),
        'GIN': GIN(33, 64, 2, 7),
        'GraphSAGE': GraphSAGE(33, 64, 2, 7),
        'GraphSAGE max': GraphSAGE(33, 64, 2, 7, aggr='max'),
        'GAT': GAT(33, 64, 2, 7, heads=4),
    }
    found, worst = {}, 0.0
    for name, model in models.items():
        snn = spikegraph.convert(model.eval(), (x, edge_index), ConversionConfig(15))
        expected, out = snn.spikes(x, edge_index), snn(x, edge_index)
        there = snn.to(runner.device)
        graph = x.to(runner.device), edge_index.to(runner.device)
        spikes, moved = there.spikes(*graph), there(*graph).cpu()
        num = sum(s.spike_time.numel() for s in expected.values())
        other = sum(
            int((spikes[key].spike_time.cpu() != s.spike_time).sum())
            for key, s in expected.items()
        )
        error = float((moved - out).norm() / out.norm())
        found[name] = {
            'spikes': num,
            'different': other,
            'logit_error_percent': 100 * error,
        }
        worst = max(worst, 100 * other / num)
    return {'networks': found, 'most_different_percent': worst}


def time_sums(runner, name):
    """GCN-normalised sums of decoded spike times."""
    num_nodes, num_edges, width = GRAPHS[name]
    num_nodes, num_edges = num_nodes // runner.shrink, num_edges // runner.shrink
    device = runner.device
    edge_index = random_graph(num_nodes, num_edges, device)
    x = torch.randn(num_nodes, width, device=device).relu_()
    spikes = Spikes.from_values(x, PhaseCode.nearest(15, 2**0.5), x.max())
    values = spikes.decode()
    adjacency = gcn_adjacency(edge_index, None, num_nodes, torch.float32)
    edges, weight = gcn_norm(edge_index, None, num_nodes)
    matrix = torch.sparse_coo_tensor(edges.flip(0), weight, (num_nodes, num_nodes))
    matrix = matrix.coalesce().to_sparse_csr()

    def messages():
        sent = values.index_select(0, edges[0]) * weight.view(-1, 1)
        return scatter(sent, edges[1], 0, num_nodes, reduce='sum')

    operations = {
        'spikes': lambda: propagate(adjacency, spikes),
        'the same as floats': lambda: propagate(adjacency, values),
        'torch CSR': lambda: matrix @ values,
        'PyG, edge_index': messages,
    }
    ours, expected = operations['spikes'](), operations['torch CSR']()
    error = float((ours - expected).norm() / expected.norm())
    found = runner.time_all(operations)
    num = edges.size(1)
    moved = num * (width + 8) + num_nodes * (4 * width + 12)
    source = torch.ones(1 << (28 if runner.shrink == 1 else 20), device=device)
    into = torch.empty_like(source)
    copy = runner.seconds(lambda: into.copy_(source))['median']
    bandwidth = 2 * 4 * source.numel() / copy
    asked = moved / found['seconds']['spikes']['median']
    return {
        'nodes': num_nodes,
        'edges_with_loops': num,
        'width': width,
        'relative_error': error,
        **found,
        'bytes_per_second': asked,
        'copied_bytes_per_second': bandwidth,
        'least_seconds': (num * 8 + num_nodes * (5 * width + 12)) / bandwidth,
    }


def time_forward(runner, name):
    """A GCN that was not trained."""
    num_nodes, num_edges, _ = GRAPHS[name]
    num_nodes, num_edges = num_nodes // runner.shrink, num_edges // runner.shrink
    sizes, device = WIDTHS[name], runner.device
    torch.manual_seed(0)
    few = min(CALIBRATION, num_nodes)
    small = torch.randn(few, sizes[0]), random_graph(few, 14 * few, 'cpu')
    ann = GCN(sizes[0], sizes[1], len(sizes) - 1, sizes[-1], norm='batch_norm')
    ann(*small)  # Statistics of the norms.
    snn = spikegraph.convert(ann.eval(), small, ConversionConfig(15)).to(device)
    ann = ann.to(device)
    x = torch.randn(num_nodes, sizes[0], device=device)
    edge_index = random_graph(num_nodes, num_edges, device)
    edges, weight = gcn_norm(edge_index, None, num_nodes)
    matrix = torch.sparse_coo_tensor(
        edges.flip(0), torch.ones_like(weight), (num_nodes, num_nodes)
    )
    matrix = matrix.coalesce().to_sparse_csr()
    operations = {
        'SNN, edge_index': lambda: snn(x, edge_index),
        'ANN, CSR': lambda: ann(x, matrix),
        'ANN, edge_index': lambda: ann(x, edge_index),
    }
    ours, expected = snn(x, edge_index), ann(x, edge_index)
    agreement = (ours.argmax(1) == expected.argmax(1)).double().mean()
    error = float((ours - expected).norm() / expected.norm())
    if device.type == 'cuda':
        compiled = torch.compile(ann, dynamic=False)
        operations['ANN, edge_index, compiled'] = lambda: compiled(x, edge_index)
    return {
        'nodes': num_nodes,
        'edges': edge_index.size(1),
        'sizes': list(sizes),
        'agreement_percent': 100 * float(agreement),
        'logit_relative_error': error,
        **runner.time_all(operations),
    }


@torch.no_grad()
def main(arguments):
    if arguments.device == 'cuda' and not torch.cuda.is_available():
        raise SystemExit(
            "gpu.py: error: expected a GPU that torch can use (found none); try '--device "
            "cpu --shrink 500', which checks this script only"
        )
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / 'gpu.json'
    how = (
        arguments.device,
        arguments.seconds,
        path,
        arguments.shrink,
        arguments.repeats,
    )
    runner = Runner(*how)
    runner.section('kernels', check_kernels)
    runner.section('networks', check_networks)
    for name in arguments.graphs:
        runner.section(f'sums, {name}', time_sums, name)
        if name in WIDTHS:
            runner.section(f'forward, {name}', time_forward, name)
    print(f'wrote {path}')
    wrong = runner.record['kernels'].get('different', 1)
    return 1 if wrong or runner.record['failed'] else 0


if __name__ == '__main__':
    raise SystemExit(main(arguments))
