"""What processes must have in common, and what each makes of its rows."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch_geometric.nn import EdgeConv, GCNConv, GINEConv, global_mean_pool

from spikegraph import (
    DistributedModel,
    convert,
    load_partition,
    partition_graph,
    save_partition,
)
from tests.running.blocks import run_layerwise
from tests.running.distributed.processes import TIMEOUT, run
from tests.running.distributed.test_faults import outcome
from tests.running.distributed.test_infer import graph


class Pair(NamedTuple):
    first: Tensor
    second: Tensor


class Weighted(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = GCNConv(8, 16), GCNConv(16, 4)

    def forward(self, x, edge_index, edge_weight):
        x = self.first(x, edge_index, edge_weight).relu()
        x = self.last(x, edge_index, edge_weight)
        return Pair(x, 2 * x)


class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        own = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 8))
        self.conv, self.last = EdgeConv(own, 'add'), nn.Linear(8, 4)

    def forward(self, x, edge_index, batch):
        x = self.conv(x, edge_index).relu()
        return self.last(global_mean_pool(x, batch).relu())


class WithEdges(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = GINEConv(nn.Linear(8, 4), edge_dim=3)

    def forward(self, x, edge_index, edge_attr):
        return self.conv(x, edge_index, edge_attr)


def prepared(model):
    torch.manual_seed(1)
    data = graph()
    num_edges = data.edge_index.size(1)
    data.edge_weight, data.edge_attr = torch.rand(num_edges), torch.rand(num_edges, 3)
    data.batch = torch.arange(data.num_nodes) // 25
    return convert(model.eval(), data), data


def divided(folder, size, change=None):
    data = prepared(Weighted())[1]
    if change is not None:
        data[change] = 2 * data[change]
    save_partition(partition_graph(data, size, 'hash'), data, folder)


def agree(rank, size, folder):
    found = {}
    snn, data = prepared(Weighted())
    own = load_partition(f'{folder}/other' if rank == 1 else f'{folder}/parts')
    found['weights of edges'] = outcome(lambda: DistributedModel(snn, own))
    partition = partition_graph(data, size, 'hash')
    if rank == 1:
        data.x = 2 * data.x
    found['features'] = outcome(
        lambda: DistributedModel(snn, data, partition=partition, timeout=TIMEOUT)
    )
    snn = prepared(WithEdges())[0]
    part = load_partition(f'{folder}/broken')
    try:
        DistributedModel(snn, part)
    except (ValueError, RuntimeError) as error:
        found['not finite'] = str(error), 0.0
    for name, options in (
        ('timeout', {'timeout': -1}),
        ('timeout', {'timeout': 'soon'}),
        ('packs', {'packs': 'yes'}),
        ('watches', {'watches': 1}),
        ('storage', {'resume': False}),
    ):
        try:
            DistributedModel(snn, part, **options)
        except ValueError as error:
            found[f'{name} {options}'] = str(error), 0.0
    return found


def test_agreement(tmp_path):
    divided(tmp_path / 'parts', 2)
    divided(tmp_path / 'other', 2, 'edge_weight')
    divided(tmp_path / 'broken', 2)
    for path in (tmp_path / 'broken').rglob('*edge_attr*.npy'):
        values = np.load(path)
        values[5, 1] = np.nan
        np.save(path, values)
    results = run(agree, 2, str(tmp_path))
    assert set(results) == {0, 1}
    for found in results.values():
        assert isinstance(found, dict), found
        assert 'to have the same graph (got' in found['weights of edges'][0]
        assert 'to have the same features (got' in found['features'][0]
        assert 'finite (got nan in 1 places)' in found['not finite'][0]
        assert len(found) == 8
        for name, (message, _) in found.items():
            if '{' in name:
                assert f"Expected '{name.split()[0]}'" in message


def rows(rank, size, folder):
    found = []
    snn, data = prepared(Pooled())
    _, spikes = run_layerwise(snn, 10**9, data)
    partition = partition_graph(data, size, 'hash')
    with DistributedModel(snn, data, partition=partition, watches=True) as model:
        result = model.run()
        for label, (own, part) in result.spikes.items():
            found.append(len(own) == len(part.spike_time))
            found.append(torch.equal(part.spike_time, spikes[label].spike_time[own]))
        out = model.gather(result)
    found.append(rank > 0 or torch.equal(out, snn(data)))
    try:
        model.run()
    except RuntimeError as error:
        found.append('neither failed nor left' in str(error))
    snn, data = prepared(Weighted())
    model = DistributedModel(snn, load_partition(f'{folder}/parts'))
    out, expected = model.gather(model.run()), snn(data)
    found.append(rank > 0 or type(out) is Pair)
    found.append(rank > 0 or all(map(torch.equal, out, expected)))
    before = len(list(Path('/proc/self/fd').iterdir()))
    for _ in range(4):
        with DistributedModel(snn, data, partition=partition):
            pass
    dist.barrier()
    found.append(len(list(Path('/proc/self/fd').iterdir())) <= before)
    return found


def test_rows_and_structures(tmp_path):
    divided(tmp_path / 'parts', 2)
    results = run(rows, 2, str(tmp_path))
    assert all(isinstance(found, list) for found in results.values()), results
    assert [all(found) for found in results.values()] == [True, True], results
    assert len(results[0]) > 8


def kept(rank, size, folder, name):
    snn, data = prepared(Weighted())
    own = load_partition(f'{folder}/{name}')
    model = DistributedModel(snn, own, storage=f'{folder}/kept', timeout=TIMEOUT)
    try:
        result = model.run()
    except ValueError as error:
        return str(error)
    sent = [stage.bytes_sent for stage in result.stages]
    return [stage.is_kept for stage in result.stages], sum(sent)


def test_a_storage_belongs_to_a_graph(tmp_path):
    """With the weights of its edges; and what nobody reads is not sent again."""
    divided(tmp_path / 'parts', 2)
    divided(tmp_path / 'other', 2, 'edge_weight')
    first = run(kept, 2, str(tmp_path), 'parts')
    again = run(kept, 2, str(tmp_path), 'parts')
    for rank in range(2):
        assert not any(first[rank][0]) and first[rank][1] > 0
        assert all(again[rank][0]) and again[rank][1] == 0
    for message in run(kept, 2, str(tmp_path), 'other').values():
        assert 'graph' in message
