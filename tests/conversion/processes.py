"""Conversions by several processes, each of which writes down what it has found.

Started as ``python -m tests.conversion.processes SCENARIOS SIZE RANK FOLDER``; the
processes meet in a file of the folder.
"""

import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GATConv, GINConv, MessagePassing
from torch_geometric.nn.models import GAT, GCN, GraphSAGE

from spikegraph import ConversionConfig, convert
from spikegraph.conversion import converter, ranks
from spikegraph.conversion.fitting import compensation, sampling

ROOT = Path(__file__).parents[2]
TIMEOUT = 20.0


class Net(nn.Module):
    """A network over images, with a sum and a batch norm."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 6, 3, padding=1, groups=2)
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        x = self.norm(self.first(x)).relu()
        x = (x + self.second(x)).relu()
        return self.last(x.mean(dim=(2, 3)))


class Own(MessagePassing):
    """A layer without a rule, which is found to be affine."""

    def __init__(self):
        super().__init__(aggr='add')
        self.lin = nn.Linear(5, 8)

    def forward(self, x, edge_index):
        return self.propagate(edge_index, x=self.lin(x))

    def message(self, x_j):
        return 0.5 * x_j


class Custom(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = Own()
        self.gin = GINConv(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)))

    def forward(self, x, edge_index):
        return self.gin(self.conv(x, edge_index).relu(), edge_index)


class Tall(nn.Module):
    """Attention over scores of a range that one ramp cannot count through."""

    def __init__(self):
        super().__init__()
        self.conv = GATConv(5, 3, heads=2)

    def forward(self, x, edge_index):
        return self.conv(40 * x, edge_index)


MODELS = {
    'gcn': lambda: GCN(5, 8, 2, 3),
    'sage': lambda: GraphSAGE(5, 8, 2, 3, aggr='max'),
    'gat': lambda: GAT(5, 8, 2, 3, heads=2),
    'cnn': Net,
    'custom': Custom,
    'tall': Tall,
}
# What is converted: the model, options, and how many batches each process has.
SCENARIOS = {
    'gcn': ('gcn', {}, (2, 3, 1)),
    'max': ('gcn', dict(scale='max', input_scale='node', fold_degree=True), (1, 2)),
    'percentile': ('gcn', dict(scale=('percentile', 97.0), per_channel=True), (2, 1)),
    'bias': ('sage', dict(compensate='bias', per_channel=True), (0, 2, 1)),
    'none': ('sage', dict(compensate=None, levels='fitted'), (3, 0)),
    'gat': ('gat', dict(num_steps=8), (1, 2, 0)),
    'cnn': ('cnn', {}, (3, 1)),
    'layer': ('cnn', dict(levels='geometric', per_channel=False), (0, 1, 2)),
    'rounded': ('gcn', dict(weight_bits=4, compensate=None), (2, 1)),
    'rounded-cnn': ('cnn', dict(weight_bits=6), (1, 2)),
    'custom': ('custom', {}, (1, 1)),
    'tall': ('tall', {}, (1, 2)),
    'few': ('gcn', {}, (3, 2)),
    'loader': ('gcn', dict(num_steps=12), None),
}


def model_of(kind):
    torch.manual_seed(0)
    model = MODELS[kind]().eval()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2.0)
    return model


def batches_of(kind, counts):
    """The batches of each process, of different sizes, the last the largest values."""
    generator = torch.Generator().manual_seed(1)
    total, found = sum(counts), []
    for k in range(total):
        size = 30 + 7 * k
        if kind == 'cnn':
            x = torch.randn(4 + k, 2, 6, 6, generator=generator) * (1 + k)
            found.append((x,))
            continue
        x = torch.randn(size, 5, generator=generator) * (1 + k)
        edges = torch.randint(size - 3, (2, 4 * size), generator=generator)
        found.append((x, edges))
    starts = [sum(counts[:rank]) for rank in range(len(counts))]
    return [found[a : a + n] for a, n in zip(starts, counts, strict=True)]


def loaders(size):
    """A loader of the graphs of each process."""
    graphs = [
        Data(x=x, edge_index=edge_index) for x, edge_index in batches_of('', (7,))[0]
    ]
    starts = torch.arange(7).tensor_split(size)
    return [DataLoader([graphs[k] for k in part], batch_size=2) for part in starts]


def data_of(name, size):
    """What each process converts with."""
    kind, _, counts = SCENARIOS[name]
    if counts is None:
        return loaders(size)
    return batches_of(kind, (*counts, *(0,) * size)[:size])


def state_of(snn):
    """All that a network is: tensors, codes and the report."""
    state = dict(snn.state_dict())
    codes = {name: neuron.code for name, neuron in snn.neurons.items()}
    return state, codes, snn.report


def converted(name, data, **kwargs):
    """A network converted with data, of which 'few' keeps only some."""
    kind, options, _ = SCENARIOS[name]
    given = sampling.MAX_VALUES, sampling.MIN_ROWS, compensation.MAX_ROWS
    few = (500, 40, 90) if name == 'few' else given
    sampling.MAX_VALUES, sampling.MIN_ROWS, compensation.MAX_ROWS = few
    try:
        return convert(model_of(kind), data, ConversionConfig(**options), **kwargs)
    finally:
        sampling.MAX_VALUES, sampling.MIN_ROWS, compensation.MAX_ROWS = given


def run(name, rank, size, group='all'):
    """What a conversion finds, and how many bytes the process has sent."""
    opened = []

    def watched(*args):
        opened.append(ranks.open_ranks(*args))
        return opened[-1]

    converter.open_ranks = watched
    try:
        data = data_of(name, size)[rank]
        snn = converted(name, data, group=group, timeout=TIMEOUT)
    finally:
        converter.open_ranks = ranks.open_ranks
    return (*state_of(snn), opened[0].bytes_sent)


def run_in_group(name, rank, size):
    """The same in a group without the first process."""
    group = dist.new_group(list(range(1, size)))
    return run(name, rank - 1, size - 1, group) if rank > 0 else None


def fault(name, rank, size):
    """Conversions that cannot go on; returns the error, and how long it took."""
    model, config = model_of('gcn'), ConversionConfig()
    data = batches_of('gcn', (1,) * size)[rank]
    if name == 'empty':
        data = []
    if name == 'leader':  # No population can be fitted to zeros.
        data = [(0 * x, edges) for x, edges in data]
    if rank == 1:
        if name == 'weights':
            model.convs[1].lin.weight.data[0, 0] += 1e-6
        elif name == 'module':
            model.convs[1].register_buffer('mine', torch.zeros(1))
        elif name == 'option':
            config = ConversionConfig(num_steps=8)
        elif name == 'no-model':
            model = 'gcn'
        elif name == 'forward':
            data[0][1][0, 0] = 1000  # No such node.
        elif name == 'dies':
            after(9, lambda: os._exit(3))
        elif name == 'hangs':
            after(9, lambda: time.sleep(6))
    start = time.perf_counter()
    try:
        convert(model, data, config, group='all', timeout=4.0)
    except Exception as error:
        return type(error).__name__, str(error), time.perf_counter() - start
    return None


def after(number, act):
    """Lets something happen when a process has found something for the n-th time."""
    given, left = ranks._packed, [number]

    def packed(value):
        left[0] -= 1
        if left[0] == 0:
            act()
        return given(value)

    ranks._packed = packed


def start(names, size, folder, limit=120):
    """What each process has written down, by name."""
    env = {
        **os.environ,
        'OMP_NUM_THREADS': '1',
        'GLOO_SOCKET_IFNAME': 'lo',
        'PYTHONPATH': str(ROOT),
    }
    args = [sys.executable, '-m', 'tests.conversion.processes']
    workers = [
        subprocess.Popen(
            [*args, json.dumps(names), str(size), str(rank), str(folder)],
            env=env,
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    errors = []
    try:
        for worker in workers:
            errors.append(worker.communicate(timeout=limit)[1])
    finally:
        for worker in workers:
            worker.kill()
    found = []
    for rank, worker in enumerate(workers):
        path = Path(folder) / f'{rank}.pt'
        made = torch.load(path, weights_only=False) if path.exists() else {}
        found.append(made)
        assert worker.returncode in (0, 3), errors[rank]
    return found


def main(names, size, rank, folder):
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)  # As in all tests.
    dist.init_process_group(
        'gloo',
        init_method=f'file://{folder}/meeting',
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=60),
    )
    found = {}
    for name in names:
        what, _, case = name.partition(':')
        how = {'run': run, 'group': run_in_group, 'fault': fault}[what]
        found[name] = how(case, rank, size)
        torch.save(found, Path(folder) / f'{rank}.pt')
    sys.stderr.flush()
    os._exit(0)  # Groups that lost a process would wait for it.


if __name__ == '__main__':
    main(json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
